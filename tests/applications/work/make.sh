# bzip2 is built from its source, tests itself, is changed and built again.
exec 2>&1
cp -r /usr/local/share/work/source bzip2 && cd bzip2 || exit
make -j2 CFLAGS='-O0 -Wall -D_FILE_OFFSET_BITS=64' libbz2.a bzip2 2>&1 | sort; echo "status ${PIPESTATUS[0]}"
make -s test CFLAGS='-O0 -Wall -D_FILE_OFFSET_BITS=64' BIGFILES=; echo "status $?"; sha256sum ./*.o bzip2 libbz2.a
make -q bzip2; echo "status $?"
touch compress.c && make -j2 CFLAGS='-O0 -Wall -D_FILE_OFFSET_BITS=64' bzip2 | sort; make -q bzip2; echo "status $?"
cat ./*.c | ./bzip2 -9 >all.bz2 && sha256sum all.bz2 && ./bzip2 -tv all.bz2; echo "status $?"
./bzip2 -dc all.bz2 | cmp - <(cat ./*.c); echo "status $?"
head -c 30000 all.bz2 >cut.bz2; ./bzip2 -t cut.bz2; echo "status $?"; make -n install PREFIX=/job/prefix | wc -l
make -s clean; find . -name '*.o' -o -name '*.a'

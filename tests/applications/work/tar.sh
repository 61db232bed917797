# A tree of many files into an archive, out of it, compared, and in again: the archives are the same bytes.
exec 2>&1
python3 tree.py /job/tree "$1"
# Before anything reads it: on a tmpfs of the host the pages of a hole that was read through a mapping are there.
tar --sparse -cf sparse.tar tree/hole; stat -c '%s %b' sparse.tar tree/hole
mkdir sparse && tar -C sparse -xf sparse.tar && stat -c '%s %b' sparse/tree/hole && cmp tree/hole sparse/tree/hole; echo "status $?"

archive() { tar -C "$1" --sort=name --numeric-owner --format=posix --pax-option=exthdr.name=%d/x/%f,delete=atime,delete=ctime -c "${@:2}" .; }
archive tree -f one.tar; echo "status $?"
sha256sum <one.tar
tar -tvf one.tar --full-time | sha256sum
mkdir out && tar -C out --numeric-owner -xpf one.tar; echo "status $?"
tar -C out -df one.tar; echo "status $?"
archive out -f two.tar; cmp one.tar two.tar; echo "status $?"
find out | wc -l; find out -type l | wc -l; find out -type f -links +1 | wc -l; find out -type p -o -type s | wc -l
find out -type f -perm /7000 | sort
(cd out && find . -type f -print0 | sort -z | xargs -0 sha256sum) | sha256sum
(cd out && find . -printf '%y %m %U %G %n %s %T@ %p %l\n' | awk '$1 == "d" { $6 = "-" } { print }' | sort) | sha256sum

echo '# piped, compressed'
archive tree | gzip -1n | gunzip | cmp - one.tar; echo "status $?"

echo '# changed, added, gone'
echo more >>out/d0/d0/f0; rm out/d0/d0/f1; ln -sf elsewhere out/d0/d0/f2; chmod 777 out/d0/d0/f3
tar -C out -df one.tar; echo "status $?"
rm -r out tree; ls

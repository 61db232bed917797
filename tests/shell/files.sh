# Files and directories, in the directory given: on the root file system and on one in memory.
exec 2>&1
mkdir "$1/work" && cd "$1/work" || exit 1
umask 022
stat_() { stat -c '%n: %F %a %u:%g %s %h' "$@"; }

echo "== make, write, read"
echo text >f; echo more >>f; cat f; stat_ f; : >empty; stat_ empty; test -s empty; echo $?
mkdir -p a/b/c a/d; rmdir a/d; rmdir a; echo $?; mkdir a; echo $?; rmdir f; echo $?; find a | sort; stat -c '%F %a %h' a a/b
touch -d '2020-02-03 04:05:06' f; stat -c '%Y %y' f; date -r f -u +%F; touch -r f g; test g -nt f; echo $?; test empty -nt f; echo $?
cp f copy; cp -a f same; stat -c '%n %Y %a' same f; cp -r a a2; find a2 | wc -l; cp f a/; cp nothing a/; echo $?; cp a x; echo $?
mv copy a/moved; ls a; mv a/moved .; mv -n f empty; cat empty; mv moved empty; cat empty; ls; mv a2 a/b; find a | sort; mv a a/b/x; echo $?
rm nothing; echo $?; rm -f nothing; echo $?; rm a; echo $?; rm -r a; ls -a | sort
echo "== links"
ln -s f l; ln -s nothing dangling; ln -s . here; ln -s loop2 loop1; ln -s loop1 loop2; readlink l; cat l; cat dangling; cat loop1; echo $?
ls -l l | sed 's/.*l ->/l ->/'; stat_ l; stat -L -c %F l; readlink -f here/here/l | sed "s#^$1##"; realpath ./l | sed "s#^$1##"; test -L l; echo $?; test -e dangling; echo $?
ln f hard; stat -c '%h %i' f hard | uniq | wc -l; stat -c %h f; echo via-hard >>hard; cat f; rm f; cat hard; cat l; mv hard f
ln f f; echo $?; ln nothing n; echo $?; ln -s x l; echo $?; ln -sf g l; readlink l; ln "$1/work" dirlink 2>&1 | sed "s#$1##g"; echo target >dangling; cat nothing; rm loop1 loop2 here
cd . ; mkdir -p deep/er; ln -s ../.. deep/er/up; (cd -P deep/er/up; pwd | sed "s#^$1##"); ls deep/er/up/deep; rm -r deep
echo "== permissions"
for mode in 0 400 644 755 4755 2755 1777 u+x,go-rwx a=r +x; do chmod 600 f; chmod $mode f; stat -c '%a %A' f; done
chmod 0 f; cat f; echo $?; echo x >f; echo $?; test -r f; echo $?; test -x f; echo $?; chmod 200 f; echo write-only >f; cat f; chmod 644 f; cat f
umask 077; touch private; mkdir pd; stat -c '%a %n' private pd; umask 0; touch open; mkdir od; stat -c '%a %n' open od; umask 022; umask
chown 5:6 f; echo $?; chgrp 0 f; echo $?; chmod 500 pd; touch pd/x; echo $?; chmod 0 pd; ls pd; echo $?; cd pd; echo $?; chmod 700 pd
printf '#!/bin/sh\necho ran\n' >s; ./s; echo $?; chmod 755 s; ./s; chmod 100 s; ./s; echo $?; chmod 444 s; sh s
mkdir -m 2755 sg; touch sg/f; mkdir sg/d; stat -c '%a %g' sg/f sg/d
echo "== contents"
dd if=/dev/zero of=sparse bs=1 count=1 seek=1048575 2>/dev/null; stat -c '%s' sparse; md5sum sparse; printf X | dd of=sparse bs=1 seek=1000 conv=notrunc 2>/dev/null; stat -c %s sparse; od -A d -c sparse | head -n 4
truncate -s 100 sparse; stat -c %s sparse; truncate -s 5000 sparse; md5sum sparse; : >sparse; stat -c %s sparse
seq 1 30000 >n; dd if=n bs=1000 skip=3 count=2 2>/dev/null | md5sum; dd if=n of=n2 bs=4k 2>&1 | grep records; cmp n n2 && echo equal; tail -c +100 n | head -c 10 | od -c
echo one >o; { cat o; rm o; cat; } <o; ls o; exec 3<n; rm n; head -n 1 <&3; exec 3<&-;
echo abc >t; exec 3<>t; printf X >&3; cat t; cat <&3; exec 3>&-; (echo l1; echo l2) >ap; for i in 1 2 3; do echo $i >>ap & done; wait; sort ap
echo "== names"
touch -- -dash 'sp ace' 'new
line' "ü€" '*'; ls -q | sort; rm -- -dash 'sp ace' 'new
line' "ü€" '*'
long=$(printf '%0255d' 0); touch $long && ls | grep -c 0000 && rm $long; touch 0$long 2>&1 | tail -c 20; touch f/x; echo $?; cat f/; echo $?; ls f/.; echo $?; ls ./././f ../work/f; touch ''; echo $?
i=0; while [ $i -lt 300 ]; do echo $i >many-$i; i=$((i + 1)); done; ls | grep -c many; cat many-* | awk '{ s += $1 } END { print s }'; ls many-1*0; rm many-*; ls | wc -l
mkdir full; for i in 1 2 3; do mkdir full/$i; touch full/$i/f; done; rmdir full/1; echo $?; find full -type f -delete; find full -depth -type d -name "[23]" -exec rmdir {} \; 2>&1 | sort; rmdir full; ls full; echo $?
echo "== find, du, temporary"
mkdir -p t1/t2; echo 12345 >t1/five; touch t1/t2/zero; chmod 600 t1/five; find t1 -perm 600 | sort; find t1 -size -2 -type f | sort; find t1 -empty | sort; touch -d '2001-01-01 00:00:00' old; find t1 -newer old -type f | wc -l; rm old; find t1 -maxdepth 1 | sort
f=$(mktemp "$1/tmp.XXXXXX"); test -f "$f" && stat -c '%a %s' "$f"; d=$(mktemp -d "$1/dir.XXXXXX"); stat -c '%a %F' "$d"; rmdir "$d"; rm "$f"
mkfifo p; stat_ p; mknod c c 1 3; echo $?; ls -p | sort | tr '\n' ' '; echo
sync; echo $?; df . | wc -l; test -w .; echo $?; test . -ef "$1/work"; echo $?
mkdir gone; cd gone; rmdir ../gone; pwd | sed "s#^$1##"; ls; touch x; echo $?; cd ..; echo $?; rm -rf "$1/work"; ls "$1/work" | wc -l

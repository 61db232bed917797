# What programs see of a root under which there is something already. /below was made outside.
cd /below
look() { stat -c '%n %F %a %u:%g %s' "$@" 2>&1; }
tree() { find "$@" ! -type d -exec stat -c '%n %F %a %u:%g %h %s' {} + | sort; find "$@" -type d -exec stat -c '%n %a %u:%g' {} + | sort; }
number() { stat -c %i "$1"; }
tree .
ls -a . d

echo "== contents"
one=$(number a); exec 3<a
echo more >>a; cat a; echo "seen by who had it open:"; cat <&3; exec 3<&-
[ "$(number a)" = "$one" ] && echo "same number"
echo short >d/x; look d/x; cat d/x
printf 'XY' | dd of=big bs=1 seek=70000 conv=notrunc 2>/dev/null; md5sum big; look big
truncate -s 100 big2; md5sum big2; truncate -s 5000 big2; md5sum big2; look big2
: >d/y; look d/y
cp d/e/z copy; cmp d/e/z copy && look copy

echo "== attributes"
chmod 600 b; chown 7:8 b; touch -d '2001-02-03 04:05:06' b; look b; stat -c %y b; cat b
chmod 1777 d; chown 3 d/e; stat -c '%n %F %a %u:%g' d d/e; chmod u+s d/e/z; look d/e/z; chown 5 d/e/z; look d/e/z
touch -h -d '2002-02-02 02:02:02' s; stat -c '%n %y' s; readlink s; cat s

echo "== names"
rm d/x; ls d; cat d/x; echo "new" >d/x; cat d/x; look d/x
rm d/x; ls d; rm -r d/e; ls d; mkdir d/e; ls -a d/e; echo in >d/e/in; tree d
rmdir d; rm -r d; ls; mkdir d; ls -a d; mkdir d/again; rmdir d/again; rmdir d; ls
mkfifo pipe; (echo through >pipe &); cat pipe; look pipe
ln -s nowhere dangling; cat dangling; rm dangling; ls

echo "== links"
stat -c '%n %h' l1 l2; echo x >>l1; cat l2; stat -c '%n %h %s' l1 l2
ln l1 l3; stat -c '%n %h' l2 l3; rm l1; stat -c '%n %h' l2 l3; cat l3
[ "$(number l2)" = "$(number l3)" ] && echo "same file"
exec 4<l2; rm l2 l3; cat <&4; stat -Lc '%h' /dev/fd/4; exec 4<&-; ls

echo "== renames"
mv b b2; cat b2; look b2; ls; mv b2 a; cat a; ls
mv m moved; tree moved; ls; mkdir m; ls -a m; echo o >moved/n/o; mv moved/n m/n; tree m moved
mv moved m/n; ls m/n; mv m/n/moved .; ls -a moved
mkdir full; echo 1 >full/f; mv full m; mv m/full/f m/full/g; tree m
mv -T m/full m/n; echo $?; mkdir empty; mv -T m/full empty; echo $?; tree empty
mv t/1 t/2; ls t; cat t/2; mv t/2 t/1; ls t; cat t/1

echo "== many"
ls many | wc -l; rm many/f1*; ls many | wc -l; for i in 1 2 3 4 5 6 7 8 9; do echo $i >many/new$i; done
ls many | md5sum; rm -r many; ls -d many

echo "== permissions"
mkdir priv; echo secret >priv/s; chmod 700 priv
touch /below/ro/f; echo $?; stat -c '%n %F %a' ro
exec 5>a; echo held >&5; rm a; stat -Lc '%h %s' /dev/fd/5; exec 5>&-
stat -fc %t . ; grep -c ' / ' /proc/mounts
tree . | grep -v big

# A tree with owners, hard links, holes, access lists and extended attributes is copied, changed, brought up to date.
exec 2>&1
python3 tree.py /job/from "$1" && cd /job/from || exit
for n in 0 1 2 3 4 5; do setfattr -n user.number -v "$n" d0/d0/f$n; setfattr -n user.long -v "$(printf '%0300d' $n)" d0/d0/f$n; done
setfattr -n user.directory -v yes names
setfacl -m u:1234:rwx,g:5678:r-x,m::rx d0/d0/f4; setfacl -m u:99:--- d0/d0/f5
setfacl -m d:u:1234:rwx,d:g::r-x,d:o::--- d0/d1; echo inherited >d0/d1/inherited; mkdir d0/d1/inherited-too
touch -d @1600000000 d0/d1/inherited d0/d1/inherited-too d0/d1 d0/d0/f? names . ; cd ..
show() { (cd "$1" && find . -printf '%y %m %U %G %n %s %T@ %p %l\n' | awk '$1 == "d" { $6 = "-" } { print }' | sort | sha256sum
    find . ! -type l -print0 | sort -z | xargs -0 getfacl -n | sha256sum; find . -print0 | sort -z | xargs -0 getfattr -d -h | sha256sum
    find . -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum); }

echo '# copy'
rsync -aHAXS --stats from/ to/ | grep -E '^(Number of (files|created|regular)|Total (file|transferred)|Literal|Matched)'; echo "status ${PIPESTATUS[0]}"
# Before it is read: on a host's tmpfs a hole that is seen through a mapping is none any more.
[ "$(stat -c %b to/hole)" -lt 1000 ]; echo "status $?"
show to
getfacl -n to/d0/d0/f4 to/d0/d0/f5 to/d0/d1 to/d0/d1/inherited to/d0/d1/inherited-too; getfattr -d to/d0/d0/f3 to/names
ls -ln --time-style=+%s to/d0/d0 | head -n 8
rsync -aHAXS -i from/ to/; echo "status $?"

echo '# changes'
cd from && echo more >>d0/d0/f0 && rm d0/d0/f1 && chmod 600 d0/d0/f3 && setfattr -n user.number -v new d0/d0/f4 && setfacl -b d0/d0/f5 &&
    setfattr -x user.long d0/d0/f2 && ln d0/d0/f7 another && mv d0/d1 moved && chown 7:8 names/-dash && dd if=/dev/zero of=hole bs=1k seek=100 count=1 conv=notrunc status=none
touch -d @1600000001 . another names d0 d0/d0 hole d0/d0/f0; cd ..
rsync -aHAXn --delete -i from/ to/ >changes; grep -c deleting changes; grep -v -E 'deleting|moved/f' changes
rsync -aHAX --inplace --no-whole-file --delete --stats from/ to/ | grep -E '^(Number of|Literal|Matched)'; show to

echo '# checksums, hard links to an older copy, filters, a file that is gone'
echo x >to/d0/d0/f10; touch -r from/d0/d0/f10 to/d0/d0/f10; rsync -aHAXc -i from/ to/
rsync -aHAX --link-dest=/job/to from/ third/; show third; find third -type f -links +1 | wc -l
rsync -a --exclude 'f*' --include '*/' --prune-empty-dirs -i from/ fourth/ | head; rsync -a missing fifth; echo "status $?"
tar -C from --acls --xattrs -c . | (mkdir sixth && tar -C sixth --acls --xattrs --xattrs-include='user.*' -xp); show sixth
cp -a from seventh; rsync -aHAXn -i from/ seventh/

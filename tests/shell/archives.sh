# Trees packed, copied, unpacked, compared.
exec 2>&1
cd /tmp
i=0
while [ $i -lt 8 ]; do
    mkdir -p tree/d$i/sub; seq 1 $((i * 700)) >tree/d$i/numbers; echo $i >tree/d$i/sub/small; ln -s ../d0/numbers tree/d$i/link
    ln tree/d$i/sub/small tree/d$i/hard; chmod 75$i tree/d$i/sub; touch -d "2021-01-0$((i + 1)) 00:00:00" tree/d$i/numbers; i=$((i + 1))
done
list() { (cd "$1" && find . | sort | while read -r f; do stat -c '%n %F %a' "$f"; done && find . -type f | sort | xargs md5sum && find . -name numbers | sort | xargs stat -c '%Y %s'); }
list tree | md5sum; list tree | wc -l
tar cf t.tar tree; tar tf t.tar | wc -l; mkdir x; tar xf t.tar -C x; list x/tree | md5sum; stat -c %h x/tree/d3/hard
tar czf t.tgz tree; gzip -t t.tgz; echo $?; mkdir y; tar xzf t.tgz -C y; list y/tree | md5sum; diff -r tree y/tree; echo $?
(cd tree && tar cf - .) | (mkdir z && cd z && tar xf -); list z | md5sum
cp -a tree w; list w | md5sum; find tree | cpio -o -H newc 2>/dev/null >t.cpio; mkdir v; (cd v && cpio -id <../t.cpio 2>/dev/null); diff -r tree v/tree; echo $?
echo changed >>w/d2/sub/small; touch -d "2030-01-01 00:00:00" w/d2/sub/small; diff -rq tree w; mv w/d3 w/e3; rm -r w/e3/sub; find w -newer t.tar -type f | sort; find w -type l -exec readlink {} \; | sort | uniq -c
bzip2 -c t.tar | bunzip2 | cmp - t.tar; echo $?; gzip -k t.tar; gunzip -c t.tar.gz | cmp - t.tar; echo $?; du -s tree >/dev/null; echo $?
ar r a.a tree/d1/numbers 2>/dev/null; ls -d tree/d[0-2]; rm -rf tree x y z w v; ls | sort

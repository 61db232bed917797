# Filters: what a build script does to text.
exec 2>&1
cd /tmp
cat >fruit <<END
apple 3 red
pear 12 green
fig 7 purple
apple 1 green
kiwi 12 brown
END

echo "== sort, uniq, cut, tr, paste"
sort fruit; sort -k2n -k1 fruit; sort -r -u -k1,1 fruit; cut -d' ' -f1 fruit | sort | uniq -c | sort -rn
tr a-z A-Z <fruit | tr -d ' ' | tr -s P; cut -c2-4 fruit | paste -s -d, -; paste fruit fruit | head -n 1
echo "== grep"
grep -n green fruit; grep -c e fruit; grep -vi APPLE fruit; grep -E '^(fig|kiwi) [0-9]+' fruit; grep -o '[0-9]*' fruit
grep nothing fruit; echo $?; grep x no-file; echo $?; mkdir tree; cp fruit tree/a; echo fig >tree/b; grep -rl fig tree | sort
echo "== sed"
sed -n '2,3p;$=' fruit; sed 's/\([a-z]*\) \([0-9]*\)/\2 \1/;/kiwi/d' fruit; sed -e '1i\first' -e '$a\last' fruit
cp fruit f2; sed -i 's/red/RED/' f2; head -n 1 f2; sed ':a;N;$!ba;s/\n/,/g' fruit
echo "== awk"
awk '{ n[$1] += $2 } END { for (k in n) print k, n[k] }' fruit | sort
awk -F' ' 'NR > 1 && $2 > 5 { printf "%-8s|%5.2f|%x\n", $1, $2 / 7, $2 }' fruit
awk 'BEGIN { while (("echo from a command" | getline line) > 0) print line; print length("abc"), substr("hello", 2, 3), toupper("x"), index("abc", "c"), split("a:b:c", p, ":"), p[3]; print 2^31, int(7/2), sin(0), exp(0), sqrt(2) }'
awk '{ print > ("out-" $3) } END { close("out-green") }' fruit; cat out-green; ls out-*
awk 'BEGIN { print ENVIRON["HOME"]; system("exit 3"); "pwd" | getline d; print d; exit 5 }'; echo $?
awk 'BEGIN { for (i = 0; i < 30000; i++) { a[i] = i "x"; s += length(a[i]) } print s }'
echo "== xargs, find"
echo a b c | xargs -n 1 echo item; printf 'x\0y z\0' | xargs -0 -n 1 echo; seq 1 5 | xargs -n 2; seq 3 | xargs -I{} echo '<{}>'
echo x | xargs false; echo $?; find tree -type f | sort; find tree -name b -exec cat {} \;; find tree -type f -print0 | xargs -0 cat | wc -l
seq 1 5000 | xargs echo | wc -w
echo "== head, tail, wc, od, and others"
seq 1 100 | head -n 2; seq 1 100 | tail -n 2; seq 1 100 | tail -n +99; head -c 5 fruit; echo; tail -c 6 fruit; wc fruit; wc -l <fruit
printf 'a\001\377\n' | od -c; printf 'abcdefgh' | hexdump -C; echo text | xxd; echo text | base64; echo dGV4dAo= | base64 -d
seq 5 | tac; echo abc | rev; seq -w 8 11; seq 1 0.5 2; nl fruit | head -n 1; expand fruit | head -n 1; echo 'a b c d' | fold -w 3; printf '%5d|%-5s|%05.1f|%s\n' 42 ab 3.14159 end
printf '\x41\102\tC\n'; echo -e 'a\tb\\c'; echo -n x; echo; factor 97 98; echo '2^100; scale=5; 1/3' | bc; echo '2 3 + p' | dc
echo "== sums and comparison"
md5sum fruit; sha1sum fruit; sha256sum fruit | tee sums; sha256sum -c sums; sha512sum <fruit | cut -c1-20; cksum fruit 2>/dev/null | wc -l; crc32 fruit
diff fruit f2; echo $?; cmp fruit f2; echo $?; cmp fruit tree/a; echo $?
printf 'old\nsame\n' >p1; printf 'new\nsame\n' >p2; diff -u p1 p2 | tail -n +3 >p; patch p1 <p >/dev/null 2>&1; sed 1,2d p | head -n 1
echo "== large"
seq 1 60000 >numbers; md5sum <numbers; sort -rn numbers | head -n 1; wc numbers; gzip -c numbers | gunzip | md5sum; awk '{ s += $1 } END { print s }' numbers
tr 0-9 a-j <numbers | sort -u | wc -l; cat numbers numbers numbers | wc -c; tail -n 3 numbers; sed -n '59999p' numbers; split -l 20000 numbers part-; ls part-*; cat part-* | cmp - numbers && echo equal

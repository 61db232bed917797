# The device nodes and the descriptors behind them.
exec 2>&1
cd /tmp
echo "== nodes"
stat -c '%n %F %a %u:%g %t:%T' /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty
ls /dev | grep -vx core | sort | tr '\n' ' '; echo; readlink /dev/fd /dev/stdin /dev/stdout /dev/stderr /dev/ptmx
echo "== null, zero, full"
echo gone >/dev/null; echo $?; cat /dev/null | wc -c; head -c 1000 /dev/zero | tr -d '\0' | wc -c; dd if=/dev/zero bs=7 count=3 2>/dev/null | od -c; echo x >/dev/zero; echo $?
echo x >/dev/full; echo $?; head -c 10 /dev/full | od -c; dd if=/dev/zero of=/dev/full bs=10 count=1 2>&1 | head -n 1; cp /dev/null made; stat -c %s made
dd if=/dev/null of=out bs=4k count=10 2>&1 | grep records; dd if=/dev/zero of=/dev/null bs=64k count=50 2>&1 | grep records
echo "== random"
head -c 1000 /dev/urandom | wc -c; head -c 16 /dev/urandom >r1; head -c 16 /dev/urandom >r2; cmp -s r1 r2; echo $?; head -c 20 /dev/random | wc -c
head -c 20000 /dev/urandom | od -An -v -tu1 -w1 | sort -n | uniq | wc -l; echo entropy >/dev/urandom; echo $?
echo "== standard descriptors"
echo out >/dev/stdout; echo err >/dev/stderr; echo in | cat /dev/stdin; echo fd | cat /dev/fd/0; echo to3 3>three >&3; cat three; sh -c 'echo "$(cat /dev/fd/5)"' 5<three
cat <three /proc/self/fd/0; echo appended >>three; (cat /dev/fd/0; cat) <three; ls /proc/self/fd | head -n 3; sh -c 'ls /proc/$$/fd' 7<three 8>eight | tr '\n' ' '; echo
readlink /proc/self/fd/0 <three; sh -c 'readlink /proc/$$/fd/7' 7>/dev/null; rm three; sh -c 'rm four; readlink /proc/$$/fd/6' 6>four
readlink /proc/self/fd/0 </dev/zero; echo | readlink /proc/self/fd/0 | sed 's/[0-9][0-9]*/N/'; test -t 0 </dev/null; echo $?; tty </dev/null; echo $?
echo "== what is not there"
cat /dev/sda; echo $?; cat /dev/tty; echo $?; cat /dev/mem; echo $?; cat /dev/kvm; echo $?; mknod /dev/mine c 1 3; echo $?
echo "== shared memory"
echo shared >/dev/shm/s; cat /dev/shm/s; stat -c '%a %F' /dev/shm; rm /dev/shm/s; ls -d /dev/mqueue /dev/pts
touch /dev/made; echo $?; ls /dev/made; rm /dev/made

# Processes: background jobs, wait, signals and traps, FIFOs.
exec 2>&1
cd /tmp

echo "== background and wait"
(sleep 0.2; exit 3) & a=$!
(exit 4) & b=$!
wait $a; echo $?; wait $b; echo $?; wait $b; echo $?; wait; echo $?; wait 99999; echo $?
for i in 1 2 3 4 5 6 7 8; do (echo $i >j$i; exit $i) & done; wait; cat j? | sort -r | tr '\n' ' '; echo
(sleep 0.1; echo second) & echo first; wait
sleep 10 & p=$!; kill -0 $p; echo $?; kill $p; wait $p; echo $?; kill -0 $p 2>/dev/null; echo $?
sleep 10 & p=$!; kill -KILL $p; wait $p; echo $?
sh -c 'kill -SEGV $$'; echo $?; sh -c 'kill -ABRT $$'; echo $?; sh -c 'kill -PIPE $$'; echo $?

echo "== stop and continue"
sh -c 'kill -STOP $$; echo continued' & p=$!
sleep 0.3; grep -E '^State' /proc/$p/status; kill -CONT $p; wait $p; echo $?
sleep 10 & p=$!; kill -STOP $p; kill -TERM $p; kill -CONT $p; wait $p; echo $?

echo "== traps"
trap 'echo usr1' USR1; kill -USR1 $$; echo after
trap 'echo usr2' USR2; kill -USR2 $$; kill -USR1 $$; trap - USR1 USR2
trap '' TERM; kill -TERM $$; echo survived; sh -c 'kill -TERM $$; echo ignored in the child too'; trap - TERM
(trap 'echo bye' EXIT; trap 'exit 7' TERM; sh -c "kill -TERM \$PPID"; sleep 5); echo $?
trap 'echo woken' USR1; (sleep 0.2; kill -USR1 $$) & wait $!; echo "wait gives $?"; wait; trap - USR1
trap 'echo child' CHLD; true & wait $!; trap - CHLD
trap | wc -l

echo "== orphans"
sh -c '(sleep 0.2; echo "parent is now $(grep PPid /proc/self/status | tr -dc 0-9 >/dev/null; echo ok)" >orphan) &'
sleep 0.6; cat orphan
sh -c 'sh -c "sleep 0.1; exit 3" & exec sleep 0.3'; echo $?

echo "== pipes between processes"
mkfifo f; (sleep 0.1; echo through the fifo) >f & cat f; wait; test -p f; echo $?
mkfifo g; cat f >g & (echo one; echo two) >f & cat g; wait
seq 1 20000 | tee t1 t2 | sort -n | tail -n 1; cmp t1 t2 && wc -l <t2
(trap '' PIPE; yes; echo "yes ended $?" >end) 2>&1 | head -n 1; cat end
(seq 1 100000; echo "seq ended $?" >end) | head -n 2; cat end
dd if=/dev/zero bs=1000 count=3000 2>/dev/null | (sleep 0.1; wc -c)
echo data | (exec cat; echo not reached)
: | cat; echo "empty input $?"

echo "== process groups and sessions"
setsid sh -c 'echo $(($(cut -d" " -f5 /proc/$$/stat) == $$)) $(($(cut -d" " -f6 /proc/$$/stat) == $$))'
setsid sh -c 'sleep 20 & sleep 20 & trap "" TERM; kill -TERM 0; wait; echo group ended'
timeout 0.3 sleep 10; echo $?; timeout 5 sh -c 'exit 3'; echo $?; timeout -s KILL 0.2 sleep 5; echo $?
nice -n 5 nice; nice nice; renice -n 3 -p $$ >/dev/null; nice
time -p true 2>&1 | cut -d' ' -f1
sh -c 'echo $PPID' | grep -qx $$ && echo parent; echo $$

echo "== many"
i=0; while [ $i -lt 60 ]; do (exit 0) || echo failed; i=$((i + 1)); done; echo $i
i=0; while [ $i -lt 30 ]; do true | true | true & i=$((i + 1)); done; wait; echo joined
n=0; deep() { [ $1 -eq 0 ] && echo bottom || (deep $(($1 - 1))); }; deep 30

# What /proc, /sys and the clock tell.
exec 2>&1
cd /tmp
echo "== self"
grep -E '^(Name|Umask|State|Pid|PPid|Tgid|TracerPid|Uid|Gid|Groups|NStgid|Threads|SigIgn|SigCgt|SigBlk|NoNewPrivs|Cap...):' /proc/self/status | sed 's/^\(Pid\|Tgid\|PPid\|NStgid\):.*/\1/'
cat /proc/self/comm; tr '\0' ' ' </proc/self/cmdline; echo; readlink /proc/self/exe /proc/self/cwd /proc/self/root; cat /proc/self/environ | tr '\0' '\n' | sort
sh -c 'test $(readlink /proc/self) != $$; echo $?; cat /proc/$$/comm; exec 2>&1; cut -d" " -f2-4 /proc/self/stat | sed "s/[0-9][0-9]*/N/g"'
wc -w /proc/self/stat /proc/self/statm | head -n 2 | tr -s ' '; grep -c . /proc/self/maps >/dev/null; echo $?; grep -oE '\[(heap|stack)\]$' /proc/self/maps | sort; grep -E 'busybox$' /proc/self/maps | awk '{ print $2, $6 }' | sort -u
cat /proc/self/limits | awk '{ print $1, $2, $3 }' | sort | head -n 3; ls /proc/self/task | wc -l; cat /proc/self/oom_score_adj; true
echo "== others"
cat /proc/1/comm; sleep 5 & p=$!; sleep 0.2; cat /proc/$p/comm; tr '\0' ' ' </proc/$p/cmdline; echo; grep -E '^(State|PPid)' /proc/$p/status; test -d /proc/$p/fd; echo $?; kill $p; wait $p; test -e /proc/$p; echo $?
ls /proc >all; grep -cE '^[0-9]+$' all; ps -o pid,comm | tail -n +2 | head -n 1 | tr -s ' '; cat /proc/99999/status; echo $?; cat /proc/self/nothing; echo $?; echo x >/proc/self/status; echo $?
echo "== system"
for f in uptime loadavg meminfo stat cpuinfo version filesystems mounts self/mountinfo sys/kernel/hostname sys/kernel/ostype sys/kernel/random/uuid sys/kernel/pid_max sys/vm/overcommit_memory; do test -s /proc/$f -o -n "$(cat /proc/$f)" && echo "$f is there"; done
cat /proc/sys/kernel/ostype /proc/sys/kernel/hostname; awk '{ print NF }' /proc/loadavg /proc/uptime; grep -E '^(MemTotal|MemFree|MemAvailable|SwapTotal):' /proc/meminfo | awk '{ print $1, $3, ($2 >= 0) }'; head -n 1 /proc/stat | awk '{ print $1, NF }'
free | head -n 1 | tr -s ' '; grep -wE 'proc|tmpfs|sysfs' /proc/filesystems | sort
echo "== clock"
now=$(date +%s); test "$now" -gt 1700000000; echo $?; date -u -d @0 +%FT%TZ; date -u -d '2024-02-29 12:00:00' +%s; a=$(cut -d' ' -f1 /proc/uptime); sleep 1; b=$(cut -d' ' -f1 /proc/uptime)
echo "$a $b" | awk '{ d = $2 - $1; print (d >= 0.98 && d < 3) ? "a second" : d }'; s=$(date +%s); sleep 1.2; e=$(date +%s); test $((e - s)) -ge 1 -a $((e - s)) -le 3; echo $?; touch n; m=$(stat -c %Y n); n=$(date +%s); test $((n - m)) -le 2 -a $((n - m)) -ge -1; echo $?
TZ=EST5 date -d @0 +%H:%M
echo "== identity"
id; id -u; whoami; groups; logname; echo $?; uname -s; uname -m; uname -n; hostname; nproc >/dev/null; echo $?; su nobody -c id; echo $?; setpriv --dump 2>/dev/null | head -n 1 | wc -l

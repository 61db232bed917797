# containerd alone, by ctr: a container in the foreground, and the life of one in the background.
try() {
    "$@" 2>&1
    echo "status $?"
}
run() { ctr run --runc-binary "$PROGRAM" "$@"; }
is() { ctr task ls | grep -q "^$BOX .*$1"; }
try run --rm "$IMAGE" "$BOX" sh -c 'echo hello $A; id -u; echo error >&2; exit 3'
try run --rm "$IMAGE" "$BOX" nothing
try run --rm --read-only --env B=2 --cwd /etc --memory-limit 50331648 "$IMAGE" "$BOX" sh -c 'echo $B; pwd; touch /x; exec 2>/dev/null; tail /dev/zero; echo $?'
try run -d --memory-limit 67108864 --pid-file pid "$IMAGE" "$BOX" sh -c \
    'trap "exit 5" TERM; while :; do sleep 0.1; done'
is RUNNING && echo is running
[ "$(cat pid)" = "$(ctr task ls | awk -v box="$BOX" '$1 == box { print $2 }')" ] && echo the same process
try ctr task exec --exec-id one "$BOX" sh -c 'echo in; exit 4'
try ctr task exec --exec-id two --cwd /etc --user 5 "$BOX" sh -c 'pwd; id -u'
ctr task exec -d --exec-id three "$BOX" sleep 1000
ctr task ps "$BOX" | awk 'NR > 1 { print NF > 1 ? "a process" : "?" }' | sort | uniq -c | awk '$1 > 1 { print "several" }'
ctr task metrics "$BOX" | awk '$1 ~ /^(memory.usage|cpu.usage_usec|pids.current)/ { print $1, $2 > 0 }' | sort -u
try ctr task pause "$BOX"
is PAUSED && echo is paused
try ctr task resume "$BOX"
is RUNNING && echo is running
try ctr task kill --exec-id three -s KILL "$BOX"
try ctr task kill -s TERM "$BOX"
until_true is STOPPED && echo is stopped
try ctr task delete "$BOX" | sed 's/^time="[^"]*" //'
try ctr container delete "$BOX"
try ctr task ls | grep -c "$BOX"

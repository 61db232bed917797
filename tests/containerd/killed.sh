# Lives of containers, in each of which something is killed by SIGKILL at a random moment: the shim, the sandbox process,
# or containerd itself. Afterwards the container can be deleted. Prints what is wrong.
quick() { timeout -k 1 20 ctr "$@" >>log 2>&1; }
start() {
    containerd --root root --state state --address "$CONTAINERD_ADDRESS" --log-level warn >>engine.log 2>&1 &
    daemon=$!
    until_true timeout 5 ctr version
}
life() {
    quick run -d --runc-binary "$PROGRAM" --memory-limit 67108864 "$IMAGE" "$1" sleep 1000
    quick task exec --exec-id one "$1" true
    quick task kill -s KILL "$1"
    quick task delete "$1"
}
is_gone() {
    quick task kill -s KILL "$1"
    quick task delete -f "$1"
    quick container delete "$1"
    containers=$(timeout 5 ctr container ls -q) && tasks=$(timeout 5 ctr task ls -q) || return 1
    ! printf '%s\n' "$containers" "$tasks" | grep -qx "$1"
}
state=/run/containerd/runc/default
start
RANDOM=$SEED
for number in $(seq "$LIVES"); do
    box=killed-$number
    life "$box" &
    commands=$!
    sleep "$((RANDOM % 4)).$((RANDOM % 10))"
    case $((number % 3)) in
        0)
            victim=shim
            pkill -KILL -f -- "-id $box " || true
            ;;
        1)
            victim=sandbox
            # There may be none yet, or no more.
            pid=$("$PROGRAM" --root $state state "$box" 2>/dev/null | sed -n 's/^ *"pid": \([0-9]*\),$/\1/p')
            [ "${pid:-0}" = 0 ] || kill -KILL "$pid" 2>/dev/null || true
            ;;
        2)
            victim=containerd
            kill -KILL $daemon
            # Its shell would say so.
            wait $daemon 2>/dev/null
            start
            ;;
    esac
    wait $commands
    until_true is_gone "$box" || echo "life $number: not deleted after $victim was killed"
    [ ! -e "$state/$box" ] || echo "life $number: state is left after $victim was killed"
done
kill $daemon
wait $daemon
# Not this script, whose text is among the arguments.
shims=$(pgrep -f '[c]ontainerd-shim-runc-v2.*killed-' | wc -l)
[ "$shims" = 0 ] || echo "$shims shims are left"

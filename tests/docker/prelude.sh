# What the cases have in common. $RUNTIME is under test, $BOX names the container, the directory is the case's own.
# Output is what a user sees; ids, times and the runtime's name are masked.
run() { docker run --runtime "$RUNTIME" --network none "$@"; }
# Runs a command and tells its status.
try() {
    "$@"
    echo "status $?"
}
# Waits up to 20 s until a command succeeds.
until_true() {
    n=0
    until "$@" >/dev/null 2>&1; do
        n=$((n + 1))
        [ $n -lt 100 ] || { echo "never: $*"; return 1; }
        sleep 0.2
    done
}
said() { docker logs "$BOX" 2>&1 | grep -q "$1"; }
is() { [ "$(docker inspect -f '{{.State.Status}}' "$BOX")" = "$1" ]; }

# What scripts for all engines have in common.
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

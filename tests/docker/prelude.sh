# What the cases have in common. $RUNTIME is under test, $BOX names the container, the directory is the case's own.
# Output is what a user sees; ids, times and the runtime's name are masked.
run() { docker run --runtime "$RUNTIME" --network none "$@"; }
said() { docker logs "$BOX" 2>&1 | grep -q "$1"; }
is() { [ "$(docker inspect -f '{{.State.Status}}' "$BOX")" = "$1" ]; }
# A container that reaches others: on Docker's bridge, unless told otherwise.
reach() { docker run --runtime "$RUNTIME" "$@"; }
address_of() { docker inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' "$1"; }
# Without what differs from one container to the next: addresses in the engine's networks, ports of this machine.
plain() { sed -E "s/10\.23[34]\.[0-9]+\.([2-9]|[0-9]{2,})\b/ADDRESS/g; s/02:42:0a:e[9a]:[0-9a-f:]{5}/MAC/g; s/\b73[01][0-9]\b/PORT/g"; }

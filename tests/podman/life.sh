# Podman: containers in the foreground and in the background.
run() { podman --runtime "$PROGRAM" run --network none "$@"; }
said() { podman logs "$BOX" 2>&1 | grep -q "$1"; }
state() { podman inspect -f '{{.State.Status}} {{.State.ExitCode}} {{.State.OOMKilled}}' "$BOX"; }
is() { [ "$(podman inspect -f '{{.State.Status}}' "$BOX")" = "$1" ]; }
try run --rm -e A=1 --user 5 -w /etc "$IMAGE" sh -c 'exec 2>&1; echo hello $A; id; pwd; touch /etc/x; exit 3'
echo in | try run --rm -i "$IMAGE" cat
try run --rm "$IMAGE" nothing >/dev/null 2>&1
mkdir -p out
echo outside >out/a
try run --rm -v "$PWD/out:/out" --tmpfs /t --memory 48m --pids-limit 30 --hostname castle "$IMAGE" sh -c \
    'cat /out/a; echo inside >/out/b; df /t | tail -n 1 | awk "{ print \$1 }"; hostname; tail /dev/zero; echo $?' 2>/dev/null
cat out/b
run -d --name "$BOX" "$IMAGE" sh -c 'trap "echo term; exit 7" TERM; echo up; while :; do sleep 0.1; done' | wc -l
until_true said up && echo up
try podman exec "$BOX" sh -c 'echo in; exit 4'
echo piped | try podman exec -i "$BOX" cat
try podman pause "$BOX" >/dev/null
state
try podman unpause "$BOX" >/dev/null
try podman stop -t 20 "$BOX" >/dev/null
state
podman logs "$BOX"
try podman rm "$BOX" >/dev/null
podman ps -a --format '{{.Names}}' | grep -c "$BOX"

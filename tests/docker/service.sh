# A service: it is watched, started again, and stopped by its own signal.
run -d --name "$BOX" --restart on-failure:1 --stop-signal USR1 --health-cmd 'test -f /ok' --health-interval 1s \
    --health-retries 100 image sh -c \
    'test -f /again || { touch /again; echo fails; exit 3; }; trap "echo usr1; exit 9" USR1; echo up; while :; do sleep 0.1; done' |
    wc -l
until_true said up
try docker inspect -f '{{.RestartCount}} {{.State.Status}}' "$BOX"
try docker exec "$BOX" touch /ok
healthy() { [ "$(docker inspect -f '{{.State.Health.Status}}' "$BOX")" = healthy ]; }
until_true healthy && echo healthy
docker stats --no-stream --format '{{.Name}}' "$BOX"
try docker stop -t 30 "$BOX"
try docker inspect -f '{{.State.Status}} {{.State.ExitCode}}' "$BOX"
docker logs "$BOX"
try docker rm "$BOX"
actions() { docker events --since 10m --until 0s -f container="$BOX" --format '{{.Action}}'; }
# The last of them comes when the command has ended already.
destroyed() { actions | grep -qx destroy; }
until_true destroyed
actions | grep -vE '^(exec_|health)' | uniq

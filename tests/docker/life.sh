# A container from its start to its end, and what can be done with it meanwhile.
run -d --name "$BOX" -e E=1 image sh -c \
    'trap "echo term; exit 7" TERM; trap "echo usr1" USR1; echo up; while :; do sleep 0.1; done' | wc -l
until_true said up
try docker exec "$BOX" sh -c 'exec 2>&1; echo in; ls /none; exit 3'
try docker exec -u user -w /etc -e X=2 "$BOX" sh -c 'id; pwd; echo $E $X; tty'
echo piped | try docker exec -i "$BOX" cat
try docker exec -w /none "$BOX" pwd 2>&1
try docker inspect -f '{{.State.Status}} {{.State.Running}} {{.State.Paused}} {{.State.ExitCode}} {{gt .State.Pid 1}}' "$BOX"
docker exec -d "$BOX" sleep 1000
docker top "$BOX" -o pid,comm,args | awk '{ $1 = ""; print }' | grep -v 'sleep 0.1'
try docker pause "$BOX"
is paused && echo is paused
try docker exec "$BOX" true 2>&1
try docker unpause "$BOX"
try docker kill -s USR1 "$BOX"
until_true said usr1
try docker rename "$BOX" "$BOX-2"
try docker rename "$BOX-2" "$BOX"
try docker stop -t 20 "$BOX"
try docker wait "$BOX"
try docker inspect -f '{{.State.Status}} {{.State.ExitCode}} {{.State.OOMKilled}}' "$BOX"
try docker exec "$BOX" true 2>&1
try docker start "$BOX"
until_true is running
try docker kill "$BOX"
try docker wait "$BOX"
try docker logs "$BOX"
try docker rm "$BOX"
try docker rm "$BOX" 2>&1

# A container, or a process of it, that runs out of memory: the engine is told, and says so.
state() { docker inspect -f '{{.State.Status}} {{.State.ExitCode}} {{.State.OOMKilled}}' "$BOX"; }
try run --name "$BOX" --memory 48m --memory-swap 48m image tail /dev/zero
state
docker rm "$BOX" >/dev/null
run -d --name "$BOX" --memory 48m --memory-swap 48m image sleep 1000 | wc -l
state
try docker exec "$BOX" sh -c 'tail /dev/zero; echo $?; echo still here' 2>/dev/null
told() { docker events --since 10m --until 0s -f container="$BOX" -f event=oom --format '{{.Action}}' | grep -q oom; }
until_true told && echo told
# The engine tells of it first and notes it then.
noted() { state | grep -q true; }
until_true noted
state
until_true sh -c "docker stats --no-stream --format '{{.MemPerc}}' $BOX | grep -q %" && echo has figures
docker kill "$BOX" >/dev/null
until_true is exited
state
try docker start "$BOX"
until_true is running
state
docker rm -f "$BOX" >/dev/null

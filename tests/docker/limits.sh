# Limits that change while the container runs.
run -d --name "$BOX" --memory 128m --pids-limit 40 image sleep 1000 2>/dev/null | wc -l
is running && echo is running
try docker update --memory 96m --memory-swap 96m --cpus 0.5 --pids-limit 8 "$BOX" 2>/dev/null
docker inspect -f '{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}}' "$BOX"
docker exec "$BOX" sh -c 'exec 2>&1; for i in 1 2 3 4 5 6 7 8 9; do sleep 100 >/dev/null 2>&1 & done; echo all'
docker stats --no-stream --format '{{.Name}} {{.MemUsage}}' "$BOX" | grep -c MiB
docker rm -f "$BOX" >/dev/null

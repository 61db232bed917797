# What goes wrong, in what words, and with which status.
try run --rm image nothing 2>&1
try run --rm image /etc/passwd 2>&1
try run --rm image /etc 2>&1
try run --rm --sysctl net.ipv4.nothing=1 image true 2>&1 | sed 's/: unknown.*//; s/.*: open/open/'
try run --name "$BOX" --init --memory 64m --pids-limit 12 image sh -c \
    'exec 2>&1; trap "" TERM; kill $$; sh -c "kill -9 \$\$"; echo $?; for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 100 & done; exit 3' 2>&1
try docker inspect -f '{{.State.Status}} {{.State.ExitCode}} {{.State.OOMKilled}}' "$BOX"
docker rm "$BOX" >/dev/null

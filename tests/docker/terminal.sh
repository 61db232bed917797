# Terminals: of the first process, of another one, attached and detached.
on_terminal() { script -qec "stty rows 30 cols 90; $*" /dev/null </dev/null | tr -d '\000\r' | sed 's/^^@//'; echo "status $?"; }
cat >look <<'S'
tty; stty size; stty | head -n 1
for n in 0 1 2; do readlink /proc/self/fd/$n; done
ls -l /dev/pts /dev/console | awk '{ print $1, $3, $4, $5, $6, $10 }'
echo to the terminal >/dev/tty
awk '{ print $5 == $8, $6 == $5 || $6, $7 }' /proc/self/stat | sed 's/^1 [0-9]* /leads /'
mount | grep -E 'console|pts'
printf 'a\tb\n'; echo error >&2
exit 4
S
run -dit --name "$BOX" -v "$PWD:/case:ro" image sh | wc -l
on_terminal docker exec -it -e A=1 "$BOX" sh /case/look
(
    until_true is running; sleep 2
    printf 'sh /case/look; echo E''ND\n'; sleep 3
    printf 'sleep 100; echo st''opped\n'; sleep 2
    printf '\003'; sleep 1
    printf '\020\021'; sleep 1
) | script -qec "stty rows 30 cols 90; docker attach $BOX" /dev/null | tr -d '\000\r' | grep -vE '^\^?C?/ #|sleep|read esc'
docker inspect -f '{{.State.Status}}' "$BOX"
docker exec "$BOX" sh -c 'tty; test -t 0; echo $?'
docker rm -f "$BOX" >/dev/null

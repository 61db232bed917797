# What bash does beyond a POSIX shell, and what scripts do with it.
exec 2>&1
cd /job
echo "== arrays"
a=(one two "three four"); a+=(five); echo "${#a[@]}" "${a[2]}" "${a[@]:1:2}" "${!a[@]}"
declare -A m=([x]=1 [y]=2); m[z]=3; for k in $(printf '%s\n' "${!m[@]}" | sort); do echo "$k=${m[$k]}"; done
mapfile -t lines < <(seq 3); echo "${lines[*]}"
echo "== strings and arithmetic"
s=hello-world; echo "${s^^}" "${s/o/0}" "${s//o/0}" "${s%-*}" "${s#*-}" "${#s}" "${s:2:3}"
echo $((2**40 % 1000)) $((0xff)) $((16#ff)); printf '%05d %x %q\n' 42 255 'a b'
[[ $s =~ ^(h.*)-(w.*)$ ]] && echo "${BASH_REMATCH[1]} ${BASH_REMATCH[2]}"
echo "== processes"
f() { local x=$1; (( x > 0 )) && f $((x - 1)); return "$x"; }; f 200; echo $?
p=(); for i in 1 2 3 4; do (exit "$i") & p+=($!); done; n=0; for j in "${p[@]}"; do wait "$j"; n=$((n + $?)); done; echo $n
diff <(seq 5) <(seq 2 6); echo "${PIPESTATUS[@]}"; true | false | true; echo "${PIPESTATUS[@]}"
coproc c { while read -r l; do echo "got $l"; done; }; echo hi >&"${c[1]}"; read -r r <&"${c[0]}"; echo "$r"; kill "$c_PID"; wait "$c_PID" 2>/dev/null; echo $?
trap 'echo trapped' USR1; kill -USR1 $$; trap 'echo leaving' EXIT
( trap 'echo inner; exit 5' TERM; kill -TERM $BASHPID; sleep 1 ); echo $?
timeout 0.3 sleep 5; echo $?
sleep 0.2 & wait -n; echo $?
echo "== redirections"
exec 5<>file; echo data >&5; exec 5>&-; cat file; cat <<<"here string"; { echo out; echo err >&2; } >both 2>&1; cat both
read -r -t 1 -d : word <<<"part:rest"; echo "$word"; printf 'a\0b\0' | while IFS= read -r -d '' w; do echo "$w"; done
set -o noclobber; echo x >file; echo $?; set +o noclobber
ulimit -n; umask; test -t 0; echo $?; type -t cd f ls
echo "== many"
for i in {1..200}; do echo "$i"; done | sort -n | tail -n 1; for i in {1..60}; do /bin/true; done; echo $?
seq 1 2000 | xargs -P 4 -n 500 echo | wc -w; find /usr/lib/python3.13 -name '*.py' | wc -l
tar -C /usr/include -cf - linux | tar -tf - | wc -l; dd if=/dev/zero bs=1M count=8 2>/dev/null | sha256sum

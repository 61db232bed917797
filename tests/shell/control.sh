# The shell language itself: expansion, control, functions, here-documents, redirections.
exec 2>&1
cd /tmp

echo "== arithmetic and tests"
i=0; s=0
while [ $i -lt 100 ]; do i=$((i + 1)); [ $((i % 3)) -eq 0 ] && continue; s=$((s + i * i)); done
echo $i $s $((0x10 + 010)) $((7 / 2)) $((-7 % 3)) $((1 << 40)) $((5 > 3 ? 1 : 2)) $((!0))
[ abc = abc ] && [ abc != abd ] && [ -n x ] && [ -z "" ] && [ 3 -le 3 ] && echo tests
[ a \< b ]; echo $?
expr 12 \* 12; expr length hello; expr substr hello 2 3

echo "== parameters"
v=/usr/local/lib/thing.tar.gz
echo "${v##*/}" "${v%/*}" "${v%%.*}" "${v#*.}" "${#v}" "${none:-default}" "${v:5:5}" "${v/local/LOCAL}"
unset x; echo "${x=set}" "$x" "${x:+other}"
set -- 'a b' c "d  e"; echo $# "$2"; for arg; do echo "<$arg>"; done; shift; echo "$*"; IFS=,; echo "$*"; unset IFS
(: "${missing:?is missing}"); echo "status $?"

echo "== functions, case, getopts"
fact() { local n=$1; [ "$n" -le 1 ] && echo 1 && return; echo $((n * $(fact $((n - 1))))); }
fact 10
kind() { case $1 in [0-9]*) echo number ;; *.txt|*.md) echo text ;; "") echo empty ;; *) echo other ;; esac; }
kind 12; kind a.md; kind ""; kind x
while getopts ab:c opt -a -b value -c; do echo "$opt ${OPTARG-}"; done

echo "== here-documents"
name=world
cat <<END; cat <<'END'
hello $name $((1 + 1)) $(echo nested)
END
hello $name $((1 + 1)) $(echo nested)
END
while read -r first rest; do echo "[$first] [$rest]"; done <<END
one two three
  four
five\ six
END
big=$(i=0; while [ $i -lt 3000 ]; do echo "line $i of a long here-document"; i=$((i + 1)); done)
cat <<END | wc
$big
END

echo "== pipes and subshells"
x=outer; (x=inner; echo $x; exit 9); echo $? $x
echo a b c | { read -r p q r; echo "$r$q$p"; }
false | true; echo $?; true | false; echo $?; ! true; echo $?
(set -o pipefail; false | true; echo $?)
echo $(echo $(echo deep))
for word in x y z; do echo $word; done | while read -r word; do echo "=$word="; done
yes | head -n 3; yes | head -c 1000000 | wc -c
echo $( (echo out; echo err >&2) 2>/dev/null )

echo "== redirections"
# Not by cat: it puts the file's page itself into the pipe, where what is written to it below may still be seen.
exec 3>r1 4>>r1; echo three >&3; echo four >&4; exec 3>&- 4>&-; sed -n p r1
echo closed >&3; echo "status $?"
exec 5<>r1; read -r line <&5; echo "$line"; echo FIVE >&5; exec 5>&-; cat r1
{ echo out; echo err >&2; } >r2 2>&1; cat r2
{ echo swap-out; echo swap-err >&2; } 3>&1 1>&2 2>&3 | sed 's/^/piped /'
set -C; echo new >r2; echo "status $?"; echo forced >|r2; set +C; cat r2
cat <nothing; echo "status $?"; true >/tmp; echo "status $?"; echo x >no/dir; echo "status $?"

echo "== globbing"
mkdir g && cd g && touch a1 a2 b1 .hidden "sp ace" && mkdir dir && touch dir/in
echo *; echo a?; echo [!a]*; echo .h*; echo */in; echo none*; echo "*"; for f in *; do echo "<$f>"; done; echo d*/; cd ..

echo "== errors and ends"
nothing-here; echo "status $?"; ./g; echo "status $?"; ./r1; echo "status $?"; /bin/none; echo "status $?"
(set -e; false; echo not reached); echo "status $?"
(set -u; echo "$unset_variable"); echo "status $?"
(trap 'echo leaving $?' EXIT; exit 5); echo "status $?"
printf '#!/bin/sh\necho script "$0" "$@"\nexit 6\n' >s; chmod +x s; ./s 1 "2 3"; echo "status $?"
printf '#!/bin/cat\nshown by cat\n' >c; chmod +x c; ./c
printf '#!/no/interpreter\n' >n; chmod +x n; ./n; echo "status $?"
printf 'echo without a line; exit 2\n' >w; chmod +x w; ./w; echo "status $?"
eval 'echo "$((6*7))"'; command -v cat; type fact | head -n 1; . ./w

# Containers that find each other by name on a user-defined network, as compose puts them up.
NET=$BOX-net OTHER=$BOX-other
on() { name=$1; shift; reach -d --name "$BOX-$name" --network "$NET" --dns "$gateway" --network-alias "$name" "$@" | wc -l; }
docker network create "$NET" | wc -l
docker network create "$OTHER" | wc -l
# A server outside, which knows one name; it is asked by datagram and over a connection.
cat >outside <<'O'
sub answer {
    my $end = index($_[0], "\0", 12) + 5;
    return substr($_[0], 0, 2) . "\x81\x80" . pack("n4", 1, 1, 0, 0) . substr($_[0], 12, $end - 12)
        . pack("nnnNnC4", 0xc00c, 1, 1, 60, 4, 10, 1, 2, 3);
}
my $here = pack "SnC4x8", 2, 53, split /\./, $ARGV[0];
if (!fork) {
    socket L, 2, 1, 6; setsockopt L, 1, 2, 1; bind L, $here or die; listen L, 9;
    while (accept C, L) { sysread C, $b, 2; sysread C, $b, unpack "n", $b; $b = answer($b); syswrite C, pack("n", length $b) . $b; close C }
}
socket S, 2, 2, 17; bind S, $here or die;
while (defined($from = recv S, $b, 900, 0)) { send S, answer($b), 0, $from }
O
gateway=$(docker network inspect -f '{{(index .IPAM.Config 0).Gateway}}' "$NET")
setsid perl outside "$gateway" &
outside=$!
trap 'kill -- -$outside' EXIT
on store servers redis-server --protected-mode no --save ''
on web image sh -c 'mkdir /w; echo page >/w/f; exec httpd -f -p 80 -h /w'
on worker servers sh -c 'redis-cli -h store set started yes; while :; do redis-cli -h store blpop jobs 1 | grep -v "^$"; done'
until_true docker exec "$BOX-worker" wget -q -O - http://web/f
until_true docker exec "$BOX-worker" redis-cli -h store ping
cat >look <<'L'
p() { echo "-- $*"; "$@" 2>&1; echo "= $?"; }
p grep -v ExtServers /etc/resolv.conf
p sh -c 'nslookup -type=a web 2>&1 | sort'
p sh -c 'nslookup store 127.0.0.11 2>&1 | grep -c Name'
p sh -c 'nslookup $0 2>&1 | grep "name ="' "$(ip -o -4 addr show dev eth0 | sed 's/.*inet //; s,/.*,,')"
p sh -c 'nslookup -type=a outside.test. | grep Address | tail -n 1'
p sh -c "printf '\0\036\1\2\1\0\0\1\0\0\0\0\0\0\7outside\4test\0\0\1\0\1' | nc -w 5 127.0.0.11 53 | wc -c"
p sh -c 'ping -c 1 -q web | tail -n 2 | head -n 1'
p wget -q -O - http://web/f
p redis-cli -h store get started
p redis-cli -h store rpush jobs one two
p sh -c 'for n in 1 2 3 4 5 6 7 8 9 10 11 12; do nslookup -type=a web >/tmp/$n 2>&1 & done; wait; cat /tmp/[0-9]* | grep -c "Name:"'
p sh -c "printf '\0\035\1\2\1\0\0\1\0\0\0\0\0\0\3web\0\0\1\0\1' | nc -w 2 127.0.0.11 53 | wc -c"
p sh -c 'nc -w 2 127.0.0.11 54 </dev/null'
p sh -c 'ping -c 1 -q 127.0.0.11 | grep received'
p nc -w 2 127.0.0.1 53
L
for name in worker store; do
    echo "== $name"
    try docker exec -i "$BOX-$name" sh <look | plain | sed -E "s/$BOX/BOX/g; s/[0-9]+\.[0-9]+(\.234\.10\.in-addr)/N.N\1/"
done
until_true sh -c "docker logs $BOX-worker | grep -q two"
docker logs "$BOX-worker" | plain
# Another network that comes and goes while a container runs leaves the first as it was.
try docker network connect "$OTHER" "$BOX-web"
try docker exec "$BOX-worker" wget -q -O - http://web/f
try docker network disconnect "$OTHER" "$BOX-web"
try docker exec "$BOX-worker" wget -q -O - http://web/f
try docker exec "$BOX-web" sh -c 'ping -c 1 -q store | grep received'
# A new address is found under the old name.
try docker restart -t 0 "$BOX-store"
until_true docker exec "$BOX-worker" redis-cli -h store ping
try docker exec "$BOX-worker" redis-cli -h store ping
docker rm -f "$BOX-worker" "$BOX-web" "$BOX-store"
docker network rm "$NET" "$OTHER"

# A container on Docker's bridge: what it sees of its network, whom it reaches, who reaches it, also after a restart.
PEER=$BOX-peer
mkdir web
echo page >web/f
# Larger than what one packet, or one ring, holds.
head -c 3000000 /dev/urandom >web/large
cat >web/look <<'L'
p() { echo "-- $*"; "$@" 2>&1; echo "= $?"; }
p ip -o addr show dev lo
p sh -c 'ip -o addr show dev eth0 | sed "s/^[0-9]*://"'
p ip route
p ip -6 route
p sh -c 'ip link show eth0 | sed "s/^[0-9]*: //; s/eth0@if[0-9]*/eth0/"'
p ip route get 10.9.9.9
p cat /etc/resolv.conf
p sh -c 'sed "s/\t.*//" /etc/hosts | sort'
p hostname -i
p sh -c "ping -c 2 -q $1 | grep received"
p sh -c "ping -c 2 -q $2 | grep received"
p sh -c "ping -c 1 -s 9000 -q $1 | grep received"
p perl /web/ask "$2" 7
p sh -c "nc $2 7 </dev/null"
p sh -c "nc $2 9 </dev/null"
p sh -c "echo question | nc -u -w 2 $2 7"
p nc -w 2 $1 9
p nc 10.233.0.250 9
p sh -c "traceroute -n -m 1 -q 1 $1 | grep -c '^ 1  $1 '"
L
# Datagrams, from and to a port; what is said comes back with a word more.
cat >web/ask <<'A'
my ($host, $port) = @ARGV;
socket S, 2, 2, 17; send S, "question", 0, pack("SnC4x8", 2, $port, split /\./, $host); alarm 5; recv S, $b, 9000, 0; print "$b\n";
A
cat >web/answer <<'A'
socket S, 2, 2, 17; bind S, pack("Snx12", 2, $ARGV[0]) or die; while (defined($f = recv S, $b, 9000, 0)) { send S, "$b: answer", 0, $f }
A
docker run -d --runtime runc --name "$PEER" -v "$PWD/web:/web:ro" servers sh -c \
    'perl /web/answer 7 & exec nc -ll -p 7 -e echo peer' | wc -l
reach -d --name "$BOX" -v "$PWD/web:/web" -p "$PORT:80" -p "$PORT:53/udp" servers sh -c \
    'perl /web/answer 53 & exec httpd -f -p 80 -h /web' | wc -l
peer=$(address_of "$PEER")
address=$(address_of "$BOX")
until_true busybox wget -q -O - "http://$address/f"
try docker exec "$BOX" sh /web/look "$GATEWAY" "$peer" | plain
docker exec "$BOX" ip -o -4 addr show dev eth0 | grep -q " $address/24 " && echo "inspect tells the address"
docker inspect -f '{{json .NetworkSettings.Ports}} {{.NetworkSettings.Gateway}} {{.NetworkSettings.IPPrefixLen}}' "$BOX" | plain
docker port "$BOX" | plain
visit() {
    for at in "$(address_of "$BOX")" "127.0.0.1:$PORT" "$GATEWAY:$PORT"; do
        echo "-- $at" | plain
        try busybox wget -q -T 20 -O - "http://$at/f"
        busybox wget -q -T 60 -O - "http://$at/large" | cmp - web/large && echo whole
    done
    try docker exec "$PEER" wget -q -O - "http://$(address_of "$BOX")/f"
    docker exec "$PEER" ping -c 1 -q "$(address_of "$BOX")" | grep received
    docker exec "$PEER" perl /web/ask "$(address_of "$BOX")" 53
    perl web/ask "$(address_of "$BOX")" 53
    perl web/ask 127.0.0.1 "$PORT"
}
visit
try docker restart -t 0 "$BOX"
until_true busybox wget -q -O - "http://$(address_of "$BOX")/f"
visit
try docker exec "$BOX" sh -c "nc $peer 7 </dev/null; ping -c 1 -q $GATEWAY | grep received" | plain
try docker rm -f "$BOX"
try busybox wget -q -O - "http://127.0.0.1:$PORT/f" 2>&1 | plain
# The network of another container: that one keeps it.
reach --rm --name "$BOX" --network "container:$PEER" servers true
try busybox nc "$peer" 7 </dev/null
docker rm -f "$PEER"

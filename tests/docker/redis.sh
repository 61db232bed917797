# A database whose port is published, as users start it, under load from outside.
reach --name "$BOX" -d -p "$PORT:6379" --user user servers redis-server --protected-mode no --save '' | wc -l
until_true said 'Ready to accept'
docker logs "$BOX" | grep -c 'Ready to accept connections tcp'
docker exec -i "$BOX" ps aux | awk '{ print $1, $11, $12 }'
cli() { redis-cli -p "$PORT" "$@"; }
try cli ping
try cli set key "some value"
try cli get key
try cli --raw eval 'return string.rep("x", 200000)' 0 | wc -c
try docker exec "$BOX" redis-cli incr number
try cli info replication | grep role
bench() {
    echo "-- redis-benchmark $*" | plain
    redis-benchmark -q "$@" >bench 2>&1
    echo "status $?"
    tr '\r' '\n' <bench | grep -iE 'error|refused|reset|closed'
    tr '\r' '\n' <bench | grep -oE '^[A-Z_]+.* requests per second' | sed 's/: .*//'
}
bench -p "$PORT" -n 200 -c 1 -t set,get
bench -p "$PORT" -n 1000 -c 50 -t set,lrange_100
bench -p "$PORT" -n 1500 -c 500 -t set,get
# Straight to the container, with requests in a row.
bench -h "$(address_of "$BOX")" -n 4000 -c 50 -P 16 -t set
try cli dbsize
try docker stop "$BOX"
docker logs "$BOX" | grep -c 'ready to exit, bye bye'
try docker start "$BOX"
until_true cli ping
try cli ping
docker rm -f "$BOX"

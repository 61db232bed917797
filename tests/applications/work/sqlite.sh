# Two processes write to one database in WAL mode while a third reads; then one dies in the middle.
exec 2>&1
sql() { sqlite3 -batch -cmd '.timeout 60000' db "$@"; }
sql 'PRAGMA journal_mode=WAL; CREATE TABLE t(who INT, n INT, text TEXT, PRIMARY KEY (who, n)); CREATE TABLE total(n INT); INSERT INTO total VALUES (0);'
ls | sort
write() {
    for n in $(seq 1 "$2"); do
        echo "BEGIN IMMEDIATE; INSERT INTO t VALUES ($1, $n, hex(zeroblob($n))); UPDATE total SET n = n + $n; COMMIT;"
    done | sql; echo "writer $1 $?" >writer$1
}
write 1 "$1" & write 2 "$1" &
for n in 1 2 3 4 5 6; do
    # Whenever it is read, the two tables agree.
    sql 'SELECT (SELECT coalesce(sum(n), 0) FROM t) = (SELECT n FROM total)'
done
wait; cat writer1 writer2
sql 'SELECT who, count(*), sum(n), sum(length(text)) FROM t GROUP BY who; SELECT n FROM total; PRAGMA integrity_check; PRAGMA wal_checkpoint(TRUNCATE);'
ls | sort; sql 'SELECT * FROM t ORDER BY who, n; SELECT * FROM total' | sha256sum

echo '# one that dies'
mkfifo hold
(echo "BEGIN IMMEDIATE; INSERT INTO t SELECT 3, value, 'x' FROM generate_series(1, 20000); SELECT 'open';"; cat hold) | sqlite3 -batch db >state &
disown
until [ -s state ]; do sleep 0.05; done
sqlite3 -batch -cmd '.timeout 50' db 'DELETE FROM total'; echo "status $?"
sql 'SELECT count(*) FROM t WHERE who = 3'
pkill -9 sqlite3; : >hold; while pgrep sqlite3; do sleep 0.05; done
sql "SELECT count(*) FROM t WHERE who = 3; INSERT INTO t VALUES (4, 1, 'y'); PRAGMA integrity_check"; ls | sort

echo '# other modes'
sql "PRAGMA journal_mode=DELETE; PRAGMA locking_mode=EXCLUSIVE; UPDATE t SET text = 'z' WHERE n % 2; VACUUM; PRAGMA integrity_check; SELECT count(*) FROM t WHERE text = 'z'"
sql 'PRAGMA mmap_size=67108864; SELECT sum(length(text)) FROM t' '.backup copy'; sqlite3 copy 'PRAGMA integrity_check; SELECT * FROM t ORDER BY who, n' | sha256sum

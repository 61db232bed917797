# A database cluster is made, used by pgbench over its Unix socket, killed, and recovers.
exec 2>&1
export PATH=/usr/lib/postgresql/17/bin:$PATH PGHOST=/job/run PGUSER=postgres LC_ALL=C
mkdir -p data run && chown postgres data run && chmod 700 data
as() { setpriv --reuid=postgres --regid=postgres --clear-groups "$@"; }
as initdb -D data --no-locale -E UTF8 --auth=trust -k | grep -v -E 'Success|pg_ctl|^$'; echo "status ${PIPESTATUS[0]}"
cat >>data/postgresql.conf <<'END'
listen_addresses = ''
unix_socket_directories = '/job/run'
log_line_prefix = ''
log_checkpoints = off
autovacuum = off
END
grep -E '^(dynamic_shared_memory_type|shared_buffers|max_connections|timezone)' data/postgresql.conf
as pg_ctl -D data -l data/log -w start | tail -n 1; echo "status ${PIPESTATUS[0]}"
q() { psql -X -A -t -q -v ON_ERROR_STOP=1 "$@" 2>&1 | sed 's/with PID .*//'; echo "status ${PIPESTATUS[0]}"; }
stat -c '%A %U' run/.s.PGSQL.5432

echo '# pgbench'
createdb bench && pgbench -i -I dtgp -q -s 1 --unlogged-tables bench 2>&1 | grep -v -E 'tuples|done in'
pgbench -n -c 2 -j 2 -t "$1" bench | grep -E 'transactions (type|actually)|number of (cl|tr|failed)|query mode'
pgbench -n -c 2 -t "$1" -M prepared -S bench | grep -E 'actually|query mode'
q bench -c 'SELECT count(*), (SELECT sum(abalance) FROM pgbench_accounts) = sum(delta), (SELECT sum(tbalance) FROM pgbench_tellers) = sum(delta), (SELECT sum(bbalance) FROM pgbench_branches) = sum(delta) FROM pgbench_history'

echo '# SQL'
q bench <<'END'
CREATE TABLE kept AS SELECT n, md5(n::text) AS text, n % 7 AS kind FROM generate_series(1, 5000) n;
CREATE INDEX ON kept(text); ANALYZE kept;
SELECT kind, count(*), min(text), sum(n) FROM kept GROUP BY kind ORDER BY kind;
SET max_parallel_workers_per_gather = 2; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
SELECT count(*), sum(length(text)) FROM kept WHERE text > '8';
BEGIN; DELETE FROM kept WHERE n > 10; ROLLBACK; SELECT count(*) FROM kept;
COPY (SELECT * FROM kept ORDER BY n LIMIT 3) TO STDOUT;
LISTEN here; NOTIFY here, 'word';
SELECT pg_advisory_lock(1), pg_try_advisory_lock(1);
SELECT 1 / 0;
END

echo '# killed, recovered'
pkill -9 -o -u postgres postgres; while pgrep -u postgres postgres >/dev/null; do sleep 0.1; done
as pg_ctl -D data -l data/log -w start | tail -n 1
q bench -c 'SELECT count(*), sum(n) FROM kept; SELECT count(*) FROM pgbench_history'
pg_dump bench | grep -v -E '^(--|SELECT pg_catalog.set|.(un)?restrict)' | sha256sum
as pg_ctl -D data -m fast -w stop | tail -n 1; as pg_checksums -D data --check | grep -v scanned; ls -A run
grep -E 'recover|redo (starts|done)|ready|shut down|PANIC|FATAL' data/log | sed 's/[0-9A-F]*\/[0-9A-F]*/LSN/g; s/[-0-9]* [:0-9.]* UTC/TIME/g; s/system usage.*//'

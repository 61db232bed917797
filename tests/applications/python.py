# What python programs do: modules of every kind, threads, processes, files.
import collections, concurrent.futures, contextlib, ctypes, decimal, fractions, functools, gc, hashlib, io, itertools
import json, math, mmap, os, pickle, queue, random, re, select, shutil, signal, sqlite3, struct, subprocess, sys
import tempfile, threading, time, zlib

print(sys.version_info[:2], sys.platform, os.name, sys.byteorder)
print(sum(i * i for i in range(100000)), math.factorial(60), decimal.Decimal(2).sqrt(), fractions.Fraction(3, 9))
print(hashlib.sha256(b'x' * 1000000).hexdigest(), zlib.crc32(b'abc' * 1000))
print(json.loads(json.dumps({'a': [1, 2.5, None, True]})), re.findall(r'\d+', 'a1b22c333'))
print(pickle.loads(pickle.dumps({i: str(i) for i in range(1000)}))[999], struct.pack('<IHb', 1, 2, -3))
random.seed(7)
print(sorted(random.sample(range(1000), 5)), functools.reduce(lambda a, b: a * b % 1000007, range(1, 2000)))

with tempfile.TemporaryDirectory() as d:
    p = os.path.join(d, 'file')
    with open(p, 'wb') as f:
        f.write(bytes(range(256)) * 64)
    with open(p, 'r+b') as f, mmap.mmap(f.fileno(), 0) as m:
        m[10:14] = b'ABCD'
        m.flush()
        print(m.find(b'ABCD'), len(m))
    print(open(p, 'rb').read()[8:16], os.stat(p).st_size)
    os.rename(p, p + '2')
    shutil.copy(p + '2', p + '3')
    os.symlink('file2', p)
    print(sorted(os.listdir(d)), os.readlink(p), os.path.realpath(p) == os.path.realpath(p + '2'))
    db = sqlite3.connect(os.path.join(d, 'db'))
    db.execute('create table t (a integer primary key, b text)')
    db.executemany('insert into t (b) values (?)', ((str(i),) for i in range(500)))
    db.commit()
    print(db.execute('select count(*), max(a), sum(b) from t').fetchone())
    db.close()

results, lock, q = [], threading.Lock(), queue.Queue()
def work(n):
    for _ in range(200):
        with lock:
            results.append(n)
    q.put(n)
threads = [threading.Thread(target=work, args=(n,)) for n in range(20)]
[t.start() for t in threads]
[t.join(20) for t in threads]
print(len(results), sorted(q.get() for _ in threads), threading.active_count())
e, c = threading.Event(), threading.Condition()
threading.Timer(0.05, e.set).start()
print(e.wait(10), threading.Semaphore(0).acquire(timeout=0.02), threading.Barrier(1).wait())
with concurrent.futures.ThreadPoolExecutor(8) as pool:
    print(list(pool.map(lambda n: n ** 3, range(10))))

print(subprocess.run(['sh', '-c', 'echo out; echo err >&2; cat; exit 3'], input=b'input\n', capture_output=True))
print(subprocess.check_output('echo $((6*7)) | tr 4 X', shell=True))
with contextlib.suppress(subprocess.TimeoutExpired):
    subprocess.run(['sleep', '10'], timeout=0.2)
    print('no timeout')
try:
    subprocess.run(['/no/such/program'])
except FileNotFoundError as error:
    print(error)
r, w = os.pipe()
pid = os.fork()
if pid == 0:
    os.write(w, b'from the child')
    os._exit(7)
print(os.read(r, 100), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
poll = select.poll()
poll.register(r, select.POLLIN)
print(poll.poll(10), select.select([r], [], [], 0.01))
os.write(w, b'x')
print(poll.poll(10)[0][1], select.select([r], [], [], 5)[0] == [r])
ep = select.epoll()
ep.register(r, select.EPOLLIN)
print(ep.poll(1)[0][1])

seen = []
signal.signal(signal.SIGUSR1, lambda *a: seen.append(a[0]))
os.kill(os.getpid(), signal.SIGUSR1)
signal.signal(signal.SIGALRM, lambda *a: seen.append(a[0]))
signal.setitimer(signal.ITIMER_REAL, 0.05)
signal.pause()
print([int(s) for s in seen])
libc = ctypes.CDLL(None)
libc.strlen.argtypes = [ctypes.c_char_p]
print(libc.strlen(b'twelve chars'), ctypes.sizeof(ctypes.c_long))
compare = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))
numbers = (ctypes.c_int * 5)(5, 1, 4, 2, 3)
libc.qsort(numbers, 5, 4, compare(lambda a, b: a[0] - b[0]))
print(list(numbers))
cycles = [[] for _ in range(1000)]
for one in cycles:
    one.append(one)
del cycles, one
print(gc.collect() >= 1000, time.monotonic() > 0, abs(time.time() - time.clock_gettime(0)) < 1)
big = bytearray(64 << 20)
big[::4096] = b'\1' * len(big[::4096])
print(sum(big[::4096]))
sys.setrecursionlimit(20000)
def deep(n):
    return n and 1 + deep(n - 1)
print(deep(9000))

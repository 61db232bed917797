# What programs do with terminals of their own: python's pty, script(1), a shell's job control, ps(1).
import fcntl, os, pty, re, select, signal, struct, subprocess, sys, termios, time, tty

sys.stdout.reconfigure(line_buffering=True)


def until(fd, wanted, text=b''):
    """Reads until `wanted` has come."""
    end = time.monotonic() + 20
    while wanted not in text and time.monotonic() < end:
        if select.select([fd], [], [], 1)[0]:
            try:
                more = os.read(fd, 4096)
            except OSError as error:
                return text + f'<{error.strerror}>'.encode()
            if not more:
                return text + b'<end>'
            text += more
    return text


def shell(lines, command=('bash', '--norc', '--noprofile', '-i')):
    """Types into a shell; what was shown. Lines come with what to wait for after them: a text, or that a job is in
    front (True) or the shell is again (False)."""
    pid, fd = pty.fork()
    if pid == 0:
        os.environ.update(PS1='@ ', TERM='dumb', HISTFILE='')
        os.execvp(command[0], command)
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack('HHHH', 40, 100, 0, 0))
    shown = until(fd, b'@ ')
    for line, wanted in lines:
        os.write(fd, line)
        if isinstance(wanted, bytes):
            shown += until(fd, wanted)
            continue
        end = time.monotonic() + 20
        while (os.tcgetpgrp(fd) != pid) != wanted and time.monotonic() < end:
            time.sleep(0.01)
    os.write(fd, b'exit 3\n')
    shown += until(fd, b'<no such text>')
    os.close(fd)
    return shown, os.waitpid(pid, 0)[1]


def show(what, text):
    text = re.sub(rb'\[1\] \d+', b'[1] N', text)
    text = re.sub(rb'/dev/pts/\d+', b'/dev/pts/N', text)
    print(f'== {what}')
    for line in text.replace(b'\r', b'<CR>').decode('latin-1').split('\n'):
        print('  ' + line)


print('== openpty')
master, slave = os.openpty()
print(os.isatty(master), os.isatty(slave), os.ttyname(slave) == os.ptsname(master), os.ttyname(slave)[:9])
before = termios.tcgetattr(slave)
tty.setraw(slave)
os.write(slave, b'a\nb')
print(until(master, b'b'))
termios.tcsetattr(slave, termios.TCSADRAIN, before)
print(termios.tcgetattr(master) == before)
os.close(slave)
os.close(master)

print('== posix_openpt')
master = os.posix_openpt(os.O_RDWR | os.O_NOCTTY)
os.grantpt(master)
os.unlockpt(master)
slave = os.open(os.ptsname(master), os.O_RDWR | os.O_NOCTTY)
print(oct(os.fstat(slave).st_mode), os.fstat(slave).st_gid)
os.close(slave)
os.close(master)

shown, status = shell([(b'tty\n', b'@ '), (b'echo $((6*7))\n', b'@ '), (b'stty size\n', b'@ ')])
show('a shell', shown)
print(status)
shown, status = shell([
    (b'sleep 50\n', True), (b'\x03', False), (b'echo status $?\n', b'status 130'),
    (b'sleep 51\n', True), (b'\x1a', b'Stopped'), (b'fg\n', True), (b'\x1c', False), (b'echo status $?\n', b'status 131'),
    (b'cat &\n', b'[1]'), (b'sleep 0.3; jobs\n', b'Stopped'), (b'kill %1; wait\n', b'Terminated'),
    (b'stty tostop; (echo no; echo no) &\n', b'[1]'), (b'sleep 0.3; jobs\n', b'Stopped'), (b'fg\n', b'no\r\nno'),
])
print('== job control', status, [word in shown for word in (b'^C', b'^Z', b'^\\', b'status 131', b'Stopped (tty output)')])
shown, status = shell([(b'trap "echo changed" WINCH; stty rows 50 cols 90; stty size\n', b'50 90'), (b'echo end $?\n', b'end 0')])
print('== window', status, b'50 90' in shown, shown.count(b'changed') > 1)

print('== stty')
run = lambda words, **more: subprocess.run(words, capture_output=True, text=True, **more)
master, slave = os.openpty()
for words in (['stty', '-a'], ['stty', 'raw', '-echo'], ['stty', '-a'], ['stty', 'sane'], ['stty', '-g'], ['tty']):
    done = run(words, stdin=slave)
    print(words, done.returncode, re.sub(r'/dev/pts/\d+', '/dev/pts/N', done.stdout + done.stderr))
done = run(['tty'], stdin=subprocess.DEVNULL)
print(done.returncode, done.stdout)

print('== spawn')
done = run([sys.executable, '-c', 'import pty; print(pty.spawn(["sh", "-c", "tty | cut -c -9; test -t 0 && echo yes; exit 4"]))'],
           stdin=subprocess.DEVNULL)
print(done.returncode, done.stdout, done.stderr)

print('== script')
for words in (['script', '-qec', 'tty | cut -c -9; exit 7', '/dev/null'], ['script', '-qc', 'printf "a\\tb\\n"; stty -a | head -n 1', 'typescript']):
    done = run(words, stdin=subprocess.DEVNULL)
    print(done.returncode, done.stdout, done.stderr)

print('== ps')
done = run(['script', '-qec', 'ps -o tty,stat,comm | sed "s:pts/[0-9]*:pts/N:; s/  */ /g; s/[RSD]\\([a-z]*+\\)/X\\1/"; ps -t $(tty | cut -c 6-) -o comm=', '/dev/null'], stdin=subprocess.DEVNULL)
print(done.returncode, done.stdout, done.stderr)

print('== a hang-up')
pid, fd = pty.fork()
if pid == 0:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    print('ready', flush=True)
    time.sleep(20)
    os._exit(0)
print(until(fd, b'ready'))
os.close(fd)
print(os.waitpid(pid, 0)[1])

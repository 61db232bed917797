//! The line discipline: editing, echo, translation, flow control, packets.

use crate::{
    Case, Out, case,
    pty_tools::{
        Termios, drain, ioctl, ioctl_int, nonblocking, pair, pair_with, poll, raw, read, read_soon, set,
        show, shown, type_in,
    },
    sys::{self, call},
};

/// Types each text into a terminal with these settings; says what is shown and what is read.
fn typed(out: &mut Out, change: impl FnOnce(&mut Termios), texts: &[&[u8]]) {
    let (master, slave) = pair_with(change);
    for text in texts {
        out.say(format_args!("typed: {}", show(text)));
        type_in(master, text);
        shown(out, master, slave);
        nonblocking(slave, true);
        while read(out, "read", slave, 100) > 0 {}
    }
    sys::close(master);
    sys::close(slave);
}

/// Prints each text on a terminal with these settings.
fn printed(out: &mut Out, change: impl FnOnce(&mut Termios), texts: &[&[u8]]) {
    let (master, slave) = pair_with(change);
    for text in texts {
        out.ret(&format!("printed {}", show(text)), sys::write(slave, text));
        out.say(format_args!("shown: {}", show(&drain(master))));
    }
    sys::close(master);
    sys::close(slave);
}

fn packet(master: i32, on: i32) -> i64 {
    ioctl(master, libc::TIOCPKT, &raw const on)
}

fn count(fd: i32, request: u64) -> i32 {
    let mut value = -1i32;
    ioctl(fd, request, &raw mut value);
    value
}

pub(crate) const CASES: &[Case] = &[
    case("pty/lines", &["read", "write"], |out| {
        typed(out, |_| {}, &[b"abc\n", b"one\rtwo\n", b"\n", b"tab\there\n", b"\x01\x1b[A\n", b"\xff\xe9\n"]);
        let (master, slave) = pair();
        type_in(master, b"first\nsecond\n");
        read(out, "part", slave, 3);
        read(out, "rest", slave, 100);
        read(out, "next", slave, 100);
    }),
    case("pty/erase", &["read", "write"], |out| {
        typed(out, |_| {}, &[b"ab\x7fc\n", b"\x7f\x7fx\n", b"ab\x7f\x7f\x7f\x7f\n", b"\x01\x02\x7f\x7f\n"]);
        typed(out, |_| {}, &[b"one two  \x17x\n", b"a_1 -- b2\x17\x17\n", b"gone\x15kept\n"]);
        typed(out, |_| {}, &[b"a\tb\x7f\x7f\n", b"\t\t\x7f\x7f\n", b"abc\x01\t\x7f.\n", b"12345678\t\x7f\n"]);
    }),
    case("pty/erase-after-a-prompt", &["read", "write"], |out| {
        let (master, slave) = pair();
        sys::write(slave, b"prompt> ");
        out.say(show(&drain(master)));
        type_in(master, b"ab\t");
        shown(out, master, slave);
        type_in(master, b"\x7f");
        shown(out, master, slave);
    }),
    case("pty/erase-shown-otherwise", &["ioctl", "read"], |out| {
        let text: &[&[u8]] =
            &[b"ab\x7f\x7fc\n", b"words here\x17\x17\n", b"line\x15x\n", b"\x01\x7f\t\x7f\n"];
        typed(out, |t| t.lflag |= libc::ECHOPRT, text);
        typed(out, |t| t.lflag &= !libc::ECHOE, text);
        typed(out, |t| t.lflag &= !libc::ECHOKE, text);
        typed(out, |t| t.lflag &= !(libc::ECHOK | libc::ECHOKE), text);
        typed(out, |t| t.lflag &= !libc::ECHOCTL, text);
    }),
    case("pty/no-echo", &["ioctl", "read"], |out| {
        typed(out, |t| t.lflag &= !libc::ECHO, &[b"hidden\x7f\n", b"gone\x15kept\n", b"a\x16\x03\n"]);
        typed(out, |t| t.lflag = t.lflag & !libc::ECHO | libc::ECHONL, &[b"hidden\n", b"x\x04"]);
    }),
    case("pty/characters-of-several-bytes", &["ioctl", "read"], |out| {
        let text: &[&[u8]] = &[
            "aé\x7f\n".as_bytes(),
            "é€😀\x7f\x7f\n".as_bytes(),
            b"\xa9\x7f\n",
            "wörd x\x17\x17\n".as_bytes(),
        ];
        typed(out, |t| t.iflag |= libc::IUTF8, text);
        typed(out, |_| {}, text);
        typed(out, |t| (t.iflag, t.lflag) = (t.iflag | libc::IUTF8, t.lflag | libc::ECHOPRT), text);
    }),
    case("pty/end-of-file", &["read", "write"], |out| {
        typed(out, |_| {}, &[b"\x04", b"part\x04", b"a\x04\x04b\n", b"\x04\x04"]);
        let (master, slave) = pair();
        type_in(master, b"abcd\x04efgh\n");
        for len in [4, 4, 4] {
            read_soon(out, "read", slave, len);
        }
        type_in(master, b"ab\x04");
        read_soon(out, "read", slave, 1);
        read_soon(out, "read", slave, 1);
        read_soon(out, "read", slave, 1);
    }),
    case("pty/other-ends-of-lines", &["ioctl", "read"], |out| {
        let change = |t: &mut Termios| (t.cc[libc::VEOL], t.cc[libc::VEOL2]) = (b';', b'!');
        typed(out, change, &[b"a;b!c\n", b";!\n"]);
        typed(out, |t| (t.cc[libc::VEOL2], t.lflag) = (b'!', t.lflag & !libc::IEXTEN), &[b"a!b\n"]);
        typed(out, |t| t.cc[libc::VEOF] = b'q', &[b"aq", b"\x04\n"]);
        typed(out, |t| t.cc[libc::VERASE] = 0, &[b"a\x7f\0\n"]);
    }),
    case("pty/literal-and-reprint", &["read", "write"], |out| {
        typed(out, |_| {}, &[b"a\x16\x03b\n", b"\x16\x16\n", b"\x16\n\n", b"ab\x12c\n", b"\x16\x7f\x7f\n"]);
        typed(out, |t| t.lflag &= !libc::IEXTEN, &[b"a\x16\x03b\n", b"ab\x12c\n", b"one two\x17\n"]);
        typed(out, |t| t.lflag &= !libc::ECHOCTL, &[b"a\x16\x03b\n", b"ab\x12c\n"]);
    }),
    case("pty/input-translated", &["ioctl", "read"], |out| {
        let text: &[&[u8]] = &[b"aB\rc\n", b"\xc3\x8d\xe1\n", b"x\r\n"];
        typed(out, |t| t.iflag |= libc::IGNCR, text);
        typed(out, |t| t.iflag |= libc::INLCR, text);
        typed(out, |t| t.iflag = libc::INLCR | libc::ICRNL, text);
        typed(out, |t| t.iflag |= libc::ISTRIP, text);
        typed(out, |t| t.iflag |= libc::IUCLC, text);
        typed(out, |t| t.iflag = 0, text);
        typed(out, |t| t.iflag |= libc::PARMRK, &[b"a\xffb\n"]);
        typed(out, |t| (t.iflag, t.lflag) = (libc::IUCLC, 0), &[b"AB"]);
    }),
    case("pty/output-translated", &["ioctl", "write"], |out| {
        let text: &[&[u8]] = &[b"a\tb\nc\r", b"\rd\x08\te\n", b"\x01\x7f\xe9\n\n"];
        printed(out, |_| {}, text);
        printed(out, |t| t.oflag = 0, text);
        printed(out, |t| t.oflag = libc::OPOST, text);
        printed(out, |t| t.oflag |= libc::XTABS, text);
        printed(out, |t| t.oflag |= libc::OLCUC, text);
        printed(out, |t| t.oflag = libc::OPOST | libc::OCRNL, text);
        printed(out, |t| t.oflag = libc::OPOST | libc::ONOCR, text);
        printed(out, |t| t.oflag = libc::OPOST | libc::ONLRET | libc::ONOCR, text);
        printed(out, |t| t.oflag = libc::OPOST | libc::ONLRET | libc::OCRNL | libc::XTABS, text);
        printed(out, |t| (t.oflag, t.iflag) = (t.oflag | libc::XTABS, libc::IUTF8), &["é\tx\n".as_bytes()]);
    }),
    case("pty/long-lines", &["read", "write"], |out| {
        for len in [4094, 4095, 4096, 5000] {
            let (master, slave) = pair_with(|t| t.lflag &= !libc::ECHO);
            let text = vec![b'x'; len];
            out.ret("written", sys::write(master, &text));
            poll(slave, libc::POLLIN, 0);
            type_in(master, b"END\n");
            read_soon(out, "read", slave, 10_000);
            read_soon(out, "read", slave, 10_000);
            type_in(master, b"next\n");
            read_soon(out, "read", slave, 10_000);
        }
    }),
    case("pty/many-bytes", &["read", "write"], |out| {
        for down in [true, false] {
            let (master, slave) = pair_with(raw);
            let (from, to) = if down { (master, slave) } else { (slave, master) };
            let total = 150_000usize;
            let pid = sys::fork(|| {
                let bytes: Vec<u8> = (0..total).map(|at| (at * 7 % 251) as u8).collect();
                let mut done = 0;
                while done < total {
                    match sys::write(from, &bytes[done..total.min(done + 5000)]) {
                        count @ 1.. => done += count as usize,
                        _ => return 1,
                    }
                }
                0
            });
            let (mut got, mut right) = (0, true);
            while got < total {
                let mut bytes = [0; 3000];
                let count = sys::read(to, &mut bytes);
                if count <= 0 {
                    break;
                }
                for byte in &bytes[..count as usize] {
                    right &= usize::from(*byte) == got * 7 % 251;
                    got += 1;
                }
            }
            out.say(format_args!("{got} right {right} {}", sys::status(sys::wait(pid))));
        }
    }),
    case("pty/full", &["write", "poll"], |out| {
        let (master, slave) = pair_with(raw);
        for (from, to) in [(slave, master), (master, slave)] {
            nonblocking(from, true);
            let bytes = [b'x'; 1000];
            let (mut total, mut last) = (0, 0);
            for _ in 0..200 {
                last = sys::write(from, &bytes);
                if last < 0 && poll(from, libc::POLLOUT, 100) == 0 {
                    break;
                }
                total += last.max(0);
            }
            out.ret("one more", last);
            out.say(format_args!("bounded {} {}", total > 4000, total < 70_000));
            out.say(format_args!("poll {:#x}", poll(from, libc::POLLOUT, 0)));
            let mut got = drain(to).len() as i64;
            got += drain(to).len() as i64;
            out.say(format_args!("all of it {}", got == total));
            out.say(format_args!("poll {:#x}", poll(from, libc::POLLOUT, 1000)));
        }
    }),
    case("pty/minimum-and-time", &["ioctl", "read", "poll"], |out| {
        let with = |min: u8, time: u8| {
            pair_with(|t| {
                raw(t);
                (t.cc[libc::VMIN], t.cc[libc::VTIME]) = (min, time);
            })
        };
        let (_master, slave) = with(0, 0);
        read(out, "0 0", slave, 10);
        nonblocking(slave, true);
        read(out, "0 0, not waiting", slave, 10);
        let (master, slave) = with(0, 1);
        let start = sys::now_ms();
        read(out, "0 1", slave, 10);
        out.say(format_args!("waited {}", sys::now_ms() - start >= 90));
        type_in(master, b"ab");
        read(out, "0 1", slave, 10);
        nonblocking(slave, true);
        read(out, "0 1, not waiting", slave, 10);
        let (master, slave) = with(3, 0);
        type_in(master, b"ab");
        out.say(format_args!("poll {:#x}", poll(slave, libc::POLLIN, 100)));
        nonblocking(slave, true);
        read(out, "3 0, not waiting", slave, 10);
        nonblocking(slave, false);
        let pid = sys::fork(|| {
            sys::sleep_ms(30);
            type_in(master, b"c");
            sys::sleep_ms(30);
            type_in(master, b"de");
            0
        });
        read(out, "3 0", slave, 10);
        sys::wait(pid);
        let (master, slave) = with(4, 1);
        type_in(master, b"ab");
        let start = sys::now_ms();
        read(out, "4 1", slave, 10);
        out.say(format_args!("waited {}", sys::now_ms() - start >= 90));
        type_in(master, b"cdef");
        read(out, "4 1", slave, 3);
        let (master, slave) = with(100, 0);
        type_in(master, &[b'x'; 150]);
        read(out, "100 0", slave, 120);
        read(out, "100 0", slave, 50);
    }),
    case("pty/counts", &["ioctl"], |out| {
        let (master, slave) = pair();
        type_in(master, b"abc");
        poll(slave, libc::POLLIN, 0);
        out.say(format_args!("a part: {}", count(slave, libc::FIONREAD)));
        type_in(master, b"d\nef\x04gh\n");
        poll(slave, libc::POLLIN, 1000);
        sys::sleep_ms(50);
        out.say(format_args!("lines: {}", count(slave, libc::FIONREAD)));
        out.say(format_args!("echo: {}", count(master, libc::FIONREAD)));
        out.say(format_args!("to go: {} {}", count(slave, libc::TIOCOUTQ), count(master, libc::TIOCOUTQ)));
    }),
    case("pty/flush", &["ioctl"], |out| {
        let (master, slave) = pair();
        type_in(master, b"typed\n");
        shown(out, master, slave);
        out.ret("input", ioctl_int(slave, libc::TCFLSH, 0));
        read_soon(out, "read", slave, 10);
        type_in(master, b"part");
        shown(out, master, slave);
        out.ret("both", ioctl_int(slave, libc::TCFLSH, 2));
        type_in(master, b"new\n");
        read_soon(out, "read", slave, 10);
        out.ret("output", ioctl_int(slave, libc::TCFLSH, 1));
        drain(master);
        type_in(master, b"typed\n");
        shown(out, master, slave);
        let mut termios = crate::pty_tools::get(slave);
        termios.lflag &= !libc::ECHO;
        out.ret("with new settings", ioctl(slave, libc::TCSETSF, &raw const termios));
        read_soon(out, "read", slave, 10);
        sys::write(slave, b"printed");
        poll(master, libc::POLLIN, 1000);
        out.ret("the master's input", ioctl_int(master, libc::TCFLSH, 0));
        read_soon(out, "read", master, 10);
        for bad in [3, 99, -1] {
            out.ret("bad", ioctl_int(slave, libc::TCFLSH, bad));
        }
    }),
    case("pty/flow-by-characters", &["read", "write", "ioctl"], |out| {
        let (master, slave) = pair();
        nonblocking(slave, true);
        type_in(master, b"\x13");
        poll(slave, libc::POLLIN, 0);
        out.ret("stopped", sys::write(slave, b"text"));
        out.say(format_args!("poll {:#x}", poll(slave, libc::POLLOUT, 0)));
        type_in(master, b"ab");
        shown(out, master, slave);
        type_in(master, b"\x11");
        shown(out, master, slave);
        out.ret("going", sys::write(slave, b"text"));
        shown(out, master, slave);
        set(slave, |t| t.iflag |= libc::IXANY);
        type_in(master, b"\x13");
        poll(slave, libc::POLLIN, 0);
        out.ret("stopped", sys::write(slave, b"text"));
        type_in(master, b"c");
        shown(out, master, slave);
        out.ret("going by any", sys::write(slave, b"text"));
        type_in(master, b"\x13");
        poll(slave, libc::POLLIN, 0);
        out.ret("without flow control", set(slave, |t| t.iflag &= !libc::IXON));
        out.ret("going", sys::write(slave, b"more"));
        type_in(master, b"\x13\n");
        shown(out, master, slave);
        read(out, "read", slave, 100);
    }),
    case("pty/flow-by-programs", &["ioctl"], |out| {
        let (master, slave) = pair();
        nonblocking(slave, true);
        nonblocking(master, true);
        out.ret("off", ioctl_int(slave, libc::TCXONC, 0));
        out.ret("stopped", sys::write(slave, b"text"));
        type_in(master, b"\x11");
        poll(slave, libc::POLLIN, 0);
        out.ret("still", sys::write(slave, b"text"));
        out.ret("on", ioctl_int(slave, libc::TCXONC, 1));
        out.ret("going", sys::write(slave, b"text"));
        out.say(show(&drain(master)));
        out.ret("ask to stop", ioctl_int(slave, libc::TCXONC, 2));
        out.ret("ask to go on", ioctl_int(slave, libc::TCXONC, 3));
        out.say(show(&drain(master)));
        out.ret("the master off", ioctl_int(master, libc::TCXONC, 0));
        out.ret("stopped", sys::write(master, b"x"));
        out.ret("the master on", ioctl_int(master, libc::TCXONC, 1));
        out.ret("going", sys::write(master, b"x\n"));
        read_soon(out, "read", slave, 10);
        set(slave, |t| t.cc[libc::VSTOP] = 0);
        out.ret("no character", ioctl_int(slave, libc::TCXONC, 2));
        drain(master);
        out.ret("bad", ioctl_int(slave, libc::TCXONC, 4));
    }),
    case("pty/packets", &["ioctl", "read", "poll"], |out| {
        let (master, slave) = pair();
        out.say(count(master, 0x8004_5438));
        out.ret("on", packet(master, 1));
        out.say(count(master, 0x8004_5438));
        sys::write(slave, b"text");
        read(out, "data", master, 3);
        read(out, "rest", master, 100);
        for (what, request, arg) in [
            ("flush", libc::TCFLSH, 0),
            ("flush", libc::TCFLSH, 1),
            ("flush", libc::TCFLSH, 2),
            ("off", libc::TCXONC, 0),
            ("on", libc::TCXONC, 1),
        ] {
            out.ret(what, ioctl_int(slave, request, arg));
            out.say(format_args!("poll {:#x}", poll(master, libc::POLLIN | libc::POLLPRI, 0)));
            read_soon(out, "status", master, 100);
        }
        set(slave, |t| t.iflag &= !libc::IXON);
        read_soon(out, "status", master, 100);
        set(slave, |t| t.iflag |= libc::IXON);
        read_soon(out, "status", master, 100);
        set(slave, |t| t.cc[libc::VSTOP] = b's');
        read_soon(out, "status", master, 100);
        set(slave, |t| t.lflag |= libc::EXTPROC);
        read_soon(out, "status", master, 100);
        set(slave, |t| t.lflag &= !libc::EXTPROC);
        read_soon(out, "status", master, 100);
        set(slave, |t| t.lflag &= !libc::ECHO);
        read_soon(out, "status", master, 100);
        type_in(master, b"\x03");
        read_soon(out, "status of a signal", master, 100);
        ioctl_int(slave, libc::TCFLSH, 2);
        out.ret("off", packet(master, 0));
        read_soon(out, "status", master, 100);
        sys::write(slave, b"text");
        read_soon(out, "data", master, 100);
        out.ret("bad address", ioctl_int(master, libc::TIOCPKT, 8));
    }),
    case("pty/lines-on-and-off", &["ioctl", "read"], |out| {
        let (master, slave) = pair();
        nonblocking(slave, true);
        type_in(master, b"part");
        poll(slave, libc::POLLIN, 0);
        set(slave, |t| t.lflag &= !libc::ICANON);
        read_soon(out, "no lines any more", slave, 2);
        type_in(master, b"\x04\x7f\n");
        shown(out, master, slave);
        set(slave, |t| t.lflag |= libc::ICANON);
        read_soon(out, "lines again", slave, 100);
        type_in(master, b"more\n");
        poll(slave, libc::POLLIN, 1000);
        sys::sleep_ms(50);
        set(slave, |t| t.lflag &= !libc::ICANON);
        read_soon(out, "a line as bytes", slave, 3);
        read_soon(out, "a line as bytes", slave, 100);
        read(out, "nothing", slave, 100);
    }),
    case("pty/processed-elsewhere", &["ioctl", "read"], |out| {
        let (master, slave) = pair_with(|t| t.lflag |= libc::EXTPROC);
        nonblocking(slave, true);
        type_in(master, b"a\x7fb\x03");
        shown(out, master, slave);
        read_soon(out, "read", slave, 100);
        type_in(master, b"\x04");
        read_soon(out, "end", slave, 100);
        type_in(master, b"x\r");
        read_soon(out, "read", slave, 100);
    }),
    case("pty/master-closed", &["read", "write", "poll", "ioctl"], |out| {
        let (master, slave) = pair();
        type_in(master, b"left\n");
        poll(slave, libc::POLLIN, 1000);
        sys::close(master);
        out.say(format_args!("poll {:#x}", poll(slave, -1, 0)));
        read(out, "read", slave, 100);
        read(out, "read", slave, 0);
        out.ret("write", sys::write(slave, b"x"));
        out.ret("write nothing", sys::write(slave, b""));
        for (name, request) in [
            ("TCGETS", libc::TCGETS),
            ("TIOCGWINSZ", libc::TIOCGWINSZ),
            ("TIOCGPGRP", libc::TIOCGPGRP),
            ("TIOCSPGRP", libc::TIOCSPGRP),
            ("TIOCSCTTY", libc::TIOCSCTTY),
            ("FIONREAD", libc::FIONREAD),
            ("unknown", 0x54fe),
        ] {
            let mut place = [0u8; 64];
            out.ret(name, ioctl(slave, request, place.as_mut_ptr()));
        }
        nonblocking(slave, true);
        read(out, "not waiting", slave, 100);
    }),
    case("pty/master-closed-while-reading", &["read", "close"], |out| {
        let (master, slave) = pair();
        let fd = out.fd();
        let pid = sys::fork(|| {
            sys::close(master);
            let mut out = Out::new(fd);
            read(&mut out, "waiting", slave, 10);
            read(&mut out, "again", slave, 10);
            0
        });
        sys::sleep_ms(50);
        sys::close(master);
        out.say(sys::status(sys::wait(pid)));
    }),
    case("pty/slave-closed", &["read", "write", "poll", "openat"], |out| {
        let master = crate::pty_tools::master(true);
        let path = crate::pty_tools::name(master);
        nonblocking(master, true);
        out.say(format_args!("never open: poll {:#x}", poll(master, -1, 0)));
        read(out, "never open", master, 10);
        let slave = crate::pty_tools::open(&path, crate::pty_tools::RDWR) as i32;
        sys::write(slave, b"last words");
        sys::close(slave);
        out.say(format_args!("poll {:#x}", poll(master, libc::POLLIN, 1000)));
        read(out, "left", master, 4);
        read(out, "left", master, 100);
        read(out, "gone", master, 100);
        out.say(format_args!("poll {:#x}", poll(master, libc::POLLIN | libc::POLLOUT, 0)));
        out.ret("write", sys::write(master, b"early\n"));
        let slave = crate::pty_tools::open(&path, crate::pty_tools::RDWR) as i32;
        read_soon(out, "written before", slave, 100);
        out.say(show(&drain(master)));
        read(out, "open again", master, 100);
        out.say(format_args!("poll {:#x}", poll(master, libc::POLLIN | libc::POLLHUP, 0)));
    }),
    case("pty/slave-closed-while-reading", &["read", "close"], |out| {
        let (master, slave) = pair();
        let pid = sys::fork(|| {
            sys::close(master);
            sys::sleep_ms(50);
            0
        });
        sys::close(slave);
        read(out, "waiting", master, 10);
        out.say(sys::status(sys::wait(pid)));
    }),
    case("pty/settings-outlive-a-close", &["close", "openat", "ioctl"], |out| {
        let (master, slave) = pair_with(raw);
        ioctl(slave, libc::TIOCSWINSZ, [1u16, 2, 3, 4].as_ptr());
        type_in(master, b"typed");
        poll(slave, libc::POLLIN, 1000);
        sys::close(slave);
        let slave = crate::pty_tools::open(&crate::pty_tools::name(master), crate::pty_tools::RDWR) as i32;
        let mut size = [0u16; 4];
        ioctl(slave, libc::TIOCGWINSZ, size.as_mut_ptr());
        out.say(format_args!("{size:?} {:#x}", crate::pty_tools::get(slave).lflag));
        read_soon(out, "typed", slave, 100);
    }),
    case("pty/epoll", &["epoll_wait", "epoll_ctl"], |out| {
        let (master, slave) = pair();
        let epoll = call!(SYS_epoll_create1, 0) as i32;
        for (fd, events) in [(master, 0x8000_0001u32), (slave, 1)] {
            let event = libc::epoll_event { events, u64: u64::from(fd == slave) };
            out.ret("add", call!(SYS_epoll_ctl, epoll, libc::EPOLL_CTL_ADD, fd, &raw const event));
        }
        let wait = |out: &mut Out, what: &str| {
            sys::sleep_ms(50);
            let mut events = [libc::epoll_event { events: 0, u64: 9 }; 4];
            let count = call!(SYS_epoll_wait, epoll, events.as_mut_ptr(), 4, 100).max(0) as usize;
            let mut got: Vec<(u64, u32)> = events[..count].iter().map(|e| (e.u64, e.events)).collect();
            got.sort_unstable();
            out.say(format_args!("{what}: {got:x?}"));
        };
        wait(out, "nothing");
        type_in(master, b"line\n");
        wait(out, "typed");
        wait(out, "still");
        read(out, "read", slave, 100);
        wait(out, "read");
        sys::write(slave, b"x");
        wait(out, "printed");
        sys::close(slave);
        wait(out, "closed");
    }),
];

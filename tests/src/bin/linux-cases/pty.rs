//! Pseudo-terminals: opening, names, settings, what each operation refuses.

use crate::{
    Case, Out, case,
    pty_tools::{
        RDWR, Termios, get, ioctl, ioctl_int, master, name, number, open, pair, poll, raw, read, set, show,
    },
    sys::{self, call},
};

/// Permission bits, links, device number, owner.
fn stat(out: &mut Out, what: &str, path: &str, fd: i32) {
    let mut stat = [0u8; 144];
    let got = if fd >= 0 {
        call!(SYS_fstat, fd, stat.as_mut_ptr())
    } else {
        call!(SYS_newfstatat, libc::AT_FDCWD, sys::c(path), stat.as_mut_ptr(), libc::AT_SYMLINK_NOFOLLOW)
    };
    if got < 0 {
        return out.ret(what, got);
    }
    let word = |at: usize| u32::from_ne_bytes([stat[at], stat[at + 1], stat[at + 2], stat[at + 3]]);
    let (rdev, ino) = (u64::from(word(40)), word(8));
    out.say(format_args!(
        "{what}: {:o} links {} owner {} {} device {}:{} inode {ino} block {}",
        word(24),
        word(16),
        word(28),
        word(32),
        rdev >> 8 & 0xfff,
        rdev & 0xff,
        word(56),
    ));
}

/// `struct termios2`: the first form and two speeds.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Termios2 {
    plain: Termios,
    speeds: [u32; 2],
}

fn show_settings(out: &mut Out, what: &str, t: &Termios) {
    let (i, o, c, l) = (t.iflag, t.oflag, t.cflag, t.lflag);
    out.say(format_args!("{what}: {i:#x} {o:#x} {c:#x} {l:#x} {} {:?}", t.line, t.cc));
}

pub(crate) const CASES: &[Case] = &[
    case("pty/open-and-names", &["openat", "ioctl", "fstat"], |out| {
        let master = master(false);
        let path = name(master);
        out.say(&path);
        out.ret("locked", open(&path, RDWR));
        out.ret("unlock", ioctl(master, libc::TIOCSPTLCK, &0i32));
        let slave = open(&path, RDWR) as i32;
        stat(out, "master", "", master);
        stat(out, "slave", "", slave);
        for fd in [master, slave] {
            let link = std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap_or_default();
            out.say(link.display());
            out.say(format_args!("flags {:o}", call!(SYS_fcntl, fd, libc::F_GETFL)));
        }
        let again = open(&format!("/proc/self/fd/{slave}"), RDWR);
        out.ret("through /proc", again.min(0));
        stat(out, "through /proc", "", again as i32);
    }),
    case("pty/lock", &["ioctl"], |out| {
        let (master, slave) = pair();
        let mut value = 7i32;
        out.ret("get", ioctl(master, libc::TIOCGPTLCK, &raw mut value));
        out.say(value);
        out.ret("lock", ioctl(master, libc::TIOCSPTLCK, &5i32));
        ioctl(master, libc::TIOCGPTLCK, &raw mut value);
        out.say(value);
        out.ret("open", open(&name(master), RDWR));
        out.ret("peer", ioctl_int(master, libc::TIOCGPTPEER, RDWR.into()));
        out.ret("unlock", ioctl(master, libc::TIOCSPTLCK, &0i32));
        out.ret("open", open(&name(master), RDWR).min(0));
        out.ret("slave", ioctl(slave, libc::TIOCSPTLCK, &0i32));
        out.ret("slave", ioctl(slave, libc::TIOCGPTLCK, &raw mut value));
        out.ret("bad address", ioctl_int(master, libc::TIOCSPTLCK, 8));
        out.ret("bad address", ioctl_int(master, libc::TIOCGPTLCK, 8));
    }),
    case("pty/peer", &["ioctl", "fcntl"], |out| {
        let master = master(true);
        let peer = ioctl_int(master, libc::TIOCGPTPEER, i64::from(RDWR | libc::O_CLOEXEC)) as i32;
        out.ret("peer", i64::from(peer.min(0)));
        out.ret("close-on-exec", call!(SYS_fcntl, peer, libc::F_GETFD));
        out.say(format_args!("access {}", call!(SYS_fcntl, peer, libc::F_GETFL) & 3));
        let link = std::fs::read_link(format!("/proc/self/fd/{peer}")).unwrap_or_default();
        out.say(link.display());
        sys::write(peer, b"hello\n");
        read(out, "master", master, 100);
        out.ret("of a slave", ioctl_int(peer, libc::TIOCGPTPEER, RDWR.into()));
        let reads = ioctl_int(master, libc::TIOCGPTPEER, i64::from(libc::O_RDONLY | libc::O_NOCTTY)) as i32;
        out.ret("write where it is open for reading", sys::write(reads, b"x"));
    }),
    case("pty/name-goes-with-its-master", &["close", "openat", "fstat"], |out| {
        let (master, slave) = pair();
        let path = name(master);
        stat(out, "open", &path, -1);
        sys::close(master);
        stat(out, "closed", &path, -1);
        stat(out, "slave", "", slave);
        out.ret("open", open(&path, RDWR));
        out.ret("through /proc", open(&format!("/proc/self/fd/{slave}"), RDWR));
        let other = self::master(true);
        out.say(format_args!("another number: {}", name(other) != path));
        sys::close(slave);
        sys::close(other);
        out.say(format_args!("the same number: {}", name(self::master(true)) == path));
    }),
    case("pty/numbers", &["openat", "ioctl"], |out| {
        let all: Vec<i32> = (0..4).map(|_| master(true)).collect();
        out.say(format_args!("{:?}", all.iter().map(|&fd| number(fd)).collect::<Vec<_>>()));
        sys::close(all[1]);
        sys::close(all[2]);
        out.say(format_args!("{} {}", number(master(true)), number(master(true))));
        out.ret("bad address", ioctl_int(all[0], libc::TIOCGPTN, 8));
    }),
    case("pty/directory", &["getdents64", "statfs", "mkdir", "unlink"], |out| {
        let (master, _slave) = pair();
        let path = name(master);
        let _other = self::master(true);
        let list = std::fs::read_dir("/dev/pts").map(|dir| {
            let mut names: Vec<_> = dir.flatten().map(|entry| entry.file_name()).collect();
            names.sort();
            names
        });
        out.say(format_args!("{list:?}"));
        let mut fs = [0u64; 15];
        call!(SYS_statfs, sys::c("/dev/pts"), fs.as_mut_ptr());
        out.say(format_args!("statfs {:#x} {} {}", fs[0], fs[1], fs[8]));
        out.ret("mkdir", call!(SYS_mkdir, sys::c("/dev/pts/x"), 0o755));
        out.ret("create", open("/dev/pts/x", libc::O_CREAT | libc::O_RDWR));
        out.ret("symlink", call!(SYS_symlink, sys::c("/tmp"), sys::c("/dev/pts/x")));
        out.ret("unlink", call!(SYS_unlink, sys::c(&path)));
        out.ret("rmdir", call!(SYS_rmdir, sys::c(&path)));
        out.ret("rename", call!(SYS_rename, sys::c(&path), sys::c("/dev/pts/x")));
        out.ret("link", call!(SYS_link, sys::c(&path), sys::c("/dev/pts/x")));
        out.ret("truncate", call!(SYS_truncate, sys::c(&path), 0));
        stat(out, "root", "/dev/pts", -1);
    }),
    case("pty/ptmx", &["openat", "newfstatat"], |out| {
        stat(out, "/dev/pts/ptmx", "/dev/pts/ptmx", -1);
        out.say(format_args!("{:?}", std::fs::read_link("/dev/ptmx")));
        let master = open("/dev/pts/ptmx", libc::O_RDONLY) as i32;
        out.ret("write where it is open for reading", sys::write(master, b"x"));
        out.ret("as a directory", open("/dev/ptmx", libc::O_DIRECTORY));
        out.ret("below", open("/dev/ptmx/0", libc::O_RDONLY));
        out.ret("a path only", ioctl_int(open("/dev/ptmx", libc::O_PATH) as i32, libc::TIOCGPTN, 0));
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        mounts.lines().filter(|line| line.contains(" /dev/pts ")).for_each(|line| out.say(line));
    }),
    case("pty/slave-opens", &["openat"], |out| {
        let (master, _slave) = pair();
        let path = name(master);
        for (what, flags) in [
            ("directory", libc::O_DIRECTORY),
            ("truncate", RDWR | libc::O_TRUNC),
            ("create", RDWR | libc::O_CREAT),
            ("create new", RDWR | libc::O_CREAT | libc::O_EXCL),
            ("append", RDWR | libc::O_APPEND),
            ("direct", RDWR | libc::O_DIRECT),
        ] {
            out.ret(what, open(&path, flags).min(0));
        }
        for path in ["/dev/pts/999", "/dev/pts/00", "/dev/pts/x", "/dev/pts/4294967296", "/dev/pts/-1"] {
            out.ret(path, open(path, RDWR));
        }
        out.ret("below", open(&format!("{path}/x"), RDWR));
    }),
    case("pty/owner-and-mode", &["chmod", "chown", "newfstatat"], |out| {
        let (master, slave) = pair();
        let path = name(master);
        out.ret("chmod", call!(SYS_chmod, sys::c(&path), 0o622));
        out.ret("chown", call!(SYS_fchown, slave, 1000, 1001));
        stat(out, "changed", &path, -1);
        stat(out, "changed", "", slave);
        out.ret("chmod of the master", call!(SYS_fchmod, master, 0o640));
        stat(out, "ptmx", "/dev/pts/ptmx", -1);
        call!(SYS_fchmod, master, 0o666);
        call!(SYS_setresgid, 1001, 1001, 1001);
        call!(SYS_setresuid, 1000, 1000, 1000);
        let own = self::master(true);
        stat(out, "a user's", &name(own), -1);
        out.ret("a user opens its own", open(&name(own), RDWR).min(0));
        out.ret("a user opens another's", open("/dev/pts/ptmx", RDWR).min(0));
    }),
    case("pty/what-is-no-terminal-operation", &["lseek", "pread64", "fsync", "ftruncate", "mmap"], |out| {
        let (master, slave) = pair();
        for (what, fd) in [("master", master), ("slave", slave)] {
            let mut bytes = [0u8; 4];
            out.say(what);
            out.ret("lseek", call!(SYS_lseek, fd, 0, libc::SEEK_SET));
            out.ret("pread", call!(SYS_pread64, fd, bytes.as_mut_ptr(), 4, 0));
            out.ret("pwrite", call!(SYS_pwrite64, fd, bytes.as_mut_ptr(), 4, 0));
            out.ret("fsync", call!(SYS_fsync, fd));
            out.ret("ftruncate", call!(SYS_ftruncate, fd, 0));
            out.ret("mmap", call!(SYS_mmap, 0, 4096, libc::PROT_READ, libc::MAP_SHARED, fd, 0));
            out.ret("getdents", call!(SYS_getdents64, fd, bytes.as_mut_ptr(), 4));
        }
    }),
    case("pty/operations-refused", &["ioctl"], |out| {
        let (master, slave) = pair();
        let mut value = [0u8; 128];
        let value = value.as_mut_ptr();
        for (what, fd) in [("master", master), ("slave", slave)] {
            out.say(what);
            for (name, request) in [
                ("TIOCMGET", libc::TIOCMGET),
                ("TIOCMSET", libc::TIOCMSET),
                ("TIOCCONS", libc::TIOCCONS),
                ("TIOCVHANGUP", 0x5437),
                ("TIOCSTI", libc::TIOCSTI),
                ("TIOCSLCKTRMIOS", 0x5457),
                ("unknown", 0x54fe),
                ("of a block device", 0x1260),
                ("TIOCNOTTY", libc::TIOCNOTTY),
                ("TIOCGSID", libc::TIOCGSID),
            ] {
                out.ret(name, ioctl(fd, request, value));
            }
            for (name, request) in [
                ("TCGETS", libc::TCGETS),
                ("TCSETS", libc::TCSETS),
                ("TCGETA", libc::TCGETA),
                ("TCSETA", libc::TCSETA),
                ("TIOCGWINSZ", libc::TIOCGWINSZ),
                ("TIOCSWINSZ", libc::TIOCSWINSZ),
                ("FIONREAD", libc::FIONREAD),
                ("TIOCOUTQ", libc::TIOCOUTQ),
                ("TIOCGETD", libc::TIOCGETD),
                ("TIOCSETD", libc::TIOCSETD),
            ] {
                out.ret(&format!("{name}, bad address"), ioctl_int(fd, request, 8));
            }
        }
        for (name, request) in
            [("TIOCGPTN", libc::TIOCGPTN), ("TIOCPKT", libc::TIOCPKT), ("TIOCGPKT", 0x8004_5438)]
        {
            out.ret(name, ioctl(slave, request, value));
        }
    }),
    case("pty/window-size", &["ioctl"], |out| {
        let (master, slave) = pair();
        let mut size = [9u16; 4];
        ioctl(slave, libc::TIOCGWINSZ, size.as_mut_ptr());
        out.say(format_args!("{size:?}"));
        out.ret("set by the master", ioctl(master, libc::TIOCSWINSZ, [24u16, 80, 3, 4].as_ptr()));
        ioctl(slave, libc::TIOCGWINSZ, size.as_mut_ptr());
        out.say(format_args!("{size:?}"));
        out.ret("set by the slave", ioctl(slave, libc::TIOCSWINSZ, [25u16, 81, 0, 65535].as_ptr()));
        ioctl(master, libc::TIOCGWINSZ, size.as_mut_ptr());
        out.say(format_args!("{size:?}"));
    }),
    case("pty/settings-at-first", &["ioctl"], |out| {
        let (master, slave) = pair();
        show_settings(out, "slave", &get(slave));
        show_settings(out, "master", &get(master));
        let mut more = Termios2::default();
        ioctl(slave, libc::TCGETS2, &raw mut more);
        out.say(format_args!("speeds {:?}", more.speeds));
        let mut old = [0u8; 18];
        ioctl(slave, libc::TCGETA, old.as_mut_ptr());
        out.say(format_args!("{old:?}"));
        let mut discipline = -1i32;
        ioctl(slave, libc::TIOCGETD, &raw mut discipline);
        out.say(format_args!("discipline {discipline}"));
        out.ret("the same again", ioctl(slave, libc::TIOCSETD, &0i32));
        out.ret("none there", ioctl(slave, libc::TIOCSETD, &29i32));
        out.ret("beyond", ioctl(slave, libc::TIOCSETD, &1000i32));
    }),
    case("pty/settings-changed", &["ioctl"], |out| {
        let (master, slave) = pair();
        out.ret("raw", set(slave, raw));
        show_settings(out, "raw", &get(master));
        let control = libc::B9600 | libc::CS7 | libc::PARENB | libc::CSTOPB | libc::CLOCAL;
        out.ret("by the master", set(master, |t| t.cflag = control));
        show_settings(out, "changed", &get(slave));
        let mut more = Termios2::default();
        ioctl(slave, libc::TCGETS2, &raw mut more);
        out.say(format_args!("speeds {:?}", more.speeds));
        more.plain.cflag = libc::CS5 | libc::BOTHER;
        more.speeds = [300, 12_345];
        out.ret("any speed", ioctl(slave, libc::TCSETS2, &raw const more));
        ioctl(slave, libc::TCGETS2, &raw mut more);
        out.say(format_args!("{:#x} speeds {:?}", more.plain.cflag, more.speeds));
        let mut old = [0u8; 18];
        ioctl(slave, libc::TCGETA, old.as_mut_ptr());
        old[0] = 1;
        old[9] = 5;
        out.ret("the old form", ioctl(slave, libc::TCSETAW, old.as_ptr()));
        show_settings(out, "changed", &get(slave));
        for flags in [0u32, u32::MAX] {
            set(slave, |t| {
                (t.iflag, t.oflag, t.lflag, t.line) = (flags, flags, flags, flags as u8);
                t.cc = [flags as u8; 19];
            });
            show_settings(out, "all", &get(slave));
        }
    }),
    case("pty/soft-carrier", &["ioctl"], |out| {
        let (master, slave) = pair();
        let mut on = 7i32;
        ioctl(slave, libc::TIOCGSOFTCAR, &raw mut on);
        out.say(on);
        out.ret("set", ioctl(master, libc::TIOCSSOFTCAR, &1i32));
        ioctl(slave, libc::TIOCGSOFTCAR, &raw mut on);
        out.say(format_args!("{on} {:#x}", get(slave).cflag));
        out.ret("break", ioctl_int(slave, libc::TCSBRK, 0));
        out.ret("drain", ioctl_int(slave, libc::TCSBRK, 1));
        out.ret("long break", ioctl_int(slave, libc::TCSBRKP, 1));
        out.ret("break on", ioctl_int(slave, libc::TIOCSBRK, 0));
        out.ret("break off", ioctl_int(slave, libc::TIOCCBRK, 0));
    }),
    case("pty/exclusive", &["ioctl", "openat"], |out| {
        let (master, slave) = pair();
        let mut on = 7i32;
        ioctl(slave, 0x8004_5440, &raw mut on);
        out.say(on);
        out.ret("set", ioctl(slave, libc::TIOCEXCL, std::ptr::null::<u8>()));
        ioctl(slave, 0x8004_5440, &raw mut on);
        out.say(on);
        out.ret("open", open(&name(master), RDWR));
        out.ret("clear", ioctl(slave, libc::TIOCNXCL, std::ptr::null::<u8>()));
        out.ret("open", open(&name(master), RDWR).min(0));
    }),
    case("pty/limits", &["openat"], |out| {
        for name in ["max", "reserve"] {
            out.say(format_args!("{:?}", std::fs::read_to_string(format!("/proc/sys/kernel/pty/{name}"))));
        }
        let mut limits = [65536u64; 2];
        call!(SYS_prlimit64, 0, libc::RLIMIT_NOFILE, limits.as_ptr(), 0);
        call!(SYS_prlimit64, 0, libc::RLIMIT_NOFILE, 0, limits.as_mut_ptr());
        if limits[0] < 4000 {
            return out.say("too few descriptors");
        }
        let mut count = 0;
        let error = loop {
            let fd = open("/dev/ptmx", RDWR);
            if fd < 0 || count > 5000 {
                break fd;
            }
            count += 1;
        };
        // Others on the machine may have some.
        out.say(format_args!("about 3071: {}", (3000..=3071).contains(&count)));
        out.ret("one more", error);
    }),
    case("pty/bad-buffers", &["read", "write"], |out| {
        let (master, slave) = pair();
        out.ret("write nothing", call!(SYS_write, slave, 0, 0));
        out.ret("write nothing", call!(SYS_write, master, 8, 0));
        out.ret("write", call!(SYS_write, slave, 8, 4));
        out.ret("write", call!(SYS_write, master, 8, 4));
        sys::write(master, b"line\n");
        out.ret("read nothing", call!(SYS_read, slave, 0, 0));
        out.ret("read", call!(SYS_read, slave, 8, 4));
        poll(master, libc::POLLIN, 1000);
        out.ret("read", call!(SYS_read, master, 8, 4));
        out.say(show(b""));
    }),
];

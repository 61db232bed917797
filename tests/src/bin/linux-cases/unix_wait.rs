//! AF_UNIX: blocking, time limits, signals, poll and epoll.

use crate::{
    Case, Out, case,
    sys::{self, call},
    unix::{self, KINDS, NONBLOCK, STREAM, pair, recv, send, socket},
};

extern "C" fn handler(_: i32) {}

/// Installs a handler that does nothing.
fn handle(signal: i32, flags: u64) {
    let mut action: libc::sigaction = unsafe_zeroed();
    action.sa_sigaction = handler as *const () as usize;
    action.sa_flags = flags as i32;
    // The C library adds the restorer.
    assert_eq!(sigaction(signal, &action), 0);
}

#[allow(unsafe_code, reason = "plain data")]
fn unsafe_zeroed() -> libc::sigaction {
    // SAFETY: all zeroes are a valid value of this C structure.
    unsafe { std::mem::zeroed() }
}

#[allow(unsafe_code, reason = "the C library's function")]
fn sigaction(signal: i32, action: &libc::sigaction) -> i32 {
    // SAFETY: the structure is valid; the handler does nothing.
    unsafe { libc::sigaction(signal, action, std::ptr::null_mut()) }
}

/// Runs `f` while a child signals this process once and then calls `then`.
fn interrupted<T>(f: impl FnOnce() -> T, then: impl FnOnce()) -> T {
    let me = sys::getpid();
    let child = sys::fork(|| {
        sys::sleep_ms(40);
        call!(SYS_kill, me, libc::SIGUSR1);
        sys::sleep_ms(40);
        then();
        0
    });
    let result = f();
    sys::wait(child);
    result
}

fn epoll_events(out: &mut Out, epoll: i32, milliseconds: i32) {
    let mut events = [[0u32; 3]; 4];
    let count = call!(SYS_epoll_wait, epoll, events.as_mut_ptr(), 4, milliseconds);
    out.ret("ready", count);
    for event in &events[..count.max(0) as usize] {
        out.say(format_args!("{:#x} {}", event[0], event[1]));
    }
}

fn epoll_add(epoll: i32, fd: i32, events: u32, data: u32) -> i64 {
    let event = [events, data, 0];
    call!(SYS_epoll_ctl, epoll, 1, fd, event.as_ptr())
}

pub(crate) const CASES: &[Case] = &[
    case("unix/receive-times-out", &["recvfrom", "accept", "setsockopt"], |out| {
        for (name, kind) in KINDS {
            let (_a, b) = pair(kind);
            unix::timeout(b, libc::SO_RCVTIMEO, 60);
            let start = sys::now_ms();
            out.say(format_args!("{name} {}", recv(b, 4, 0)));
            out.ret("read", sys::read(b, &mut [0]));
            out.say(sys::now_ms() - start >= 110);
        }
        let server = unix::listener(STREAM, "s", 1);
        unix::timeout(server, libc::SO_RCVTIMEO, 40);
        out.ret("accept", unix::accept(server));
    }),
    case("unix/send-times-out", &["sendto", "setsockopt"], |out| {
        for (name, kind) in KINDS {
            let (a, _b) = pair(kind);
            unix::timeout(a, libc::SO_SNDTIMEO, 40);
            unix::fill(a, &[1; 1000]);
            out.ret(name, send(a, &[1; 1000], 0));
        }
        let (a, _b) = pair(STREAM);
        unix::timeout(a, libc::SO_SNDTIMEO, 40);
        out.say(send(a, &vec![1; 1 << 20], 0) > 100_000);
    }),
    case("unix/receive-interrupted", &["recvfrom", "rt_sigaction"], |out| {
        for (name, kind) in KINDS {
            let (a, b) = pair(kind);
            handle(libc::SIGUSR1, 0);
            out.say(format_args!("{name} {}", interrupted(|| recv(b, 4, 0), || ())));
            handle(libc::SIGUSR1, libc::SA_RESTART as u64);
            let got = interrupted(
                || recv(b, 4, 0),
                || {
                    send(a, b"x", 0);
                },
            );
            out.say(format_args!("restarted {got}"));
            unix::timeout(b, libc::SO_RCVTIMEO, 5000);
            out.say(format_args!("with a limit {}", interrupted(|| recv(b, 4, 0), || ())));
        }
    }),
    case("unix/send-interrupted", &["sendto", "rt_sigaction"], |out| {
        let (a, b) = pair(STREAM);
        unix::fill(a, &[1; 1000]);
        handle(libc::SIGUSR1, 0);
        out.ret("send", interrupted(|| send(a, &[1; 1000], 0), || ()));
        // Made before the signal is on its way.
        let long = vec![1; 1 << 20];
        out.say(interrupted(|| send(a, &long, 0), || ()) < 0);
        let (c, _d) = pair(STREAM);
        out.say(interrupted(|| send(c, &long, 0), || ()) > 0);
        handle(libc::SIGUSR1, libc::SA_RESTART as u64);
        let got = interrupted(
            || send(a, b"y", 0),
            || {
                recv(b, 1 << 20, 0);
            },
        );
        out.ret("restarted", got);
    }),
    case("unix/accept-interrupted", &["accept", "connect"], |out| {
        let server = unix::listener(STREAM, "s", 0);
        handle(libc::SIGUSR1, 0);
        out.ret("accept", interrupted(|| unix::accept(server), || ()));
        handle(libc::SIGUSR1, libc::SA_RESTART as u64);
        let got = interrupted(
            || unix::accept(server),
            || {
                unix::connect(socket(STREAM), "s");
            },
        );
        out.ok("restarted", got);
        handle(libc::SIGUSR1, 0);
        unix::connect(socket(STREAM), "s");
        out.ret("connect", interrupted(|| unix::connect(socket(STREAM), "s"), || ()));
    }),
    case("unix/blocked-receive-is-woken", &["recvfrom", "close"], |out| {
        for (name, kind) in KINDS {
            let (a, b) = pair(kind);
            let child = sys::fork(|| {
                sys::close(b);
                sys::sleep_ms(30);
                send(a, b"x", 0);
                sys::sleep_ms(30);
                0
            });
            if kind != libc::SOCK_DGRAM {
                sys::close(a);
            }
            out.say(format_args!("{name} {}", recv(b, 4, 0)));
            if kind != libc::SOCK_DGRAM {
                out.say(recv(b, 4, 0));
            }
            sys::wait(child);
        }
    }),
    case("unix/blocked-send-sees-close", &["sendto", "close"], |out| {
        let action = [1u64, 0, 0, 0];
        call!(SYS_rt_sigaction, libc::SIGPIPE, action.as_ptr(), 0, 8);
        let (a, b) = pair(STREAM);
        unix::fill(a, &[1; 1000]);
        let child = sys::fork(|| {
            sys::close(a);
            sys::sleep_ms(40);
            0
        });
        sys::close(b);
        out.ret("send", send(a, &[1; 1000], 0));
        out.ret("again", send(a, &[1; 1000], 0));
        sys::wait(child);
    }),
    case("unix/poll-wakes", &["poll"], |out| {
        for (name, kind) in KINDS {
            let (a, b) = pair(kind);
            let child = sys::fork(|| {
                sys::sleep_ms(30);
                send(a, b"x", 0);
                sys::sleep_ms(500);
                0
            });
            out.say(format_args!("{name} {}", unix::poll(b, libc::POLLIN, 5000)));
            sys::wait(child);
            unix::fill(a, &[1; 1000]);
            let child = sys::fork(|| {
                sys::sleep_ms(30);
                while recv(b, 4000, libc::MSG_DONTWAIT) != "EAGAIN" {}
                sys::sleep_ms(500);
                0
            });
            out.say(format_args!("{name} {}", unix::poll(a, libc::POLLOUT, 5000)));
            sys::wait(child);
        }
    }),
    case("unix/poll-wakes-on-close", &["poll", "close"], |out| {
        let (a, b) = pair(STREAM);
        let child = sys::fork(|| {
            sys::close(b);
            sys::sleep_ms(30);
            0
        });
        sys::close(a);
        out.say(unix::poll(b, libc::POLLRDHUP, 5000));
        sys::wait(child);
        let server = unix::listener(STREAM, "s", 1);
        let child = sys::fork(|| {
            sys::sleep_ms(30);
            let got = unix::connect(socket(STREAM), "s");
            sys::sleep_ms(30);
            (got != 0).into()
        });
        out.say(unix::poll(server, libc::POLLIN, 5000));
        out.say(sys::status(sys::wait(child)));
    }),
    case("unix/epoll", &["epoll_ctl", "epoll_wait"], |out| {
        let epoll = call!(SYS_epoll_create1, 0) as i32;
        let (a, b) = pair(STREAM | NONBLOCK);
        out.ret("add", epoll_add(epoll, b, 0x1 | 0x2000, 7));
        epoll_events(out, epoll, 0);
        send(a, b"xy", 0);
        epoll_events(out, epoll, 0);
        epoll_events(out, epoll, 0);
        recv(b, 9, 0);
        epoll_events(out, epoll, 0);
        sys::close(a);
        epoll_events(out, epoll, 0);
    }),
    case("unix/epoll-edge", &["epoll_ctl", "epoll_wait"], |out| {
        let epoll = call!(SYS_epoll_create1, 0) as i32;
        let (a, b) = pair(STREAM | NONBLOCK);
        out.ret("add", epoll_add(epoll, b, 0x1 | 1 << 31, 7));
        send(a, b"x", 0);
        epoll_events(out, epoll, 0);
        epoll_events(out, epoll, 0);
        send(a, b"y", 0);
        epoll_events(out, epoll, 0);
        recv(b, 1, 0);
        epoll_events(out, epoll, 0);
        out.ret("add", epoll_add(epoll, a, 0x4 | 1 << 31, 8));
        epoll_events(out, epoll, 0);
        unix::fill(a, &[1; 1000]);
        epoll_events(out, epoll, 0);
        while recv(b, 100_000, 0) != "EAGAIN" {}
        epoll_events(out, epoll, 0);
    }),
    case("unix/two-readers", &["recvfrom"], |out| {
        let (a, b) = pair(STREAM);
        let children = [0, 1].map(|_| {
            sys::fork(|| {
                sys::close(a);
                let mut sum = 0;
                loop {
                    let mut bytes = [0; 7];
                    match sys::read(b, &mut bytes) {
                        got @ 1.. => sum += got,
                        _ => return (sum % 251) as i32,
                    }
                }
            })
        });
        sys::close(b);
        for _ in 0..2000 {
            send(a, b"abcde", 0);
        }
        sys::close(a);
        let sum: i64 = children.map(|child| sys::wait(child) >> 8).iter().sum();
        out.say(sum % 251 == 10_000 % 251);
    }),
];

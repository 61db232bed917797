//! Further processes in a container.

use std::{
    fs::{self, File},
    io::{ErrorKind, IoSliceMut, Read, Write},
    os::{
        fd::{AsRawFd, FromRawFd},
        unix::net::UnixListener,
    },
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::{
    Case,
    basic::pid,
    life::{Life, wait_for_child},
};
use crate::command::{finish, kill};

/// Longest wait for what a terminal shows.
const PATIENCE: Duration = Duration::from_secs(20);
const STAYS: &str = "echo up; exec sleep 300";

pub(super) const CASES: &[(&str, Case)] = &[
    ("exec/nobody", |life| life.tries("exec", &["exec", "nobody-has-this", "true"]).map(drop)),
    ("exec/stopped", |life| {
        life.script("exit 0")?;
        life.create()?;
        life.start()?;
        life.await_status("stopped")?;
        let id = life.id.clone();
        life.tries("exec", &["exec", &id, "true"]).map(drop)
    }),
    ("exec/status", |life| {
        life.up(STAYS)?;
        for script in ["exit 0", "exit 7", "kill -KILL $$", "kill -TERM $$"] {
            let status = life.status_of(&["exec", &life.id, "sh", "-c", script])?;
            life.note(script, status);
        }
        life.shows("afterwards")
    }),
    ("exec/output", |life| {
        life.up(STAYS)?;
        let output = life.asks(&["exec", &life.id, "sh", "-c", "echo out; echo err >&2; ls -d /bin"])?;
        life.note("out", String::from_utf8_lossy(&output.stdout).into_owned());
        life.note("err", String::from_utf8_lossy(&output.stderr).into_owned());
        Ok(())
    }),
    ("exec/large-output", |life| {
        life.up(STAYS)?;
        let output = life.asks(&["exec", &life.id, "sh", "-c", "yes 0123456789 | head -c 3000000"])?;
        life.note("bytes", output.stdout.len());
        Ok(())
    }),
    ("exec/input", |life| {
        life.up(STAYS)?;
        let mut child = Command::new(life.program)
            .args(["exec", &life.id, "sh", "-c", "wc -c; echo end"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        child.stdin.take().context("stdin")?.write_all(&[b'x'; 100_000])?;
        let output = finish(child)?;
        life.note("out", String::from_utf8_lossy(&output.stdout).into_owned());
        Ok(())
    }),
    ("exec/user-directory-environment", |life| {
        life.up(STAYS)?;
        let words = ["--user", "5:6", "--cwd", "/tmp", "--env", "A=b", "--env", "TERM=mine"];
        let script = "PATH=/bin; id -u; id -g; pwd; echo \"$A $TERM\"";
        let words: Vec<_> = ["exec"]
            .iter()
            .chain(&words)
            .copied()
            .chain([life.id.as_str(), "/bin/sh", "-c", script])
            .collect();
        let output = life.asks(&words)?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        life.note("out", String::from_utf8_lossy(&output.stdout).into_owned());
        Ok(())
    }),
    ("exec/capabilities", |life| {
        life.up(STAYS)?;
        let output = life.asks(&["exec", &life.id, "grep", "-E", "Cap(Prm|Eff|Bnd)", "/proc/self/status"])?;
        life.note("out", String::from_utf8_lossy(&output.stdout).into_owned());
        Ok(())
    }),
    ("exec/sees-the-container", |life| {
        life.up(STAYS)?;
        let script = "hostname; echo $PPID; tr '\\0' ' ' </proc/1/cmdline; echo x >/tmp/made; cat /tmp/made";
        let output = life.asks(&["exec", &life.id, "sh", "-c", script])?;
        life.note("out", String::from_utf8_lossy(&output.stdout).into_owned());
        life.note("outside", fs::exists(life.bundle.file("tmp/made"))?);
        let _ = fs::remove_file(life.bundle.file("tmp/made"));
        Ok(())
    }),
    ("exec/session", |life| {
        life.up(STAYS)?;
        let script = "read -r pid name state parent group session rest </proc/self/stat; \
                      test $group = $session && echo leads; echo $parent";
        let output = life.asks(&["exec", &life.id, "sh", "-c", script])?;
        life.note("out", String::from_utf8_lossy(&output.stdout).into_owned());
        Ok(())
    }),
    ("exec/no-program", |life| {
        life.up(STAYS)?;
        let id = life.id.clone();
        life.tries("by name", &["exec", &id, "nothing-of-this-name"])?;
        life.tries("by path", &["exec", &id, "/bin/nothing-of-this-name"])?;
        life.tries("not executable", &["exec", &id, "/etc/passwd"])?;
        life.shows("afterwards")
    }),
    ("exec/process-file", |life| {
        life.up(STAYS)?;
        let process = json!({
            "args": ["sh", "-c", "echo $X; pwd; id -u; exit 4"],
            "cwd": "/tmp",
            "env": ["X=y", "PATH=/bin"],
            "user": { "uid": 9, "gid": 9 },
        });
        fs::write(life.bundle.path.join("process.json"), serde_json::to_vec(&process)?)?;
        let output = life.asks(&["exec", "--process", "process.json", &life.id])?;
        life.note("out", String::from_utf8_lossy(&output.stdout).into_owned());
        life.note("status", output.status.code());
        Ok(())
    }),
    ("exec/detached", |life| {
        life.up(STAYS)?;
        let script = "echo started; while ! test -e /tmp/go; do sleep 0.1; done; exit 9";
        life.does(&["exec", "--detach", "--pid-file", "pid", &life.id, "sh", "-c", script])?;
        life.await_output("started\n")?;
        life.does(&["exec", &life.id, "touch", "/tmp/go"])?;
        let status = wait_for_child(pid(life)?)?;
        fs::remove_file(life.bundle.file("tmp/go"))?;
        life.note("status", status);
        life.shows("afterwards")
    }),
    ("exec/detached-and-signalled", |life| {
        life.up(STAYS)?;
        let script = "trap 'echo got USR1' USR1; echo started; while :; do sleep 0.1; done";
        life.does(&["exec", "--detach", "--pid-file", "pid", &life.id, "sh", "-c", script])?;
        life.await_output("started\n")?;
        let pid = pid(life)?;
        kill(pid.unsigned_abs(), libc::SIGUSR1);
        life.await_output("got USR1\n")?;
        kill(pid.unsigned_abs(), libc::SIGTERM);
        let status = wait_for_child(pid)?;
        life.note("status", status);
        life.shows("afterwards")
    }),
    ("exec/detached-and-killed", |life| {
        life.up(STAYS)?;
        let script = "echo started; exec sleep 312";
        life.does(&["exec", "--detach", "--pid-file", "pid", &life.id, "sh", "-c", script])?;
        life.await_output("started\n")?;
        let pid = pid(life)?;
        kill(pid.unsigned_abs(), libc::SIGKILL);
        let status = wait_for_child(pid)?;
        life.note("status", status);
        let others =
            "for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline; done 2>/dev/null | grep -c 'sleep 31[2]'";
        life.until("end of the process", || {
            let output = life.asks(&["exec", &life.id, "sh", "-c", others])?;
            Ok(output.stdout == b"0\n")
        })?;
        life.shows("afterwards")
    }),
    ("exec/ends-with-the-container", |life| {
        life.up(STAYS)?;
        let child = life.start_command(&["exec", &life.id, "sh", "-c", "echo started; exec sleep 300"])?;
        life.await_output("started\n")?;
        life.does(&["kill", &life.id, "KILL"])?;
        let status = finish(child)?.status.code();
        life.note("status", status);
        life.await_status("stopped")
    }),
    ("exec/together", |life| {
        life.up(STAYS)?;
        let children: Vec<_> = (0..6)
            .map(|number| life.start_command(&["exec", &life.id, "sh", "-c", &format!("exit {number}")]))
            .collect::<Result<_>>()?;
        for child in children {
            let status = finish(child)?.status.code();
            life.note("status", status);
        }
        life.shows("afterwards")
    }),
    ("exec/many-in-turn", |life| {
        life.up(STAYS)?;
        for _ in 0..30 {
            life.does(&["exec", &life.id, "true"])?;
        }
        life.shows("afterwards")
    }),
    ("exec/console-socket", |life| {
        life.up(STAYS)?;
        let listener = UnixListener::bind(life.bundle.path.join("console"))?;
        let script = "test -t 0 && test -t 1 && test -t 2 && echo on a terminal; read -r x; echo \"read $x\"";
        let words = ["exec", "--detach", "--tty", "--pid-file", "pid", "--console-socket", "console"];
        let words: Vec<_> = words.into_iter().chain([life.id.as_str(), "sh", "-c", script]).collect();
        let text = converse(life, &listener, &words)?;
        life.note("terminal", text);
        let status = wait_for_child(pid(life)?)?;
        life.note("status", status);
        Ok(())
    }),
    ("create/console-socket", |life| {
        life.bundle.config["process"]["terminal"] = json!(true);
        life.script(
            "test -t 0 && test -t 1 && test -t 2 && echo on a terminal; read -r x; echo \"read $x\"",
        )?;
        let listener = UnixListener::bind(life.bundle.path.join("console"))?;
        let id = life.id.clone();
        let text = converse(life, &listener, &["run", "-d", "--console-socket", "console", &id])?;
        life.note("terminal", text);
        life.await_status("stopped")
    }),
    ("create/terminal-needs-a-console-socket", |life| {
        life.bundle.config["process"]["terminal"] = json!(true);
        life.bundle.write()?;
        let id = life.id.clone();
        life.tries("create", &["create", &id])?;
        life.shows("afterwards")
    }),
];

/// Runs a command that hands a terminal over, types a line on that, and gives all that it shows.
fn converse(life: &Life<'_>, listener: &UnixListener, words: &[&str]) -> Result<String> {
    let started = Instant::now();
    let child = life.start_command(words)?;
    listener.set_nonblocking(true)?;
    let mut socket = None;
    while socket.is_none() {
        match listener.accept() {
            Ok((accepted, _)) => socket = Some(accepted),
            Err(error) if error.kind() == ErrorKind::WouldBlock && started.elapsed() < PATIENCE => {
                thread::sleep(Duration::from_millis(10));
            }
            Err(error) => return Err(error).with_context(|| format!("no terminal comes; {}", life.output())),
        }
    }
    let mut terminal = receive(socket.context("socket")?.as_raw_fd())?;
    let status = finish(child)?.status;
    ensure!(status.success(), "{words:?}: {status}: {}", life.output());
    fs::remove_file(life.bundle.path.join("console"))?;
    let (sender, shown) = mpsc::channel();
    let mut reader = terminal.try_clone()?;
    thread::spawn(move || {
        let mut bytes = [0; 200];
        // At the end the other side hangs up.
        while let Ok(count @ 1..) = reader.read(&mut bytes) {
            if sender.send(bytes[..count].to_vec()).is_err() {
                break;
            }
        }
    });
    let (mut seen, mut typed) = (Vec::new(), false);
    while let Ok(bytes) = shown.recv_timeout(PATIENCE) {
        seen.extend(bytes);
        if !typed && seen.ends_with(b"terminal\r\n") {
            terminal.write_all(b"line\n")?;
            typed = true;
        }
    }
    Ok(String::from_utf8_lossy(&seen).into_owned())
}

/// A descriptor that comes over a socket.
fn receive(socket: i32) -> Result<File> {
    let (mut data, mut control) = ([0u8; 100], [0u64; 8]);
    let mut part = IoSliceMut::new(&mut data);
    // SAFETY: a zeroed header is valid; the buffers outlive the call.
    #[allow(unsafe_code, reason = "std receives no descriptors")]
    unsafe {
        let mut header: libc::msghdr = std::mem::zeroed();
        header.msg_iov = (&raw mut part).cast();
        header.msg_iovlen = 1;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = size_of_val(&control);
        ensure!(
            libc::recvmsg(socket, &raw mut header, libc::MSG_CMSG_CLOEXEC) > 0,
            "no message on the socket"
        );
        let first = libc::CMSG_FIRSTHDR(&raw const header);
        ensure!(!first.is_null() && (*first).cmsg_type == libc::SCM_RIGHTS, "no descriptor in the message");
        let fd = libc::CMSG_DATA(first).cast::<i32>().read_unaligned();
        Ok(File::from_raw_fd(fd))
    }
}

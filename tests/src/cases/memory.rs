//! The end of memory, and what the host gets back.

use std::{
    fs,
    io::Write,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;

use super::life::sandbox_of;
use crate::{
    bundle::Bundle,
    command::{await_text, finish, finish_within, id, run, runtime, start},
};

const MIB: u64 = 1 << 20;
/// Longest that all bombs together may take: memory is dear where the machine is emulated.
const BOMBS: Duration = Duration::from_secs(240);

/// A bundle with so much memory and the program of the cases as `/cases`.
fn bundle(name: &str, memory: u64, args: &[&str]) -> Result<Bundle> {
    let Some(programs) = std::env::var_os("RINGFENCE_TEST_PROGRAMS") else {
        bail!("RINGFENCE_TEST_PROGRAMS names no directory");
    };
    let mut bundle = Bundle::new(name, args)?;
    fs::copy(Path::new(&programs).join("linux-cases"), bundle.file("cases")).context("linux-cases")?;
    bundle.config["linux"]["resources"]["memory"] = json!({ "limit": memory });
    bundle.config["process"]["rlimits"] = json!([{ "type": "RLIMIT_NOFILE", "soft": 4096, "hard": 4096 }]);
    bundle.write()?;
    Ok(bundle)
}

/// Every kind of bomb, one after another: the sentry and the other processes live on.
pub(super) fn bombs() -> Result<String> {
    const ENDS: [(&str, &[&str]); 7] = [
        ("malloc", &["status 137"]),
        ("fork", &["a child killed by SIGKILL", "ENOMEM", "status 137"]),
        ("memfd", &["ENOMEM"]),
        ("threads", &["no more", "status 137"]),
        ("areas", &["ENOMEM", "status 137"]),
        ("pipes", &["ENOMEM"]),
        ("files", &["ENOSPC"]),
    ];
    let script = "sleep 1000 & other=$!
        for kind in malloc fork memfd threads areas pipes files; do
            /cases child bomb $kind; echo $kind: status $?; rm -f /dev/shm/*
            kill -0 $other && echo $kind: other $(echo lives | cat)
        done; kill $other";
    let bundle = bundle("bombs", 64 * MIB, &["sh", "-c", script])?;
    let output = finish_within(start(&runtime(), &bundle.path, &id())?, BOMBS)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let told = || format!("{}: {text}{}", output.status, String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.code().is_some_and(|code| code < 125), "{}", told());
    for (kind, ends) in ENDS {
        let ended = ends.iter().any(|end| text.contains(&format!("{kind}: {end}")));
        ensure!(ended, "no end of {kind}; {}", told());
        ensure!(text.contains(&format!("{kind}: other lives")), "{kind} harms others; {}", told());
    }
    Ok(format!("{} bombs", ENDS.len()))
}

/// The first process is the victim: its status is that of a kill.
pub(super) fn first_process() -> Result<String> {
    let bundle = bundle("victim", 64 * MIB, &["/cases", "child", "bomb", "malloc"])?;
    let output = run(&runtime(), &bundle.path)?;
    ensure!(
        output.status.code() == Some(137),
        "{}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok("status 137".into())
}

/// Resident memory of a process, bytes.
fn resident(pid: u32) -> Result<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Rss:")).context("no Rss")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}

/// How long the host itself takes to free so much shared memory.
fn hosts_own(size: u64) -> Result<Duration> {
    use std::os::fd::{FromRawFd, OwnedFd};
    let len = i64::try_from(size)?;
    // SAFETY: memfd_create takes a string that lives on; what it gives is ours.
    #[allow(unsafe_code, reason = "std makes no files in memory")]
    let file = unsafe {
        let fd = libc::memfd_create(c"measure".as_ptr(), libc::MFD_CLOEXEC);
        ensure!(fd >= 0, "memfd_create");
        std::fs::File::from(OwnedFd::from_raw_fd(fd))
    };
    let allocate = |mode| {
        // SAFETY: fallocate takes no pointer.
        #[allow(unsafe_code, reason = "std does not have it")]
        unsafe {
            libc::fallocate(std::os::fd::AsRawFd::as_raw_fd(&file), mode, 0, len)
        }
    };
    ensure!(allocate(0) == 0, "fallocate");
    let start = Instant::now();
    ensure!(allocate(libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE) == 0, "punch a hole");
    Ok(start.elapsed())
}

/// What a program gives back the host has back within a second, more where the host itself is slow at it.
pub(super) fn comes_back() -> Result<String> {
    const SIZE: u64 = 512 * MIB;
    let bundle = bundle("come-and-go", 1024 * MIB, &["/cases", "child", "come-and-go", "512"])?;
    let mut child = start(&runtime(), &bundle.path, &id())?;
    let mut seen = Vec::new();
    await_text(&mut child, &mut seen, "touched\n")?;
    let pid = sandbox_of(child.id()).context("no sandbox process")?;
    let full = resident(pid)?;
    ensure!(full > SIZE, "{} MiB after the touch", full / MIB);
    let allowed = Duration::from_secs(1) + 4 * hosts_own(SIZE)?;
    let mut input = child.stdin.take().context("stdin")?;
    input.write_all(b"\n")?;
    await_text(&mut child, &mut seen, "freed\n")?;
    let start = Instant::now();
    let mut now = full;
    while now > full - SIZE + 24 * MIB && start.elapsed() < 2 * allowed {
        thread::sleep(Duration::from_millis(20));
        now = resident(pid)?;
    }
    let took = start.elapsed();
    input.write_all(b"\n")?;
    drop(input);
    finish(child)?;
    ensure!(took < allowed, "{} MiB of {} after {took:?} of {allowed:?}", now / MIB, full / MIB);
    Ok(format!("{} to {} MiB in {} of {} ms", full / MIB, now / MIB, took.as_millis(), allowed.as_millis()))
}

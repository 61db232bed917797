//! Running a runtime on a bundle.

use std::{
    io::{Read, Write},
    os::{fd::AsRawFd, unix::process::CommandExt},
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

/// Longest that one container may take.
const LIMIT: Duration = Duration::from_secs(60);

/// The runtime under test.
pub(crate) fn runtime() -> String {
    std::env::var("RINGFENCE_RUNTIME").unwrap_or_else(|_| "ringfence".into())
}

/// An id that no other container has.
pub(crate) fn id() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Sends a signal.
pub(crate) fn kill(pid: u32, signal: i32) {
    // SAFETY: kill takes no pointer.
    #[allow(unsafe_code, reason = "std sends no signal but SIGKILL, and that only to its own children")]
    unsafe {
        libc::kill(pid.cast_signed(), signal);
    }
}

/// Starts `program run` on a bundle, in a process group of its own.
pub(crate) fn start(program: &str, bundle: &Path, id: &str) -> Result<Child> {
    start_under(&[], program, bundle, id)
}

/// The same, started by the command `wrapper`.
pub(crate) fn start_under(wrapper: &[&str], program: &str, bundle: &Path, id: &str) -> Result<Child> {
    let mut words = wrapper.iter().chain([&program, &"run", &"--bundle"]);
    let mut command = Command::new(words.next().context("no program")?);
    command
        .args(words)
        .arg(bundle)
        .arg(id)
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| program.to_owned())
}

/// Reads standard output into `seen` until `text` appears in what is read now.
pub(crate) fn await_text(child: &mut Child, seen: &mut Vec<u8>, text: &str) -> Result<()> {
    let (start, from) = (Instant::now(), seen.len());
    let output = child.stdout.as_mut().context("stdout")?;
    while !seen[from..].windows(text.len()).any(|part| part == text.as_bytes()) {
        let mut poll = libc::pollfd { fd: output.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid entry.
        #[allow(unsafe_code, reason = "std reads without a time limit")]
        let ready = unsafe { libc::poll(&raw mut poll, 1, 100) };
        if start.elapsed() > LIMIT / 2 {
            bail!("no {text:?} within {} s", LIMIT.as_secs() / 2);
        }
        if ready > 0 {
            let mut byte = [0];
            if output.read(&mut byte)? == 0 {
                bail!("it ends without {text:?}");
            }
            seen.push(byte[0]);
        }
    }
    Ok(())
}

/// Waits with the usual time limit.
pub(crate) fn finish(child: Child) -> Result<Output> {
    finish_within(child, LIMIT)
}

/// Waits with a time limit.
pub(crate) fn finish_within(child: Child, limit: Duration) -> Result<Output> {
    let group = child.id() as i32;
    let watch = std::thread::spawn(move || child.wait_with_output());
    let start = Instant::now();
    while !watch.is_finished() {
        if start.elapsed() > limit {
            kill(group.cast_unsigned().wrapping_neg(), libc::SIGKILL);
            bail!("no end within {} s", limit.as_secs());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    match watch.join() {
        Ok(output) => output.context("wait"),
        Err(_) => bail!("the waiting thread panicked"),
    }
}

/// Runs a container to its end with `input` as its standard input.
pub(crate) fn run_with(program: &str, bundle: &Path, input: &[u8]) -> Result<Output> {
    feed(start(program, bundle, &id())?, input)
}

/// Runs a container to its end without input, started by the command `wrapper`.
pub(crate) fn run_under(wrapper: &[&str], program: &str, bundle: &Path) -> Result<Output> {
    feed(start_under(wrapper, program, bundle, &id())?, b"")
}

fn feed(mut child: Child, input: &[u8]) -> Result<Output> {
    let mut stdin = child.stdin.take().context("stdin")?;
    let input = input.to_vec();
    let feed = std::thread::spawn(move || stdin.write_all(&input));
    let output = finish(child)?;
    let _ = feed.join();
    Ok(output)
}

/// Runs a container to its end without input.
pub(crate) fn run(program: &str, bundle: &Path) -> Result<Output> {
    run_with(program, bundle, b"")
}

//! Running a runtime on a bundle.

use std::{
    io::Write,
    os::unix::process::CommandExt,
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

/// Starts `program run` on a bundle, in a process group of its own.
pub(crate) fn start(program: &str, bundle: &Path, id: &str) -> Result<Child> {
    Command::new(program)
        .args(["run", "--bundle"])
        .arg(bundle)
        .arg(id)
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| program.to_owned())
}

/// Waits with a time limit.
pub(crate) fn finish(child: Child) -> Result<Output> {
    let group = child.id() as i32;
    let watch = std::thread::spawn(move || child.wait_with_output());
    let start = Instant::now();
    while !watch.is_finished() {
        if start.elapsed() > LIMIT {
            // SAFETY: kill takes no pointer.
            #[allow(unsafe_code, reason = "std kills processes, not groups")]
            unsafe {
                libc::kill(-group, libc::SIGKILL);
            }
            bail!("no end within {} s", LIMIT.as_secs());
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
    let mut child = start(program, bundle, &id())?;
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

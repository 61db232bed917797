//! Running a program to its end: without looking at it meanwhile, for that would be measured too, and never for ever.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

/// Kills a process when a time limit passes, unless it is finished before.
///
/// It starts before the process does and sleeps until it is needed, so that it costs the process nothing.
#[derive(Debug)]
struct Watchdog {
    pid: Arc<AtomicU32>,
    stop: Sender<()>,
    thread: thread::JoinHandle<bool>,
}

impl Watchdog {
    fn new(limit: Duration) -> Watchdog {
        let (stop, stopped) = mpsc::channel::<()>();
        let pid = Arc::new(AtomicU32::new(0));
        let watched = Arc::clone(&pid);
        let thread = thread::spawn(move || {
            let late = stopped.recv_timeout(limit) == Err(RecvTimeoutError::Timeout);
            if late {
                kill(watched.load(Ordering::Acquire));
            }
            late
        });
        Watchdog { pid, stop, thread }
    }

    fn watch(&self, child: &Child) {
        self.pid.store(child.id(), Ordering::Release);
    }

    /// Ends the watch and says whether the limit had passed.
    fn finish(self) -> bool {
        drop(self.stop);
        self.thread.join().unwrap_or(false)
    }
}

fn kill(pid: u32) {
    if pid == 0 {
        return;
    }
    // The process may have ended by itself in the meantime.
    let _sent = Command::new("kill").args(["-KILL", &pid.to_string()]).stderr(Stdio::null()).status();
}

/// What came of a command.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Nanoseconds (in count mode, instructions) from start to end.
    pub(crate) cost: f64,
    /// How much of that any process of the machine ran; the rest nobody had anything to do.
    pub(crate) busy: f64,
    /// What it wrote to standard error.
    pub(crate) errors: String,
}

/// Runs a command to its end. Its output goes nowhere, for what outlives the command may hold on to it.
///
/// The error says why it failed, in the command's own last words.
pub(crate) fn run(command: &mut Command, limit: Duration) -> Result<Outcome, String> {
    run_into(command, Stdio::null(), limit)
}

/// The same with a place for its output.
pub(crate) fn run_into(command: &mut Command, output: Stdio, limit: Duration) -> Result<Outcome, String> {
    let log = std::env::temp_dir().join(format!("bench-{}.log", std::process::id()));
    let errors = File::create(&log).map_err(|error| format!("{}: {error}", log.display()))?;
    command.stdin(Stdio::null()).stdout(output).stderr(errors);
    let watchdog = Watchdog::new(limit);
    let ran = time_run();
    let start = Instant::now();
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    watchdog.watch(&child);
    let status = child.wait().map_err(|error| error.to_string())?;
    let cost = start.elapsed().as_nanos() as f64;
    let busy = time_run() - ran;
    let late = watchdog.finish();
    let errors = take(&log);
    if late {
        return Err(format!("did not end within {} s", limit.as_secs()));
    }
    if status.success() { Ok(Outcome { cost, busy, errors }) } else { Err(failure(status, &errors)) }
}

/// Nanoseconds that processes have run on all CPUs (the seventh figure of each in `/proc/schedstat`).
fn time_run() -> f64 {
    let text = fs::read_to_string("/proc/schedstat").unwrap_or_default();
    let of_cpu = |line: &str| line.split_whitespace().nth(7).and_then(|word| word.parse::<f64>().ok());
    text.lines().filter(|line| line.starts_with("cpu")).filter_map(of_cpu).sum()
}

/// Reads a file of messages and removes it.
fn take(file: &Path) -> String {
    let text = String::from_utf8_lossy(&fs::read(file).unwrap_or_default()).into_owned();
    // Nothing is lost when it stays.
    let _removed = fs::remove_file(file);
    text
}

/// The last line that a failed command wrote, or else its status.
pub(crate) fn failure(status: ExitStatus, errors: &str) -> String {
    match errors.lines().rev().find(|line| !line.trim().is_empty()) {
        Some(line) => line.trim().chars().take(300).collect(),
        None => status.to_string(),
    }
}

/// What a program that reports line by line came to.
#[derive(Debug)]
pub(crate) struct Conversation {
    /// Why it ended before all lines had come, when it did.
    pub(crate) trouble: Option<String>,
}

/// Runs a command and hands each line of its output to `each` until that says that it has enough, the command ends, or
/// no line comes for `limit`.
pub(crate) fn converse(
    command: &mut Command,
    limit: Duration,
    mut each: impl FnMut(&str) -> bool,
) -> io::Result<Conversation> {
    let log = std::env::temp_dir().join(format!("bench-{}.log", std::process::id()));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create(&log)?);
    let mut child = command.spawn()?;
    let lines = lines_of(&mut child);
    let late = loop {
        match lines.recv_timeout(limit) {
            Ok(line) if each(&line) => break false,
            Ok(_) => {}
            Err(RecvTimeoutError::Disconnected) => break false,
            Err(RecvTimeoutError::Timeout) => break true,
        }
    };
    let watchdog = Watchdog::new(limit);
    watchdog.watch(&child);
    if late {
        kill(child.id());
    }
    let status = child.wait()?;
    let killed = watchdog.finish();
    let errors = take(&log);
    let trouble = match () {
        () if late || killed => Some(format!("no result within {} s", limit.as_secs())),
        () if !status.success() => Some(failure(status, &errors)),
        () => None,
    };
    Ok(Conversation { trouble })
}

fn lines_of(child: &mut Child) -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel();
    if let Some(output) = child.stdout.take() {
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
    }
    lines
}

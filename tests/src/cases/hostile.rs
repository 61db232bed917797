//! Hostile containers hurt only themselves: a neighbour goes on, the machine answers, nothing panics.

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    bundle::Bundle,
    command::{await_text, finish_within, id, kill, runtime, start},
};

/// Longest that the neighbour or the machine may take to answer, where everything is emulated.
const PATIENCE: Duration = Duration::from_secs(25);
/// Longest that the container may take to end after its time, seconds.
const GRACE: u64 = 120;

/// Another sandbox, which answers what it is asked.
struct Neighbour {
    child: Child,
    seen: Vec<u8>,
    asked: u32,
    slowest: Duration,
    _bundle: Bundle,
}

impl Neighbour {
    fn new() -> Result<Self> {
        let script =
            "while read -r line; do n=$(echo \"$line\" | wc -c); echo \"$line has $n.\"; done; echo bye";
        let bundle = Bundle::new("neighbour", &["sh", "-c", script])?;
        let child = start(&runtime(), &bundle.path, &id())?;
        let mut new = Self { child, seen: Vec::new(), asked: 0, slowest: Duration::ZERO, _bundle: bundle };
        new.ask()?;
        new.slowest = Duration::ZERO;
        Ok(new)
    }

    fn ask(&mut self) -> Result<()> {
        let begin = Instant::now();
        self.asked += 1;
        writeln!(self.child.stdin.as_mut().context("stdin")?, "question {}", self.asked)?;
        let answer = format!("question {} has ", self.asked);
        await_text(&mut self.child, &mut self.seen, &answer).context("the neighbour")?;
        await_text(&mut self.child, &mut self.seen, ".\n").context("the neighbour")?;
        self.slowest = self.slowest.max(begin.elapsed());
        Ok(())
    }

    /// It must still end as it would have.
    fn end(mut self) -> Result<()> {
        drop(self.child.stdin.take());
        let output = finish_within(self.child, PATIENCE).context("the neighbour")?;
        ensure!(
            output.status.success() && output.stdout.ends_with(b"bye\n"),
            "the neighbour: {}",
            output.status
        );
        Ok(())
    }
}

/// How long the machine takes to start a program of its own.
fn machine_answers() -> Result<Duration> {
    let begin = Instant::now();
    let output = Command::new("sh").args(["-c", "echo $((6 * 7))"]).stderr(Stdio::null()).output()?;
    ensure!(output.stdout == b"42\n", "the machine: {}", output.status);
    Ok(begin.elapsed())
}

/// Memory of a container that an attack has filled at once: 192 MiB.
const LITTLE: u64 = 192 << 20;

/// Runs `hostile` with `args` for its time beside a neighbour, in a container with `memory` bytes if that is given;
/// gives what it wrote.
fn attack(args: &[&str], memory: Option<u64>, seconds: u64, neighbour: &mut Neighbour) -> Result<String> {
    let programs =
        std::env::var_os("RINGFENCE_TEST_PROGRAMS").context("RINGFENCE_TEST_PROGRAMS is not set")?;
    let seconds_text = seconds.to_string();
    let mut words = vec!["/bin/hostile", args[0], &seconds_text];
    words.extend(&args[1..]);
    let mut bundle = Bundle::new("hostile", &words)?;
    fs::copy(Path::new(&programs).join("hostile"), bundle.file("bin/hostile")).context("hostile")?;
    bundle.config["process"]["rlimits"] = serde_json::json!([]);
    if let Some(memory) = memory {
        bundle.config["linux"]["resources"]["memory"] = serde_json::json!({ "limit": memory });
    }
    bundle.write()?;
    let begin = Instant::now();
    let grace = if args[0] == "fork" { GRACE / 4 } else { GRACE };
    let mut child = start(&runtime(), &bundle.path, &id())?;
    let mut slowest = Duration::ZERO;
    while child.try_wait()?.is_none() && begin.elapsed() < Duration::from_secs(seconds + grace) {
        neighbour.ask()?;
        slowest = slowest.max(machine_answers()?);
        ensure!(slowest < PATIENCE, "the machine takes {} s to answer", slowest.as_secs());
        std::thread::sleep(Duration::from_millis(300));
    }
    let late = child.try_wait()?.is_none();
    if late {
        kill(child.id().cast_signed().wrapping_neg().cast_unsigned(), libc::SIGKILL);
    }
    let output = finish_within(child, Duration::from_secs(20)).context("killed from outside")?;
    if late && args[0] == "fork" {
        // Tens of thousands of processes that all fork leave the first one its fair share of the time, as Linux does:
        // it may be minutes until it has killed them. Whoever kills the container does not have to wait.
        return Ok(format!("fork: killed from outside after {} s", begin.elapsed().as_secs()));
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    let tail: Vec<&str> = log.lines().rev().take(40).collect();
    let tail = tail.into_iter().rev().collect::<Vec<_>>().join("\n");
    ensure!(!late, "{args:?}: no end {GRACE} s after its time\n{text}{tail}");
    for sign in ["panic", "triple fault", "KVM"] {
        ensure!(!log.contains(sign), "{args:?}: {}\n{tail}", output.status);
    }
    // What an attack does may cost its container the life, but in no other way than by a kill.
    match output.status.code() {
        Some(0) if text.ends_with("done\n") => {}
        Some(137) => return Ok(format!("{}: killed", args[0])),
        _ => bail!("{args:?}: {}\n{text}{tail}", output.status),
    }
    let lines: Vec<&str> = text.lines().filter(|line| !["up", "done"].contains(line)).collect();
    Ok(format!("{}: {} in {} s", args[0], lines.join(", "), begin.elapsed().as_secs()))
}

fn attacks(list: &[(&[&str], Option<u64>)], default: u64, long: u64) -> Result<String> {
    let seconds = if super::long() { long } else { default };
    let mut neighbour = Neighbour::new()?;
    let one = |&(args, memory): &(&[&str], _)| attack(args, memory, seconds, &mut neighbour);
    let notes: Vec<String> = list.iter().map(one).collect::<Result<_>>()?;
    let slowest = neighbour.slowest;
    neighbour.end()?;
    Ok(format!("{}; the neighbour answers within {:.1} s", notes.join("; "), slowest.as_secs_f32()))
}

pub(super) fn bombs() -> Result<String> {
    let all: [(&[&str], _); 4] =
        [(&["fork"], None), (&["fork"], Some(LITTLE)), (&["threads"], None), (&["memory"], None)];
    attacks(&all, 8, 200)
}

pub(super) fn signals() -> Result<String> {
    attacks(&[(&["signals"], None)], 8, 600)
}

/// An attack with random numbers, which `RINGFENCE_TEST_SEED` chooses.
fn random(attack: &str, default: u64, long: u64) -> Result<String> {
    let seed = std::env::var("RINGFENCE_TEST_SEED").unwrap_or_else(|_| std::process::id().to_string());
    attacks(&[(&[attack, &seed], None)], default, long).with_context(|| format!("seed {seed}"))
}

pub(super) fn calls() -> Result<String> {
    random("calls", 20, 600)
}

pub(super) fn elves() -> Result<String> {
    random("elves", 10, 600)
}

//! `--strace` against strace itself: the same script under both, line by line.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use crate::{
    bundle::Bundle,
    command::{finish, run_under, runtime},
};

/// Least number of different calls that must agree.
const LEAST: usize = 25;

/// Programs in the container; each line makes calls of its own.
const SCRIPT: &str = r#"
exec 2>/dev/null
cd /tmp
trap 'echo caught' USR1
kill -USR1 $$
mkdir -m 755 d
echo one > d/f
echo two | cat
cat d/f
ln -s f d/l
readlink d/l
readlink d/none
ls d
ln d/f d/k
mv d/f d/g
chmod 640 d/g
chown 0:0 d/g
touch d/h
truncate -s 100 d/h
dd if=d/g of=d/z bs=2 count=2 seek=1 conv=fsync
fallocate -l 10 d/x
mkfifo d/p
flock d true
stty < /dev/null
[ -w d/g ] && echo writable
umask 027
ulimit -s
sleep 0.05
usleep 1000
uname -s
pwd
id -u
nice -n 5 true
setsid true
sync
read -t 1 word < /dev/null
(exit 3)
sleep 60 &
sleep 1
kill -9 $!
sleep 1
rm -r d
exit 5
"#;

/// Lines that only one side has, by how they begin, and why.
const DIFFERENT: &[(&str, &str)] = &[
    ("rseq(", "the sentry has no rseq: ENOSYS, and the C library goes without"),
    ("clock_gettime(", "the sentry has no vDSO, so that asking for the time is a call"),
    ("time(", "the same"),
    ("sched_yield(", "how often a task gives the CPU up is a matter of time"),
];

/// What a trace says, process ids, addresses and times aside.
#[derive(Default)]
struct Trace {
    lines: BTreeSet<String>,
}

impl Trace {
    /// Joins calls that were interrupted by lines of other tasks. `split` takes a line's task off.
    fn new(text: &str, split: impl Fn(&str) -> Option<(&str, &str)>) -> Self {
        let mut begun: BTreeMap<&str, &str> = BTreeMap::new();
        let mut lines = BTreeSet::new();
        // What ran before the shell is the way into its root file system.
        let shell = |line: &&str| line.contains("execve(\"/bin/sh\"") && !line.contains("ENOENT");
        for line in text.lines().skip_while(|line| !shell(line)) {
            let Some((task, call)) = split(line) else { continue };
            if let Some(start) = call.strip_suffix("<unfinished ...>") {
                begun.insert(task, start.trim_end_matches(' '));
            } else if let Some(rest) = call.strip_prefix("<... ") {
                let start = begun.remove(task).unwrap_or_default();
                let space = if start.ends_with(',') { " " } else { "" };
                let rest = rest.split_once(" resumed>").map_or("", |(_, rest)| rest);
                lines.insert(normal(&format!("{start}{space}{rest}")));
            } else {
                lines.insert(normal(call));
            }
        }
        Self { lines }
    }

    /// The names of calls in lines that `other` has, too.
    fn shared<'a>(&'a self, other: &'a Self) -> BTreeSet<&'a str> {
        let both = self.lines.intersection(&other.lines);
        both.filter(|line| !line.starts_with(['-', '+'])).filter_map(|line| line.split('(').next()).collect()
    }

    /// The lines that `other` does not have and that are not to differ.
    fn missing_from<'a>(&'a self, other: &'a Self) -> Vec<&'a str> {
        let expected = |line: &str| DIFFERENT.iter().any(|(start, _)| line.starts_with(start));
        self.lines.difference(&other.lines).map(String::as_str).filter(|line| !expected(line)).collect()
    }
}

/// Replaces what stands after each `mark` as far as `part` goes.
fn replace_after(line: &str, mark: &str, part: impl Fn(char) -> bool, by: &str) -> String {
    let mut pieces = line.split(mark);
    let mut all = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let rest = piece.trim_start_matches(&part);
        all.push_str(mark);
        all.push_str(if rest.len() < piece.len() { by } else { "" });
        all.push_str(rest);
    }
    all
}

/// A line without what differs from run to run.
fn normal(line: &str) -> String {
    let digit = |c: char| c.is_ascii_digit();
    let mut line = line.split_whitespace().collect::<Vec<_>>().join(" ");
    // Addresses have five digits and more; flags are shorter.
    let words: Vec<_> = line.split("0x").map(str::to_owned).collect();
    line = words[0].clone();
    for word in &words[1..] {
        let end = word.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(word.len());
        line.push_str("0x");
        line.push_str(if end >= 5 { "ADDR" } else { &word[..end] });
        line.push_str(&word[end..]);
    }
    line = replace_after(&line, "si_pid=", digit, "PID");
    for time in ["si_utime=", "si_stime="] {
        line = replace_after(&line, time, |c| !matches!(c, ',' | '}'), "T");
    }
    line = replace_after(&line, "nodename=\"", |c| c != '"', "NAME");
    let name = line.split('(').next().unwrap_or_default().to_owned();
    match name.as_str() {
        "clone" | "vfork" | "getpid" | "getppid" | "set_tid_address" | "setsid" | "gettid" | "wait4"
        | "rt_sigreturn" => {
            line = replace_after(&line, " = ", digit, "PID");
        }
        _ => {}
    }
    match name.as_str() {
        // Which of the shell's waits meets the killed child is a matter of time.
        "wait4" if line.contains("WIFSIGNALED") => line = line.replace("WNOHANG", "0"),
        "kill" | "wait4" => line = replace_after(&line, &format!("{name}("), digit, "PID"),
        "getrandom" => line = replace_after(&line, "getrandom(", |c| c != ',', "RANDOM"),
        // The shell takes off what has passed of the time-out.
        "poll" => line = replace_after(&line, "], 1, ", digit, "TIMEOUT"),
        // The size of a directory is the file system's own affair.
        _ if line.contains("S_IFDIR") => line = replace_after(&line, "st_size=", digit, "N"),
        _ => {}
    }
    line
}

/// The trace of Linux's strace, in the bundle's root file system.
fn of_linux(bundle: &Bundle) -> Result<Trace> {
    let output = bundle.path.join("trace");
    let root = bundle.file("");
    let mounts = "mount -t proc proc \"$1/proc\" && mount --bind /dev \"$1/dev\" && exec env -i --default-signal PATH=/bin TERM=xterm \
                  HOME=/root strace -f -o \"$2\" /usr/sbin/chroot \"$1\" /bin/sh /script";
    let child = Command::new("unshare")
        .args(["-m", "sh", "-c", mounts, "sh"])
        .args([&root, &output])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("unshare")?;
    let ended = finish(child)?;
    ensure!(ended.status.code() == Some(5), "under strace: {ended:?}");
    let text = fs::read_to_string(&output).context("the trace")?;
    Ok(Trace::new(&text, |line| line.split_once(' ').map(|(task, call)| (task, call.trim_start()))))
}

/// The runtime's trace: it comes with what else is on standard error.
fn of_runtime(bundle: &Bundle) -> Result<Trace> {
    let ended = run_under(&[&runtime()], "--strace", &bundle.path)?;
    let text = String::from_utf8_lossy(&ended.stderr).into_owned();
    let tail = || text.lines().rev().take(5).collect::<Vec<_>>();
    ensure!(ended.status.code() == Some(5), "{}: {:?}", ended.status, tail());
    Ok(Trace::new(&text, |line| line.strip_prefix("[pid")?.trim_start().split_once("] ")))
}

fn bundle(name: &str) -> Result<Bundle> {
    let mut bundle = Bundle::new(name, &["/bin/sh", "/script"])?;
    bundle.config["process"]["env"] = serde_json::json!(["PATH=/bin", "TERM=xterm", "HOME=/root"]);
    bundle.write()?;
    fs::write(bundle.file("script"), SCRIPT)?;
    Ok(bundle)
}

pub(super) fn strace_as_strace() -> Result<String> {
    let linux = of_linux(&bundle("strace-linux")?)?;
    let ours = of_runtime(&bundle("strace-ours")?)?;
    let (here, there) = (linux.missing_from(&ours), ours.missing_from(&linux));
    let shared = linux.shared(&ours);
    ensure!(
        here.is_empty() && there.is_empty(),
        "{} calls agree; only Linux has {here:#?}, only the runtime has {there:#?}",
        shared.len()
    );
    ensure!(shared.len() >= LEAST, "only {} different calls agree: {shared:?}", shared.len());
    Ok(format!("{} different calls, {} lines", shared.len(), linux.lines.len()))
}

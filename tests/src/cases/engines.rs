//! Engines other than Docker with the runtime under them: containerd alone, driven by `ctr`, and podman.
//!
//! As for Docker, a case is a shell script that is run under runc and under the runtime, and must print the same.

use std::{
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use super::{
    difference,
    docker::mask,
    life::{traces, unchanged},
    long,
};
use crate::{
    bundle::Bundle,
    command::{finish_within, kill, runtime},
};

/// How long an engine may take to start.
const START: Duration = Duration::from_secs(60);
/// How long a script may take.
const LIMIT: Duration = Duration::from_secs(200);
/// Name of the image.
const IMAGE: &str = "local.test/image:1";

/// A directory of a case, with the tree of the image.
struct Place {
    bundle: Bundle,
    directory: PathBuf,
}

impl Place {
    fn new(name: &str) -> Result<Self> {
        // Not in memory: engines put overlays there.
        let directory = PathBuf::from("/var/tmp").join(format!("{name}-tests-{}", std::process::id()));
        fs::create_dir_all(&directory)?;
        let bundle = Bundle::new(name, &["true"])?;
        std::os::unix::fs::symlink(bundle.path.join("rootfs"), directory.join("rootfs"))?;
        Ok(Self { bundle, directory })
    }

    fn at(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
        let _ = fs::remove_dir_all(&self.bundle.path);
    }
}

/// A program, by its whole path.
pub(super) fn program(name: &str) -> Result<String> {
    let output = Command::new("sh").args(["-c", "command -v \"$0\"", name]).output()?;
    let path = String::from_utf8(output.stdout)?.trim().to_owned();
    ensure!(!path.is_empty(), "no {name} in PATH");
    Ok(path)
}

/// Runs a script with these variables; what it prints, and whether it succeeds.
fn script(directory: &Path, text: &str, variables: &[(&str, &str)]) -> Result<(String, bool)> {
    script_within(LIMIT, directory, text, variables)
}

/// The same of one that may take so long. It has the tools of `tests/engines/prelude.sh`.
pub(super) fn script_within(
    limit: Duration,
    directory: &Path,
    text: &str,
    variables: &[(&str, &str)],
) -> Result<(String, bool)> {
    fs::create_dir_all(directory)?;
    let text = format!("{}{text}", include_str!("../../engines/prelude.sh"));
    let child = Command::new("bash")
        .args(["-c", &text])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", directory)
        .envs(variables.iter().copied())
        .current_dir(directory)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("bash")?;
    let output = finish_within(child, limit)?;
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Ok((text, output.status.success()))
}

/// The script under both runtimes: what it prints must be the same.
fn same(place: &Place, text: &str, variables: &[(&'static str, String)]) -> Result<String> {
    let transcript = |label: &str, name: &str| -> Result<String> {
        let directory = place.directory.join(label);
        let program = program(name)?;
        let mut all = variables.to_vec();
        all.extend([("PROGRAM", program), ("IMAGE", IMAGE.to_owned()), ("BOX", format!("box-{label}"))]);
        let all: Vec<_> = all.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let (text, _) = script(&directory, text, &all).with_context(|| format!("under {name}"))?;
        Ok(mask(&text, label, &directory))
    };
    side_by_side(5, |label| {
        let tested = runtime();
        transcript(label, if label == "runc" { label } else { &tested })
    })
}

/// What is printed for `runc` and for `tested`, at once, must be the same, and more than so many lines.
pub(super) fn side_by_side(
    least: usize,
    transcript: impl Fn(&'static str) -> Result<String> + Sync,
) -> Result<String> {
    let (expected, got) = thread::scope(|scope| {
        let expected = scope.spawn(|| transcript("runc"));
        let got = transcript("tested");
        (expected.join(), got)
    });
    let expected = expected.map_err(|_| anyhow::anyhow!("the thread for runc panicked"))?.context("runc")?;
    let got = got?;
    ensure!(expected.lines().count() > least, "runc: {expected}");
    match difference(&expected, &got) {
        Some(difference) => anyhow::bail!("{difference}"),
        None => Ok(format!("{} lines", got.lines().count())),
    }
}

/// A containerd of the tests' own.
struct Containerd(Option<Child>);

impl Containerd {
    fn start(place: &Place) -> Result<Self> {
        // The name of a shim's socket must not be too long.
        let log = fs::File::create(place.at("log"))?;
        let child = Command::new("containerd")
            .args(["--root", &place.at("root"), "--state", &place.at("state")])
            .args(["--address", &place.at("sock"), "--log-level", "warn"])
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("containerd")?;
        let started = Self(Some(child));
        let begun = Instant::now();
        while !script(&place.directory, "ctr version", &[("CONTAINERD_ADDRESS", &place.at("sock"))])?.1 {
            ensure!(
                begun.elapsed() < START,
                "containerd does not start: {}",
                fs::read_to_string(place.at("log"))?
            );
            thread::sleep(Duration::from_millis(200));
        }
        Ok(started)
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        if let Some(child) = self.0.take() {
            kill(child.id(), libc::SIGTERM);
            let _ = finish_within(child, Duration::from_secs(20));
        }
    }
}

/// containerd, by ctr.
pub(super) fn containerd() -> Result<String> {
    let before = traces()?;
    let place = Place::new("ctr")?;
    let address = place.at("sock");
    let engine = Containerd::start(&place)?;
    let variables = [("CONTAINERD_ADDRESS", address.as_str()), ("IMAGE", IMAGE)];
    let (said, good) = script(&place.directory, include_str!("../../containerd/image.sh"), &variables)?;
    ensure!(good, "image: {said}");
    let note =
        same(&place, include_str!("../../containerd/life.sh"), &[("CONTAINERD_ADDRESS", address.clone())])?;
    drop(engine);
    drop(place);
    cleaned_up(&before)?;
    Ok(note)
}

/// What is killed while containers of containerd live.
pub(super) fn killed() -> Result<String> {
    let before = traces()?;
    let place = Place::new("ctr-killed")?;
    let address = place.at("sock");
    let engine = Containerd::start(&place)?;
    let variables = [("CONTAINERD_ADDRESS", address.as_str()), ("IMAGE", IMAGE)];
    let (said, good) = script(&place.directory, include_str!("../../containerd/image.sh"), &variables)?;
    ensure!(good, "image: {said}");
    drop(engine);
    let (rounds, lives) = if long() { (20, 10) } else { (1, 9) };
    let program = program(&runtime())?;
    for round in 1..=rounds {
        let (seed, lives) = (round.to_string(), lives.to_string());
        let mut all = variables.to_vec();
        all.extend([("PROGRAM", program.as_str()), ("SEED", &seed), ("LIVES", &lives)]);
        let (said, _) = script(&place.directory, include_str!("../../containerd/killed.sh"), &all)?;
        ensure!(said.trim().is_empty(), "round {round}: {said}");
    }
    drop(place);
    cleaned_up(&before)?;
    Ok(format!("{} lives", rounds * lives))
}

/// Podman.
pub(super) fn podman() -> Result<String> {
    let before = traces()?;
    let place = Place::new("podman")?;
    let prelude = "podman() { command podman --root \"$PWD/root\" --runroot \"$PWD/run\" --tmpdir \"$PWD/tmp\" \
                   --cgroup-manager cgroupfs --events-backend none --runtime \"$PROGRAM\" \"$@\"; }\n";
    let (said, good) = script(&place.directory, "tar -C rootfs -cf layer.tar .", &[])?;
    ensure!(good, "image: {said}");
    // One after the other: the first ones of two get in each other's way.
    for label in ["runc", "tested"] {
        let import = format!("{prelude}podman import ../layer.tar \"$IMAGE\"");
        let variables = [("PROGRAM", "/usr/sbin/runc"), ("IMAGE", IMAGE)];
        let (said, good) = script(&place.directory.join(label), &import, &variables)?;
        ensure!(good, "image: {said}");
    }
    let text = format!("{prelude}{}", include_str!("../../podman/life.sh"));
    let note = same(&place, &text, &[]);
    for label in ["runc", "tested"] {
        // Its storage is mounted on itself.
        let root = place.directory.join(label).join("root/overlay");
        let _ = Command::new("umount").arg(root).stderr(Stdio::null()).status();
    }
    drop(place);
    let note = note?;
    cleaned_up(&before)?;
    Ok(note)
}

/// Nothing is left of containers; the cgroups that engines make for all of theirs are theirs.
fn cleaned_up(before: &std::collections::BTreeSet<String>) -> Result<()> {
    for directory in ["default", "libpod_parent", "conmon", "machine.slice", "podman_probe"] {
        let path = Path::new("/sys/fs/cgroup").join(directory);
        let inner = fs::read_dir(&path).into_iter().flatten().flatten();
        for entry in inner.filter(|entry| entry.path().is_dir()) {
            let _ = fs::remove_dir(entry.path());
        }
        let _ = fs::remove_dir(path);
    }
    unchanged(before)
}

//! The Docker engine with the runtime under it: what a user types and sees must be as with runc.
//!
//! A case is a shell script, `tests/docker/NAME.sh`, that is run for runc and for the runtime at once. The engine is one
//! of the tests' own, with its state in a directory of the tests'; its containers have no network.

use std::{
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, OnceLock, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use super::difference;
use crate::{
    bundle::Bundle,
    command::{finish_within, kill, runtime},
};

/// How long the engine may take to start.
const START: Duration = Duration::from_secs(120);
/// How long a case may take under one runtime.
const LIMIT: Duration = Duration::from_secs(280);

/// A running engine.
struct Engine {
    daemon: Mutex<Option<Child>>,
    directory: PathBuf,
}

impl Engine {
    fn socket(&self) -> String {
        format!("unix://{}/docker.sock", self.directory.display())
    }

    fn docker(&self) -> Command {
        let mut command = Command::new("docker");
        command.env("DOCKER_HOST", self.socket()).env("DOCKER_CONFIG", self.directory.join("config"));
        command
    }

    /// Starts the daemon, with a containerd of its own, and makes an image.
    fn start() -> Result<Self> {
        let directory = PathBuf::from("/var/tmp").join(format!("docker-tests-{}", std::process::id()));
        fs::create_dir_all(&directory)?;
        let at = |name: &str| directory.join(name).display().to_string();
        let program = Command::new("sh").args(["-c", "command -v \"$0\"", &runtime()]).output()?.stdout;
        let program = String::from_utf8(program)?.trim().to_owned();
        ensure!(!program.is_empty(), "no {} in PATH", runtime());
        let log = fs::File::create(at("log"))?;
        let daemon = Command::new("dockerd")
            .args(["--host", &format!("unix://{}", at("docker.sock")), "--pidfile", &at("pid")])
            .args(["--data-root", &at("data"), "--exec-root", &at("exec"), "--bridge", "none"])
            .args(["--iptables=false", "--ip6tables=false", "--add-runtime", &format!("tested={program}")])
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("dockerd")?;
        let engine = Self { daemon: Mutex::new(Some(daemon)), directory };
        let started = Instant::now();
        while !engine.docker().arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status()?.success()
        {
            ensure!(started.elapsed() < START, "dockerd does not start: {}", engine.log());
            thread::sleep(Duration::from_millis(200));
        }
        engine.make_image()?;
        Ok(engine)
    }

    fn make_image(&self) -> Result<()> {
        let root = Bundle::new("docker-image", &["true"])?;
        let etc = root.path.join("rootfs/etc");
        fs::write(etc.join("passwd"), "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home:/bin/sh\n")?;
        fs::write(etc.join("group"), "root:x:0:\nuser:x:1000:\nextra:x:2000:user\n")?;
        let mut tar = Command::new("tar")
            .args(["-c", "-C"])
            .arg(root.path.join("rootfs"))
            .arg(".")
            .stdout(Stdio::piped())
            .spawn()
            .context("tar")?;
        let input = tar.stdout.take().context("tar")?;
        let output = self.docker().args(["import", "-", "image"]).stdin(input).output()?;
        tar.wait()?;
        ensure!(output.status.success(), "docker import: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// The end of what the daemon said.
    fn log(&self) -> String {
        let text = fs::read_to_string(self.directory.join("log")).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(5)..].join("\n")
    }
}

static ENGINE: OnceLock<Result<Engine, String>> = OnceLock::new();

fn engine() -> Result<&'static Engine> {
    let engine = ENGINE.get_or_init(|| Engine::start().map_err(|error| format!("{error:#}")));
    engine.as_ref().map_err(|error| anyhow::anyhow!("{error}"))
}

/// Ends the engine, if there is one.
pub(crate) fn stop() {
    let Some(Ok(engine)) = ENGINE.get() else { return };
    let daemon = engine.daemon.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(daemon) = daemon {
        kill(daemon.id(), libc::SIGTERM);
        let _ = finish_within(daemon, Duration::from_secs(30));
    }
    let _ = fs::remove_dir_all(&engine.directory);
}

/// What a script prints, under one runtime.
fn transcript(engine: &Engine, name: &str, script: &str, runtime: &str) -> Result<String> {
    let directory = engine.directory.join(format!("{name}-{runtime}"));
    fs::create_dir_all(&directory)?;
    let container = format!("{name}-{runtime}");
    let text = format!("{}\n{script}", include_str!("../../docker/prelude.sh"));
    let mut command = Command::new("bash");
    command
        .args(["-c", &text])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("TERM", "xterm")
        .env("HOME", &engine.directory)
        .env("DOCKER_HOST", engine.socket())
        .env("RUNTIME", runtime)
        .env("BOX", &container)
        .current_dir(&directory)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let output = finish_within(command.spawn().context("bash")?, LIMIT);
    let removed =
        engine.docker().args(["rm", "-f", &container]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let output = output.with_context(|| format!("under {runtime}; {}", engine.log()))?;
    removed?;
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Ok(mask(&text, runtime, &directory))
}

/// Without what differs from one container to the next.
fn mask(text: &str, runtime: &str, directory: &Path) -> String {
    let text = text.replace(&directory.display().to_string(), "DIR");
    let text = text.replace("ringfence create failed", "RUNTIME create failed");
    let text = text.replace("runc create failed", "RUNTIME create failed");
    let text = text.replace(&format!("-{runtime}"), "-RUNTIME");
    let mut masked = String::new();
    let mut word = String::new();
    for character in text.chars().chain(['\n']) {
        if character.is_ascii_hexdigit() {
            word.push(character);
            continue;
        }
        let id = matches!(word.len(), 12 | 64) && word.chars().any(|c| c.is_ascii_digit());
        masked.push_str(if id { "ID" } else { &word });
        word.clear();
        masked.push(character);
    }
    masked.pop();
    masked
}

fn same(name: &str, script: &str) -> Result<String> {
    let engine = engine()?;
    let (expected, got) = thread::scope(|scope| {
        let expected = scope.spawn(|| transcript(engine, name, script, "runc"));
        let got = transcript(engine, name, script, "tested");
        (expected.join(), got)
    });
    let expected = expected.map_err(|_| anyhow::anyhow!("the thread for runc panicked"))?.context("runc")?;
    let got = got?;
    ensure!(expected.lines().count() > 1, "runc: {expected}");
    match difference(&expected, &got) {
        Some(difference) => anyhow::bail!("{difference}"),
        None => Ok(format!("{} lines", got.lines().count())),
    }
}

/// Cases by the name of their script.
macro_rules! cases {
    ($($name:ident)*) => {$(
        pub(super) fn $name() -> Result<String> {
            same(stringify!($name), include_str!(concat!("../../docker/", stringify!($name), ".sh")))
        }
    )*};
}

cases!(errors files life limits options security service streams terminal);

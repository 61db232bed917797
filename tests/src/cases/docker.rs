//! The Docker engine with the runtime under it: what a user types and sees must be as with runc.
//!
//! A case is a shell script, `tests/docker/NAME.sh`, that is run for runc and for the runtime at once. The engine is one
//! of the tests' own, with its state in a directory of the tests' and a bridge of its own.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, OnceLock, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use super::engines::{self, program};
use crate::{
    bundle::Bundle,
    command::{finish_within, kill, runtime},
};

/// How long the engine may take to start.
const START: Duration = Duration::from_secs(120);
/// How long a case may take under one runtime.
const LIMIT: Duration = Duration::from_secs(280);

/// The engine's bridge.
const BRIDGE: &str = "rfdocker";
/// Its address.
const GATEWAY: &str = "10.233.0.1";
/// Where user-defined networks get their addresses.
const POOL: &str = "10.234.0.0/16";
/// Programs of this machine that the image `servers` has, with their libraries.
const SERVERS: &[&str] = &["redis-server", "redis-cli", "redis-benchmark", "perl", "ps"];

/// A running engine.
struct Engine {
    daemon: Mutex<Option<Child>>,
    directory: PathBuf,
    /// Whether the image `servers` was made, or why not.
    servers: OnceLock<Result<(), String>>,
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
        let program = program(&runtime())?;
        let bridge = format!(
            "ip link add {BRIDGE} type bridge; ip addr add {GATEWAY}/24 dev {BRIDGE}; ip link set {BRIDGE} up"
        );
        let made = Command::new("sh").args(["-ec", &bridge]).output()?;
        ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let log = fs::File::create(at("log"))?;
        let daemon = Command::new("dockerd")
            .args(["--host", &format!("unix://{}", at("docker.sock")), "--pidfile", &at("pid")])
            .args(["--data-root", &at("data"), "--exec-root", &at("exec"), "--bridge", BRIDGE])
            .args(["--default-address-pool", &format!("base={POOL},size=24")])
            .args(["--ip6tables=false", "--add-runtime", &format!("tested={program}")])
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("dockerd")?;
        let engine = Self { daemon: Mutex::new(Some(daemon)), directory, servers: OnceLock::new() };
        let started = Instant::now();
        while !engine.docker().arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status()?.success()
        {
            ensure!(started.elapsed() < START, "dockerd does not start: {}", engine.log());
            thread::sleep(Duration::from_millis(200));
        }
        engine.make_image("image", &[])?;
        Ok(engine)
    }

    /// Makes the image `servers`, unless it is there.
    fn make_servers(&self) -> Result<()> {
        let made = self.servers.get_or_init(|| {
            self.make_image("servers", SERVERS).map_err(|error| format!("image of servers: {error:#}"))
        });
        made.clone().map_err(anyhow::Error::msg)
    }

    fn make_image(&self, name: &str, programs: &[&str]) -> Result<()> {
        let root = Bundle::new(&format!("docker-{name}"), &["true"])?;
        for program in programs {
            add(&root, program).with_context(|| (*program).to_owned())?;
        }
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
        let output = self.docker().args(["import", "-", name]).stdin(input).output()?;
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

/// Adds a program of this machine, with the libraries that it needs, to a bundle's root.
fn add(root: &Bundle, program: &str) -> Result<()> {
    let found = engines::program(program)?;
    let needed = Command::new("ldd").arg(&found).output().context("ldd")?;
    ensure!(needed.status.success(), "ldd: {}", String::from_utf8_lossy(&needed.stderr));
    let needed = String::from_utf8(needed.stdout)?;
    let libraries: BTreeSet<_> = needed.split_whitespace().filter(|word| word.starts_with('/')).collect();
    for library in libraries {
        let to = root.file(library.trim_start_matches('/'));
        fs::create_dir_all(to.parent().context("no directory")?)?;
        fs::copy(library, to).with_context(|| library.to_owned())?;
    }
    let to = root.file("bin").join(program);
    // It may be an applet of busybox.
    let _ = fs::remove_file(&to);
    fs::copy(&found, to).with_context(|| found.clone())?;
    Ok(())
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
    let _ = Command::new("ip").args(["link", "del", BRIDGE]).status();
}

/// What a script prints, under one runtime.
fn transcript(engine: &Engine, name: &str, script: &str, runtime: &str) -> Result<String> {
    let directory = engine.directory.join(format!("{name}-{runtime}"));
    let container = format!("{name}-{runtime}");
    let text = format!("{}\n{script}", include_str!("../../docker/prelude.sh"));
    let variables = [
        ("TERM", "xterm"),
        ("HOME", &engine.directory.display().to_string()),
        ("DOCKER_HOST", &engine.socket()),
        ("RUNTIME", runtime),
        ("GATEWAY", GATEWAY),
        // A port of this machine that is free, and the nine after it.
        ("PORT", if runtime == "runc" { "7300" } else { "7310" }),
        ("BOX", &container),
    ];
    let said = engines::script_within(LIMIT, &directory, &text, &variables);
    // Its own, and those that stand beside it.
    let removed = Command::new("sh")
        .args(["-c", "docker ps -aq -f name=\"^$0\" | xargs -r docker rm -f", &container])
        .env("DOCKER_HOST", engine.socket())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let (text, _) = said.with_context(|| format!("under {runtime}; {}", engine.log()))?;
    removed?;
    Ok(mask(&text, runtime, &directory))
}

/// Without what differs from one container to the next.
pub(super) fn mask(text: &str, runtime: &str, directory: &Path) -> String {
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
    if script.contains("servers") {
        engine.make_servers()?;
    }
    engines::side_by_side(1, |runtime| transcript(engine, name, script, runtime))
}

/// Cases by the name of their script.
macro_rules! cases {
    ($($name:ident)*) => {$(
        pub(super) fn $name() -> Result<String> {
            same(stringify!($name), include_str!(concat!("../../docker/", stringify!($name), ".sh")))
        }
    )*};
}

cases!(errors files life limits memory names network options redis security service streams terminal);

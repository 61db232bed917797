//! Hooks of the bundle: programs that run at points of a container's life, with its state on standard input.
//!
//! All but `startContainer` run on the host, as the caller, in the caller's namespaces: a container's file systems
//! are the sentry's, so there is no mount namespace on the host for `createContainer` to run in. `startContainer`
//! runs in the container, before its first process.

use std::{
    io::{Read, Write},
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use oci_spec::runtime::{Hook, Hooks};

use crate::{
    commands::state::describe,
    container::{Container, Record, Status},
};

/// A point of a container's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Point {
    Prestart,
    CreateRuntime,
    CreateContainer,
    StartContainer,
    Poststart,
    Poststop,
}

impl Point {
    const fn name(self) -> &'static str {
        match self {
            Self::Prestart => "prestart",
            Self::CreateRuntime => "createRuntime",
            Self::CreateContainer => "createContainer",
            Self::StartContainer => "startContainer",
            Self::Poststart => "poststart",
            Self::Poststop => "poststop",
        }
    }

    /// What the container's state is there.
    const fn status(self) -> Status {
        match self {
            Self::Prestart | Self::CreateRuntime | Self::CreateContainer => Status::Creating,
            Self::StartContainer => Status::Created,
            Self::Poststart => Status::Running,
            Self::Poststop => Status::Stopped,
        }
    }
}

/// The hooks of a point, in order.
#[allow(deprecated, reason = "prestart is what Docker's network uses")]
fn of(hooks: &Hooks, point: Point) -> &[Hook] {
    let list = match point {
        Point::Prestart => hooks.prestart(),
        Point::CreateRuntime => hooks.create_runtime(),
        Point::CreateContainer => hooks.create_container(),
        Point::StartContainer => hooks.start_container(),
        Point::Poststart => hooks.poststart(),
        Point::Poststop => hooks.poststop(),
    };
    list.as_deref().unwrap_or_default()
}

/// Whether there are hooks that run while the first process must not.
pub(crate) fn before_start(hooks: Option<&Hooks>) -> bool {
    let points = [
        Point::Prestart,
        Point::CreateRuntime,
        Point::CreateContainer,
        Point::StartContainer,
        Point::Poststart,
    ];
    hooks.is_some_and(|hooks| points.iter().any(|&point| !of(hooks, point).is_empty()))
}

/// Runs the hooks of a point; the first that fails is the last.
pub(crate) fn run(container: &Container, record: &Record, point: Point) -> Result<()> {
    let Some(hooks) = &record.hooks else { return Ok(()) };
    let list = of(hooks, point);
    if list.is_empty() {
        return Ok(());
    }
    let state = serde_json::to_vec(&describe(record, point.status()))?;
    for (index, hook) in list.iter().enumerate() {
        let done = if point == Point::StartContainer {
            crate::exec::hook(container, hook, &state)
        } else {
            on_host(hook, &state)
        };
        done.with_context(|| format!("error running {} hook #{index}", point.name()))?;
    }
    Ok(())
}

/// Runs all hooks of a point that is past: what fails is only logged.
pub(crate) fn run_all(record: &Record, point: Point) {
    let Some(hooks) = &record.hooks else { return };
    let Ok(state) = serde_json::to_vec(&describe(record, point.status())) else { return };
    for (index, hook) in of(hooks, point).iter().enumerate() {
        if let Err(error) = on_host(hook, &state) {
            log::warn!("error running {} hook #{index}: {error:#}", point.name());
        }
    }
}

/// How long a hook may take.
pub(crate) fn limit(hook: &Hook) -> Option<Duration> {
    hook.timeout().map(|seconds| Duration::from_secs(seconds.max(0).cast_unsigned()))
}

fn on_host(hook: &Hook, state: &[u8]) -> Result<()> {
    let mut command = Command::new(hook.path());
    if let Some([name, arguments @ ..]) = hook.args().as_deref() {
        command.arg0(name).args(arguments);
    }
    command.env_clear();
    for variable in hook.env().iter().flatten() {
        let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
        command.env(name, value);
    }
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .with_context(|| hook.path().display().to_string())?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not read its state need not.
        let _ = stdin.write_all(state);
    }
    wait(child, limit(hook))
}

/// Waits for a hook, no longer than it may take.
fn wait(mut child: Child, limit: Option<Duration>) -> Result<()> {
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().context("wait")? {
            break status;
        }
        if let Some(limit) = limit.filter(|&limit| started.elapsed() >= limit) {
            let _ = child.kill();
            let _ = child.wait();
            bail!("hook ran past specified timeout of {:.1}s", limit.as_secs_f64());
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    if status.success() {
        return Ok(());
    }
    let mut text = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        // Something that it started may hold the pipe open.
        let _ = rustix::io::ioctl_fionbio(&stderr, true);
        let _ = stderr.take(1000).read_to_end(&mut text);
    }
    bail!("{status}, stderr: {}", vmm::config::one_line(&String::from_utf8_lossy(&text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(script: &str, timeout: Option<i64>) -> Hook {
        let mut hook = serde_json::json!({ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["X=1"] });
        if let Some(timeout) = timeout {
            hook["timeout"] = timeout.into();
        }
        serde_json::from_value(hook).unwrap()
    }

    #[test]
    fn hooks_get_the_state_and_their_environment() {
        on_host(&hook("test \"$(cat)\" = state && test $X = 1 && test -z \"$HOME\"", None), b"state")
            .unwrap();
        let error = on_host(&hook("echo why >&2; exit 3", None), b"").unwrap_err().to_string();
        assert!(error.contains("status: 3") && error.contains("why"), "{error}");
        let error = on_host(&hook("exec sleep 20", Some(1)), b"").unwrap_err().to_string();
        assert!(error.contains("timeout"), "{error}");
    }
}

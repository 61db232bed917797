//! Commands on containers that exist.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill as send},
    unistd::Pid,
};
use oci_spec::runtime::Spec;

use crate::{
    bundle::check_id,
    cli::Global,
    signals::forwarded,
    state::{self, State},
};

/// The record of `id`, and whether it runs.
fn find(global: &Global, id: &str) -> Result<(State, bool)> {
    check_id(id)?;
    let state = state::read(&global.root, id).context("container does not exist")?;
    let running = state::is_running(&global.root.join(id));
    Ok((state, running))
}

fn status(running: bool) -> &'static str {
    if running { "running" } else { "stopped" }
}

fn describe(state: &State, running: bool) -> serde_json::Value {
    serde_json::json!({
        "ociVersion": state.oci_version,
        "id": state.id,
        "pid": if running { state.pid } else { 0 },
        "status": status(running),
        "bundle": state.bundle,
        "annotations": state.annotations,
    })
}

/// `state ID`.
pub(crate) fn state(global: &Global, id: &str) -> Result<i32> {
    let (state, running) = find(global, id)?;
    println!("{}", serde_json::to_string_pretty(&describe(&state, running))?);
    Ok(0)
}

/// A signal's number, by name (with or without SIG) or number.
fn signal_number(text: &str) -> Result<i32> {
    if let Ok(number) = text.parse::<i32>()
        && (1..=64).contains(&number)
    {
        return Ok(number);
    }
    let name = text.to_ascii_uppercase();
    let name = if name.starts_with("SIG") { name } else { format!("SIG{name}") };
    match name.parse::<Signal>() {
        Ok(signal) => Ok(signal as i32),
        Err(_) => bail!("unknown signal {text:?}"),
    }
}

/// `kill ID SIGNAL`: SIGKILL ends the sandbox, and with it every process; the `run` process forwards the rest.
pub(crate) fn kill(global: &Global, id: &str, signal: &str, all: bool) -> Result<i32> {
    let number = signal_number(signal)?;
    let (state, running) = find(global, id)?;
    if !running {
        bail!("container not running");
    }
    let target = match number {
        libc::SIGKILL => state.pid,
        // What `run` does not block and forward would hit `run` itself.
        _ if all || !forwarded(number) => {
            bail!("signal {number} can be sent only by a process of the container")
        }
        _ => state.attendant,
    };
    // SAFETY: kill(2) takes no pointer.
    #[allow(unsafe_code, reason = "nix knows no real-time signals")]
    let sent = unsafe { libc::kill(target as i32, number) };
    if sent != 0 {
        return Err(std::io::Error::last_os_error()).context("kill");
    }
    Ok(0)
}

/// `delete ID`.
pub(crate) fn delete(global: &Global, id: &str, force: bool) -> Result<i32> {
    check_id(id)?;
    let path = global.root.join(id);
    if !path.exists() {
        if force {
            return Ok(0);
        }
        bail!("container does not exist");
    }
    if state::is_running(&path) {
        if !force {
            bail!("cannot delete container {id} that is not stopped: running");
        }
        if let Some(state) = state::read(&global.root, id) {
            let _ = send(Pid::from_raw(state.pid as i32), Signal::SIGKILL);
        }
        for _ in 0..500 {
            if !state::is_running(&path) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
    match fs::remove_dir_all(&path) {
        Ok(()) => Ok(0),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

/// `list`.
pub(crate) fn list(global: &Global, quiet: bool, format: &str) -> Result<i32> {
    let all = state::all(&global.root);
    if quiet {
        for (state, _) in &all {
            println!("{}", state.id);
        }
        return Ok(0);
    }
    match format {
        "json" => {
            let values: Vec<_> = all.iter().map(|(state, running)| describe(state, *running)).collect();
            println!("{}", serde_json::to_string(&values)?);
        }
        "table" => {
            println!("{:<20} {:<10} {:<10} BUNDLE", "ID", "PID", "STATUS");
            for (state, running) in &all {
                let pid = if *running { state.pid } else { 0 };
                println!("{:<20} {:<10} {:<10} {}", state.id, pid, status(*running), state.bundle.display());
            }
        }
        other => bail!("invalid format option: {other:?}"),
    }
    Ok(0)
}

/// `spec`: a config.json to start from.
pub(crate) fn spec(bundle: &Path) -> Result<i32> {
    let path = bundle.join("config.json");
    if path.exists() {
        bail!("{}: exists already", path.display());
    }
    let mut spec = serde_json::to_value(Spec::default())?;
    spec["process"]["terminal"] = true.into();
    spec["ociVersion"] = "1.2.0".into();
    spec["hostname"] = "ringfence".into();
    fs::write(&path, format!("{}\n", serde_json::to_string_pretty(&spec)?))
        .with_context(|| path.display().to_string())?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_by_name_and_number() {
        assert_eq!(signal_number("KILL").unwrap(), 9);
        assert_eq!(signal_number("sigterm").unwrap(), 15);
        assert_eq!(signal_number("64").unwrap(), 64);
        assert!(signal_number("0").is_err());
        assert!(signal_number("NOPE").is_err());
    }
}

//! `exec`: a further process in a container that runs.

use std::{fs, os::fd::AsFd, path::Path};

use anyhow::{Context, Result, bail, ensure};
use oci_spec::runtime::{Process, Spec};
use serde_json::{Value, json};

use crate::{
    bundle::check_process,
    cli::{Exec, Global},
    container::{Container, Record, Status},
    exec, launch,
    signals::Signals,
    streams::Streams,
    translate,
};

/// Status of a command that could not start the process.
pub(crate) const FAILED: i32 = 255;

/// Starts a process; gives its exit status, or 0 when it goes on without this command.
pub(crate) fn exec(global: &Global, options: &Exec) -> Result<i32> {
    let (container, record) = Container::find(&global.root, &options.id)?;
    match container.status(&record)? {
        Status::Stopped => bail!("cannot exec in a stopped container"),
        Status::Paused if !options.ignore_paused => {
            bail!("cannot exec in a paused container (use --ignore-paused to override)")
        }
        Status::Creating => bail!("cannot exec in a container that is not created yet"),
        _ => {}
    }
    for place in &options.cgroup {
        let path = place.rsplit(':').next().unwrap_or_default();
        ensure!(path.trim_matches('/').is_empty(), "--cgroup {place}: a container has no further cgroups");
    }
    let process = process(options, &record)?;
    check_process(&process)?;
    let socket = options.console_socket.as_deref();
    let Streams { all, terminal, caller } =
        Streams::of(&process, socket, options.detach, options.preserve_fds)?;
    let borrowed: Vec<_> = all.iter().map(AsFd::as_fd).collect();
    let spec = translate::process(&process, all.len() as u32);
    let args = spec.args.clone();
    // What comes from now on is for the process.
    let signals = if options.detach { None } else { Some(Signals::block()?) };
    let started = exec::Process::start(&container, spec, &borrowed)?;
    drop(borrowed);
    drop(all);
    match signals {
        Some(signals) => {
            if let Some(path) = &options.pid_file {
                launch::write_pid_file(path, std::process::id())?;
            }
            let status = started.attend(&signals);
            drop(caller);
            status
        }
        None => {
            let pid = started.detach(&args, terminal.as_ref().map(AsFd::as_fd))?;
            // Lists of the container's processes are made from there.
            if let Some(cgroup) = &record.cgroup
                && let Err(error) = cgroup.add(pid)
            {
                log::warn!("{error:#}");
            }
            if let Some(path) = &options.pid_file {
                launch::write_pid_file(path, pid)?;
            }
            Ok(0)
        }
    }
}

/// What is to run: a file says it all, or the bundle's process is changed by the options.
fn process(options: &Exec, record: &Record) -> Result<Process> {
    if let Some(path) = &options.process {
        let text = fs::read(path).with_context(|| format!("--process {}", path.display()))?;
        return serde_json::from_slice(&text).with_context(|| format!("--process {}", path.display()));
    }
    ensure!(!options.args.is_empty(), "exec args cannot be empty");
    let config = record.bundle.join("config.json");
    let value = change(bundle_process(&config)?, options)?;
    serde_json::from_value(value).context("process")
}

fn bundle_process(config: &Path) -> Result<Value> {
    let text = fs::read(config).with_context(|| config.display().to_string())?;
    let spec: Spec = serde_json::from_slice(&text).with_context(|| config.display().to_string())?;
    Ok(serde_json::to_value(spec.process().as_ref().context("config.json: process: missing")?)?)
}

fn change(mut process: Value, options: &Exec) -> Result<Value> {
    process["args"] = json!(options.args);
    process["terminal"] = options.tty.into();
    if let Some(cwd) = &options.cwd {
        process["cwd"] = json!(cwd);
    }
    if options.no_new_privs {
        process["noNewPrivileges"] = true.into();
    }
    let mut env: Vec<Value> = process["env"].as_array().cloned().unwrap_or_default();
    env.extend(options.env.iter().map(|variable| json!(variable)));
    process["env"] = Value::Array(env);
    for capability in &options.cap {
        let name = capability.to_ascii_uppercase();
        let name = if name.starts_with("CAP_") { name } else { format!("CAP_{name}") };
        ensure!(translate::is_capability(&name), "unknown capability {capability:?}");
        // As runc: what is inheritable stays as it is.
        for set in ["bounding", "effective", "permitted", "ambient"] {
            let mut all = process["capabilities"][set].as_array().cloned().unwrap_or_default();
            if !all.contains(&json!(name)) {
                all.push(json!(name));
            }
            process["capabilities"][set] = Value::Array(all);
        }
    }
    if let Some(user) = &options.user {
        let (uid, gid) = user.split_once(':').map_or((user.as_str(), None), |(uid, gid)| (uid, Some(gid)));
        let number =
            |text: &str| text.parse::<u32>().with_context(|| format!("parsing {text:?} as a number"));
        process["user"]["uid"] = number(uid)?.into();
        if let Some(gid) = gid {
            process["user"]["gid"] = number(gid)?.into();
        }
    }
    if !options.additional_gids.is_empty() {
        process["user"]["additionalGids"] = json!(options.additional_gids);
    }
    Ok(process)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        exec: Exec,
    }

    fn changed(words: &[&str]) -> Result<Value> {
        let line = Line::parse_from(["exec"].iter().chain(words));
        let process = json!({ "cwd": "/", "env": ["A=1"], "user": { "uid": 0, "gid": 0 }, "args": ["sh"] });
        change(process, &line.exec)
    }

    #[test]
    fn options_change_the_process() {
        let value = changed(&[
            "-e",
            "B=2",
            "--user",
            "3:4",
            "--cwd",
            "/tmp",
            "--cap",
            "net_admin",
            "-t",
            "id",
            "ls",
            "-l",
        ])
        .unwrap();
        assert_eq!(value["env"], json!(["A=1", "B=2"]));
        assert_eq!((&value["user"]["uid"], &value["user"]["gid"]), (&json!(3), &json!(4)));
        assert_eq!((&value["cwd"], &value["args"]), (&json!("/tmp"), &json!(["ls", "-l"])));
        assert_eq!(value["capabilities"]["effective"], json!(["CAP_NET_ADMIN"]));
        assert_eq!(value["terminal"], json!(true));
        assert!(changed(&["--user", "root", "id", "ls"]).is_err());
        assert!(changed(&["--cap", "nothing", "id", "ls"]).is_err());
    }
}

//! States, and the commands that change them.

use std::fs;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{
    Case,
    life::{Life, wait_for_child},
};

/// Says when it is up, and notes signals.
const CATCHER: &str = "trap 'echo got TERM' TERM; trap 'echo got USR1' USR1; trap 'echo got HUP' HUP; \
                       echo up; while :; do sleep 0.1; done";
/// Says when it is up, and stays.
const STAYS: &str = "echo up; exec sleep 300";

pub(super) const CASES: &[(&str, Case)] = &[
    ("state/nobody", |life| life.tries("state", &["state", "nobody-has-this"]).map(drop)),
    ("state/created", state_created),
    ("state/running", |life| {
        life.up(STAYS)?;
        life.shows("state")
    }),
    ("state/stopped", |life| {
        life.script("exit 0")?;
        life.create()?;
        life.start()?;
        life.await_status("stopped")?;
        let state = life.state()?;
        life.note("pid", state["pid"].as_u64().unwrap_or(0));
        life.note("bundle", state["bundle"] == json!(life.bundle.path));
        Ok(())
    }),
    ("state/annotations", |life| {
        life.bundle.config["annotations"] = json!({ "a.b": "c", "d": "" });
        life.bundle.write()?;
        life.create()?;
        let state = life.state()?;
        life.note("annotations", (state["annotations"]["a.b"].as_str(), state["annotations"]["d"].as_str()));
        Ok(())
    }),
    ("create/does-not-start", |life| {
        life.create()?;
        std::thread::sleep(std::time::Duration::from_millis(300));
        let output = life.output();
        life.note("output", output);
        life.start()?;
        life.await_output("up\n")
    }),
    ("create/pid-file", |life| {
        life.does(&["create", "--pid-file", "pid", &life.id])?;
        let pid: i64 = fs::read_to_string(life.bundle.path.join("pid"))?.parse()?;
        let state = life.state()?;
        life.note("the state's", state["pid"].as_i64() == Some(pid));
        life.note("a process", fs::exists(format!("/proc/{pid}"))?);
        Ok(())
    }),
    ("create/id-is-taken", |life| {
        life.create()?;
        let id = life.id.clone();
        life.tries("again", &["create", &id])?;
        life.shows("the first one")?;
        life.start()?;
        life.await_output("up\n")
    }),
    ("create/bad-id", |life| {
        for id in ["a/b", "..", ""] {
            life.tries(id, &["create", id])?;
        }
        Ok(())
    }),
    ("create/no-bundle", |life| {
        let id = life.id.clone();
        life.tries("create", &["create", "--bundle", "/nowhere", &id])?;
        life.shows("afterwards")
    }),
    ("create/no-config", |life| {
        fs::remove_file(life.bundle.path.join("config.json"))?;
        refused(life)
    }),
    ("create/malformed-config", |life| {
        fs::write(life.bundle.path.join("config.json"), "{\"ociVersion\": \"1.0.0\",")?;
        refused(life)
    }),
    ("create/no-rootfs", |life| {
        life.bundle.config["root"]["path"] = json!("nowhere");
        life.bundle.write()?;
        refused(life)
    }),
    ("create/no-program", |life| {
        life.bundle.config["process"]["args"] = json!(["nothing-of-this-name"]);
        life.bundle.write()?;
        refused(life)
    }),
    ("create/no-program-by-path", |life| {
        life.bundle.config["process"]["args"] = json!(["/bin/nothing-of-this-name"]);
        life.bundle.write()?;
        refused(life)
    }),
    ("create/not-executable", |life| {
        life.bundle.config["process"]["args"] = json!(["/etc/passwd"]);
        life.bundle.write()?;
        refused(life)
    }),
    ("create/empty-args", |life| {
        life.bundle.config["process"]["args"] = json!([]);
        life.bundle.write()?;
        refused(life)
    }),
    ("create/id-is-free-after-failure", |life| {
        life.bundle.config["process"]["args"] = json!(["nothing-of-this-name"]);
        life.bundle.write()?;
        refused(life)?;
        life.up(STAYS)?;
        life.shows("the same id")
    }),
    ("start/nobody", |life| life.tries("start", &["start", "nobody-has-this"]).map(drop)),
    ("start/twice", |life| {
        life.up(STAYS)?;
        let id = life.id.clone();
        life.tries("again", &["start", &id])?;
        life.shows("afterwards")
    }),
    ("start/stopped", |life| {
        life.script("exit 0")?;
        life.create()?;
        life.start()?;
        life.await_status("stopped")?;
        let id = life.id.clone();
        life.tries("again", &["start", &id])?;
        life.shows("afterwards")
    }),
    ("kill/nobody", |life| life.tries("kill", &["kill", "nobody-has-this", "KILL"]).map(drop)),
    ("kill/by-name-and-number", |life| {
        life.up(CATCHER)?;
        for signal in ["TERM", "SIGUSR1", "1"] {
            life.does(&["kill", &life.id, signal])?;
        }
        for word in ["TERM", "USR1", "HUP"] {
            life.await_output(&format!("got {word}\n"))?;
        }
        life.shows("afterwards")
    }),
    ("kill/default-signal", |life| {
        life.up(CATCHER)?;
        life.does(&["kill", &life.id])?;
        life.await_output("got TERM\n")
    }),
    ("kill/no-such-signal", |life| {
        life.up(CATCHER)?;
        let id = life.id.clone();
        for signal in ["NONE", "SIG", "1000"] {
            life.tries(signal, &["kill", &id, signal])?;
        }
        life.shows("afterwards")
    }),
    ("kill/running", |life| {
        life.up(STAYS)?;
        life.does(&["kill", &life.id, "KILL"])?;
        life.await_status("stopped")
    }),
    ("kill/first-process-ignores-what-it-does-not-handle", |life| {
        life.up("echo up; while :; do sleep 0.1; done")?;
        life.does(&["kill", &life.id, "TERM"])?;
        std::thread::sleep(std::time::Duration::from_millis(500));
        life.shows("afterwards")
    }),
    ("kill/created", |life| {
        life.create()?;
        life.does(&["kill", &life.id, "KILL"])?;
        life.await_status("stopped")?;
        let output = life.output();
        life.note("output", output);
        Ok(())
    }),
    ("kill/stopped", |life| {
        life.script("exit 0")?;
        life.create()?;
        life.start()?;
        life.await_status("stopped")?;
        let id = life.id.clone();
        life.tries("kill", &["kill", &id, "KILL"]).map(drop)
    }),
    ("kill/all", |life| {
        let child = "sh -c 'trap \"echo child got it\" USR1; echo child up; while :; do sleep 0.1; done' &";
        life.up(&format!(
            "trap 'echo first got it' USR1; {child} sleep 1; echo up; while :; do sleep 0.1; done"
        ))?;
        life.await_output("child up\n")?;
        life.does(&["kill", "--all", &life.id, "USR1"])?;
        life.await_output("first got it\n")?;
        life.await_output("child got it\n")
    }),
    ("delete/nobody", |life| {
        life.tries("delete", &["delete", "nobody-has-this"])?;
        life.tries("by force", &["delete", "--force", "nobody-has-this"]).map(drop)
    }),
    ("delete/running", |life| {
        life.up(STAYS)?;
        let id = life.id.clone();
        life.tries("delete", &["delete", &id])?;
        life.shows("afterwards")
    }),
    ("delete/running-by-force", |life| {
        life.up(STAYS)?;
        let id = life.id.clone();
        life.tries("delete", &["delete", "--force", &id])?;
        life.shows("afterwards")
    }),
    ("delete/created-by-force", |life| {
        life.create()?;
        let id = life.id.clone();
        life.tries("delete", &["delete", "-f", &id])?;
        life.shows("afterwards")
    }),
    ("delete/stopped", |life| {
        life.script("exit 0")?;
        life.create()?;
        life.start()?;
        life.await_status("stopped")?;
        let id = life.id.clone();
        life.tries("delete", &["delete", &id])?;
        life.shows("afterwards")?;
        life.tries("again", &["delete", &id])?;
        life.up(STAYS)?;
        life.shows("the same id")
    }),
    ("delete/without-its-bundle", |life| {
        life.up(STAYS)?;
        let (path, away) = (life.bundle.path.clone(), life.bundle.path.with_extension("away"));
        life.does(&["kill", &life.id, "KILL"])?;
        life.await_status("stopped")?;
        fs::rename(path.join("config.json"), &away)?;
        let id = life.id.clone();
        let deleted = life.tries("delete", &["delete", &id]);
        fs::rename(&away, path.join("config.json"))?;
        deleted?;
        life.shows("afterwards")
    }),
    ("exit/status", |life| exit_status(life, "exit 3")),
    ("exit/success", |life| exit_status(life, "exit 0")),
    ("exit/killed", |life| {
        life.script(STAYS)?;
        life.does(&["create", "--pid-file", "pid", &life.id])?;
        life.start()?;
        life.await_output("up\n")?;
        life.does(&["kill", &life.id, "KILL"])?;
        let status = wait_for_child(pid(life)?)?;
        life.note("status", status);
        Ok(())
    }),
    ("run/status", |life| {
        life.script("echo up; exit 7")?;
        let status = life.status_of(&["run", &life.id])?;
        life.note("status", status);
        life.shows("afterwards")
    }),
    ("run/detached", |life| {
        life.script(STAYS)?;
        let id = life.id.clone();
        life.does(&["run", "--detach", "--pid-file", "pid", &id])?;
        life.await_output("up\n")?;
        life.shows("state")?;
        let (pid, state) = (pid(life)?, life.state()?);
        life.note("pid", state["pid"].as_i64() == Some(pid.into()));
        life.does(&["kill", &id, "KILL"])?;
        let status = wait_for_child(pid)?;
        life.note("status", status);
        life.shows("afterwards")
    }),
    ("run/no-program", |life| {
        life.bundle.config["process"]["args"] = json!(["nothing-of-this-name"]);
        life.bundle.write()?;
        let id = life.id.clone();
        life.tries("run", &["run", &id])?;
        life.shows("afterwards")
    }),
    ("list", |life| {
        life.create()?;
        let other = life.another();
        life.does(&["create", &other])?;
        life.does(&["start", &other])?;
        let output = life.asks(&["list", "--quiet"])?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        life.note(
            "quiet",
            (text.lines().any(|line| line == life.id), text.lines().any(|line| line == other)),
        );
        let output = life.asks(&["list", "--format", "json"])?;
        let all: Value = serde_json::from_slice(&output.stdout).context("list")?;
        for id in [life.id.clone(), other] {
            let found = all.as_array().and_then(|all| all.iter().find(|one| one["id"] == json!(id)));
            let found = found.context("it is not listed")?;
            life.note("status", &found["status"]);
            life.note("bundle", found["bundle"] == json!(life.bundle.path));
        }
        let output = life.asks(&["list"])?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        life.note(
            "head",
            text.lines().next().unwrap_or_default().split_whitespace().skip(1).take(3).collect::<Vec<_>>(),
        );
        let row = text.lines().find(|line| line.starts_with(&life.id)).context("it is not in the table")?;
        let words: Vec<_> = row.split_whitespace().collect();
        life.note("row", (words.get(2), words.get(3) == life.bundle.path.to_str().as_ref()));
        Ok(())
    }),
];

/// A container that cannot be created leaves nothing.
fn refused(life: &mut Life<'_>) -> Result<()> {
    let id = life.id.clone();
    life.tries("create", &["create", &id])?;
    life.shows("afterwards")
}

fn state_created(life: &mut Life<'_>) -> Result<()> {
    life.create()?;
    let state = life.state()?;
    life.note("id", state["id"] == json!(life.id));
    life.note("status", &state["status"]);
    life.note("bundle", state["bundle"] == json!(life.bundle.path));
    life.note("version", state["ociVersion"].as_str().is_some_and(|version| version.starts_with("1.")));
    let pid = state["pid"].as_i64().context("pid")?;
    life.note("process", fs::exists(format!("/proc/{pid}"))?);
    Ok(())
}

/// What is in the file that `--pid-file pid` wrote.
pub(super) fn pid(life: &Life<'_>) -> Result<i32> {
    Ok(fs::read_to_string(life.bundle.path.join("pid"))?.trim().parse()?)
}

/// The process whose number is in the pid file ends as the program does, and is inherited by who called the runtime.
fn exit_status(life: &mut Life<'_>, script: &str) -> Result<()> {
    life.script(script)?;
    life.does(&["create", "--pid-file", "pid", &life.id])?;
    life.start()?;
    let status = wait_for_child(pid(life)?)?;
    life.note("status", status);
    life.await_status("stopped")
}

//! Hooks: when they run, what they get, what their failure does.

use std::fs;

use anyhow::Result;
use serde_json::{Value, json};

use super::{Case, life::Life};

const STAYS: &str = "echo up; exec sleep 300";

pub(super) const CASES: &[(&str, Case)] = &[
    ("hooks/order", order),
    ("hooks/state", |life| {
        let file = life.bundle.file("order");
        let script = format!("cat >>{0}; echo >>{0}", file.display());
        for point in ["prestart", "createRuntime", "poststart", "poststop"] {
            life.bundle.config["hooks"][point] = json!([host(&script)]);
        }
        whole_life(life)?;
        for line in fs::read_to_string(file)?.lines().filter(|line| !line.is_empty()) {
            let state: Value = serde_json::from_str(line)?;
            life.note("status", state["status"].is_string());
            life.note("id", state["id"] == json!(life.id));
            life.note("bundle", state["bundle"] == json!(life.bundle.path));
            life.note("pid", state["pid"].as_i64().unwrap_or(0) > 1);
        }
        Ok(())
    }),
    ("hooks/state-inside", |life| {
        let hook = json!({ "path": "/bin/sh", "args": ["sh", "-c", "cat >/order; pwd >>/order"] });
        life.bundle.config["hooks"]["startContainer"] = json!([hook]);
        life.up(STAYS)?;
        let text = fs::read_to_string(life.bundle.file("order"))?;
        let end = text.rfind('}').map_or(0, |at| at + 1);
        let state: Value = serde_json::from_str(&text[..end])?;
        life.note("id", state["id"] == json!(life.id));
        Ok(())
    }),
    ("hooks/environment", |life| {
        let script = format!("env >{}; echo $0 $1 >>{0}", life.bundle.file("order").display());
        let hook = json!({
            "path": "/bin/sh", "args": ["other-name", "-c", script, "zero", "one"], "env": ["A=b", "C=d=e"],
        });
        life.bundle.config["hooks"]["createRuntime"] = json!([hook]);
        life.bundle.write()?;
        life.create()?;
        let text = fs::read_to_string(life.bundle.file("order"))?;
        let wanted: Vec<_> =
            text.lines().filter(|line| !line.starts_with("PWD") && !line.starts_with('_')).collect();
        life.note("seen", wanted);
        Ok(())
    }),
    ("hooks/prestart-fails", |life| fails_at_create(life, "prestart")),
    ("hooks/create-runtime-fails", |life| fails_at_create(life, "createRuntime")),
    ("hooks/create-container-fails", |life| fails_at_create(life, "createContainer")),
    ("hooks/start-container-fails", |life| {
        let hook = json!({ "path": "/bin/false", "args": ["false"] });
        life.bundle.config["hooks"]["startContainer"] = json!([hook]);
        life.script(STAYS)?;
        life.create()?;
        let id = life.id.clone();
        // Whether `start` hears of it is the runtime's affair; the program never runs.
        let _ = life.status_of(&["start", &id])?;
        life.await_status("stopped")?;
        let ran = life.output().contains("up\n");
        life.note("ran", ran);
        Ok(())
    }),
    ("hooks/poststop-fails", |life| {
        life.bundle.config["hooks"]["poststop"] = json!([host("exit 1"), host(&mark(life, "second"))]);
        life.up(STAYS)?;
        let id = life.id.clone();
        life.does(&["kill", &id, "KILL"])?;
        life.await_status("stopped")?;
        let _ = life.status_of(&["delete", &id])?;
        life.shows("afterwards")
    }),
    ("hooks/timeout", |life| {
        let mut hook = host("exec sleep 40");
        hook["timeout"] = json!(1);
        life.bundle.config["hooks"]["createRuntime"] = json!([hook]);
        life.bundle.write()?;
        let started = std::time::Instant::now();
        let id = life.id.clone();
        life.tries("create", &["create", &id])?;
        life.note("in time", started.elapsed().as_secs() < 20);
        life.shows("afterwards")
    }),
    ("hooks/no-such-program", |life| {
        life.bundle.config["hooks"]["createRuntime"] = json!([{ "path": "/nowhere/hook" }]);
        life.bundle.write()?;
        let id = life.id.clone();
        life.tries("create", &["create", &id])?;
        life.shows("afterwards")
    }),
    ("hooks/may-use-commands", |life| {
        let script = format!(
            "{} state {} | grep -o '\"status\": *\"[a-z]*\"' | tr -d ' ' >{}",
            life.program,
            life.id,
            life.bundle.file("order").display()
        );
        let mut hook = host(&script);
        hook["env"] =
            json!([format!("PATH={}", std::env::var("PATH").unwrap_or_default()), "XDG_RUNTIME_DIR=/run"]);
        life.bundle.config["hooks"]["poststart"] = json!([hook]);
        life.up(STAYS)?;
        let text = fs::read_to_string(life.bundle.file("order"))?;
        life.note("state", text);
        Ok(())
    }),
];

fn host(script: &str) -> Value {
    json!({ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"] })
}

/// A script that adds a word to the file of the order.
fn mark(life: &Life<'_>, word: &str) -> String {
    format!("echo {word} >>{}", life.bundle.file("order").display())
}

/// From create to delete.
fn whole_life(life: &mut Life<'_>) -> Result<()> {
    life.up(STAYS)?;
    let id = life.id.clone();
    life.does(&["kill", &id, "KILL"])?;
    life.await_status("stopped")?;
    life.does(&["delete", &id])
}

fn order(life: &mut Life<'_>) -> Result<()> {
    for point in ["prestart", "createRuntime", "createContainer", "poststart", "poststop"] {
        life.bundle.config["hooks"][point] = json!([
            host(&mark(life, &format!("{point}-first"))),
            host(&mark(life, &format!("{point}-second"))),
        ]);
    }
    let inside =
        |word: &str| json!({ "path": "/bin/sh", "args": ["sh", "-c", format!("echo {word} >>/order")] });
    life.bundle.config["hooks"]["startContainer"] = json!([inside("startContainer")]);
    life.script("echo program >>/order; echo up; exec sleep 300")?;
    let id = life.id.clone();
    life.create()?;
    let file = life.bundle.file("order");
    let text = fs::read_to_string(&file)?;
    life.note("created", text);
    life.start()?;
    life.await_output("up\n")?;
    let text = fs::read_to_string(&file)?;
    let place = |word: &str| text.lines().position(|line| line == word);
    life.note("inside before the program", place("startContainer") < place("program"));
    // What runs after the program was let go runs beside it, and under crun beside what runs before it.
    let outside = || -> Result<Vec<String>> {
        let text = fs::read_to_string(&file)?;
        let inside = |line: &&str| ["startContainer", "program"].contains(line);
        Ok(text.lines().filter(|line| !inside(line)).map(str::to_owned).collect())
    };
    life.until("the poststart hooks", || Ok(outside()?.contains(&"poststart-second".to_owned())))?;
    life.note("started", outside()?);
    life.does(&["kill", &id, "KILL"])?;
    life.await_status("stopped")?;
    life.note("stopped", outside()?);
    life.does(&["delete", &id])?;
    life.note("deleted", outside()?);
    Ok(())
}

fn fails_at_create(life: &mut Life<'_>, point: &str) -> Result<()> {
    life.bundle.config["hooks"][point] = json!([host("exit 1"), host(&mark(life, "second"))]);
    life.script(STAYS)?;
    let id = life.id.clone();
    life.tries("create", &["create", &id])?;
    life.shows("afterwards")?;
    life.note("the second ran", fs::exists(life.bundle.file("order"))?);
    let ran = life.output().contains("up\n");
    life.note("ran", ran);
    Ok(())
}

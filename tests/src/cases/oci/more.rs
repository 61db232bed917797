//! Pausing, control groups, lists of processes, logs, and commands at the same time.

use std::{fs, thread, time::Duration};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{Case, life::Life};
use crate::command::finish;

const STAYS: &str = "echo up; exec sleep 300";
/// Shows that it gets on.
const COUNTS: &str = "echo up; while :; do echo x >>/count; sleep 0.05; done";

pub(super) const CASES: &[(&str, Case)] = &[
    ("pause/state", |life| {
        life.up(STAYS)?;
        let id = life.id.clone();
        life.tries("pause", &["pause", &id])?;
        life.shows("paused")?;
        life.tries("resume", &["resume", &id])?;
        life.shows("resumed")?;
        life.tries("pause nobody", &["pause", "nobody-has-this"]).map(drop)
    }),
    ("pause/stands-still", |life| {
        life.up(COUNTS)?;
        life.until("progress", || Ok(count(life) > 3))?;
        life.does(&["pause", &life.id])?;
        thread::sleep(Duration::from_millis(200));
        let before = count(life);
        thread::sleep(Duration::from_millis(700));
        life.note("stands still", count(life) == before);
        life.does(&["resume", &life.id])?;
        life.until("progress", || Ok(count(life) > before))
    }),
    ("pause/exec", |life| {
        life.up(STAYS)?;
        let id = life.id.clone();
        life.does(&["pause", &id])?;
        life.tries("exec", &["exec", &id, "true"])?;
        life.does(&["resume", &id])?;
        life.tries("exec", &["exec", &id, "true"]).map(drop)
    }),
    ("pause/delete-by-force", |life| {
        life.up(STAYS)?;
        let id = life.id.clone();
        life.does(&["pause", &id])?;
        life.does(&["resume", &id])?;
        life.does(&["pause", &id])?;
        life.tries("delete", &["delete", &id])?;
        life.tries("by force", &["delete", "--force", &id])?;
        life.shows("afterwards")
    }),
    ("cgroup/path", |life| {
        let path = format!("/oci-tests/{}", life.id);
        life.bundle.config["linux"]["cgroupsPath"] = json!(path);
        life.up(STAYS)?;
        let state = life.state()?;
        let pid = state["pid"].as_i64().context("pid")?;
        let own = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
        life.note("the process is there", own.lines().any(|line| line.ends_with(&path)));
        let id = life.id.clone();
        life.does(&["delete", "--force", &id])?;
        life.note("it is left", fs::exists(format!("/sys/fs/cgroup{path}"))?);
        let _ = fs::remove_dir("/sys/fs/cgroup/oci-tests");
        Ok(())
    }),
    ("cgroup/limits", |life| {
        let path = format!("/oci-tests/{}", life.id);
        life.bundle.config["linux"]["cgroupsPath"] = json!(path);
        life.bundle.config["linux"]["resources"]["cpu"] =
            json!({ "quota": 50_000, "period": 100_000, "shares": 512 });
        life.bundle.config["linux"]["resources"]["memory"] = json!({ "limit": 128 << 20 });
        life.bundle.config["linux"]["resources"]["pids"] = json!({ "limit": 100 });
        life.up(STAYS)?;
        let read = |file: &str| fs::read_to_string(format!("/sys/fs/cgroup{path}/{file}"));
        life.note("cpu.max", read("cpu.max")?);
        // Both may add what they need themselves.
        let most = |text: String| text.trim().parse::<u64>().ok();
        life.note("memory.max", most(read("memory.max")?).is_some_and(|bytes| bytes >= 128 << 20));
        life.note("pids.max", most(read("pids.max")?).is_some_and(|number| (100..200).contains(&number)));
        let id = life.id.clone();
        life.does(&["delete", "--force", &id])?;
        let _ = fs::remove_dir("/sys/fs/cgroup/oci-tests");
        Ok(())
    }),
    ("cgroup/processes-are-limited", |life| {
        life.bundle.config["linux"]["cgroupsPath"] = json!(format!("/oci-tests/{}", life.id));
        life.bundle.config["linux"]["resources"]["pids"] = json!({ "limit": 12 });
        life.up("echo up; for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do sleep 60 & done; sleep 100")?;
        life.until("the end", || Ok(life.status()? == "stopped" || life.output().contains("fork")))?;
        let id = life.id.clone();
        life.does(&["delete", "--force", &id])?;
        let _ = fs::remove_dir("/sys/fs/cgroup/oci-tests");
        Ok(())
    }),
    ("cgroup/create-fails", |life| {
        let path = format!("/oci-tests/{}", life.id);
        life.bundle.config["linux"]["cgroupsPath"] = json!(path);
        life.bundle.config["process"]["args"] = json!(["nothing-of-this-name"]);
        life.bundle.write()?;
        let id = life.id.clone();
        life.tries("create", &["create", &id])?;
        life.note("it is left", fs::exists(format!("/sys/fs/cgroup{path}"))?);
        let _ = fs::remove_dir("/sys/fs/cgroup/oci-tests");
        Ok(())
    }),
    ("ps/json", |life| {
        life.up(STAYS)?;
        let output = life.asks(&["ps", "--format", "json", &life.id])?;
        let list: Value = serde_json::from_slice(&output.stdout).context("ps")?;
        let state = life.state()?;
        life.note("the first process", list.as_array().is_some_and(|list| list.contains(&state["pid"])));
        Ok(())
    }),
    ("ps/table", |life| {
        life.up("sleep 271 & sleep 272 & echo up; wait")?;
        let output = life.asks(&["ps", &life.id])?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let head = text.lines().next().unwrap_or_default();
        life.note("head", (head.starts_with("UID"), head.contains("PID"), head.trim_end().ends_with("CMD")));
        life.note("rows", (text.lines().count(), text.contains("sleep 271"), text.contains("sleep 272")));
        Ok(())
    }),
    ("log/json", |life| {
        let log = life.bundle.path.join("log.json");
        let path = log.to_str().context("path")?.to_owned();
        life.tries("start", &["--log", &path, "--log-format", "json", "start", "nobody-has-this"])?;
        let text = fs::read_to_string(&log)?;
        let last: Value = serde_json::from_str(text.lines().last().context("an empty log")?)?;
        life.note("level", &last["level"]);
        life.note("texts", (last["msg"].is_string(), last["time"].as_str().map(|time| time.len() > 15)));
        fs::remove_file(log)?;
        Ok(())
    }),
    ("together/create", |life| {
        life.script(STAYS)?;
        let id = life.id.clone();
        let children: Vec<_> = (0..4).map(|_| life.start_command(&["create", &id])).collect::<Result<_>>()?;
        let mut good = 0;
        for child in children {
            good += u32::from(finish(child)?.status.success());
        }
        life.note("at most one", good <= 1);
        // Where all of them got in each other's way there may be none.
        if good == 1 {
            life.start()?;
            life.await_output("up\n")?;
        }
        Ok(())
    }),
    ("together/delete", |life| {
        life.up(STAYS)?;
        let id = life.id.clone();
        let children: Vec<_> =
            (0..3).map(|_| life.start_command(&["delete", "--force", &id])).collect::<Result<_>>()?;
        for child in children {
            let _ = finish(child)?;
        }
        life.shows("afterwards")
    }),
];

fn count(life: &Life<'_>) -> usize {
    fs::read(life.bundle.file("count")).map_or(0, |bytes| bytes.len())
}

//! What programs see of the kernel: every case of `linux-cases` on Linux (under runc) and here must write the same.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;

use crate::{
    bundle::Bundle,
    command::{finish_within, id, runtime, start},
};

/// Cases that differ for a reason that is known. One that agrees must leave the list.
const KNOWN: &[(&str, &str)] = &[];
/// Longest that all cases together may take, seconds.
const LIMIT: u64 = 900;
/// Containers that may die before the rest is given up.
const DEATHS: usize = 20;

/// Most cases that are tried once more.
const AGAIN: usize = 8;

/// Families that need more rights than a container has by default.
const ADMIN: &[&str] = &["ns/", "mount/", "mntns/", "userns/", "pidns/", "perm/", "shm/", "sem/", "msg/"];

/// What each case wrote, with how it ended.
type Results = BTreeMap<String, String>;

pub(super) fn linux_cases() -> Result<String> {
    let Some(programs) = std::env::var_os("RINGFENCE_TEST_PROGRAMS") else {
        bail!("RINGFENCE_TEST_PROGRAMS names no directory");
    };
    let program = Path::new(&programs).join("linux-cases");
    let names = names(&program)?;
    let mut expected = run_all("runc", &program, &names)?;
    let mut got = run_all(&runtime(), &program, &names)?;
    // Some wait for times, which a busy machine spoils on either side: few that differ are tried once more.
    let differs = |name: &&String| {
        expected.get(*name) != got.get(*name) && !KNOWN.iter().any(|(known, _)| known == name)
    };
    let again: Vec<String> = names.iter().filter(differs).cloned().collect();
    if (1..=AGAIN).contains(&again.len()) {
        println!("      once more: {}", again.join(", "));
        expected.extend(run_all("runc", &program, &again)?);
        got.extend(run_all(&runtime(), &program, &again)?);
    }
    let mut differ = Vec::new();
    let mut agree = 0;
    for name in &names {
        let [linux, here] = [&expected, &got].map(|results| results.get(name).map_or("", String::as_str));
        ensure!(!linux.is_empty(), "{name}: no result under runc");
        let known = KNOWN.iter().find(|(known, _)| known == name);
        match (linux == here, known) {
            (true, None) => agree += 1,
            (false, Some(_)) => {}
            (true, Some(_)) => differ.push(format!("{name}: agrees, so it is to be taken off the list")),
            (false, None) => {
                let lines = super::difference(linux, here).unwrap_or_default();
                differ.push(format!("{name}: {lines}"));
            }
        }
    }
    ensure!(differ.is_empty(), "{} of {} cases:\n{}", differ.len(), names.len(), differ.join("\n"));
    Ok(format!("{agree} of {} cases agree, {} known to differ", names.len(), KNOWN.len()))
}

/// The names of the cases; `RINGFENCE_TEST_CASES` chooses those that begin with one of its words.
fn names(program: &Path) -> Result<Vec<String>> {
    let listed = std::process::Command::new(program).arg("list").output().context("linux-cases list")?;
    let wanted = std::env::var("RINGFENCE_TEST_CASES").unwrap_or_default();
    let wanted: Vec<&str> = wanted.split_whitespace().collect();
    let all = String::from_utf8(listed.stdout)?;
    let chosen = |name: &&str| wanted.is_empty() || wanted.iter().any(|word| name.starts_with(word));
    Ok(all.lines().filter(chosen).map(str::to_owned).collect())
}

/// Runs the cases in one container, or in several where one dies before the last case.
fn run_all(runtime: &str, program: &Path, names: &[String]) -> Result<Results> {
    let mut results = Results::new();
    // Cases of namespaces, and those that make one first, are the administrator's.
    let (admin, plain): (Vec<String>, Vec<String>) =
        names.iter().cloned().partition(|name| ADMIN.iter().any(|family| name.starts_with(family)));
    let more = ["CAP_SYS_ADMIN", "CAP_CHECKPOINT_RESTORE", "CAP_MKNOD", "CAP_DAC_READ_SEARCH"];
    for (names, more) in [(plain, &[][..]), (admin, &more[..])] {
        run_group(runtime, program, names, more, &mut results)?;
    }
    Ok(results)
}

/// Runs cases that need the same capabilities.
fn run_group(
    runtime: &str,
    program: &Path,
    mut left: Vec<String>,
    more: &[&str],
    results: &mut Results,
) -> Result<()> {
    for _ in 0..DEATHS {
        if left.is_empty() {
            break;
        }
        let text = run_some(runtime, program, &left, more)?;
        let died = collect(&text, results);
        left.retain(|name| !results.contains_key(name));
        if let Some(name) = died.or_else(|| left.first().cloned().filter(|_| !left.is_empty())) {
            left.retain(|other| *other != name);
            results.entry(name).or_insert_with(|| "the container ended\n".into());
        }
    }
    Ok(())
}

fn run_some(runtime: &str, program: &Path, names: &[String], more: &[&str]) -> Result<String> {
    let mut args = vec!["/bin/linux-cases", "run"];
    args.extend(names.iter().map(String::as_str));
    let mut bundle = Bundle::new("linux-cases", &args)?;
    fs::copy(program, bundle.file("bin/linux-cases")).context("linux-cases")?;
    let mut capabilities = vec![
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FOWNER",
        "CAP_FSETID",
        "CAP_KILL",
        "CAP_SETGID",
        "CAP_SETUID",
        "CAP_SETPCAP",
        "CAP_SYS_CHROOT",
        "CAP_SYS_NICE",
        "CAP_SYS_RESOURCE",
        "CAP_IPC_LOCK",
        "CAP_SETFCAP",
    ];
    capabilities.extend(more);
    for set in ["bounding", "effective", "permitted"] {
        bundle.config["process"]["capabilities"][set] = json!(capabilities);
    }
    for set in ["inheritable", "ambient"] {
        bundle.config["process"]["capabilities"][set] = json!([]);
    }
    bundle.config["process"]["noNewPrivileges"] = json!(false);
    bundle.config["process"]["env"] = json!(["PATH=/bin", "HOME=/root"]);
    bundle.config["mounts"].as_array_mut().context("mounts")?.push(json!(
        { "destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"] }
    ));
    bundle.write()?;
    let child = start(runtime, &bundle.path, &id())?;
    let output = finish_within(child, std::time::Duration::from_secs(LIMIT))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Takes the results out of the text; the case that had begun and not ended, if there is one.
fn collect(text: &str, results: &mut Results) -> Option<String> {
    let mut open: Option<(String, String)> = None;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("=== ") {
            open = Some((name.into(), String::new()));
        } else if let Some((name, lines)) = &mut open {
            lines.push_str(line);
            lines.push('\n');
            if line.starts_with("--- ") {
                results.insert(std::mem::take(name), std::mem::take(lines));
                open = None;
            }
        }
    }
    open.map(|(name, _)| name)
}

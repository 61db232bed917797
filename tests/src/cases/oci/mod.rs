//! The life of containers as the runtime specification and runc's command line have it.
//!
//! Each case does something to a container and notes what it sees. It runs under runc first, then under crun as a
//! check that it asks for nothing particular to one of them, then under the runtime: the notes must be the same.
//! `RINGFENCE_TEST_CASES` chooses cases by the beginnings of their names.

mod basic;
mod events;
mod exec;
mod faults;
mod hooks;
mod life;
mod more;

use anyhow::{Context, Result, bail};

use self::life::{Life, become_subreaper};
pub(super) use self::{events::debug, faults::killed};
use super::{difference, life::traces};
use crate::{bundle::Bundle, command::runtime};

type Case = fn(&mut Life<'_>) -> Result<()>;

/// Cases whose notes must agree under all runtimes.
const CASES: &[&[(&str, Case)]] = &[basic::CASES, events::CASES, exec::CASES, hooks::CASES, more::CASES];

/// Cases in which one of the two is no measure, and why.
const ODD: [(&str, &str, &str); 7] = [
    ("events/stats", "crun", "it has no such command"),
    ("events/nobody", "crun", "it has no such command"),
    ("events/stream", "crun", "it has no such command"),
    ("hooks/order", "runc", "it runs the poststart hooks in create"),
    ("hooks/may-use-commands", "runc", "it runs the poststart hooks in create"),
    ("ps/table", "crun", "it prints numbers alone"),
    ("together/create", "crun", "now and then two of them succeed"),
];

/// What a case notes under a program, and that nothing is left of it.
fn notes(program: &str, bundle: &mut Bundle, case: Case) -> Result<String> {
    let before = traces()?;
    let config = bundle.config.clone();
    let mut life = Life::new(program, bundle);
    let result = case(&mut life);
    let mut lines = std::mem::take(&mut life.lines);
    let output = life.output();
    drop(life);
    bundle.config = config;
    bundle.write()?;
    result.with_context(|| format!("under {program}, after\n{lines}{output}"))?;
    let after = traces()?;
    for what in after.difference(&before) {
        lines.push_str(&format!("left: {what}\n"));
    }
    Ok(lines)
}

pub(super) fn validation() -> Result<String> {
    become_subreaper()?;
    let wanted = std::env::var("RINGFENCE_TEST_CASES").unwrap_or_default();
    let wanted: Vec<_> = wanted.split_whitespace().collect();
    let (mut passed, mut failures) = (0, Vec::new());
    for (name, case) in CASES.iter().flat_map(|cases| cases.iter()) {
        if !wanted.is_empty() && !wanted.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        let odd = ODD.iter().find(|(odd, ..)| odd == name).map(|(_, program, _)| *program);
        let programs: Vec<_> = ["runc", "crun"].into_iter().filter(|program| odd != Some(program)).collect();
        match one(&programs, *case) {
            Ok(()) => passed += 1,
            Err(error) => failures.push(format!("{name}: {error:#}")),
        }
    }
    if !failures.is_empty() {
        bail!("{passed} cases agree, {} do not\n      {}", failures.len(), failures.join("\n      "));
    }
    Ok(format!("{passed} cases under runc, crun and here"))
}

/// Runs a case under programs that must agree, and under the runtime.
fn one(programs: &[&str], case: Case) -> Result<()> {
    let mut bundle = Bundle::new("oci", &["sh", "-c", "echo up; exec sleep 300"])?;
    let mut expected: Option<String> = None;
    for program in programs.iter().copied().chain([runtime().as_str()]) {
        let got = notes(program, &mut bundle, case)?;
        if let Some(difference) = expected.as_ref().and_then(|expected| difference(expected, &got)) {
            bail!("{program}: {difference}");
        }
        expected.get_or_insert(got);
    }
    Ok(())
}

//! Real work, unmodified: packages installed, trees archived, repositories packed, databases written. What each prints,
//! sums of what it wrote included, must be as under runc.

use std::{fs, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::agree;
use crate::{
    bundle::Bundle,
    command::{finish_within, id, runtime, start},
};

/// What a container has by default under Docker.
const CAPABILITIES: &[&str] = &[
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// Longest that one of them may take, seconds: by default, and with all of its files.
const LIMITS: [u64; 2] = [400, 3000];

const TREE: (&str, &str) = ("tree.py", include_str!("../../applications/work/tree.py"));

/// Runs `text` by bash with one argument, `short` or, where all that takes long is wanted, `long`.
fn work(name: &str, text: &str, files: &[(&str, &str)], [short, long]: [&str; 2]) -> Result<String> {
    let all = super::long();
    let run = |program: &str| {
        let mut bundle =
            Bundle::applications(name, &["bash", "/job/work.sh", if all { long } else { short }])?;
        for set in ["bounding", "effective", "permitted"] {
            bundle.config["process"]["capabilities"][set] = json!(CAPABILITIES);
        }
        bundle.write()?;
        for (name, text) in files.iter().chain(&[("work.sh", text)]) {
            fs::write(bundle.file("job").join(name), text).with_context(|| (*name).to_owned())?;
        }
        finish_within(start(program, &bundle.path, &id())?, Duration::from_secs(LIMITS[usize::from(all)]))
    };
    let begin = std::time::Instant::now();
    let expected = run("runc").context("runc")?;
    let linux = begin.elapsed().as_secs_f32();
    let text = String::from_utf8_lossy(&expected.stdout);
    ensure!(expected.status.success() && !text.is_empty(), "runc: {}: {text}", expected.status);
    let note = agree(&expected, &run(&runtime())?, str::to_owned)?;
    Ok(format!("{note}; {linux:.1} s under runc, {:.1} s here", begin.elapsed().as_secs_f32() - linux))
}

pub(super) fn packages() -> Result<String> {
    work("work-packages", include_str!("../../applications/work/packages.sh"), &[], ["", ""])
}

pub(super) fn tar() -> Result<String> {
    work("work-tar", include_str!("../../applications/work/tar.sh"), &[TREE], ["1500", "20000"])
}

pub(super) fn git() -> Result<String> {
    work("work-git", include_str!("../../applications/work/git.sh"), &[], ["", ""])
}

pub(super) fn make() -> Result<String> {
    work("work-make", include_str!("../../applications/work/make.sh"), &[], ["", ""])
}

pub(super) fn sqlite() -> Result<String> {
    work("work-sqlite", include_str!("../../applications/work/sqlite.sh"), &[], ["200", "2000"])
}

pub(super) fn fio() -> Result<String> {
    work("work-fio", include_str!("../../applications/work/fio.sh"), &[], ["2m", "32m"])
}

pub(super) fn rsync() -> Result<String> {
    work("work-rsync", include_str!("../../applications/work/rsync.sh"), &[TREE], ["250", "20000"])
}

pub(super) fn postgres() -> Result<String> {
    work("work-postgres", include_str!("../../applications/work/postgres.sh"), &[], ["20", "1000"])
}

//! What containers do to files, seen from outside.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::same;
use crate::{
    bundle::Bundle,
    command::{run, runtime},
};

pub(super) fn readonly_root() -> Result<String> {
    let mut bundle = Bundle::new("readonly", &["sh", "-c", "touch /x; echo $?; cat /x"])?;
    bundle.config["root"]["readonly"] = json!(true);
    bundle.write()?;
    let output = run(&runtime(), &bundle.path)?;
    ensure!(String::from_utf8_lossy(&output.stderr).contains("Read-only file system"), "it can be written");
    ensure!(!bundle.file("x").exists(), "the file exists outside");
    Ok(String::new())
}

/// runc makes mount points that the root lacks, on a read-only root too.
pub(super) fn mount_points_are_made() -> Result<String> {
    for readonly in [true, false] {
        let make = || {
            let script = "ls -d /proc /new /new/deeper /mnt/file; cat /mnt/file; test -e /proc/self; echo $?";
            let mut bundle = Bundle::new("points", &["sh", "-c", script])?;
            for directory in ["proc", "sys", "dev"] {
                fs::remove_dir(bundle.file(directory))?;
            }
            bundle.config["root"]["readonly"] = json!(readonly);
            let source = bundle.file("etc/os-release");
            if let Some(mounts) = bundle.config["mounts"].as_array_mut() {
                mounts.push(json!({ "destination": "/new/deeper", "type": "tmpfs", "source": "tmpfs" }));
                let options = ["bind", "ro"];
                mounts.push(json!({ "destination": "/mnt/file", "type": "bind", "source": source, "options": options }));
            }
            bundle.write()?;
            Ok(bundle)
        };
        same(make, str::to_owned).with_context(|| format!("readonly {readonly}"))?;
    }
    Ok(String::new())
}

pub(super) fn files_reach_the_host() -> Result<String> {
    let script =
        "mkdir /tmp/d && echo text > /tmp/d/f && ln -s f /tmp/d/l && mv /tmp/d/f /tmp/d/g && rm /bin/false";
    let bundle = Bundle::new("files", &["sh", "-c", script])?;
    let output = run(&runtime(), &bundle.path)?;
    ensure!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    ensure!(fs::read(bundle.file("tmp/d/g")).context("tmp/d/g")? == b"text\n", "wrong text");
    ensure!(fs::read_link(bundle.file("tmp/d/l"))? == Path::new("f"), "wrong link");
    ensure!(fs::symlink_metadata(bundle.file("bin/false")).is_err(), "a removed file is still there");
    Ok(String::new())
}

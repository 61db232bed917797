//! What containers do to files, seen from outside.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use serde_json::json;

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

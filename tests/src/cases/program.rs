//! Programs: start, input, output, end.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::same;
use crate::{
    bundle::Bundle,
    command::{run, run_with, runtime},
};

pub(super) fn shell_as_runc() -> Result<String> {
    let script = "echo hello; ls -l / | head -3; cat /etc/os-release; for i in 1 2 3; do (exit $i); echo $?; \
                  done; uname -a; id; ps";
    let make = || Bundle::new("shell", &["sh", "-c", script]);
    same(make, |text| {
        text.lines()
            // The kernel's identity differs on purpose; directories of a file system made in memory by the
            // kernel have sizes and times of their own.
            .map(|line| if line.starts_with("Linux ") { "Linux" } else { line })
            .map(
                |line| if line.starts_with('d') { line.split(' ').next_back().unwrap_or(line) } else { line },
            )
            .collect::<Vec<_>>()
            .join("\n")
    })
}

pub(super) fn exit_status() -> Result<String> {
    for (script, status) in [("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("kill -9 $$; exit 3", 3)] {
        let bundle = Bundle::new("status", &["sh", "-c", script])?;
        let output = run(&runtime(), &bundle.path)?;
        ensure!(output.status.code() == Some(status), "{script}: {}", output.status);
    }
    Ok(String::new())
}

pub(super) fn standard_input() -> Result<String> {
    let bundle = Bundle::new("stdin", &["cat"])?;
    let input: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).collect();
    let output = run_with(&runtime(), &bundle.path, &input)?;
    ensure!(output.stdout == input, "{} bytes came back of {}", output.stdout.len(), input.len());
    Ok(format!("{} bytes", input.len()))
}

pub(super) fn large_output() -> Result<String> {
    let bundle = Bundle::new("output", &["dd", "if=/dev/zero", "bs=65536", "count=160"])?;
    let output = run(&runtime(), &bundle.path)?;
    ensure!(output.stdout.len() == 160 * 65536, "{} bytes", output.stdout.len());
    ensure!(output.stdout.iter().all(|&byte| byte == 0), "not zeroes");
    Ok("10 MiB".into())
}

pub(super) fn environment_and_directory() -> Result<String> {
    let make = || {
        let mut bundle = Bundle::new("env", &["sh", "-c", "pwd; env | sort; echo \"$@\"", "sh", "a b", "c"])?;
        bundle.config["process"]["env"] = json!(["PATH=/bin", "A=1", "B=x y"]);
        bundle.config["process"]["cwd"] = json!("/tmp");
        bundle.write()?;
        Ok(bundle)
    };
    // runc adds HOME.
    same(make, |text| text.lines().filter(|line| !line.starts_with("HOME=")).collect::<Vec<_>>().join("\n"))
}

pub(super) fn hostname() -> Result<String> {
    let mut bundle = Bundle::new("hostname", &["hostname"])?;
    bundle.config["hostname"] = json!("some-host");
    bundle.write()?;
    let output = run(&runtime(), &bundle.path)?;
    ensure!(output.stdout == b"some-host\n", "{:?}", String::from_utf8_lossy(&output.stdout));
    Ok(String::new())
}

/// Programs of other kinds than busybox: at a fixed address and at any, with threads.
pub(super) fn kinds_of_elf() -> Result<String> {
    let Some(directory) = std::env::var_os("RINGFENCE_TEST_PROGRAMS") else {
        return Ok("skipped: RINGFENCE_TEST_PROGRAMS names no directory".into());
    };
    for name in ["elf-static", "elf-pie"] {
        let make = || {
            let bundle = Bundle::new(name, &["/prog", "one", "two words"])?;
            fs::copy(std::path::Path::new(&directory).join(name), bundle.file("prog")).context(name)?;
            Ok(bundle)
        };
        same(make, str::to_owned).context(name)?;
    }
    Ok(String::new())
}

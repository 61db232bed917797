//! One container in the hands of a case: commands of a runtime, and what they did, as lines.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::{
    bundle::Bundle,
    command::{finish, id},
};

/// Longest wait for something to come true.
const PATIENCE: Duration = Duration::from_secs(30);

/// A container of one runtime.
#[derive(Debug)]
pub(super) struct Life<'a> {
    pub(super) program: &'a str,
    pub(super) bundle: &'a mut Bundle,
    pub(super) id: String,
    /// What was seen; must be the same under every runtime.
    pub(super) lines: String,
    others: Vec<String>,
}

impl<'a> Life<'a> {
    pub(super) fn new(program: &'a str, bundle: &'a mut Bundle) -> Self {
        for file in ["order", "count"] {
            let _ = fs::remove_file(bundle.file(file));
        }
        Self { program, bundle, id: id(), lines: String::new(), others: Vec::new() }
    }

    /// Adds a line.
    pub(super) fn note(&mut self, what: &str, value: impl std::fmt::Debug) {
        self.lines.push_str(&format!("{what}: {value:?}\n"));
    }

    /// Changes the process's program to a shell script.
    pub(super) fn script(&mut self, script: &str) -> Result<()> {
        self.bundle.config["process"]["args"] = serde_json::json!(["sh", "-c", script]);
        self.bundle.write()
    }

    fn output_path(&self) -> PathBuf {
        self.bundle.path.join("output")
    }

    /// A command of the runtime. What it starts writes to a file.
    pub(super) fn start_command(&self, words: &[&str]) -> Result<std::process::Child> {
        let output = File::options().append(true).create(true).open(self.output_path())?;
        std::os::unix::process::CommandExt::process_group(&mut Command::new(self.program), 0)
            .args(words)
            .current_dir(&self.bundle.path)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| self.program.to_owned())
    }

    /// Its exit status.
    pub(super) fn status_of(&self, words: &[&str]) -> Result<Option<i32>> {
        Ok(finish(self.start_command(words)?)?.status.code())
    }

    /// Notes whether a command succeeds.
    pub(super) fn tries(&mut self, what: &str, words: &[&str]) -> Result<bool> {
        let status = self.status_of(words)?;
        self.note(what, if status == Some(0) { "succeeds" } else { "fails" });
        Ok(status == Some(0))
    }

    /// A command that must succeed.
    pub(super) fn does(&self, words: &[&str]) -> Result<()> {
        let status = self.status_of(words)?;
        ensure!(status == Some(0), "{words:?}: {status:?}: {}", self.output());
        Ok(())
    }

    /// A command whose output is wanted. It must not start what outlives it.
    pub(super) fn asks(&self, words: &[&str]) -> Result<Output> {
        let child = std::os::unix::process::CommandExt::process_group(&mut Command::new(self.program), 0)
            .args(words)
            .current_dir(&self.bundle.path)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| self.program.to_owned())?;
        finish(child)
    }

    pub(super) fn create(&self) -> Result<()> {
        self.does(&["create", &self.id])
    }

    pub(super) fn start(&self) -> Result<()> {
        self.does(&["start", &self.id])
    }

    /// Creates and starts it, and waits for its first line.
    pub(super) fn up(&mut self, script: &str) -> Result<()> {
        self.script(script)?;
        self.create()?;
        self.start()?;
        self.await_output("up\n")
    }

    /// What the container, and commands that fail, have written.
    pub(super) fn output(&self) -> String {
        fs::read_to_string(self.output_path()).unwrap_or_default()
    }

    pub(super) fn await_output(&self, text: &str) -> Result<()> {
        self.until(&format!("output {text:?}"), || Ok(self.output().contains(text)))
    }

    /// Waits until something holds.
    pub(super) fn until(&self, what: &str, holds: impl Fn() -> Result<bool>) -> Result<()> {
        let start = Instant::now();
        while !holds()? {
            if start.elapsed() > PATIENCE {
                bail!("no {what} within {} s; output {:?}", PATIENCE.as_secs(), self.output());
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// The container's state; `Null` when there is none.
    pub(super) fn state(&self) -> Result<Value> {
        let output = self.asks(&["state", &self.id])?;
        if !output.status.success() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&output.stdout).context("state")
    }

    /// `created`, `running`…, or `none`.
    pub(super) fn status(&self) -> Result<String> {
        Ok(self.state()?["status"].as_str().unwrap_or("none").to_owned())
    }

    /// Notes the status.
    pub(super) fn shows(&mut self, what: &str) -> Result<()> {
        let status = self.status()?;
        self.note(what, status);
        Ok(())
    }

    pub(super) fn await_status(&self, wanted: &str) -> Result<()> {
        self.until(wanted, || Ok(self.status()? == wanted))
    }

    /// Another container of the same bundle.
    pub(super) fn another(&mut self) -> String {
        let id = id();
        self.others.push(id.clone());
        id
    }
}

impl Drop for Life<'_> {
    fn drop(&mut self) {
        for id in self.others.iter().chain([&self.id]) {
            let _ = self.asks(&["delete", "--force", id]);
        }
        let _ = fs::remove_file(self.output_path());
    }
}

/// Becomes the parent of orphans below, as containerd's shim does.
pub(super) fn become_subreaper() -> Result<()> {
    // SAFETY: the request takes numbers only.
    #[allow(unsafe_code, reason = "std has no prctl")]
    let done = unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
    ensure!(done == 0, "prctl: {}", std::io::Error::last_os_error());
    Ok(())
}

/// Waits for a child by its number, as containerd's shim does: a shell's status.
pub(super) fn wait_for_child(pid: i32) -> Result<i32> {
    let start = Instant::now();
    loop {
        let mut status = 0;
        // SAFETY: `status` is valid for the call.
        #[allow(unsafe_code, reason = "std waits only for what it started")]
        let found = unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) };
        ensure!(found >= 0, "process {pid} is no child: {}", std::io::Error::last_os_error());
        if found == pid {
            return Ok(if libc::WIFSIGNALED(status) {
                128 + libc::WTERMSIG(status)
            } else {
                libc::WEXITSTATUS(status)
            });
        }
        if start.elapsed() > PATIENCE {
            bail!("process {pid} does not end");
        }
        thread::sleep(Duration::from_millis(10));
    }
}

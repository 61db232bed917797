//! A container whose shell does one thing after another.

use std::{
    io::Write,
    process::{Child, ChildStdin, Output},
};

use anyhow::{Context, Result, ensure};

use crate::{
    bundle::Bundle,
    command::{await_text, finish, id, kill, runtime, start_under},
};

/// Ends what a command says; followed by its status and a line's end.
const MARK: &str = "\u{1}";

/// A container that runs `sh` with commands from us.
#[derive(Debug)]
pub(crate) struct Session {
    child: Option<Child>,
    input: Option<ChildStdin>,
}

impl Session {
    /// Starts one on a bundle whose process is `sh` or answers as it would.
    pub(crate) fn start(bundle: &Bundle) -> Result<Self> {
        Self::start_under(&[], &runtime(), bundle)
    }

    /// The same under any runtime, which the command `wrapper` starts.
    pub(crate) fn start_under(wrapper: &[&str], program: &str, bundle: &Bundle) -> Result<Self> {
        let mut child = start_under(wrapper, program, &bundle.path, &id())?;
        let input = child.stdin.take();
        let mut session = Self { child: Some(child), input };
        session.ask("exec 2>&1")?;
        Ok(session)
    }

    /// Has the shell do something; what it says, with the status at the end.
    pub(crate) fn ask(&mut self, command: &str) -> Result<String> {
        let input = self.input.as_mut().context("no input")?;
        writeln!(input, "{command}\necho \"{MARK}$?{MARK}\"").context("the shell is gone")?;
        input.flush()?;
        let child = self.child.as_mut().context("no container")?;
        let mut seen = Vec::new();
        await_text(child, &mut seen, MARK)
            .and_then(|()| await_text(child, &mut seen, MARK))
            .with_context(|| format!("{command}: {:?}", String::from_utf8_lossy(&seen)))?;
        await_text(child, &mut seen, "\n")?;
        Ok(String::from_utf8_lossy(&seen).replace(MARK, "").trim().to_owned())
    }

    /// Has the shell do something that says `expected`, with the status at the end.
    pub(crate) fn expect(&mut self, command: &str, expected: &str) -> Result<()> {
        let got = self.ask(command)?;
        ensure!(got == expected, "{command}: {got:?} instead of {expected:?}");
        Ok(())
    }

    /// The process that the runtime started.
    pub(crate) fn pid(&self) -> Result<u32> {
        Ok(self.child.as_ref().context("no container")?.id())
    }

    /// Ends the shell; the container must be whole.
    pub(crate) fn end(mut self) -> Result<Output> {
        self.expect("echo alive", "alive\n0").context("after all")?;
        self.input = None;
        let output = finish(self.child.take().context("no container")?)?;
        ensure!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
        Ok(output)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(child) = self.child.take() {
            kill(child.id(), libc::SIGKILL);
            let _ = finish(child);
        }
    }
}

//! A process with a terminal. `script` gives the caller one.

use std::{
    io::Write,
    os::unix::process::CommandExt,
    process::{Command, Output, Stdio},
};

use anyhow::{Context, Result};
use serde_json::json;

use super::agree;
use crate::{
    bundle::Bundle,
    command::{await_text, finish, id, runtime},
};

/// Runs a shell script in a container on a terminal; sends each text when the one before it has appeared.
fn on_terminal(program: &str, script: &str, typed: &[(&str, &str)]) -> Result<Output> {
    let mut bundle = Bundle::new("terminal", &["sh", "-c", script])?;
    bundle.config["process"]["terminal"] = json!(true);
    bundle.write()?;
    let command =
        format!("stty rows 33 cols 99; exec {program} run --bundle {} {}", bundle.path.display(), id());
    let mut child = Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("script")?;
    let mut stdin = child.stdin.take().context("stdin")?;
    let mut seen = Vec::new();
    let mut result = Ok(());
    for (prompt, text) in typed {
        result = await_text(&mut child, &mut seen, prompt);
        if result.is_err() || stdin.write_all(text.as_bytes()).is_err() {
            break;
        }
    }
    if result.is_ok() {
        result = await_text(&mut child, &mut seen, "THE END");
    }
    // The end of input would be typed as well, before or after the end of the container.
    let mut output = finish(child)?;
    drop(stdin);
    seen.append(&mut output.stdout);
    output.stdout = seen;
    result.with_context(|| format!("{program} printed {:?}", String::from_utf8_lossy(&output.stdout)))?;
    Ok(output)
}

fn same_on_terminal(script: &str, typed: &[(&str, &str)]) -> Result<String> {
    let expected = on_terminal("runc", script, typed)?;
    let got = on_terminal(&runtime(), script, typed)?;
    agree(&expected, &got, str::to_owned)
}

pub(super) fn terminal() -> Result<String> {
    let script = "tty; for n in 0 1 2; do test -t $n && echo $n is a terminal; done; stty size; \
                  ls -l /proc/self/fd/0 | sed 's/.*->//'; stat -c '%F %a' /dev/console; ls /dev/pts; \
                  echo to the terminal >/dev/tty; cut -d' ' -f7 /proc/self/stat; \
                  printf 'a\\tb\\n'; echo error >&2; echo THE END; exit 5";
    same_on_terminal(script, &[])
}

pub(super) fn keys() -> Result<String> {
    let script = "trap 'echo interrupted' INT; echo first; read -r x; echo \"read $x\"; \
                  echo second; cat; echo end of input; \
                  echo third; sleep 20; stty -echo; echo fourth; read -r y; stty echo; echo \"read $y\"; \
                  stty -icanon min 1; echo fifth; head -c 1 | od -c; echo THE END; exit 6";
    let typed = [
        ("first", "hello\n"),
        ("second", "line\n\x04"),
        ("third", "\x03"),
        ("fourth", "hidden\n"),
        ("fifth", "k"),
    ];
    same_on_terminal(script, &typed)
}

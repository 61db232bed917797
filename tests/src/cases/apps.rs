//! Applications of a Debian system, unmodified: what they print and how they end must be as under runc.

use std::{fs, time::Duration};

use anyhow::{Context, Result, ensure};

use super::agree;
use crate::{
    bundle::Bundle,
    command::{finish_within, id, runtime, start},
};

/// Runs `script` (by bash) in the applications' system, with `files` in its working directory.
fn script(name: &str, files: &[(&str, &str)], script: &str, limit: u64) -> Result<String> {
    let run = |program: &str| {
        let bundle = Bundle::applications(name, &["bash", "-c", script])?;
        for (name, text) in files {
            fs::write(bundle.file("job").join(name), text).with_context(|| (*name).to_owned())?;
        }
        finish_within(start(program, &bundle.path, &id())?, Duration::from_secs(limit))
    };
    let expected = run("runc").context("runc")?;
    ensure!(!expected.stdout.is_empty(), "runc: {}", String::from_utf8_lossy(&expected.stderr));
    agree(&expected, &run(&runtime())?, str::to_owned)
}

pub(super) fn shell() -> Result<String> {
    let text = include_str!("../../applications/shell.sh");
    script("app-shell", &[("shell.sh", text)], "exec bash shell.sh", 120)
}

pub(super) fn python() -> Result<String> {
    let text = include_str!("../../applications/python.py");
    script("app-python", &[("python.py", text)], "exec python3 python.py 2>&1", 120)
}

pub(super) fn terminals() -> Result<String> {
    let text = include_str!("../../applications/terminals.py");
    script("app-terminals", &[("terminals.py", text)], "exec python3 terminals.py 2>&1", 200)
}

pub(super) fn perl() -> Result<String> {
    let text = include_str!("../../applications/perl.pl");
    script("app-perl", &[("perl.pl", text)], "exec perl perl.pl 2>&1", 120)
}

/// One program, linked dynamically against glibc and statically against musl.
pub(super) fn compilers() -> Result<String> {
    let text = include_str!("../../applications/hello.c");
    let steps = "exec 2>&1; set -e; gcc -Wall -O1 -o hello hello.c; musl-gcc -static -O1 -o hello-musl hello.c; \
                 set +e; ./hello; echo $?; ./hello-musl a; echo $?; env -i ./hello-musl a b | tail -n 2";
    script("app-gcc", &[("hello.c", text)], steps, 200)
}

pub(super) fn make() -> Result<String> {
    let text = include_str!("../../applications/project.sh");
    script("app-make", &[("project.sh", text)], "exec bash project.sh", 400)
}

pub(super) fn go() -> Result<String> {
    let text = include_str!("../../applications/threads.go");
    let steps = "go build -o threads threads.go || exit; for n in 1 2 3; do ./threads; echo $?; done; \
                 GOMAXPROCS=1 ./threads; echo $?";
    script("app-go", &[("threads.go", text)], steps, 400)
}

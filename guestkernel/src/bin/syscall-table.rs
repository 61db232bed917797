//! Writes `docs/syscalls.md` from the system-call table, or checks that it is up to date (`--check`).
#![cfg_attr(target_os = "none", no_std)]
#![cfg_attr(target_os = "none", no_main)]

#[cfg(target_os = "none")]
use guestkernel as _;

#[cfg(not(target_os = "none"))]
fn main() -> std::process::ExitCode {
    use std::{env, fs, path::Path, process::ExitCode};

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/syscalls.md");
    let wanted = page::render();
    let current = fs::read_to_string(&path).unwrap_or_default();
    if current == wanted {
        return ExitCode::SUCCESS;
    }
    if env::args().nth(1).as_deref() == Some("--check") {
        eprintln!("docs/syscalls.md is stale: run `cargo run -p guestkernel --bin syscall-table`");
        return ExitCode::FAILURE;
    }
    match fs::write(&path, wanted) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", path.display());
            ExitCode::FAILURE
        }
    }
}

#[cfg(not(target_os = "none"))]
mod page {
    use guestkernel::syscall::table::{Level, TABLE};
    use std::fmt::Write;

    /// The page's text.
    pub(super) fn render() -> String {
        let count = |level| TABLE.iter().filter(|entry| entry.level == level).count();
        let mut page = String::from("# System calls\n\n");
        page.push_str("<!-- Made by `cargo run -p guestkernel --bin syscall-table`; do not edit. -->\n\n");
        page.push_str(
            "Every system call number of x86-64 Linux and what the sentry has of it. A call that is absent \
             gives `ENOSYS`; the sandbox log names it at its first use.\n\n",
        );
        let (full, partial, absent) = (count(Level::Full), count(Level::Partial), count(Level::Absent));
        // Writing to a string does not fail.
        let _ = writeln!(page, "{full} full, {partial} partial, {absent} absent.\n");
        page.push_str("| number | name | support | remarks |\n| ---: | --- | --- | --- |\n");
        for (nr, entry) in TABLE.iter().enumerate() {
            let level = match entry.level {
                Level::Full => "full",
                Level::Partial => "partial",
                Level::Absent => "absent",
                Level::Gap => continue,
            };
            let _ = writeln!(page, "| {nr} | `{}` | {level} | {} |", entry.name, entry.note);
        }
        page
    }
}

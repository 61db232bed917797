//! CPython's own suite: each test must end as it does on Linux in the same machine.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader},
    process::Command,
    sync::mpsc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::{
    bundle::Bundle,
    command::{finish_within, id, runtime, start},
};

/// Modules, and whether they run by default; `RINGFENCE_TEST_LONG` runs all of them.
const MODULES: &[(&str, bool)] = &[
    ("test_os", true),
    ("test_posix", true),
    ("test_signal", true),
    ("test_threading", false),
    ("test_mmap", true),
    ("test_time", true),
    ("test_resource", true),
    ("test_faulthandler", true),
    ("test_fork1", true),
    ("test_pty", true),
    ("test_tty", true),
    ("test_ioctl", true),
    ("test_wait3", true),
    ("test_wait4", true),
    ("test_gc", true),
    ("test_subprocess", false),
    ("test_socket", false),
    ("test_socketserver", false),
    ("test_asyncio.test_events", false),
    ("test_asyncio.test_server", false),
    ("test_asyncio.test_sock_lowlevel", false),
    ("test_asyncio.test_streams", false),
    ("test_asyncio.test_unix_events", false),
    ("test_concurrent_futures.test_as_completed", false),
    ("test_concurrent_futures.test_deadlock", false),
    ("test_concurrent_futures.test_future", true),
    ("test_concurrent_futures.test_init", false),
    ("test_concurrent_futures.test_process_pool", false),
    ("test_concurrent_futures.test_shutdown", false),
    ("test_concurrent_futures.test_thread_pool", false),
    ("test_concurrent_futures.test_wait", false),
    ("test_multiprocessing_fork.test_manager", false),
    ("test_multiprocessing_fork.test_misc", false),
    ("test_multiprocessing_fork.test_processes", false),
    ("test_multiprocessing_fork.test_threads", false),
    ("test_shutil", false),
    ("test_tempfile", false),
    ("test_pathlib", false),
    ("test_glob", true),
    ("test_posixpath", true),
    ("test_io", false),
    ("test_fileio", true),
    ("test_largefile", true),
    ("test_zipfile", false),
    ("test_tarfile", false),
    ("test_select", true),
    ("test_selectors", false),
    ("test_epoll", true),
    ("test_poll", true),
    ("test_fcntl", true),
    ("_test_eintr", false),
    ("test_sqlite3", false),
];

/// Tests that end otherwise for a reason that is known. One that agrees is to leave the list.
const KNOWN: &[(&str, &str)] = &[];

/// A test that says nothing for so long hangs, seconds.
const SILENCE: u64 = 240;
/// Containers for one module before the rest of it is given up: one that hangs or dies costs one.
const TRIES: usize = 6;

/// What each test ended with, in the order of their ends.
type Results = Vec<(String, String)>;

pub(super) fn suite() -> Result<String> {
    let long = super::long();
    let chosen = std::env::var("RINGFENCE_TEST_CASES").unwrap_or_default();
    let chosen: Vec<&str> = chosen.split_whitespace().filter(|word| word.starts_with("test_")).collect();
    let (mut differ, mut agree, mut modules, mut known) = (Vec::new(), 0, 0, 0);
    for &(module, short) in MODULES {
        let wanted = if chosen.is_empty() {
            short || long
        } else {
            chosen.iter().any(|word| module.trim_start_matches("_").starts_with(word))
        };
        if !wanted {
            continue;
        }
        modules += 1;
        let begin = Instant::now();
        let expected = results("runc", module).with_context(|| format!("{module} under runc"))?;
        let linux = begin.elapsed().as_secs();
        let got = results(&runtime(), module).with_context(|| module.to_owned())?;
        println!("      {module}: {linux} s under runc, {} s here", begin.elapsed().as_secs() - linux);
        ensure!(
            expected.iter().any(|(_, result)| result == "ok"),
            "{module}: no test passes under runc: {expected:?}"
        );
        for (name, linux, here) in compare(&expected, &got) {
            let mut here = here;
            let known_here = KNOWN.iter().any(|(known, _)| *known == name);
            if kind(&linux) != kind(&here) && !known_here {
                // Some measure times, which a busy machine spoils: what differs is tried once more by itself.
                println!("      {name}: {here}; once more");
                here = alone(module, &name, &got)?;
            }
            match (kind(&linux) == kind(&here), known_here) {
                (true, false) => agree += 1,
                (false, true) => known += 1,
                (true, true) => println!("      {name}: known to differ, yet it agrees"),
                (false, false) => differ.push(format!("{name}\n        runc: {linux}\n        here: {here}")),
            }
        }
    }
    ensure!(
        differ.is_empty(),
        "{agree} tests agree, {} do not:\n      {}",
        differ.len(),
        differ.join("\n      ")
    );
    Ok(format!("{agree} tests of {modules} modules agree, {known} known to differ"))
}

/// What of a result is compared: not the words of a failure, which hold addresses and times.
fn kind(result: &str) -> &str {
    match result.split_once(' ') {
        Some((kind @ ("FAIL" | "ERROR"), _)) => kind,
        _ => result,
    }
}

/// Every test that either side ran, with what it ended with there and here.
fn compare(expected: &Results, got: &Results) -> Vec<(String, String, String)> {
    let names: BTreeSet<_> = expected.iter().chain(got).map(|(name, _)| name).collect();
    let of = |results: &Results, name: &String| {
        results.iter().find(|(one, _)| one == name).map_or("not run".to_owned(), |(_, result)| result.clone())
    };
    names.into_iter().map(|name| (name.clone(), of(expected, name), of(got, name))).collect()
}

/// What one test of a module ends with when the others are left out.
fn alone(module: &str, name: &str, all: &Results) -> Result<String> {
    let others: Vec<String> = all.iter().map(|(one, _)| one.clone()).filter(|one| one != name).collect();
    let mut results = Results::new();
    run(&runtime(), module, &others, &mut results)?;
    Ok(results.into_iter().find(|(one, _)| one == name).map_or("not run".to_owned(), |(_, result)| result))
}

/// Runs a module, in several containers where one of its tests hangs or ends the container.
fn results(program: &str, module: &str) -> Result<Results> {
    let mut results = Results::new();
    for _ in 0..TRIES {
        let skip: Vec<String> = results.iter().map(|(name, _)| name.clone()).collect();
        if run(program, module, &skip, &mut results)? {
            break;
        }
    }
    Ok(results)
}

/// Runs the tests of a module except some; whether it came to its end.
fn run(program: &str, module: &str, skip: &[String], results: &mut Results) -> Result<bool> {
    let mut args = vec!["python3", "/job/suite.py", module];
    args.extend(skip.iter().map(String::as_str));
    let mut bundle = Bundle::applications("cpython", &args)?;
    fs::write(bundle.file("job/suite.py"), include_str!("../../applications/suite.py"))
        .context("suite.py")?;
    let capabilities =
        ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SYS_CHROOT"]
            .map(|name| format!("CAP_{name}"));
    for set in ["bounding", "effective", "permitted"] {
        bundle.config["process"]["capabilities"][set] = json!(capabilities);
    }
    bundle.config["mounts"].as_array_mut().context("mounts")?.push(json!(
        { "destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"] }
    ));
    bundle.write()?;
    let id = id();
    let mut child = start(program, &bundle.path, &id)?;
    let output = child.stdout.take().context("stdout")?;
    let (send, lines) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            if send.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                break;
            }
        }
    });
    let mut open = None;
    let complete = loop {
        let line = match lines.recv_timeout(Duration::from_secs(SILENCE)) {
            Ok(line) => line,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                results.push((open.take().unwrap_or_else(|| "(start)".into()), "hangs".into()));
                break false;
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                results.push((open.take().unwrap_or_else(|| "(start)".into()), "the container ends".into()));
                break false;
            }
        };
        if line == "done" {
            break true;
        } else if let Some(name) = line.strip_prefix("begin ") {
            open = Some(name.to_owned());
        } else if let Some(end) = line.strip_prefix("end ") {
            open = None;
            // The name of a class's or module's set-up has a space and parentheses.
            let place =
                end.find(") ").map_or_else(|| end.find(' '), |place| Some(place + 1)).context("line")?;
            let place =
                if end[..place].starts_with("test.") { end.find(' ').unwrap_or(place) } else { place };
            results.push((end[..place].to_owned(), end[place + 1..].to_owned()));
        }
    };
    if !complete {
        let _ = Command::new(program).args(["delete", "--force", &id]).output();
    }
    let ended = finish_within(child, Duration::from_secs(60));
    let _ = reader.join();
    let ended = ended?;
    if !complete && std::env::var_os("RINGFENCE_TEST_VERBOSE").is_some_and(|value| !value.is_empty()) {
        println!("      {module}: {} {}", ended.status, String::from_utf8_lossy(&ended.stderr));
    }
    Ok(complete)
}

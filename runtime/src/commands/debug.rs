//! `debug`: what a sandbox is doing, from outside; and `strace`: its system calls while somebody looks.

use std::{
    fs::File,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
};

use anyhow::{Context, Result, bail, ensure};
use hostcall::{Answer, Hostcall, Stats, ThreadInfo};
use rustix::event::{PollFd, PollFlags, poll};
use vmm::{
    config::one_line,
    control::{Counters, Reply, Request},
};

use super::events::figures;
use crate::{
    cli::{Debug, Global, Level},
    container::{Container, Status, answer},
    signals::Signals,
};

/// Most threads that are shown.
const MAX_THREADS: usize = 100_000;

/// A container that can be asked.
fn find(global: &Global, id: &str) -> Result<Container> {
    let (container, record) = Container::find(&global.root, id)?;
    match container.status(&record)? {
        Status::Created | Status::Running => Ok(container),
        other => bail!("container not running: {}", other.name()),
    }
}

/// Shows stacks and counters, or changes the level of the sandbox log.
pub(crate) fn debug(global: &Global, options: &Debug) -> Result<i32> {
    let container = find(global, &options.id)?;
    if let Some(level) = options.log_level {
        match answer(&container.ask(&Request::LogLevel(level as u32))?)? {
            Some(Reply::Done) => {}
            reply => bail!("the sandbox answers {reply:?}"),
        }
    }
    let all = !options.stacks && !options.counters && options.log_level.is_none();
    if options.counters || all {
        print!("{}", describe_counters(&figures(&container)?, &counters(&container)?));
    }
    if options.stacks || all {
        for thread in threads(&container)? {
            print!("{}", describe_thread(&thread));
        }
    }
    Ok(0)
}

fn counters(container: &Container) -> Result<Counters> {
    match answer(&container.ask(&Request::Counters)?)? {
        Some(Reply::Counters(counters)) => Ok(counters),
        reply => bail!("the sandbox answers {reply:?}"),
    }
}

fn threads(container: &Container) -> Result<Vec<ThreadInfo>> {
    let client = container.ask(&Request::Threads)?;
    let mut all = Vec::new();
    while all.len() < MAX_THREADS {
        match answer(&client)? {
            Some(Reply::Answer(Answer::Threads { list, more })) => {
                all.extend(list);
                if !more {
                    break;
                }
            }
            reply => bail!("the sandbox answers {reply:?}"),
        }
    }
    Ok(all)
}

fn describe_counters(stats: &Stats, counters: &Counters) -> String {
    let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
    let mut text = format!("tasks           {} of at most {}\n", stats.tasks, stats.most_tasks);
    text += &format!(
        "memory          {}, of it free {}, of that never used {}\n",
        mib(stats.memory),
        mib(stats.memory_free),
        mib(stats.memory_fresh)
    );
    text += &format!("out of memory   {} processes killed\n", stats.oom_kills);
    let level = Level::NAMES.get(counters.log_level as usize).unwrap_or(&"?");
    text += &format!("log level       {level}\n");
    for (cpu, exits) in counters.exits.iter().enumerate() {
        text += &format!("exits of vCPU {cpu} {exits}\n");
    }
    for (nr, count) in &counters.hostcalls {
        let name = Hostcall::from_nr(*nr).map_or("(no such call)", Hostcall::name);
        text += &format!("hostcall        {name} {count}\n");
    }
    for (nr, count) in &stats.absent {
        text += &format!("absent call     {nr} {count}\n");
    }
    text
}

fn describe_thread(thread: &ThreadInfo) -> String {
    let doing = match (thread.running, thread.call) {
        (true, _) => format!("runs on vCPU {}", thread.cpu),
        (false, Some(call)) => format!("in system call {call}"),
        (false, None) => "not in a system call".to_owned(),
    };
    let mut text = format!(
        "\ntask {} of process {} ({}): {}, {doing}; {} ms of CPU time, {} switches by itself, {} forced\n",
        thread.tid,
        thread.pid,
        one_line(&String::from_utf8_lossy(&thread.name)),
        char::from(thread.state),
        thread.cpu_ms,
        thread.switches.0,
        thread.switches.1,
    );
    for address in &thread.stack {
        match vmm::find_symbol(*address) {
            Some((name, offset)) => text += &format!("    {name}+{offset:#x}\n"),
            None => text += &format!("    {address:#x}\n"),
        }
    }
    text
}

/// Prints the container's system calls until it ends or the command is interrupted.
pub(crate) fn strace(global: &Global, id: &str, output: Option<&PathBuf>) -> Result<i32> {
    let container = find(global, id)?;
    let file: OwnedFd = match output {
        Some(path) => File::create(path).with_context(|| format!("--output {}", path.display()))?.into(),
        None => std::io::stdout().as_fd().try_clone_to_owned().context("standard output")?,
    };
    let signals = Signals::block()?;
    let client = container.connect()?;
    client.send(&Request::Trace, &[file.as_fd()]).context("ask the sandbox")?;
    drop(file);
    match client.receive().context("sandbox")? {
        Some(Reply::Done) => {}
        Some(Reply::Refused(errno)) => {
            return Err(std::io::Error::from_raw_os_error(errno)).context("the sandbox");
        }
        reply => bail!("the sandbox answers {reply:?}"),
    }
    loop {
        let mut fds = [client.as_fd(), signals.as_fd()].map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno).context("poll"),
        }
        let [sandbox, signal] = fds.map(|fd| !fd.revents().is_empty());
        if signal && let Some(number) = signals.next() {
            // What only tells of a terminal is no wish to end.
            if number != libc::SIGWINCH.unsigned_abs() && number != libc::SIGCONT.unsigned_abs() {
                return Ok(0);
            }
        }
        if sandbox {
            ensure!(
                client.receive().context("sandbox")?.is_none(),
                "the sandbox says what was not asked for"
            );
            return Ok(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_described() {
        let thread = ThreadInfo {
            pid: 1,
            tid: 2,
            state: b'S',
            call: Some(35),
            stack: vec![1],
            name: b"a\nb".to_vec(),
            ..ThreadInfo::default()
        };
        let text = describe_thread(&thread);
        assert!(text.starts_with("\ntask 2 of process 1 (a b): S, in system call 35; 0 ms"), "{text}");
        assert!(text.ends_with("    0x1\n"), "{text}");
    }

    #[test]
    fn counters_are_described() {
        let stats = Stats { tasks: 3, most_tasks: 9, absent: vec![(101, 2)], ..Stats::default() };
        let counters = Counters { exits: vec![5], hostcalls: vec![(4, 6), (9999, 1)], log_level: 3 };
        let text = describe_counters(&stats, &counters);
        for line in
            ["tasks           3 of at most 9\n", "log level       info\n", "hostcall        TakeCommand 6\n"]
        {
            assert!(text.contains(line), "{text}");
        }
    }
}

//! `ps`: the processes of a container.
//!
//! The table shows those inside, as the container numbers them. The JSON form lists processes of the host, as its
//! readers expect: the sandbox process, which is where all of them run, and those that stand for processes of `exec`.

use anyhow::{Context, Result, bail};
use hostcall::{Answer, ProcessInfo};
use vmm::{
    config::one_line,
    control::{Reply, Request},
};

use super::list::table;
use crate::{
    cgroup::Cgroup,
    cli::{Format, Global},
    container::{Container, Status},
    oom,
};

/// Most processes that are shown.
const MAX_PROCESSES: usize = 100_000;

/// Lists the processes of a container.
pub(crate) fn ps(global: &Global, id: &str, format: Format) -> Result<i32> {
    let (container, record) = Container::find(&global.root, id)?;
    match container.status(&record)? {
        Status::Stopped => bail!("container not running"),
        Status::Paused if format == Format::Table => bail!("cannot list the processes of a paused container"),
        _ => {}
    }
    if format == Format::Json {
        let mut pids = record.cgroup.as_ref().map(Cgroup::processes).unwrap_or_default();
        pids.retain(|&pid| !oom::is_one(pid));
        if !pids.contains(&record.pid) {
            pids.push(record.pid);
        }
        pids.sort_unstable();
        println!("{}", serde_json::to_string(&pids)?);
        return Ok(0);
    }
    let head = ["UID", "PID", "PPID", "S", "ELAPSED", "TIME", "CMD"].map(str::to_owned);
    let rows: Vec<_> = std::iter::once(head).chain(processes(&container)?.iter().map(row)).collect();
    print!("{}", table(&rows));
    Ok(0)
}

fn processes(container: &Container) -> Result<Vec<ProcessInfo>> {
    let client = container.connect()?;
    client.send(&Request::Processes, &[]).context("ask the sandbox")?;
    let mut all = Vec::new();
    while all.len() < MAX_PROCESSES {
        match client.receive().context("sandbox")? {
            Some(Reply::Answer(Answer::Processes { list, more })) => {
                all.extend(list);
                if !more {
                    break;
                }
            }
            Some(Reply::Answer(Answer::Failed { errno, message })) => {
                let error = std::io::Error::from_raw_os_error(errno.cast_signed());
                return Err(error).context(message);
            }
            Some(Reply::Refused(errno)) => {
                return Err(std::io::Error::from_raw_os_error(errno)).context("the sandbox");
            }
            Some(reply) => bail!("the sandbox answers {reply:?}"),
            None => bail!("container not running"),
        }
    }
    Ok(all)
}

fn row(process: &ProcessInfo) -> [String; 7] {
    let words: Vec<_> = process
        .arguments
        .split(|&byte| byte == 0)
        .filter(|word| !word.is_empty())
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect();
    let command = match words.is_empty() {
        true if process.state == b'Z' => format!("[{}] <defunct>", String::from_utf8_lossy(&process.name)),
        true => format!("[{}]", String::from_utf8_lossy(&process.name)),
        false => words.join(" "),
    };
    [
        process.uid.to_string(),
        process.pid.to_string(),
        process.ppid.to_string(),
        char::from(process.state).to_string(),
        clock(process.age_ms / 1000),
        clock(process.cpu_ms / 1000),
        one_line(&command),
    ]
}

/// `hh:mm:ss`, with days before it.
fn clock(seconds: u64) -> String {
    let days = match seconds / 86_400 {
        0 => String::new(),
        days => format!("{days}-"),
    };
    format!("{days}{:02}:{:02}:{:02}", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_show_commands() {
        let mut process = ProcessInfo { pid: 7, state: b'S', cpu_ms: 90_061_000, ..ProcessInfo::default() };
        process.arguments = b"sh\0-c\0sleep 1\n\0".to_vec();
        assert_eq!(row(&process)[6], "sh -c sleep 1 ");
        assert_eq!(row(&process)[5], "1-01:01:01");
        process.arguments.clear();
        process.name = b"true".to_vec();
        process.state = b'Z';
        assert_eq!(row(&process)[6], "[true] <defunct>");
    }
}

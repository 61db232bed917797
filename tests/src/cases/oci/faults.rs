//! Commands and processes that are killed at random points of a life: the container can always be deleted, and nothing
//! is left.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use super::life::{Life, become_subreaper};
use crate::{
    bundle::Bundle,
    cases::{
        life::{traces, unchanged},
        scaled,
    },
    command::{finish, kill, runtime},
};

/// What is killed.
#[derive(Clone, Copy, Debug)]
enum Victim {
    Command(usize),
    Sandbox,
}

/// The commands of a life, in order.
const COMMANDS: usize = 4;

fn command(number: usize, id: &str) -> Vec<&str> {
    match number {
        0 => vec!["create", id],
        1 => vec!["start", id],
        2 => vec!["exec", id, "true"],
        _ => vec!["delete", "--force", id],
    }
}

/// One life; what is killed, and after how long.
fn life(bundle: &mut Bundle, victim: Victim, after: Duration) -> Result<()> {
    let program = runtime();
    let life = Life::new(&program, bundle);
    for number in 0..COMMANDS {
        let child = life.start_command(&command(number, &life.id))?;
        match victim {
            Victim::Command(chosen) if chosen == number => {
                thread::sleep(after);
                kill(child.id(), libc::SIGKILL);
                let _ = finish(child)?;
                break;
            }
            Victim::Sandbox if number == 2 => {
                thread::sleep(after);
                if let Some(pid) = life.state()?["pid"].as_u64().filter(|&pid| pid != 0) {
                    kill(pid as u32, libc::SIGKILL);
                }
                let _ = finish(child)?;
                break;
            }
            _ => {
                let status = finish(child)?.status;
                ensure!(status.success(), "command {number}: {status}: {}", life.output());
            }
        }
    }
    // A sandbox notices the death of the command that makes it, but not at once.
    let patience = Instant::now() + Duration::from_secs(5);
    let status = loop {
        let status = life.status()?;
        if status != "creating" || Instant::now() > patience {
            break status;
        }
        thread::sleep(Duration::from_millis(20));
    };
    ensure!(["none", "created", "running", "stopped"].contains(&status.as_str()), "it is {status}");
    let listed = life.asks(&["list"])?;
    ensure!(listed.status.success(), "list: {}", String::from_utf8_lossy(&listed.stderr));
    life.does(&["delete", "--force", &life.id])?;
    let status = life.status()?;
    ensure!(status == "none", "it is {status} after it was deleted");
    // The id is free, whatever happened.
    life.create()?;
    life.does(&["delete", "--force", &life.id])
}

/// Kills commands and sandboxes.
pub(in crate::cases) fn killed() -> Result<String> {
    become_subreaper()?;
    let mut bundle = Bundle::new("faults", &["sh", "-c", "exec sleep 300"])?;
    bundle.config["linux"]["cgroupsPath"] = serde_json::json!("/ringfence-faults");
    bundle.write()?;
    let before = traces()?;
    let count = scaled(40);
    let mut random = 0x1234_5678_9abc_def1u64;
    for number in 0..count {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let victim = match number as usize % (COMMANDS + 1) {
            COMMANDS => Victim::Sandbox,
            command => Victim::Command(command),
        };
        // The longest command takes about as long.
        let after = Duration::from_millis(random >> 33 & 0x1ff);
        life(&mut bundle, victim, after).with_context(|| format!("{victim:?} killed after {after:?}"))?;
    }
    reap();
    unchanged(&before)?;
    Ok(format!("{count} lives"))
}

/// Takes the orphans that fell to this process.
fn reap() {
    let mut status = 0;
    // SAFETY: `status` is valid for the call.
    #[allow(unsafe_code, reason = "std waits only for what it started")]
    while unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) } > 0 {}
}

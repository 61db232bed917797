//! The life of a container, measured from outside: what each command of the runtime costs from start to end, and what
//! an idle container holds in memory.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use benches::report::Figure;
use benches::systems::System;

use crate::Options;
use crate::command::{Outcome, run, run_into};
use crate::place::Place;

const ID: &str = "bench-life";
const NOT_A_CONTAINER: &str = "bare Linux has no containers";

type Figures = Vec<(String, Figure)>;

/// Measures the named rows on one system.
pub(crate) fn measure(system: System, names: &[&str], place: &Place, options: &Options) -> Result<Figures> {
    if system == System::Linux {
        return Ok(names
            .iter()
            .map(|name| ((*name).to_string(), Figure::missing(NOT_A_CONTAINER)))
            .collect());
    }
    let life = Life { system, place, repeat: options.repeat };
    let mut figures = Figures::new();
    if names.iter().any(|name| name.starts_with("run_true")) {
        eprintln!("{system}: run_true");
        let [whole, busy] = life.run_true()?;
        let both = [("run_true".into(), whole), ("run_true_busy".into(), busy)];
        figures.extend(both.into_iter().filter(|(name, _): &(String, _)| names.contains(&name.as_str())));
    }
    let steps: Vec<&str> =
        ["create", "start", "exec_true", "delete"].into_iter().filter(|step| names.contains(step)).collect();
    if !steps.is_empty() {
        eprintln!("{system}: {}", steps.join(", "));
        figures.extend(life.cycles()?.into_iter().filter(|(step, _)| steps.contains(&step.as_str())));
    }
    if names.iter().any(|name| name.starts_with("idle_")) {
        eprintln!("{system}: idle memory");
        let memory = life.idle()?;
        figures.extend(memory.into_iter().filter(|(name, _)| names.contains(&name.as_str())));
    }
    place.clear(system, ID);
    Ok(figures)
}

/// What ringfence logs about its phases, for several starts of `/bin/true`; the first, which warms the caches, is left
/// out.
pub(crate) fn logs_of_starts(place: &Place, options: &Options) -> Result<Vec<Vec<(String, u64)>>> {
    let life = Life { system: System::Ringfence, place, repeat: options.repeat };
    let log = place.log();
    let mut runs = Vec::new();
    for _ in 0..=options.repeat {
        // Nothing to remove before the first run.
        let _fresh = fs::remove_file(&log);
        match life.start_true(Some(&log))? {
            Ok(outcome) => {
                let logged = fs::read_to_string(&log).unwrap_or_default();
                runs.push(benches::timing::stamps(&(logged + &outcome.errors)));
            }
            Err(reason) => eprintln!("ringfence: run /bin/true: {reason}"),
        }
    }
    Ok(runs.into_iter().skip(1).collect())
}

/// One system's life cycle.
#[derive(Debug)]
struct Life<'a> {
    system: System,
    place: &'a Place,
    repeat: usize,
}

impl Life<'_> {
    fn command(&self, args: &[&str]) -> Result<Outcome, String> {
        let mut command = self.place.runtime(self.system).ok_or("no runtime")?;
        run(command.args(args), self.place.limit)
    }

    /// Runs `/bin/true` in a container; with a log, ringfence notes there when it reached which phase.
    fn start_true(&self, timing_log: Option<&Path>) -> Result<Result<Outcome, String>> {
        let bundle = self.place.bundle("true", &["/bin/true"])?;
        let Some(mut command) = self.place.runtime(self.system) else { return Ok(Err("no runtime".into())) };
        if let Some(log) = timing_log {
            command.env("RINGFENCE_TIMING", "1").arg("--log").arg(log);
        }
        let outcome = run(command.args(["run", "--bundle"]).arg(bundle).arg(ID), self.place.limit);
        if outcome.is_err() {
            self.place.clear(self.system, ID);
        }
        Ok(outcome)
    }

    /// A whole life in one command: from start to end, and what was run of it.
    fn run_true(&self) -> Result<[Figure; 2]> {
        self.place.clear(self.system, ID);
        let (mut costs, mut busy) = (Vec::new(), Vec::new());
        // The first warms the caches.
        for _ in 0..=self.repeat {
            match self.start_true(None)? {
                Ok(outcome) => {
                    costs.push(outcome.cost);
                    busy.push(outcome.busy);
                }
                Err(reason) => return Ok([Figure::missing(reason.clone()), Figure::missing(reason)]),
            }
        }
        Ok([Figure::of(&costs[1..]), Figure::of(&busy[1..])])
    }

    /// Lives in steps: create, start, exec, then delete of a stopped container.
    fn cycles(&self) -> Result<Figures> {
        let bundle = self.place.bundle("sleep", &["/bin/sleep", "1000"])?;
        let bundle = bundle.display().to_string();
        let steps: [(&str, Vec<&str>); 4] = [
            ("create", vec!["create", "--bundle", &bundle, ID]),
            ("start", vec!["start", ID]),
            ("exec_true", vec!["exec", ID, "/bin/true"]),
            ("delete", vec!["delete", ID]),
        ];
        let mut costs: [Vec<f64>; 4] = Default::default();
        let mut failures: [Option<String>; 4] = Default::default();
        for _ in 0..=self.repeat {
            self.place.clear(self.system, ID);
            for (at, (step, args)) in steps.iter().enumerate() {
                if *step == "delete" {
                    self.stop();
                }
                let outcome = if *step == "delete" { self.delete(args) } else { self.command(args) };
                match outcome {
                    Ok(outcome) => costs[at].push(outcome.cost),
                    Err(reason) => failures[at] = Some(reason),
                }
            }
            if failures[0].is_some() {
                break;
            }
        }
        let figures = steps.iter().zip(costs).zip(failures).map(|(((step, _), costs), failure)| {
            let figure = match failure {
                Some(reason) => Figure::missing(reason),
                None => Figure::of(costs.get(1..).unwrap_or_default()),
            };
            ((*step).to_string(), figure)
        });
        Ok(figures.collect())
    }

    /// Deletes a killed container; tries again while the runtime has not yet seen its end.
    fn delete(&self, args: &[&str]) -> Result<Outcome, String> {
        let mut outcome = self.command(args);
        for _ in 0..20 {
            if outcome.is_ok() {
                break;
            }
            thread::sleep(Duration::from_millis(250));
            outcome = self.command(args);
        }
        outcome
    }

    /// Kills the container and waits until the runtime says that it has stopped.
    fn stop(&self) {
        let _killed = self.command(&["kill", ID, "KILL"]);
        for _ in 0..100 {
            let Some(mut command) = self.place.runtime(self.system) else { return };
            let state = command.args(["state", ID]).stderr(Stdio::null()).output();
            match state {
                Ok(state) if String::from_utf8_lossy(&state.stdout).contains("running") => {
                    thread::sleep(Duration::from_millis(50));
                }
                _ => return,
            }
        }
    }

    /// Memory of all processes that an idle container adds to the machine.
    fn idle(&self) -> Result<Figures> {
        let both = |reason: String| {
            ["idle_pss", "idle_private"]
                .map(|name| (name.to_string(), Figure::missing(reason.clone())))
                .to_vec()
        };
        self.place.clear(self.system, ID);
        let before = processes();
        let mut foreground = match self.start_idle()? {
            Ok(foreground) => foreground,
            Err(reason) => return Ok(both(reason)),
        };
        let ready = self.wait_for_idle(foreground.as_mut())?;
        thread::sleep(Duration::from_secs(5));
        let own = foreground.as_ref().map(|child| child.id());
        let added: Vec<u32> =
            processes().difference(&before).copied().filter(|pid| Some(*pid) != own).collect();
        let memory: Vec<Memory> = added.iter().filter_map(|pid| Memory::of(*pid)).collect();
        let ended = match &mut foreground {
            Some(child) => child.try_wait()?.is_some(),
            None => false,
        };
        self.place.clear(self.system, ID);
        if let Some(mut child) = foreground {
            let _ended_already = child.kill();
            child.wait()?;
        }
        if !ready || ended || memory.is_empty() {
            return Ok(both("the idle container did not start, or did not stay".into()));
        }
        let sum = |of: fn(&Memory) -> f64| Figure::of(&[memory.iter().map(of).sum()]);
        Ok(vec![
            ("idle_pss".into(), sum(|memory| memory.proportional)),
            ("idle_private".into(), sum(|memory| memory.private)),
        ])
    }

    /// Starts a sleeping container in the background: by create and start, or else by `run`, whose own process is then
    /// returned and does not count.
    fn start_idle(&self) -> Result<Result<Option<Child>, String>> {
        let bundle = self.place.bundle("idle", &["/bin/sh", "-c", "echo ready; exec sleep 1000"])?;
        let Some(mut command) = self.place.runtime(self.system) else { return Ok(Err("no runtime".into())) };
        command.args(["create", "--bundle"]).arg(&bundle).arg(ID);
        if run_into(&mut command, File::create(self.place.output())?.into(), self.place.limit).is_ok() {
            return Ok(self.command(&["start", ID]).map(|_| None));
        }
        let Some(mut command) = self.place.runtime(self.system) else { return Ok(Err("no runtime".into())) };
        command.args(["run", "--bundle"]).arg(bundle).arg(ID);
        Ok(spawn_into(&mut command, File::create(self.place.output())?.into()).map(Some))
    }

    /// Waits until the container's program has said that it runs; false when it does not come to that.
    fn wait_for_idle(&self, mut foreground: Option<&mut Child>) -> Result<bool> {
        let start = Instant::now();
        while start.elapsed() < self.place.limit {
            if fs::read_to_string(self.place.output())?.contains("ready") {
                return Ok(true);
            }
            if let Some(child) = &mut foreground
                && child.try_wait()?.is_some()
            {
                return Ok(false);
            }
            thread::sleep(Duration::from_millis(100));
        }
        Ok(false)
    }
}

fn spawn_into(command: &mut Command, output: Stdio) -> Result<Child, String> {
    command
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| error.to_string())
}

/// Every process of this machine.
fn processes() -> BTreeSet<u32> {
    fs::read_dir("/proc")
        .map(|entries| {
            entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
        })
        .unwrap_or_default()
}

/// A process's memory in KiB.
#[derive(Clone, Copy, Debug)]
struct Memory {
    /// Its proportional share of what it maps.
    proportional: f64,
    /// What it alone maps.
    private: f64,
}

impl Memory {
    /// None for kernel threads and processes that are gone.
    fn of(pid: u32) -> Option<Memory> {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        let field = |name: &str| -> Option<f64> {
            text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
        };
        Some(Memory {
            proportional: field("Pss:")?,
            private: field("Private_Clean:")? + field("Private_Dirty:")?,
        })
    }
}

//! Where the cost of a start goes: the time stamps that ringfence logs when `RINGFENCE_TIMING=1`.
//!
//! Each process logs `timing <phase> <nanoseconds since it started>`. A stamp that is smaller than the one before it
//! opens another process's series.

use serde::{Deserialize, Serialize};

use crate::stats::median;

/// One phase: the median over all runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    /// Name that the log gives it.
    pub name: String,
    /// When it was reached, since its process started.
    pub at: f64,
    /// Cost since the stamp before it.
    pub cost: f64,
}

/// The stamps of one run's log, in order.
#[must_use]
pub fn stamps(log: &str) -> Vec<(String, u64)> {
    log.lines().filter_map(stamp).collect()
}

/// Reads a line that ends in `timing <phase> <number>`; a logger may have put its own words before.
fn stamp(line: &str) -> Option<(String, u64)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [.., "timing", phase, at] = words.as_slice() else { return None };
    Some(((*phase).to_string(), at.parse().ok()?))
}

/// Phases of several runs of the same work: per phase of the first run, the medians over the runs that have it.
#[must_use]
pub fn aggregate(runs: &[Vec<(String, u64)>]) -> Vec<Phase> {
    let with_costs: Vec<Vec<Phase>> = runs.iter().map(|run| costs(run)).collect();
    let Some(first) = with_costs.first() else { return Vec::new() };
    let middle = |name: &str, of: fn(&Phase) -> f64| {
        let values: Vec<f64> =
            with_costs.iter().filter_map(|run| run.iter().find(|phase| phase.name == name)).map(of).collect();
        median(&values).unwrap_or_default()
    };
    first
        .iter()
        .map(|phase| Phase {
            name: phase.name.clone(),
            at: middle(&phase.name, |phase| phase.at),
            cost: middle(&phase.name, |phase| phase.cost),
        })
        .collect()
}

fn costs(run: &[(String, u64)]) -> Vec<Phase> {
    let mut before = 0;
    run.iter()
        .map(|(name, at)| {
            let since = if *at >= before { before } else { 0 };
            before = *at;
            Phase { name: name.clone(), at: *at as f64, cost: (*at - since) as f64 }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_found_among_other_lines() {
        let log = "hello\n[INFO vmm] timing kvm-created 1200\ntiming parsed 10\ntiming broken x\n";
        assert_eq!(stamps(log), [("kvm-created".to_string(), 1200), ("parsed".to_string(), 10)]);
    }

    #[test]
    fn costs_restart_with_another_process() {
        let runs = [
            stamps("timing a 100\ntiming b 300\ntiming c 50\n"),
            stamps("timing a 120\ntiming b 300\ntiming c 70\n"),
            stamps("timing a 110\ntiming b 330\ntiming c 60\n"),
        ];
        let costs: Vec<f64> = aggregate(&runs).iter().map(|phase| phase.cost).collect();
        assert_eq!(costs, [110.0, 200.0, 60.0]);
    }
}

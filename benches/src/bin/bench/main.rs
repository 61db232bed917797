//! `bench`: runs the benchmark on this machine, as root, and writes one report.
//!
//! `scripts/bench` builds and starts it, in the test VM where the host has no usable KVM. Progress goes to standard
//! error; the report goes to a file, or to standard output as one marked line when nothing else survives the machine.

mod command;
mod life;
mod machine;
mod operations;
mod place;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow};
use benches::report::{Figure, Report};
use benches::rows::{self, Kind, Row};
use benches::systems::{SYSTEMS, System};
use benches::{table, timing};
use clap::{Parser, Subcommand};

use place::Place;

/// Marks the line that carries the report.
const MARK: &str = "@ringfence-bench-report@ ";

/// Runs the benchmark or shows a report.
#[derive(Debug, Parser)]
#[command(name = "bench")]
struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Measure, and write the report.
    Run(Box<Options>),
    /// List the rows, or check that the named ones exist.
    Rows {
        /// Names to check.
        #[arg(long, value_delimiter = ',')]
        only: Vec<String>,
        /// Systems to check.
        #[arg(long, value_delimiter = ',')]
        systems: Vec<System>,
    },
    /// Show a report as a table.
    Table {
        /// File that holds the report; lines before the marked one are skipped.
        file: PathBuf,
        /// Write Markdown.
        #[arg(long)]
        markdown: bool,
        /// Also write the report alone, as JSON.
        #[arg(long)]
        json: Option<PathBuf>,
    },
}

/// What to measure and where.
#[derive(Clone, Debug, Parser)]
struct Options {
    /// Rows; all when none is named.
    #[arg(long, value_delimiter = ',', num_args = 1..)]
    only: Vec<String>,
    /// Systems, in the order of the columns.
    #[arg(long, value_delimiter = ',')]
    systems: Vec<System>,
    /// The machine counts instructions instead of time.
    #[arg(long)]
    count: bool,
    /// Also show where the cost of ringfence's `run /bin/true` goes.
    #[arg(long)]
    breakdown: bool,
    /// Systems whose VM exits per operation are counted.
    #[arg(long, value_delimiter = ',', default_value = "ringfence")]
    exits: Vec<System>,
    /// Leave out VM exits per operation.
    #[arg(long)]
    no_exits: bool,
    /// Program that measures operations.
    #[arg(long, default_value = "opbench")]
    opbench: PathBuf,
    /// ringfence's program.
    #[arg(long, default_value = "ringfence")]
    ringfence: PathBuf,
    /// Disk with a Debian system that has Python.
    #[arg(long)]
    applications: Option<PathBuf>,
    /// What the build calls itself.
    #[arg(long, default_value = "")]
    revision: String,
    /// What the machine runs on, when that is an emulator.
    #[arg(long, default_value = "")]
    emulator: String,
    /// Folder in which to make the root file system and the bundles: on the file system to be measured.
    #[arg(long, default_value = "/var/tmp")]
    work: PathBuf,
    /// Report file; a marked line on standard output when absent.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Seconds to let a system settle before operations are measured.
    #[arg(long, default_value_t = 3)]
    settle: u64,
    /// Times that each command of the life cycle is measured.
    #[arg(long, default_value_t = 7)]
    repeat: usize,
    /// Seconds after which a command or an operation is given up.
    #[arg(long, default_value_t = 120)]
    limit: u64,
}

fn main() -> ExitCode {
    match act(Arguments::parse().action) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn act(action: Action) -> Result<()> {
    match action {
        Action::Run(options) => run(&options),
        Action::Rows { only, systems: _checked_by_parsing } => {
            chosen(&only)?.iter().for_each(|row| println!("{:<22} {}", row.name, row.title));
            Ok(())
        }
        Action::Table { file, markdown, json } => show(&file, markdown, json.as_ref()),
    }
}

fn show(file: &PathBuf, markdown: bool, json: Option<&PathBuf>) -> Result<()> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let report =
        text.lines().find_map(|line| line.split_once(MARK)).map_or(text.as_str(), |(_, report)| report);
    let report: Report = serde_json::from_str(report).context("no report in the output")?;
    print!("{}", if markdown { table::markdown(&report) } else { table::text(&report) });
    match json {
        Some(json) => save(&report, json),
        None => Ok(()),
    }
}

fn save(report: &Report, file: &PathBuf) -> Result<()> {
    fs::write(file, serde_json::to_string_pretty(report)? + "\n").with_context(|| file.display().to_string())
}

fn chosen(names: &[String]) -> Result<Vec<&'static Row>> {
    rows::choose(names).map_err(|reason| anyhow!(reason))
}

fn run(options: &Options) -> Result<()> {
    let rows = chosen(&options.only)?;
    let systems = if options.systems.is_empty() { SYSTEMS.to_vec() } else { options.systems.clone() };
    let mut report = Report {
        mode: if options.count { "count" } else { "time" }.into(),
        unit: if options.count { "instructions" } else { "nanoseconds" }.into(),
        machine: machine::describe(&options.emulator),
        versions: machine::versions(&systems, &options.ringfence, &options.revision),
        systems: systems.iter().map(ToString::to_string).collect(),
        ..Report::default()
    };
    machine::mount_what_is_needed();
    if options.count {
        machine::without_task_groups();
    }
    let place = Place::new(options, &rows)?;
    // Rows exist in the table's order even where no system has a figure.
    report.rows = rows
        .iter()
        .map(|row| benches::report::ReportRow { name: row.name.into(), ..Default::default() })
        .collect();
    for system in systems {
        measure(&mut report, system, &rows, &place, options)?;
    }
    report.relate(System::Linux.name());
    match &options.json {
        Some(file) => save(&report, file),
        None => {
            println!("{MARK}{}", serde_json::to_string(&report)?);
            Ok(())
        }
    }
}

/// Measures one system's rows.
fn measure(
    report: &mut Report,
    system: System,
    rows: &[&Row],
    place: &Place,
    options: &Options,
) -> Result<()> {
    let of = |wanted: fn(Kind) -> bool| -> Vec<&str> {
        rows.iter().filter(|row| wanted(row.kind)).map(|row| row.name).collect()
    };
    let name = system.name();
    if let Some(reason) = place.unusable(system) {
        eprintln!("{name}: {reason}");
        rows.iter().for_each(|row| report.put(row.name, name, Figure::missing(reason.clone())));
        return Ok(());
    }
    for (row, figure) in operations::measure(system, &of(|kind| kind == Kind::Operation), place, options)? {
        report.put(&row, name, figure);
    }
    for (row, figure) in life::measure(system, &of(|kind| kind != Kind::Operation), place, options)? {
        report.put(&row, name, figure);
    }
    if system == System::Ringfence && options.breakdown {
        report.breakdown = timing::aggregate(&life::logs_of_starts(place, options)?);
        if report.breakdown.is_empty() {
            eprintln!("ringfence: its log names no phases");
        }
    }
    Ok(())
}

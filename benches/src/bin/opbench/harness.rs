//! Command line, measuring loop and the line of JSON that reports it.

use std::io;

use crate::{ops, sys};

/// Batches that are timed; an odd number, so that the median is one of them.
const BATCHES: u64 = 9;

/// A prepared operation: runs itself the given number of times. Dropping it undoes the preparation.
pub(crate) type Body = Box<dyn FnMut(u64) -> io::Result<()>>;

/// One row of the benchmark.
#[derive(Debug)]
pub(crate) struct Operation {
    /// The row's name in every table and file.
    pub(crate) name: &'static str,
    /// Runs per batch; fixed, because fixed work repeats exactly in count mode.
    pub(crate) runs: u64,
    /// Operations that one run stands for (pages of a mapping, for example).
    pub(crate) unit: u64,
    /// Makes what the operation needs.
    pub(crate) prepare: fn(&Settings) -> io::Result<Body>,
}

/// What to measure and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Rows, in the order in which they run.
    pub(crate) names: Vec<String>,
    /// Operations per batch, rounded up to whole runs, instead of the operation's own number.
    pub(crate) operations: Option<u64>,
    /// Seconds to sleep first.
    pub(crate) settle: u64,
    /// Folder on the container's root file system.
    pub(crate) root: String,
    /// Folder on a tmpfs.
    pub(crate) tmp: String,
}

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Options {
    Help,
    List,
    Prepare(String),
    Measure(Settings),
}

/// Reads the command line.
pub(crate) fn parse(args: &[String]) -> Result<Options, String> {
    let mut settings = Settings {
        names: Vec::new(),
        operations: None,
        settle: 0,
        root: "/bench".into(),
        tmp: "/tmp".into(),
    };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
        match arg.as_str() {
            "--help" | "-h" => return Ok(Options::Help),
            "--list" => return Ok(Options::List),
            "--prepare" => return Ok(Options::Prepare(value()?.clone())),
            "--settle" => settings.settle = number(value()?)?,
            "--root" => settings.root = value()?.clone(),
            "--tmp" => settings.tmp = value()?.clone(),
            "--only" => settings.names = value()?.split(',').map(String::from).collect(),
            "--all" => settings.names = ops::OPERATIONS.iter().map(|op| op.name.into()).collect(),
            flag if flag.starts_with('-') => return Err(format!("unknown option {flag}")),
            name if settings.names.is_empty() => settings.names.push(name.into()),
            count if settings.operations.is_none() => settings.operations = Some(number(count)?.max(1)),
            extra => return Err(format!("unexpected argument {extra:?}")),
        }
    }
    if settings.names.is_empty() { Ok(Options::Help) } else { Ok(Options::Measure(settings)) }
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{text:?} is not a number"))
}

/// Runs one operation and says what came of it, as one line of JSON.
pub(crate) fn measure(op: &Operation, settings: &Settings) -> String {
    match sample(op, settings) {
        Ok(line) => line,
        Err(error) => format!("{{\"op\":\"{}\",\"error\":\"{}\"}}", op.name, escape(&error.to_string())),
    }
}

fn sample(op: &Operation, settings: &Settings) -> io::Result<String> {
    let runs = settings.operations.map_or(op.runs, |operations| operations.div_ceil(op.unit));
    let warm_up = op.runs.div_ceil(2);
    let mut body = (op.prepare)(settings)?;
    body(warm_up)?;
    let mut batches = Vec::with_capacity(BATCHES as usize);
    for _ in 0..BATCHES {
        let start = sys::monotonic();
        body(runs)?;
        batches.push(sys::monotonic() - start);
    }
    drop(body);
    batches.sort_unstable();
    let per_op = |nanoseconds: u64| nanoseconds as f64 / (runs * op.unit) as f64;
    Ok(format!(
        "{{\"op\":\"{}\",\"median\":{:.2},\"min\":{:.2},\"max\":{:.2},\"iters\":{},\"total\":{}}}",
        op.name,
        per_op(batches[batches.len() / 2]),
        per_op(batches[0]),
        per_op(batches[batches.len() - 1]),
        runs * op.unit,
        (warm_up + BATCHES * runs) * op.unit,
    ))
}

/// Escapes what an error message may hold for a JSON string.
fn escape(text: &str) -> String {
    text.chars()
        .flat_map(|c| match c {
            '"' | '\\' => vec!['\\', c],
            c if c.is_control() => vec![' '],
            c => vec![c],
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(String::from).collect()
    }

    fn settings(line: &str) -> Settings {
        match parse(&words(line)) {
            Ok(Options::Measure(settings)) => settings,
            other => unreachable!("{line} gives {other:?}"),
        }
    }

    #[test]
    fn a_name_and_a_count() {
        let settings = settings("--settle 3 getpid 20");
        assert_eq!(settings.names, ["getpid"]);
        assert_eq!((settings.operations, settings.settle), (Some(20), 3));
    }

    #[test]
    fn all_names_every_row_once() {
        let settings = settings("--all");
        let mut names = settings.names.clone();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), settings.names.len());
        assert_eq!(names.len(), 36);
    }

    #[test]
    fn bad_lines_are_refused() {
        for line in ["--settle", "--settle x", "--frobnicate", "getpid 1 2", "getpid x"] {
            assert!(parse(&words(line)).is_err(), "{line}");
        }
    }

    #[test]
    fn an_error_is_one_json_line() {
        let op = Operation { name: "bad", runs: 1, unit: 1, prepare: |_| Err(io::Error::other("a \"b\"\n")) };
        let settings = settings("bad");
        assert_eq!(measure(&op, &settings), r#"{"op":"bad","error":"a \"b\" "}"#);
    }

    #[test]
    fn totals_count_warm_up_and_batches() {
        let op = Operation { name: "nop", runs: 10, unit: 4, prepare: |_| Ok(Box::new(|_| Ok(()))) };
        let settings = settings("nop 20");
        let line = measure(&op, &settings);
        assert!(line.contains("\"iters\":20,\"total\":200"), "{line}");
    }
}

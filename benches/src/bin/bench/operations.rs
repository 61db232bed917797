//! The cost of operations: one container runs them all and reports each as it is done.
//!
//! A system that dies or stops at one operation loses that one: the next container goes on with the rest.

use std::path::Path;

use anyhow::Result;
use benches::exits::{Counter, Exits, per_operation};
use benches::report::{Figure, OpLine};
use benches::systems::System;

use crate::Options;
use crate::command::converse;
use crate::machine::TRACING;
use crate::place::{FOLDER, Place};

/// Containers in a row that report nothing before a system is given up.
const HOPELESS: usize = 3;

type Figures = Vec<(String, Figure)>;

/// Measures the named operations on one system.
pub(crate) fn measure(system: System, names: &[&str], place: &Place, options: &Options) -> Result<Figures> {
    let mut figures = Figures::new();
    let mut left: Vec<&str> = names.to_vec();
    let mut silent = 0;
    while !left.is_empty() {
        eprintln!("{system}: {} operations to measure", left.len());
        let before = figures.len();
        let settle = options.settle.to_string();
        let program = format!("{FOLDER}/opbench");
        let list = left.join(",");
        let args = [program.as_str(), "--root", FOLDER, "--settle", &settle, "--only", &list];
        place.clear(system, "bench-operations");
        place.cool();
        let last = left.last().copied();
        let talk = converse(&mut place.run(system, &args)?, place.limit, |line| {
            let Some(result) = OpLine::parse(line) else { return false };
            let done = Some(result.op.as_str()) == last;
            figures.push((result.op.clone(), result.figure()));
            done
        })?;
        place.clear(system, "bench-operations");
        left.retain(|name| !figures[before..].iter().any(|(done, _)| done == name));
        silent = if figures.len() == before { silent + 1 } else { 0 };
        let trouble = talk.trouble.unwrap_or_else(|| "the program ended early".into());
        if silent == HOPELESS {
            figures.extend(left.drain(..).map(|name| (name.to_string(), Figure::missing(trouble.clone()))));
        } else if !left.is_empty() {
            eprintln!("{system}: {}: {trouble}", left[0]);
            figures.push((left.remove(0).to_string(), Figure::missing(trouble)));
        }
    }
    if options.exits.contains(&system) && !options.no_exits {
        count_exits(system, &mut figures, place);
    }
    Ok(figures)
}

/// Adds the exits per operation to the figures.
fn count_exits(system: System, figures: &mut Figures, place: &Place) {
    for (name, figure) in figures.iter_mut().filter(|(_, figure)| figure.median.is_some()) {
        eprintln!("{system}: exits of {name}");
        let batch = batch_for(figure.median.unwrap_or(1.0));
        let short = exits_of(system, name, batch, place);
        let mut long = exits_of(system, name, batch * 2, place);
        // What is measured hundreds at a time rounds both up to the same number.
        let same = |short: &Result<(u64, Exits)>, long: &Result<(u64, Exits)>| matches!((short, long), (Ok(short), Ok(long)) if short.0 == long.0);
        if same(&short, &long) {
            long = exits_of(system, name, batch * 32, place);
        }
        match (short, long) {
            (Ok(short), Ok(long)) => {
                let each =
                    |of: fn(&Exits) -> u64| per_operation((short.0, of(&short.1)), (long.0, of(&long.1)));
                figure.exits = each(|exits| exits.all);
                figure.interrupt_exits = each(|exits| exits.interrupts);
                figure.user_exits = each(|exits| exits.user);
            }
            (Err(error), _) | (_, Err(error)) => eprintln!("{system}: no exits of {name}: {error}"),
        }
    }
}

/// Operations per batch that make a batch a few milliseconds long, so that what starting costs now more and now
/// less weighs little.
fn batch_for(cost: f64) -> u64 {
    const BATCH: f64 = 1e7;
    ((BATCH / cost.max(1.0)) as u64).clamp(4, 20_000)
}

/// Operations done and exits taken by one container that runs one operation.
fn exits_of(system: System, name: &str, batch: u64, place: &Place) -> Result<(u64, Exits)> {
    let counter = Counter::new(Path::new(TRACING))?;
    let program = format!("{FOLDER}/opbench");
    let batch = batch.to_string();
    let mut operations = None;
    place.clear(system, "bench-operations");
    place.cool();
    let mut command = place.run(system, &[&program, "--root", FOLDER, name, &batch])?;
    converse(&mut command, place.limit, |line| {
        operations = operations.or_else(|| OpLine::parse(line)?.total);
        false
    })?;
    let exits = counter.read()?;
    place.clear(system, "bench-operations");
    match operations {
        Some(operations) => Ok((operations, exits)),
        None => anyhow::bail!("no result"),
    }
}

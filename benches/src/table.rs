//! The report as a table for readers: a line per row, a column per system, ratios to bare Linux.

use std::fmt::Write;

use crate::report::{Figure, Report, ReportRow};
use crate::rows::{self, Kind};
use crate::stats::geometric_mean;
use crate::systems::System;

const TITLE: usize = 36;
const COLUMN: usize = 20;

/// Text for a terminal.
#[must_use]
pub fn text(report: &Report) -> String {
    let mut out = String::new();
    let heading = format!("{} per operation", report.unit);
    line(&mut out, &heading, report.systems.iter().map(String::as_str));
    for row in &report.rows {
        let cells: Vec<String> =
            report.systems.iter().map(|system| cell(row.systems.get(system), " ", kind(row))).collect();
        line(&mut out, title(row), cells.iter().map(String::as_str));
    }
    let means: Vec<String> = report.systems.iter().map(|system| mean(report, system)).collect();
    line(&mut out, "geometric mean of operations", means.iter().map(String::as_str));
    out.push_str(&exits(report));
    out.push_str(&breakdown(report));
    out.push_str(&reasons(report));
    out
}

/// Tables for a Markdown document: the rows with, at the end, the exits per operation of each system for which they
/// were counted; and where a start goes.
#[must_use]
pub fn markdown(report: &Report) -> String {
    let counted: Vec<&String> = report.systems.iter().filter(|system| has_exits(report, system)).collect();
    let mut out = format!("| {} per operation |", report.unit);
    report.systems.iter().for_each(|system| push(&mut out, &format!(" {system} |")));
    counted.iter().for_each(|system| push(&mut out, &format!(" exits, {system} |")));
    push(&mut out, "\n| --- |");
    (0..report.systems.len() + counted.len()).for_each(|_| push(&mut out, " ---: |"));
    out.push('\n');
    for row in &report.rows {
        push(&mut out, &format!("| {} (`{}`) |", title(row), row.name));
        for system in &report.systems {
            push(&mut out, &format!(" {} |", cell(row.systems.get(system), " ", kind(row))));
        }
        for system in &counted {
            let exits = row.systems.get(*system).and_then(|figure| figure.exits);
            push(&mut out, &format!(" {} |", exits.map_or(String::new(), |exits| exits_text(exits, 2))));
        }
        out.push('\n');
    }
    push(&mut out, "| geometric mean of operations |");
    report.systems.iter().for_each(|system| push(&mut out, &format!(" {} |", mean(report, system))));
    counted.iter().for_each(|_| push(&mut out, " |"));
    out.push('\n');
    if !report.breakdown.is_empty() {
        push(&mut out, &format!("\n| phase of `ringfence run /bin/true` | {} | reached at |\n", report.unit));
        push(&mut out, "| --- | ---: | ---: |\n");
        for phase in &report.breakdown {
            let [cost, at] = [phase.cost, phase.at].map(|value| grouped(value, 0));
            push(&mut out, &format!("| {} | {cost} | {at} |\n", phase.name));
        }
    }
    out
}

fn has_exits(report: &Report, system: &str) -> bool {
    report.rows.iter().filter_map(|row| row.systems.get(system)).any(|figure| figure.exits.is_some())
}

fn push(out: &mut String, text: &str) {
    out.push_str(text);
}

fn line<'a>(out: &mut String, title: &str, cells: impl Iterator<Item = &'a str>) {
    let mut text = format!("{title:<TITLE$}");
    for cell in cells {
        // Writing to a string does not fail.
        let _ok = write!(text, "{cell:>COLUMN$}");
    }
    out.push_str(text.trim_end());
    out.push('\n');
}

fn title(row: &ReportRow) -> &str {
    rows::find(&row.name).map_or(row.name.as_str(), |row| row.title)
}

fn kind(row: &ReportRow) -> Kind {
    rows::find(&row.name).map_or(Kind::Operation, |row| row.kind)
}

/// A figure and its ratio, `-` for none.
fn cell(figure: Option<&Figure>, gap: &str, kind: Kind) -> String {
    let Some(median) = figure.and_then(|figure| figure.median) else { return "-".into() };
    let amount = grouped(median, if median < 100.0 && kind == Kind::Operation { 1 } else { 0 });
    match figure.and_then(|figure| figure.ratio) {
        Some(ratio) => format!("{amount}{gap}({})", ratio_text(ratio)),
        None => amount,
    }
}

fn ratio_text(ratio: f64) -> String {
    if ratio < 10.0 { format!("{ratio:.2}") } else { format!("{ratio:.1}") }
}

/// A number with its thousands set apart.
fn grouped(value: f64, decimals: usize) -> String {
    let plain = format!("{value:.decimals$}");
    let (whole, fraction) = plain.split_once('.').unwrap_or((&plain, ""));
    let mut out = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at) % 3 == 0 && !out.ends_with('-') {
            out.push(',');
        }
        out.push(digit);
    }
    if !fraction.is_empty() {
        out.push('.');
        out.push_str(fraction);
    }
    out
}

fn mean(report: &Report, system: &str) -> String {
    let ratios: Vec<f64> = report
        .rows
        .iter()
        .filter(|row| kind(row) == Kind::Operation)
        .filter_map(|row| row.systems.get(system)?.ratio)
        .collect();
    geometric_mean(&ratios).map_or("-".into(), |mean| format!("{mean:.2} of {}", ratios.len()))
}

/// Exits per operation, of the systems for which they were counted.
fn exits(report: &Report) -> String {
    report.systems.iter().map(|system| exits_of(report, system)).collect()
}

fn exits_of(report: &Report, system: &str) -> String {
    let counted: Vec<(&ReportRow, &Figure)> = report
        .rows
        .iter()
        .filter_map(|row| Some((row, row.systems.get(system)?)))
        .filter(|(_, figure)| figure.exits.is_some())
        .collect();
    if counted.is_empty() {
        return String::new();
    }
    let mut out = String::from("\n");
    line(
        &mut out,
        &format!("{system}: VM exits"),
        ["per operation", "host interrupts", "to the VMM"].into_iter(),
    );
    for (row, figure) in counted {
        let amounts = [figure.exits, figure.interrupt_exits, figure.user_exits]
            .map(|exits| exits.map_or("-".into(), |exits| exits_text(exits, 3)));
        line(&mut out, title(row), amounts.iter().map(String::as_str));
    }
    out
}

fn exits_text(exits: f64, decimals: usize) -> String {
    let text = format!("{exits:.decimals$}");
    // No minus sign before a zero that noise has left slightly negative.
    match text.strip_prefix('-') {
        Some(amount) if amount.chars().all(|digit| matches!(digit, '0' | '.')) => amount.into(),
        _ => text,
    }
}

/// Where ringfence's `run /bin/true` goes, and what lies outside the phases that it logs.
fn breakdown(report: &Report) -> String {
    if report.breakdown.is_empty() {
        return String::new();
    }
    let mut out = String::from("\n");
    line(&mut out, "ringfence run /bin/true: phases", ["cost", "reached at"].into_iter());
    for phase in &report.breakdown {
        let cells = [grouped(phase.cost, 0), grouped(phase.at, 0)];
        line(&mut out, &phase.name, cells.iter().map(String::as_str));
    }
    let whole = report
        .rows
        .iter()
        .find(|row| row.name == "run_true")
        .and_then(|row| row.systems.get(System::Ringfence.name())?.median);
    if let Some(whole) = whole {
        line(&mut out, "the whole command, from outside", [grouped(whole, 0)].iter().map(String::as_str));
    }
    out
}

/// Why figures are missing, each reason once per system.
fn reasons(report: &Report) -> String {
    let mut out = String::new();
    for system in &report.systems {
        let mut seen: Vec<(&str, Vec<&str>)> = Vec::new();
        for row in &report.rows {
            let Some(reason) = row.systems.get(system).and_then(|figure| figure.error.as_deref()) else {
                continue;
            };
            match seen.iter_mut().find(|(known, _)| *known == reason) {
                Some((_, names)) => names.push(&row.name),
                None => seen.push((reason, vec![&row.name])),
            }
        }
        for (reason, names) in seen {
            out.push_str(&format!("{system}: {}: {reason}\n", names.join(", ")));
        }
    }
    if out.is_empty() { out } else { format!("\nnot measured\n{out}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timing::Phase;

    fn report() -> Report {
        let mut report = Report {
            unit: "instructions".into(),
            systems: vec!["linux".into(), "ringfence".into()],
            ..Report::default()
        };
        report.put("getpid", "linux", Figure::of(&[310.0]));
        report.put("getpid", "ringfence", Figure { exits: Some(-0.0001), ..Figure::of(&[155.0]) });
        report.put("run_true", "linux", Figure::missing("no container"));
        report.put("run_true", "ringfence", Figure::of(&[31_234_567.8]));
        report.relate("linux");
        report
    }

    #[test]
    fn the_table_shows_figures_ratios_exits_and_reasons() {
        let table = text(&report());
        assert!(table.contains("155 (0.50)"), "{table}");
        assert!(table.contains("31,234,568"), "{table}");
        assert!(table.contains("0.50 of 1"), "{table}");
        assert!(table.contains("0.000"), "{table}");
        assert!(!table.contains("-0.000"), "{table}");
        assert!(table.contains("linux: run_true: no container"), "{table}");
    }

    #[test]
    fn the_breakdown_ends_with_the_whole() {
        let mut report = report();
        assert!(!text(&report).contains("phases"));
        report.breakdown = vec![Phase { name: "vm-created".into(), at: 1500.0, cost: 1200.0 }];
        let table = text(&report);
        assert!(table.contains("vm-created"), "{table}");
        assert!(table.contains("the whole command, from outside"), "{table}");
    }

    #[test]
    fn markdown_has_a_line_per_row() {
        let table = markdown(&report());
        assert_eq!(table.lines().count(), 5, "{table}");
        assert!(table.contains("| getpid (`getpid`) | 310 (1.00) | 155 (0.50) |"), "{table}");
    }

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!(grouped(1_234_567.0, 0), "1,234,567");
        assert_eq!(grouped(999.0, 0), "999");
        assert_eq!(grouped(12.34, 1), "12.3");
        assert_eq!(grouped(-1234.0, 0), "-1,234");
    }
}

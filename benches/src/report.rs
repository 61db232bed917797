//! The report: what was measured, on what, as it is written to JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::timing::Phase;

/// One run of the benchmark.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// `count` (instructions) or `time` (nanoseconds).
    pub mode: String,
    /// Unit of every cost: `instructions` or `nanoseconds`.
    pub unit: String,
    /// Machine, kernel and CPU.
    pub machine: BTreeMap<String, String>,
    /// Version of each system's program.
    pub versions: BTreeMap<String, String>,
    /// Systems in the order of the columns.
    pub systems: Vec<String>,
    /// Rows in order.
    pub rows: Vec<ReportRow>,
    /// Where the cost of ringfence's `run /bin/true` goes, when asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub breakdown: Vec<Phase>,
}

/// One row with every system's figure.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ReportRow {
    /// The row's name.
    pub name: String,
    /// Figure per system.
    pub systems: BTreeMap<String, Figure>,
}

/// One figure, or why there is none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// The figure itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub median: Option<f64>,
    /// The smallest batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// The largest batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// Cost relative to bare Linux.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
    /// VM exits per operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exits: Option<f64>,
    /// VM exits per operation that only let the host take an interrupt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interrupt_exits: Option<f64>,
    /// VM exits per operation that went on to the VMM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_exits: Option<f64>,
    /// Why there is no figure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Figure {
    /// A figure from its samples.
    #[must_use]
    pub fn of(samples: &[f64]) -> Figure {
        Figure {
            median: crate::stats::median(samples),
            min: samples.iter().copied().reduce(f64::min),
            max: samples.iter().copied().reduce(f64::max),
            ..Figure::default()
        }
    }

    /// No figure, and why.
    #[must_use]
    pub fn missing(reason: impl Into<String>) -> Figure {
        Figure { error: Some(reason.into()), ..Figure::default() }
    }
}

/// One line of `opbench`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct OpLine {
    /// The operation.
    pub op: String,
    /// Cost of one operation in the median batch.
    pub median: Option<f64>,
    /// Cost in the best batch.
    pub min: Option<f64>,
    /// Cost in the worst batch.
    pub max: Option<f64>,
    /// Operations done in all, warm-up included.
    pub total: Option<u64>,
    /// Why it could not be measured.
    pub error: Option<String>,
}

impl OpLine {
    /// Reads a line; anything that is not a result (a runtime's own messages, say) is None.
    #[must_use]
    pub fn parse(line: &str) -> Option<OpLine> {
        serde_json::from_str(line.trim()).ok()
    }

    /// The figure that the line reports.
    #[must_use]
    pub fn figure(&self) -> Figure {
        match &self.error {
            Some(reason) => Figure::missing(reason.clone()),
            None => Figure { median: self.median, min: self.min, max: self.max, ..Figure::default() },
        }
    }
}

impl Report {
    /// Puts a figure into its row, which is made when it is not there.
    pub fn put(&mut self, row: &str, system: &str, figure: Figure) {
        let row = match self.rows.iter_mut().position(|known| known.name == row) {
            Some(at) => &mut self.rows[at],
            None => {
                self.rows.push(ReportRow { name: row.into(), systems: BTreeMap::new() });
                let last = self.rows.len() - 1;
                &mut self.rows[last]
            }
        };
        row.systems.insert(system.into(), figure);
    }

    /// Relates every figure to `base`'s in the same row.
    pub fn relate(&mut self, base: &str) {
        for row in &mut self.rows {
            let Some(one) = row.systems.get(base).and_then(|figure| figure.median) else { continue };
            for figure in row.systems.values_mut() {
                figure.ratio = figure.median.filter(|_| one > 0.0).map(|median| median / one);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_opbench() {
        let line =
            OpLine::parse(r#"{"op":"getpid","median":310.02,"min":310,"max":311,"iters":5,"total":9}"#);
        assert_eq!(line.as_ref().map(|line| line.figure().median), Some(Some(310.02)));
        assert_eq!(line.and_then(|line| line.total), Some(9));
        let failed = OpLine::parse(r#"{"op":"stat","error":"no"}"#).map(|line| line.figure());
        assert_eq!(failed, Some(Figure::missing("no")));
        assert_eq!(OpLine::parse("W1123 not json"), None);
    }

    #[test]
    fn ratios_are_to_the_base_of_the_same_row() {
        let mut report = Report::default();
        report.put("getpid", "linux", Figure::of(&[300.0]));
        report.put("getpid", "ringfence", Figure::of(&[150.0]));
        report.put("stat", "ringfence", Figure::of(&[150.0]));
        report.relate("linux");
        assert_eq!(report.rows[0].systems["ringfence"].ratio, Some(0.5));
        assert_eq!(report.rows[0].systems["linux"].ratio, Some(1.0));
        assert_eq!(report.rows[1].systems["ringfence"].ratio, None);
    }
}

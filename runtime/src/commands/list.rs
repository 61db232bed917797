//! `list`: the containers below `--root`.

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::state::describe;
use crate::{
    cli::{Format, Global},
    container::{Container, Record, Status},
};

/// Lists containers.
pub(crate) fn list(global: &Global, quiet: bool, format: Format) -> Result<i32> {
    let all = Container::all(&global.root);
    if quiet {
        for (container, _) in &all {
            println!("{}", container.id());
        }
        return Ok(0);
    }
    let mut known = Vec::new();
    for (container, record) in all {
        // One that is deleted meanwhile is left out.
        match container.status(&record) {
            Ok(status) => known.push((record, status)),
            Err(_) if container.read().is_none() => {}
            Err(error) => bail!("{}: {error:#}", container.id()),
        }
    }
    match format {
        Format::Json if known.is_empty() => println!("null"),
        Format::Json => println!("{}", Value::from_iter(known.iter().map(describe_fully))),
        Format::Table => {
            let head = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned);
            let rows = known.iter().map(|(record, status)| {
                let pid = if *status == Status::Stopped { 0 } else { record.pid };
                [
                    record.id.clone(),
                    pid.to_string(),
                    status.name().to_owned(),
                    record.bundle.display().to_string(),
                    record.created.clone(),
                    record.owner.clone(),
                ]
            });
            print!("{}", table(&std::iter::once(head).chain(rows).collect::<Vec<_>>()));
        }
    }
    Ok(0)
}

fn describe_fully((record, status): &(Record, Status)) -> Value {
    let mut value = describe(record, *status);
    value["rootfs"] = json!(record.rootfs);
    value["created"] = json!(record.created);
    value["owner"] = json!(record.owner);
    value
}

/// Rows with columns of equal width, at least twelve, with three blanks between.
pub(crate) fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width =
        |column: usize| rows.iter().map(|row| row[column].chars().count() + 3).max().unwrap_or(0).max(12);
    let widths: Vec<_> = (0..N).map(width).collect();
    let mut text = String::new();
    for row in rows {
        for (index, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let width = if index + 1 == N { 0 } else { *width };
            text.push_str(&format!("{cell:<width$}"));
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn columns_are_aligned() {
        let rows = [["ID", "PID"], ["a-name-of-sixteen", "1"]].map(|row| row.map(str::to_owned));
        assert_eq!(super::table(&rows), "ID                  PID\na-name-of-sixteen   1\n");
    }
}

//! `state`: what a container is doing.

use anyhow::Result;
use serde_json::{Value, json};

use crate::{
    cli::Global,
    container::{Container, Record, Status},
};

/// Prints a container's state.
pub(crate) fn state(global: &Global, id: &str) -> Result<i32> {
    let (container, record) = Container::find(&global.root, id)?;
    let mut value = describe(&record, container.status(&record)?);
    value["rootfs"] = json!(record.rootfs);
    value["created"] = json!(record.created);
    value["owner"] = json!(record.owner);
    println!("{}", serde_json::to_string_pretty(&value)?);
    Ok(0)
}

/// The state as the specification has it.
pub(crate) fn describe(record: &Record, status: Status) -> Value {
    let mut value = json!({
        "ociVersion": record.oci_version,
        "id": record.id,
        "pid": if status == Status::Stopped { 0 } else { record.pid },
        "status": status.name(),
        "bundle": record.bundle,
    });
    if !record.annotations.is_empty() {
        value["annotations"] = json!(record.annotations);
    }
    value
}

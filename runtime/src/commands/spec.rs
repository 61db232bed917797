//! `spec`: a config.json to start from.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail, ensure};
use oci_spec::runtime::Spec;

/// Writes config.json into a bundle directory that has none.
pub(crate) fn spec(bundle: &Path, rootless: bool) -> Result<i32> {
    ensure!(!rootless, "--rootless: a sandbox needs the privileges of root");
    let path = bundle.join("config.json");
    if path.exists() {
        bail!("File {} exists. Remove it first", path.display());
    }
    let mut spec = serde_json::to_value(Spec::default())?;
    spec["process"]["terminal"] = true.into();
    spec["ociVersion"] = "1.2.0".into();
    spec["hostname"] = "ringfence".into();
    fs::write(&path, format!("{}\n", serde_json::to_string_pretty(&spec)?))
        .with_context(|| path.display().to_string())?;
    Ok(0)
}

//! `create`: a container whose first process waits for `start`.

use anyhow::{Context, Result};

use crate::{
    cli::{Global, Launch},
    launch::launch,
};

/// Creates a container.
pub(crate) fn create(global: &Global, options: &Launch) -> Result<i32> {
    launch(global, options, true).context("ringfence create failed")?;
    Ok(0)
}

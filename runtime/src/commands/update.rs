//! `update`: other limits for a container that runs.
//!
//! CPU time and the sets of CPUs are the cgroup's, where the sandbox's vCPUs are. The limit of processes is told to the
//! sentry, which counts those inside, and set higher in the cgroup. Memory is the guest's: what it was started with is
//! the most that it can have.

use std::{fs, io::Read};

use anyhow::{Context, Result, bail, ensure};
use hostcall::CgroupLimits;
use oci_spec::runtime::LinuxResources;
use serde_json::{Map, Value, json};
use vmm::control::{Reply, Request};

use crate::{
    cli::{Global, Update},
    container::{Container, Status},
    translate,
};

/// Changes the limits of a container.
pub(crate) fn update(global: &Global, options: &Update) -> Result<i32> {
    let refused = [
        ("cpu-rt-period", options.cpu_rt_period.is_some()),
        ("cpu-rt-runtime", options.cpu_rt_runtime.is_some()),
        ("l3-cache-schema", options.l3_cache_schema.is_some()),
        ("mem-bw-schema", options.mem_bw_schema.is_some()),
    ];
    if let Some((name, _)) = refused.iter().find(|(_, given)| *given) {
        bail!("--{name}: not supported");
    }
    let resources = resources(options)?;
    let (container, _) = Container::find(&global.root, &options.id)?;
    let _lock = container.lock()?;
    let (container, record) = Container::find(&global.root, &options.id)?;
    let status = container.status(&record)?;
    ensure!(status != Status::Stopped, "container not running");
    let limit = resources.memory().as_ref().and_then(|memory| memory.limit()).unwrap_or(0);
    if record.memory != 0 && (limit < 0 || limit.unsigned_abs() > record.memory) {
        bail!(
            "memory.limit: {limit}: a sandbox's memory cannot grow beyond the {} bytes that it was started with",
            record.memory
        );
    }
    if let Some(cgroup) = &record.cgroup {
        cgroup.apply(&resources, record.cpus)?;
    }
    let mut requests = Vec::new();
    if let Some(pids) = resources.pids() {
        requests.push(Request::Tasks { most: u64::try_from(pids.limit()).unwrap_or(0) });
    }
    let limits = translate::limits(&resources);
    if limits != CgroupLimits::default() {
        requests.push(Request::Limits(limits));
    }
    for request in requests {
        let client = container.connect()?;
        client.send(&request, &[]).context("ask the sandbox")?;
        // One that is paused takes it when it is resumed.
        if status != Status::Paused {
            match client.receive().context("sandbox")? {
                Some(Reply::Done) => {}
                Some(Reply::Refused(errno)) => {
                    return Err(std::io::Error::from_raw_os_error(errno)).context("limits");
                }
                Some(reply) => bail!("the sandbox answers {reply:?}"),
                None => bail!("container not running"),
            }
        }
    }
    Ok(0)
}

/// The limits that a file says, or else the options.
fn resources(options: &Update) -> Result<LinuxResources> {
    let Some(path) = &options.resources else {
        return serde_json::from_value(from_options(options)).context("limits");
    };
    let text = if path.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("standard input")?;
        text
    } else {
        fs::read_to_string(path).with_context(|| format!("--resources {}", path.display()))?
    };
    serde_json::from_str(&text).context("--resources")
}

fn from_options(options: &Update) -> Value {
    let group = |pairs: &[(&str, Option<Value>)]| -> Value {
        let given = pairs.iter().filter_map(|(name, value)| Some(((*name).to_owned(), value.clone()?)));
        Value::Object(given.collect::<Map<_, _>>())
    };
    let number = |value: Option<i64>| value.map(Value::from);
    let text = |value: &Option<String>| value.clone().map(Value::from);
    let mut all = json!({
        "memory": group(&[
            ("limit", number(options.memory)),
            ("reservation", number(options.memory_reservation)),
            ("swap", number(options.memory_swap)),
        ]),
        "cpu": group(&[
            ("quota", number(options.cpu_quota)),
            ("period", number(options.cpu_period)),
            ("shares", number(options.cpu_share)),
            ("cpus", text(&options.cpuset_cpus)),
            ("mems", text(&options.cpuset_mems)),
        ]),
    });
    if let Some(weight) = options.blkio_weight {
        all["blockIO"] = json!({ "weight": weight });
    }
    if let Some(limit) = options.pids_limit {
        all["pids"] = json!({ "limit": limit });
    }
    all
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        update: Update,
    }

    #[test]
    fn options_are_limits() {
        let line =
            Line::parse_from(["update", "--cpu-quota", "50000", "--pids-limit=-1", "--memory=64", "id"]);
        let resources = resources(&line.update).unwrap();
        assert_eq!(resources.cpu().as_ref().unwrap().quota(), Some(50_000));
        assert_eq!(resources.cpu().as_ref().unwrap().period(), None);
        assert_eq!(resources.pids().as_ref().unwrap().limit(), -1);
        assert_eq!(resources.memory().as_ref().unwrap().limit(), Some(64));
    }
}

//! What a cgroup has used: its files, in the words of runc's `events`.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::{Cgroup, OWN_MEMORY};

/// Microseconds of the files are nanoseconds here.
const MICRO: u64 = 1000;

/// An amount with its limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Amount {
    pub(crate) limit: u64,
    pub(crate) usage: u64,
    pub(crate) max: u64,
    pub(crate) failures: u64,
}

impl Amount {
    fn to_json(self) -> Value {
        let mut value = json!({ "limit": self.limit });
        put(&mut value, &[("usage", self.usage), ("max", self.max)]);
        value["failcnt"] = self.failures.into();
        value
    }
}

/// Bytes or operations of one device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Io {
    device: (u64, u64),
    operation: &'static str,
    bytes: u64,
    operations: u64,
}

/// What was used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// CPU time in all, of it in programs (the guest's is such), of it in the kernel; ns.
    pub(crate) cpu: [u64; 3],
    /// Periods of the CPU quota, those in which it was used up, and for how long; ns.
    pub(crate) throttled: [u64; 3],
    pub(crate) memory: Amount,
    pub(crate) swap: Amount,
    /// Bytes of the page cache.
    pub(crate) cache: u64,
    /// `memory.stat`.
    pub(crate) raw: BTreeMap<String, u64>,
    /// Threads of the host and their limit.
    pub(crate) threads: (u64, u64),
    pub(crate) io: Vec<Io>,
    /// Huge pages, by their size.
    pub(crate) huge: BTreeMap<String, Amount>,
}

/// What a container's cgroup used.
pub(crate) fn of(cgroup: &Cgroup) -> Result<Usage> {
    if cgroup.unified { unified(cgroup) } else { Ok(divided(cgroup)) }
}

/// How many processes the host has killed in it for want of memory; 0 where it does not count them.
pub(crate) fn oom_kills(cgroup: &Cgroup) -> u64 {
    let Some(directory) = cgroup.memory() else { return 0 };
    let file = if cgroup.unified { "memory.events" } else { "memory.oom_control" };
    table(&directory.join(file)).get("oom_kill").copied().unwrap_or(0)
}

fn unified(cgroup: &Cgroup) -> Result<Usage> {
    let directory = cgroup.directories.first().context("no cgroup")?;
    let at = |name: &str| directory.join(name);
    let cpu = table(&at("cpu.stat"));
    let time = |name: &str| cpu.get(name).copied().unwrap_or(0).saturating_mul(MICRO);
    let count = |name: &str| cpu.get(name).copied().unwrap_or(0);
    let raw = table(&at("memory.stat"));
    let memory = Amount {
        limit: without_own(number(&at("memory.max")).unwrap_or(u64::MAX)),
        usage: number(&at("memory.current")).unwrap_or(0),
        max: number(&at("memory.peak")).unwrap_or(0),
        failures: table(&at("memory.events")).get("max").copied().unwrap_or(0),
    };
    // Swap is counted with memory, as v1 did.
    let swap = Amount {
        limit: number(&at("memory.swap.max")).unwrap_or(u64::MAX).saturating_add(memory.limit),
        usage: number(&at("memory.swap.current")).unwrap_or(0).saturating_add(memory.usage),
        ..Amount::default()
    };
    Ok(Usage {
        cpu: [time("usage_usec"), time("user_usec"), time("system_usec")],
        throttled: [count("nr_periods"), count("nr_throttled"), time("throttled_usec")],
        cache: raw.get("file").copied().unwrap_or(0),
        memory,
        swap,
        raw,
        threads: (number(&at("pids.current")).unwrap_or(0), number(&at("pids.max")).unwrap_or(0)),
        io: io(&fs::read_to_string(at("io.stat")).unwrap_or_default()),
        huge: huge(directory),
    })
}

/// The hierarchies of v1.
fn divided(cgroup: &Cgroup) -> Usage {
    let at = |controller: &str, name: &str| {
        cgroup.of(controller).map(|directory| directory.join(name)).unwrap_or_default()
    };
    let value = |controller: &str, name: &str| number(&at(controller, name)).unwrap_or(0);
    let amount = |kind: &str| Amount {
        limit: without_own(value("memory", &format!("memory.{kind}limit_in_bytes"))),
        usage: value("memory", &format!("memory.{kind}usage_in_bytes")),
        max: value("memory", &format!("memory.{kind}max_usage_in_bytes")),
        failures: value("memory", &format!("memory.{kind}failcnt")),
    };
    let throttled = table(&at("cpu", "cpu.stat"));
    let raw = table(&at("memory", "memory.stat"));
    Usage {
        cpu: [
            value("cpuacct", "cpuacct.usage"),
            value("cpuacct", "cpuacct.usage_user"),
            value("cpuacct", "cpuacct.usage_sys"),
        ],
        throttled: ["nr_periods", "nr_throttled", "throttled_time"]
            .map(|name| throttled.get(name).copied().unwrap_or(0)),
        memory: amount(""),
        swap: amount("memsw."),
        cache: raw.get("cache").copied().unwrap_or(0),
        raw,
        threads: (value("pids", "pids.current"), value("pids", "pids.max")),
        ..Usage::default()
    }
}

impl Usage {
    /// What the host says of a process that has no cgroup of its own: CPU time and memory.
    pub(crate) fn of_process(pid: u32) -> Result<Self> {
        let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}"));
        let stat = read("stat").context("container not running")?;
        let fields: Vec<_> =
            stat.rsplit(')').next().unwrap_or_default().split_whitespace().map(str::parse::<u64>).collect();
        let field = |index: usize| fields.get(index).and_then(|field| field.clone().ok()).unwrap_or(0);
        let tick = sysconf(nix::unistd::SysconfVar::CLK_TCK, 100);
        let time = |ticks: u64| ticks.saturating_mul(1_000_000_000 / tick);
        let pages = |index: usize| {
            let statm = read("statm").unwrap_or_default();
            statm.split_whitespace().nth(index).and_then(|word| word.parse::<u64>().ok()).unwrap_or(0)
        };
        // proc(5) numbers the fields from 1; two are before the name's end.
        let (user, kernel) = (time(field(14 - 3)), time(field(15 - 3)));
        let page = sysconf(nix::unistd::SysconfVar::PAGE_SIZE, 4096);
        let memory = Amount { limit: u64::MAX, usage: pages(1) * page, ..Amount::default() };
        Ok(Self { cpu: [user + kernel, user, kernel], memory, ..Self::default() })
    }

    /// In runc's words: what is zero is left out where runc leaves it out.
    pub(crate) fn to_json(&self) -> Value {
        let [total, user, kernel] = self.cpu;
        let mut time = sparse(&[("total", total)]);
        (time["kernel"], time["user"]) = (kernel.into(), user.into());
        let [periods, throttled, length] = self.throttled;
        let throttling =
            sparse(&[("periods", periods), ("throttledPeriods", throttled), ("throttledTime", length)]);
        let mut memory = sparse(&[("cache", self.cache)]);
        memory["usage"] = self.memory.to_json();
        memory["swap"] = self.swap.to_json();
        memory["kernel"] = Amount::default().to_json();
        memory["kernelTCP"] = Amount::default().to_json();
        if !self.raw.is_empty() {
            memory["raw"] = json!(self.raw);
        }
        let entries = |amount: fn(&Io) -> u64| {
            let entry = |io: &Io| {
                let mut entry = sparse(&[("major", io.device.0), ("minor", io.device.1)]);
                entry["op"] = io.operation.into();
                put(&mut entry, &[("value", amount(io))]);
                entry
            };
            self.io.iter().map(entry).collect::<Vec<_>>()
        };
        let mut blkio = json!({});
        if !self.io.is_empty() {
            blkio["ioServiceBytesRecursive"] = entries(|io| io.bytes).into();
            blkio["ioServicedRecursive"] = entries(|io| io.operations).into();
        }
        let huge: Map<_, _> = self
            .huge
            .iter()
            .map(|(size, amount)| {
                let mut value = sparse(&[("usage", amount.usage), ("max", amount.max)]);
                value["failcnt"] = amount.failures.into();
                (size.clone(), value)
            })
            .collect();
        json!({
            "cpu": { "usage": time, "throttling": throttling },
            "cpuset": {
                "cpu_exclusive": 0, "mem_hardwall": 0, "mem_exclusive": 0, "memory_migrate": 0,
                "memory_spread_page": 0, "memory_spread_slab": 0, "memory_pressure": 0,
                "sched_load_balance": 0, "sched_relax_domain_level": 0,
            },
            "memory": memory,
            "pids": sparse(&[("current", self.threads.0), ("limit", self.threads.1)]),
            "blkio": blkio,
            "hugetlb": huge,
            "intel_rdt": {},
            "network_interfaces": null,
        })
    }
}

fn sysconf(variable: nix::unistd::SysconfVar, otherwise: u64) -> u64 {
    let value = nix::unistd::sysconf(variable).ok().flatten();
    value.and_then(|value| u64::try_from(value).ok()).filter(|&value| value != 0).unwrap_or(otherwise)
}

/// An object of what is not zero.
pub(crate) fn sparse(pairs: &[(&str, u64)]) -> Value {
    let mut value = Value::Object(Map::new());
    put(&mut value, pairs);
    value
}

fn put(value: &mut Value, pairs: &[(&str, u64)]) {
    for (name, number) in pairs.iter().filter(|(_, number)| *number != 0) {
        value[*name] = (*number).into();
    }
}

/// The container's limit where the cgroup's has the sandbox process's own memory in it.
fn without_own(limit: u64) -> u64 {
    match limit.checked_sub(OWN_MEMORY.unsigned_abs()) {
        Some(own) if limit < i64::MAX.unsigned_abs() / 4096 * 4096 => own,
        _ => limit,
    }
}

/// A file of one number; `max` is none.
pub(crate) fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// A file of names and numbers.
fn table(path: &Path) -> BTreeMap<String, u64> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .filter_map(|line| {
            let (name, number) = line.split_once(' ')?;
            Some((name.to_owned(), number.trim().parse().ok()?))
        })
        .collect()
}

/// `hugetlb.SIZE.current` and its kin.
fn huge(directory: &Path) -> BTreeMap<String, Amount> {
    let names = fs::read_dir(directory).into_iter().flatten().flatten();
    names
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let size = name.strip_prefix("hugetlb.")?.strip_suffix(".current")?;
            let failures = table(&directory.join(format!("hugetlb.{size}.events")));
            let amount = Amount {
                usage: number(&entry.path()).unwrap_or(0),
                failures: failures.get("max").copied().unwrap_or(0),
                ..Amount::default()
            };
            (!size.ends_with(".rsvd")).then(|| (size.to_owned(), amount))
        })
        .collect()
}

/// `io.stat`: a device a line.
fn io(text: &str) -> Vec<Io> {
    let mut all = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let device = words.next().and_then(|word| word.split_once(':'));
        let Some((Ok(major), Ok(minor))) = device.map(|(major, minor)| (major.parse(), minor.parse())) else {
            continue;
        };
        let values: BTreeMap<_, _> = words.filter_map(|word| word.split_once('=')).collect();
        let value = |name: &str| values.get(name).and_then(|value| value.parse().ok()).unwrap_or(0);
        for (operation, bytes, operations) in
            [("Read", "rbytes", "rios"), ("Write", "wbytes", "wios"), ("Discard", "dbytes", "dios")]
        {
            let (bytes, operations) = (value(bytes), value(operations));
            all.push(Io { device: (major, minor), operation, bytes, operations });
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_have_lines() {
        let all = io("254:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0\nbad\n8:0\n");
        assert_eq!(all.len(), 6);
        assert_eq!((all[0].device, all[0].bytes, all[0].operations), ((254, 0), 4096, 1));
    }

    #[test]
    fn figures_have_runc_s_form() {
        let usage = Usage {
            cpu: [30, 20, 10],
            memory: Amount { limit: 64, usage: 32, max: 0, failures: 1 },
            io: io("1:2 rbytes=3 rios=4"),
            ..Usage::default()
        };
        let value = usage.to_json();
        assert_eq!(value["cpu"]["usage"], json!({ "total": 30, "kernel": 10, "user": 20 }));
        assert_eq!(value["memory"]["usage"], json!({ "limit": 64, "usage": 32, "failcnt": 1 }));
        assert_eq!(value["pids"], json!({}));
        let read = json!({ "major": 1, "minor": 2, "op": "Read", "value": 3 });
        assert_eq!(value["blkio"]["ioServiceBytesRecursive"][0], read);
    }

    #[test]
    fn the_sandbox_s_own_memory_is_not_the_container_s() {
        assert_eq!(without_own((96 << 20) + (64 << 20)), 96 << 20);
        assert_eq!(without_own(u64::MAX), u64::MAX);
        assert_eq!(without_own(0x7fff_ffff_ffff_f000), 0x7fff_ffff_ffff_f000, "v1's word for none");
    }
}

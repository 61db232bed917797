//! Which files of a cgroup the limits of a container are, and what is written there.

use std::path::Path;

use anyhow::{Result, ensure};
use oci_spec::runtime::LinuxResources;

use super::{MOUNT, OWN_MEMORY, OWN_TASKS};

/// A setting: its file on v1 with the controller, its file on v2, and the values.
pub(super) struct Setting {
    pub(super) v1: Option<(&'static str, &'static str, String)>,
    pub(super) v2: Option<(&'static str, String)>,
}

/// `-1` is no limit.
fn limit(value: i64) -> String {
    if value < 0 { "max".into() } else { value.to_string() }
}

/// A weight of v2, 1…10000, for v1's CPU shares, 2…262144.
fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

/// A weight of v2, 1…10000, for v1's weight of block I/O, 10…1000.
fn io_weight(weight: u16) -> u32 {
    1 + (u32::from(weight.clamp(10, 1000)) - 10) * 9999 / 990
}

/// The settings that limits mean.
pub(super) fn of(resources: &LinuxResources, cpus: u32) -> Result<Vec<Setting>> {
    let mut all = Vec::new();
    let mut set = |v1: Option<(&'static str, &'static str, String)>, v2: Option<(&'static str, String)>| {
        all.push(Setting { v1, v2 });
    };
    if let Some(memory) = resources.memory() {
        let with_own = |value: i64| if value < 0 { value } else { value.saturating_add(OWN_MEMORY) };
        if let Some(value) = memory.limit().filter(|&value| value != 0) {
            let value = with_own(value);
            set(
                Some(("memory", "memory.limit_in_bytes", value.to_string())),
                Some(("memory.max", limit(value))),
            );
        }
        if let Some(value) = memory.reservation() {
            let v1 = ("memory", "memory.soft_limit_in_bytes", value.to_string());
            set(Some(v1), Some(("memory.low", limit(value))));
        }
        if let Some(swap) = memory.swap().filter(|&swap| swap != 0) {
            let bytes = match memory.limit().filter(|&value| value > 0) {
                Some(memory) if swap > 0 => {
                    ensure!(
                        swap >= memory,
                        "config.json: linux.resources.memory.swap: less than the memory limit"
                    );
                    swap - memory
                }
                _ => swap,
            };
            let v1 = ("memory", "memory.memsw.limit_in_bytes", with_own(swap).to_string());
            // A kernel that accounts no swap has neither file.
            let has = Path::new(MOUNT).join("memory/memory.memsw.limit_in_bytes").exists();
            set(has.then_some(v1), Some(("memory.swap.max", limit(bytes))));
        }
    }
    if let Some(pids) = resources.pids() {
        let most = pids.limit();
        let value = if most <= 0 { "max".into() } else { (most + OWN_TASKS + i64::from(cpus)).to_string() };
        set(Some(("pids", "pids.max", value.clone())), Some(("pids.max", value)));
    }
    if let Some(cpu) = resources.cpu() {
        if let Some(shares) = cpu.shares().filter(|&shares| shares != 0) {
            let v1 = ("cpu", "cpu.shares", shares.to_string());
            set(Some(v1), Some(("cpu.weight", weight(shares).to_string())));
        }
        // Zero says nothing: callers that change one thing send it for the others.
        let given =
            cpu.quota().is_some_and(|quota| quota != 0) || cpu.period().is_some_and(|period| period != 0);
        if given {
            let period = cpu.period().filter(|&period| period != 0).unwrap_or(100_000);
            let quota = cpu.quota().filter(|&quota| quota > 0);
            set(Some(("cpu", "cpu.cfs_period_us", period.to_string())), None);
            if let Some(value) = cpu.quota().filter(|&quota| quota != 0) {
                set(Some(("cpu", "cpu.cfs_quota_us", value.to_string())), None);
            }
            let text = quota.map_or_else(|| "max".into(), |quota| quota.to_string());
            set(None, Some(("cpu.max", format!("{text} {period}"))));
        }
        for (v1, v2, value) in
            [("cpuset.cpus", "cpuset.cpus", cpu.cpus()), ("cpuset.mems", "cpuset.mems", cpu.mems())]
        {
            if let Some(value) = value.clone().filter(|value| !value.is_empty()) {
                set(Some(("cpuset", v1, value.clone())), Some((v2, value)));
            }
        }
    }
    if let Some(io) = resources.block_io() {
        if let Some(value) = io.weight().filter(|&value| value != 0) {
            let v1 = ("blkio", "blkio.weight", value.to_string());
            set(Some(v1), Some(("io.weight", io_weight(value).to_string())));
        }
        for (devices, v1, v2) in [
            (io.throttle_read_bps_device(), "blkio.throttle.read_bps_device", "rbps"),
            (io.throttle_write_bps_device(), "blkio.throttle.write_bps_device", "wbps"),
            (io.throttle_read_iops_device(), "blkio.throttle.read_iops_device", "riops"),
            (io.throttle_write_iops_device(), "blkio.throttle.write_iops_device", "wiops"),
        ] {
            for device in devices.iter().flatten() {
                let (number, rate) = (format!("{}:{}", device.major(), device.minor()), device.rate());
                let most = if rate == 0 { "max".to_owned() } else { rate.to_string() };
                set(
                    Some(("blkio", v1, format!("{number} {rate}"))),
                    Some(("io.max", format!("{number} {v2}={most}"))),
                );
            }
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_become_files() {
        let resources: LinuxResources = serde_json::from_value(serde_json::json!({
            "memory": { "limit": 64 << 20, "swap": 128 << 20 },
            "pids": { "limit": 20 },
            "blockIO": { "weight": 500, "throttleReadBpsDevice": [{ "major": 8, "minor": 0, "rate": 1000 }] },
            "cpu": { "shares": 1024, "quota": 50000, "period": 100000, "cpus": "0" },
        }))
        .unwrap();
        let all = of(&resources, 2).unwrap();
        let v2: Vec<_> = all.iter().filter_map(|setting| setting.v2.clone()).collect();
        let text = |value: &str| value.to_owned();
        assert_eq!(
            v2,
            [
                ("memory.max", text("134217728")),
                ("memory.swap.max", text("67108864")),
                ("pids.max", text("32")),
                ("cpu.weight", text("39")),
                ("cpu.max", text("50000 100000")),
                ("cpuset.cpus", text("0")),
                ("io.weight", text("4950")),
                ("io.max", text("8:0 rbps=1000")),
            ]
        );
    }
}

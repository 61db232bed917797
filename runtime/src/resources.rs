//! How large a container's guest is.

use anyhow::{Result, bail};
use oci_spec::runtime::LinuxResources;

/// Least guest memory, bytes: room for the sentry and one small program.
const MIN_MEMORY: u64 = 32 << 20;

/// Guest memory, backed only where it is used: the limit; without one that the host could hold, three quarters of what
/// the host has, so that a container without a limit runs out of memory before the host does.
pub(crate) fn memory(resources: Option<&LinuxResources>) -> Result<u64> {
    let limit =
        resources.and_then(|r| r.memory().as_ref()).and_then(|m| m.limit()).filter(|&limit| limit > 0);
    if let Some(limit) = limit
        && (limit as u64) < MIN_MEMORY
    {
        bail!(
            "config.json: linux.resources.memory.limit: {limit} is less than the {MIN_MEMORY} bytes needed"
        );
    }
    let pages = nix::unistd::sysconf(nix::unistd::SysconfVar::_PHYS_PAGES)?.unwrap_or(0).max(0) as u64;
    let host = pages * 4096;
    let share = (host / 4 * 3).max(MIN_MEMORY);
    Ok(limit.map(|limit| limit as u64).filter(|&limit| limit <= host).unwrap_or(share))
}

/// vCPUs: what the caller may use of the set that the bundle names, cut by the quota.
pub(crate) fn cpus(resources: Option<&LinuxResources>) -> u32 {
    let set = resources.and_then(|r| r.cpu().as_ref()).and_then(|cpu| cpu.cpus().as_deref());
    let set = set.filter(|set| !set.trim().is_empty());
    let named = |cpu: usize| set.is_none_or(|set| contains(set, cpu));
    let here = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0)).map_or(1, |own| {
        (0..nix::sched::CpuSet::count()).filter(|&cpu| own.is_set(cpu).unwrap_or(false) && named(cpu)).count()
    });
    let quota = resources
        .and_then(|r| r.cpu().as_ref())
        .and_then(|cpu| Some((cpu.quota()?, cpu.period().unwrap_or(100_000))))
        .filter(|&(quota, period)| quota > 0 && period > 0)
        .map_or(usize::MAX, |(quota, period)| (quota as u64).div_ceil(period) as usize);
    here.min(quota).clamp(1, hostcall::MAX_CPUS) as u32
}

/// Whether a list of CPUs, cpuset(7), has this one.
fn contains(list: &str, cpu: usize) -> bool {
    list.split(',').any(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let number = |text: &str| text.trim().parse::<usize>();
        matches!((number(first), number(last)), (Ok(first), Ok(last)) if (first..=last).contains(&cpu))
    })
}

#[cfg(test)]
mod tests {
    use super::contains;

    #[test]
    fn lists_of_cpus() {
        let all = |list| (0..8).filter(|&cpu| contains(list, cpu)).collect::<Vec<_>>();
        assert_eq!(all("1"), [1]);
        assert_eq!(all("0-2, 5"), [0, 1, 2, 5]);
        assert_eq!(all("x,3-,6"), [6]);
    }
}

//! Structures of files, times and limits.

use super::{
    call::{Call, Quote},
    names::{FS_MAGICS, MOUNT_FLAGS, RLIM_INFINITY, STATX_MASK},
    out,
};
use linux_raw_sys::general::{stat, statfs64, statx};

/// A file's type and permissions.
pub(super) fn file_mode(call: &mut Call, mode: u32) {
    let kind = match mode & 0o170_000 {
        0o010_000 => "S_IFIFO",
        0o020_000 => "S_IFCHR",
        0o040_000 => "S_IFDIR",
        0o060_000 => "S_IFBLK",
        0o100_000 => "S_IFREG",
        0o120_000 => "S_IFLNK",
        0o140_000 => "S_IFSOCK",
        _ => "",
    };
    if !kind.is_empty() {
        out!(call, "{kind}|");
    }
    for (bit, name) in [(0o4000, "S_ISUID|"), (0o2000, "S_ISGID|"), (0o1000, "S_ISVTX|")] {
        if mode & bit != 0 {
            call.push(name);
        }
    }
    permissions(call, mode & 0o777);
}

/// Permissions, three digits at least.
pub(super) fn permissions(call: &mut Call, mode: u32) {
    out!(call, "0{mode:02o}");
}

/// A device's numbers.
pub(super) fn device(call: &mut Call, number: u64) {
    let major = (number >> 8 & 0xfff) | (number >> 32 & !0xfff);
    let minor = (number & 0xff) | (number >> 12 & 0xffff_ff00);
    device_parts(call, major, minor);
}

fn device_parts(call: &mut Call, major: u64, minor: u64) {
    call.push("makedev(");
    call.hex(major);
    call.push(", ");
    call.hex(minor);
    call.push(")");
}

const fn is_device(mode: u32) -> bool {
    matches!(mode & 0o170_000, 0o020_000 | 0o060_000)
}

/// `struct stat`.
pub(super) fn file(call: &mut Call, addr: u64) {
    // The structure has no reading of its own; its fields lie at fixed places.
    call.stored(addr, |call, words: &[u64; size_of::<stat>() / 8]| {
        let mode = words[3] as u32;
        call.push("{st_mode=");
        file_mode(call, mode);
        if is_device(mode) {
            call.push(", st_rdev=");
            device(call, words[5]);
        } else {
            out!(call, ", st_size={}", words[6]);
        }
        call.push(", ...}");
    });
}

/// `struct statx`.
pub(super) fn file_extended(call: &mut Call, addr: u64) {
    call.stored(addr, |call, words: &[u64; size_of::<statx>() / 8]| {
        let mode = (words[3] >> 32) as u32 & 0xffff;
        call.push("{stx_mask=");
        call.bits(words[0] & 0xffff_ffff, &STATX_MASK);
        call.push(", stx_attributes=");
        call.hex(words[1]);
        call.push(", stx_mode=");
        file_mode(call, mode);
        if is_device(mode) {
            call.push(", stx_rdev=");
            device_parts(call, words[16] & 0xffff_ffff, words[16] >> 32);
        } else {
            out!(call, ", stx_size={}", words[5]);
        }
        call.push(", ...}");
    });
}

/// `struct statfs`.
pub(super) fn file_system(call: &mut Call, addr: u64) {
    call.stored(addr, |call, w: &[u64; size_of::<statfs64>() / 8]| {
        call.push("{f_type=");
        call.one_of(w[0], &FS_MAGICS);
        out!(call, ", f_bsize={}, f_blocks={}, f_bfree={}, f_bavail={}", w[1], w[2], w[3], w[4]);
        out!(call, ", f_files={}, f_ffree={}, f_fsid={{val=[", w[5], w[6]);
        call.hex(w[7] & 0xffff_ffff);
        call.push(", ");
        call.hex(w[7] >> 32);
        out!(call, "]}}, f_namelen={}, f_frsize={}, f_flags=", w[8], w[9]);
        call.bits(w[10], &MOUNT_FLAGS);
        call.push("}");
    });
}

/// How many entries a buffer of `getdents64` has.
pub(super) fn entries(call: &mut Call, addr: u64, name_at: u64) {
    call.addr(addr);
    let Some(length @ 0..) = call.ret else { return };
    let (mut at, mut count) = (0u64, 0);
    while at < length as u64 && count < 4096 {
        match crate::arch::uaccess::get::<u16>(addr.wrapping_add(at + name_at)) {
            Ok(size @ 1..) => at += u64::from(size),
            _ => break,
        }
        count += 1;
    }
    out!(call, " /* {count} entries */");
}

/// `struct utsname`.
pub(super) fn names(call: &mut Call, addr: u64) {
    if call.failed() {
        return call.addr(addr);
    }
    call.push("{sysname=");
    call.string(addr, 65);
    call.push(", nodename=");
    call.string(addr.wrapping_add(65), 65);
    call.push(", ...}");
}

/// Seconds and a part, `tv_nsec` or `tv_usec`.
pub(super) fn time(call: &mut Call, time: &[i64; 2], part: &str) {
    match (part, time[1]) {
        ("tv_nsec", 0x3fff_ffff) => call.push("UTIME_NOW"),
        ("tv_nsec", 0x3fff_fffe) => call.push("UTIME_OMIT"),
        _ => out!(call, "{{tv_sec={}, {part}={}}}", time[0], time[1]),
    }
}

/// Two times of a file, with what they mean.
pub(super) fn file_times(call: &mut Call, times: &[i64; 4], part: &str) {
    call.push("[");
    for (index, pair) in times.chunks_exact(2).enumerate() {
        if index != 0 {
            call.push(", ");
        }
        time(call, &[pair[0], pair[1]], part);
        if part == "tv_usec" || pair[1] < 0x3fff_fffe {
            call.push(" /* ");
            date(call, pair[0], pair[1], if part == "tv_usec" { 6 } else { 9 });
            call.push(" */");
        }
    }
    call.push("]");
}

/// A date as RFC 3339 has it, in UTC.
pub(super) fn date(call: &mut Call, seconds: i64, part: i64, digits: usize) {
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Years from March on, in eras of 400 years.
    let day = days.saturating_add(719_468);
    let (era, of_era) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    out!(call, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    if part != 0 {
        out!(call, ".{part:0digits$}");
    }
    call.push("+0000");
}

/// `struct itimerval`.
pub(super) fn interval(call: &mut Call, timer: &[i64; 4]) {
    call.push("{it_interval=");
    time(call, &[timer[0], timer[1]], "tv_usec");
    call.push(", it_value=");
    time(call, &[timer[2], timer[3]], "tv_usec");
    call.push("}");
}

/// `struct rlimit`; `wide` for `prlimit64`, whose infinity has another name.
pub(super) fn limit(call: &mut Call, limit: &[u64; 2]) {
    for (name, value) in ["{rlim_cur=", ", rlim_max="].iter().zip(limit) {
        call.push(name);
        match *value {
            u64::MAX if call.nr == 302 => call.push("RLIM64_INFINITY"),
            u64::MAX => call.push(RLIM_INFINITY),
            value if value > 1024 && value.is_multiple_of(1024) => out!(call, "{}*1024", value / 1024),
            value => out!(call, "{value}"),
        }
    }
    call.push("}");
}

/// `struct rusage`.
pub(super) fn usage(call: &mut Call, addr: u64) {
    call.stored(addr, |call, times: &[i64; 4]| {
        call.push("{ru_utime=");
        time(call, &[times[0], times[1]], "tv_usec");
        call.push(", ru_stime=");
        time(call, &[times[2], times[3]], "tv_usec");
        call.push(", ...}");
    });
}

/// `struct sysinfo`.
pub(super) fn system(call: &mut Call, addr: u64) {
    call.stored(addr, |call, w: &[u64; 14]| {
        out!(call, "{{uptime={}, loads=[{}, {}, {}], totalram={}", w[0], w[1], w[2], w[3], w[4]);
        out!(call, ", freeram={}, sharedram={}, bufferram={}", w[5], w[6], w[7]);
        out!(call, ", totalswap={}, freeswap={}, procs={}", w[8], w[9], w[10] & 0xffff);
        out!(call, ", totalhigh={}, freehigh={}, mem_unit={}}}", w[11], w[12], w[13] & 0xffff_ffff);
    });
}

/// `struct tms`.
pub(super) fn ticks(call: &mut Call, addr: u64) {
    call.stored(addr, |call, w: &[u64; 4]| {
        out!(call, "{{tms_utime={}, tms_stime={}, tms_cutime={}, tms_cstime={}}}", w[0], w[1], w[2], w[3]);
    });
}

/// `struct iovec`s; `filled` is what the call stored, all of it when the call reads them.
pub(super) fn vectors(call: &mut Call, addr: u64, count: u64, filled: u64) {
    let mut left = filled;
    call.array(addr, count, |call, part: &[u64; 2]| {
        let shown = part[1].min(left);
        left -= shown;
        call.push("{iov_base=");
        call.bytes(part[0], shown, Quote::Text);
        out!(call, ", iov_len={}}}", part[1]);
    });
}

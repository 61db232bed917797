//! Names of the sentry's functions, for the log after it has failed.

static TABLE: &str = include_str!(concat!(env!("OUT_DIR"), "/sentry.symbols"));

/// The function of the sentry that holds `address` (as linked) and the offset in it.
#[must_use]
pub fn find(address: u64) -> Option<(&'static str, u64)> {
    let mut found = None;
    for line in TABLE.lines() {
        let (start, name) = line.split_once(' ')?;
        let start = u64::from_str_radix(start, 16).ok()?;
        if start > address {
            break;
        }
        found = Some((name, address - start));
    }
    found
}

/// `address` (as it is at run time) in words.
pub(crate) fn describe(address: u64, slide: u64) -> String {
    match find(address.wrapping_sub(slide)) {
        Some((name, offset)) if offset < 1 << 20 => format!("{address:#x} {name}+{offset:#x}"),
        _ => format!("{address:#x}"),
    }
}

//! Execution domains, personality(2): flags that change what a process sees.

use super::uts;
use alloc::{format, string::String};

/// Addresses are not chosen at random.
pub const ADDR_NO_RANDOMIZE: u32 = 0x004_0000;
/// What can be read can be executed.
pub const READ_IMPLIES_EXEC: u32 = 0x040_0000;
/// The kernel calls itself 2.6.
pub const UNAME26: u32 = 0x002_0000;
/// Flags that a program with other rights than its caller does not take over.
pub const CLEARED_ON_SETID: u32 = READ_IMPLIES_EXEC | ADDR_NO_RANDOMIZE | 0x020_0000 | 0x010_0000;
/// The execution domain itself.
const DOMAIN: u32 = 0xff;
/// A 32-bit machine.
const LINUX32: u32 = 8;

/// The release that uname(2) shows.
#[must_use]
pub fn release(personality: u32) -> String {
    if personality & UNAME26 == 0 {
        return uts::RELEASE.into();
    }
    // Version 6.12 is counted on from 2.6.60, and what follows the third number stays.
    let minor: u32 = uts::RELEASE.split('.').nth(1).and_then(|text| text.parse().ok()).unwrap_or(0);
    let rest =
        uts::RELEASE.find(|c: char| !c.is_ascii_digit() && c != '.').map_or("", |at| &uts::RELEASE[at..]);
    format!("2.6.{}{rest}", minor + 60)
}

/// The machine that uname(2) shows.
#[must_use]
pub const fn machine(personality: u32) -> &'static [u8] {
    if personality & DOMAIN == LINUX32 { b"i686" } else { b"x86_64" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_programs_see_an_old_release() {
        assert_eq!(release(0), uts::RELEASE);
        assert_eq!(release(UNAME26), "2.6.72-ringfence");
        assert_eq!((machine(0), machine(LINUX32 | UNAME26)), (&b"x86_64"[..], &b"i686"[..]));
    }
}

//! There is no TLB.

/// Drops a page from every TLB.
pub fn flush_page(_id: u64, _va: u64) {}

/// Drops a range from every TLB.
pub fn flush_range(_id: u64, _start: u64, _end: u64) {}

/// Drops an address space from every TLB.
pub fn flush_mm(_id: u64) {}

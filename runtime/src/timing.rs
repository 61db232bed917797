//! Where the time of a start goes: `RINGFENCE_TIMING=1` prints a line for each phase.

use std::sync::OnceLock;
use std::time::Instant;

static START: OnceLock<Option<Instant>> = OnceLock::new();

/// Whether phases are wanted; the first call is the start.
pub(crate) fn enabled() -> bool {
    START
        .get_or_init(|| std::env::var_os("RINGFENCE_TIMING").is_some_and(|v| v == "1").then(Instant::now))
        .is_some()
}

/// Notes the end of a phase: nanoseconds since the program started.
pub(crate) fn phase(name: &str) {
    if enabled()
        && let Some(Some(start)) = START.get()
    {
        eprintln!("timing {name} {}", start.elapsed().as_nanos());
    }
}

//! stress-ng, whose stressors check what they do.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::{
    bundle::Bundle,
    command::{finish_within, id, runtime, start},
};

/// What is stressed.
const STRESSORS: &[&str] = &[
    "cpu", "malloc", "vm", "fork", "vfork", "clone", "pthread", "futex", "signal", "sigq", "timer", "mmap",
    "mremap", "switch", "sem", "mutex", "yield",
];

/// Two of each stressor, one kind after the other: all must pass.
pub(super) fn stress() -> Result<String> {
    let long = super::long();
    let (seconds, limit) = if long { ("10", 120) } else { ("2", 60) };
    let chosen = std::env::var("RINGFENCE_TEST_CASES").unwrap_or_default();
    let chosen: Vec<&str> = chosen.split_whitespace().filter(|word| STRESSORS.contains(word)).collect();
    let mut failed = Vec::new();
    let mut passed = 0;
    for stressor in STRESSORS.iter().filter(|name| chosen.is_empty() || chosen.contains(name)) {
        let option = format!("--{stressor}");
        // What each takes of memory by default is made for machines larger than the test VM.
        let args = [
            "stress-ng",
            "--verify",
            &option,
            "2",
            "--timeout",
            seconds,
            "--metrics-brief",
            "--vm-bytes",
            "32M",
            "--malloc-bytes",
            "32M",
            "--mmap-bytes",
            "16M",
            "--mremap-bytes",
            "8M",
            "--temp-path",
            "/tmp",
        ];
        let bundle = Bundle::applications("stress", &args)?;
        let result = finish_within(start(&runtime(), &bundle.path, &id())?, Duration::from_secs(limit));
        match result {
            Ok(output) if output.status.success() => passed += 1,
            Ok(output) => failed.push(format!(
                "{stressor}: {}\n{}{}",
                output.status,
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            )),
            Err(error) => failed.push(format!("{stressor}: {error:#}")),
        }
    }
    ensure!(failed.is_empty(), "{} of {}: {}", failed.len(), failed.len() + passed, failed.join("\n"));
    Ok(format!("{passed} stressors, two of each for {seconds} s"))
}

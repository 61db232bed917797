//! Builds the sentry for its own target and prepares it for embedding: no sections, segments placed by their
//! offset from the lowest one, and a compact table of function names for backtraces.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

fn main() {
    println!("cargo::rerun-if-env-changed=RINGFENCE_SENTRY");
    println!("cargo::rerun-if-changed=../guestkernel");
    println!("cargo::rerun-if-changed=../Cargo.lock");
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    let result = sentry(&out).and_then(|path| embed(&path, &out));
    if let Err(message) = result {
        println!("cargo::error={message}");
    }
}

/// The path of the linked sentry.
fn sentry(out: &Path) -> Result<PathBuf, String> {
    if let Some(path) = env::var_os("RINGFENCE_SENTRY") {
        println!("cargo::rerun-if-changed={}", path.display());
        return Ok(path.into());
    }
    let target = out.join("sentry");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["build", "--quiet", "--locked", "-p", "guestkernel", "--bin", "sentry", "--profile", "sentry"])
        .args(["--target", "x86_64-unknown-none", "--target-dir"])
        .arg(&target);
    let unset = [
        "RUSTFLAGS",
        "CARGO_ENCODED_RUSTFLAGS",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "CARGO_TARGET_DIR",
        "CARGO_BUILD_TARGET",
    ];
    for name in unset {
        cargo.env_remove(name);
    }
    let status = cargo.status().map_err(|e| format!("cannot run cargo for the sentry: {e}"))?;
    if !status.success() {
        return Err("the sentry did not build; if its target is missing: \
                    rustup target add x86_64-unknown-none"
            .into());
    }
    Ok(target.join("x86_64-unknown-none/sentry/sentry"))
}

fn embed(path: &Path, out: &Path) -> Result<(), String> {
    let elf = fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let malformed = || format!("{}: not a complete 64-bit ELF file", path.display());
    let symbols = symbols(&elf).ok_or_else(malformed)?;
    let image = strip(elf).ok_or_else(malformed)?;
    let write =
        |name: &str, bytes: &[u8]| fs::write(out.join(name), bytes).map_err(|e| format!("{name}: {e}"));
    write("sentry.elf", &image)?;
    write("sentry.symbols", &symbols)
}

fn number(bytes: &[u8], at: usize, len: usize) -> Option<u64> {
    let field = bytes.get(at..at.checked_add(len)?)?;
    Some(field.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

fn place(bytes: &[u8], at: usize, len: usize) -> Option<usize> {
    usize::try_from(number(bytes, at, len)?).ok()
}

/// Offsets of the program headers.
fn headers(elf: &[u8]) -> Option<Vec<usize>> {
    let table = place(elf, 32, 8)?;
    (0..place(elf, 56, 2)?).map(|index| table.checked_add(index * 56)).collect()
}

const LOAD: u64 = 1;
const EXECUTE: u64 = 1;

/// Cuts off everything after the last segment and rewrites `p_paddr`. An executable segment gets a length of 0 in the
/// file: the VMM maps it instead of having the loader copy it; it is `p_memsz` bytes at `p_offset` all the same.
fn strip(mut elf: Vec<u8>) -> Option<Vec<u8>> {
    let headers = headers(&elf)?;
    let mut base = u64::MAX;
    let mut end = 64 + headers.len() * 56;
    for header in &headers {
        if number(&elf, *header, 4)? == LOAD {
            base = base.min(number(&elf, header + 16, 8)? & !0xfff);
            end = end.max(place(&elf, header + 8, 8)?.checked_add(place(&elf, header + 32, 8)?)?);
        }
    }
    for header in headers {
        let physical = number(&elf, header + 16, 8)?.wrapping_sub(base);
        if number(&elf, header, 4)? == LOAD && number(&elf, header + 4, 4)? & EXECUTE != 0 {
            if number(&elf, header + 8, 8)? & 0xfff != 0
                || number(&elf, header + 32, 8)? != number(&elf, header + 40, 8)?
            {
                return None;
            }
            elf.get_mut(header + 32..header + 40)?.fill(0);
        }
        elf.get_mut(header + 24..header + 32)?.copy_from_slice(&physical.to_le_bytes());
    }
    // No section headers.
    elf.get_mut(40..48)?.fill(0);
    elf.get_mut(58..64)?.fill(0);
    elf.truncate(end);
    Some(elf)
}

/// Functions as lines of `hexadecimal-address name`, in address order.
fn symbols(elf: &[u8]) -> Option<Vec<u8>> {
    let (table, size, count) = (place(elf, 40, 8)?, place(elf, 58, 2)?, place(elf, 60, 2)?);
    let mut functions = Vec::new();
    for index in 0..count {
        let section = table.checked_add(index * size)?;
        if number(elf, section + 4, 4)? != 2 {
            continue;
        }
        let (start, len) = (place(elf, section + 24, 8)?, place(elf, section + 32, 8)?);
        let strings = place(elf, table.checked_add(place(elf, section + 40, 4)? * size)? + 24, 8)?;
        for symbol in (start..start.checked_add(len)?).step_by(24) {
            if number(elf, symbol + 4, 1)? & 15 == 2 {
                let name = elf.get(strings.checked_add(place(elf, symbol, 4)?)?..)?;
                let name = name.split(|byte| *byte == 0).next()?;
                let name = format!("{:#}", rustc_demangle::demangle(&String::from_utf8_lossy(name)));
                functions.push((number(elf, symbol + 8, 8)?, name));
            }
        }
    }
    functions.sort();
    functions.dedup_by_key(|function| function.0);
    Some(functions.iter().map(|(address, name)| format!("{address:x} {name}\n")).collect::<String>().into())
}

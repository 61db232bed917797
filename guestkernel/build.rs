//! Passes the linker script to the sentry image; host builds need none.

fn main() {
    println!("cargo::rerun-if-changed=sentry.ld");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("none") {
        return;
    }
    let root = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_else(|_| ".".into());
    for arg in [
        &format!("-T{root}/sentry.ld"),
        "--pie",
        "--no-dynamic-linker",
        "--gc-sections",
        "-zmax-page-size=4096",
        "-znorelro",
        "-znotext",
    ] {
        println!("cargo::rustc-link-arg-bins={arg}");
    }
}

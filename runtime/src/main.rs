//! The `ringfence` program; all code is in the library.

fn main() {
    std::process::exit(runtime::main());
}

//! Prints what the probe finds on this machine.
fn main() {
    let start = std::time::Instant::now();
    let report = vmm::check::probe();
    println!("{report:?} after {:?}", start.elapsed());
}

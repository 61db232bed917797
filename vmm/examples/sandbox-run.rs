//! Starts one sandbox without the runtime: `sandbox-run ROOT PROGRAM [ARGUMENT…]`. A developer's tool; the log
//! goes to standard error. `MEMORY` (MiB), `CPUS`, `LOG` (0…5), `STRACE` and `TIMING` in the environment.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a tool for developers")]

use std::{env, fs::File, os::fd::AsFd, os::unix::fs::OpenOptionsExt};

use hostcall::{ProcessSpec, ROOT_HANDLE, RootSpec, SandboxSpec};
use vmm::{SandboxFds, SandboxSettings, Tree, config::FromSandbox};

fn number(name: &str, default: u64) -> u64 {
    env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

fn main() {
    if let Ok(fd) = env::var(vmm::config::SANDBOX_VARIABLE) {
        vmm::sandbox_main(fd.parse().unwrap());
    }
    let mut args = env::args().skip(1);
    let root = args.next().expect("a root directory");
    let tree = File::options().read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY).open(&root).unwrap();
    let kvm = File::options().read(true).write(true).open("/dev/kvm").expect("/dev/kvm");
    let process = ProcessSpec {
        args: args.map(String::into_bytes).collect(),
        env: vec![b"PATH=/bin:/usr/bin:/sbin:/usr/sbin".to_vec(), b"TERM=dumb".to_vec()],
        cwd: b"/".to_vec(),
        umask: 0o22,
        streams: vec![0, 1, 2],
        capabilities: [0x1ff_ffff_ffff; 5],
        ..Default::default()
    };
    let start = SandboxSpec {
        hostname: b"sandbox".to_vec(),
        root: RootSpec { handle: ROOT_HANDLE, ..RootSpec::default() },
        process,
        ..Default::default()
    };
    let settings = SandboxSettings {
        memory: number("MEMORY", 256) << 20,
        cpus: u32::try_from(number("CPUS", 1)).unwrap(),
        log_level: u32::try_from(number("LOG", 3)).unwrap(),
        strace: env::var_os("STRACE").is_some(),
        timing: env::var_os("TIMING").is_some(),
        network: false,
        start,
    };
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let fds = SandboxFds {
        stand_in: None,
        kvm: kvm.as_fd(),
        log: stderr.as_fd(),
        root: Tree { fd: tree.as_fd(), readonly: false },
        mounts: Vec::new(),
        streams: vec![stdin.as_fd(), stdout.as_fd(), stderr.as_fd()],
        listener: None,
        held: Vec::new(),
        terminal: None,
    };
    let mut sandbox = vmm::spawn(&settings, &fds).expect("a sandbox");
    let mut code = 125;
    while let Some(message) = sandbox.control().receive().unwrap() {
        match message {
            FromSandbox::Ready | FromSandbox::Created => {}
            FromSandbox::OutOfMemory { kills } => eprintln!("out of memory: {kills} processes killed"),
            FromSandbox::Exited { wait_status } => {
                code = vmm::config::exit_status(wait_status);
            }
            FromSandbox::StartFailed { errno, message } => eprintln!("start failed ({errno}): {message}"),
            FromSandbox::Failed { message } => eprintln!("failed: {message}"),
        }
    }
    let status = sandbox.wait().unwrap();
    if code == 125 {
        eprintln!("sandbox process: {status}");
    }
    std::process::exit(code);
}

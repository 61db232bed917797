//! Attempts to leave the root, while others change it.

use std::{
    fs,
    io::{ErrorKind, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt, symlink},
    os::unix::net::UnixListener,
    path::Path,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::{bundle::Bundle, session::Session};

/// What lies beside the root.
const BESIDE: [&str; 6] = ["config.json", "links", "outside", "rootfs", "secret", "shared"];

/// A bundle with a secret beside its root, links to it, nodes of the host, and a bind mount.
fn bundle() -> Result<Bundle> {
    let mut bundle = Bundle::new("escape", &["/fault"])?;
    bundle.add_program("fault")?;
    let top = bundle.path.clone();
    let secret = top.join("secret");
    fs::write(&secret, "the secret of the host\n")?;
    for directory in ["shared/sub", "outside", "links", "rootfs/made", "rootfs/race/moving/deep"] {
        fs::create_dir_all(top.join(directory))?;
    }
    fs::write(top.join("shared/sub/file"), "a file\n")?;
    for (place, relative) in [("rootfs/made", "../../secret"), ("shared", "../secret")] {
        symlink(&secret, top.join(place).join("absolute"))?;
        symlink(relative, top.join(place).join("relative"))?;
    }
    symlink(&top, top.join("rootfs/made/up"))?;
    symlink("..", top.join("shared/up"))?;
    let nodes = [
        ("disk", "b", "254", "0"),
        ("kmsg", "c", "1", "11"),
        ("mem", "c", "1", "1"),
        ("kvm", "c", "10", "232"),
        ("loop", "c", "10", "237"),
    ];
    for (name, kind, major, minor) in nodes {
        let made = Command::new("mknod")
            .arg(top.join("rootfs/made").join(name))
            .args([kind, major, minor])
            .status()?;
        ensure!(made.success(), "mknod {name}");
    }
    let made = Command::new("mkfifo").arg(top.join("rootfs/made/fifo")).status()?;
    ensure!(made.success(), "mkfifo");
    for name in ["absolute", "relative"] {
        fs::create_dir(top.join("rootfs/race").join(name))?;
        fs::write(top.join("rootfs/race").join(name).join("inner"), "inside\n")?;
    }
    fs::write(top.join("rootfs/race/file"), "inside\n")?;
    symlink(&top, top.join("links/absolute"))?;
    symlink("../..", top.join("links/relative"))?;
    symlink(&secret, top.join("links/file"))?;
    let mounts = bundle.config["mounts"].as_array_mut().context("mounts")?;
    for (destination, source) in [("/bind", "shared"), ("/bindfile", "shared/sub/file")] {
        mounts.push(json!({ "destination": destination, "type": "bind", "source": top.join(source), "options": ["bind", "rw"] }));
    }
    bundle.write()?;
    Ok(bundle)
}

/// The secret and what lies beside the root are as they were.
fn is_untouched(bundle: &Bundle, pattern: &str) -> Result<()> {
    let secret = bundle.path.join("secret");
    ensure!(fs::read_to_string(&secret)? == "the secret of the host\n", "the secret was changed");
    let data = fs::metadata(&secret)?;
    ensure!(
        (data.mode() & 0o7777, data.uid(), data.nlink()) == (0o644, 0, 1),
        "the secret's attributes were changed"
    );
    let mut names = Vec::new();
    for entry in fs::read_dir(&bundle.path)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    ensure!(names == BESIDE, "beside the root: {names:?}");
    ensure!(fs::read_to_string("/proc/sys/kernel/core_pattern")? == pattern, "the core pattern was changed");
    Ok(())
}

/// Renames directories out of the root and back, and puts links in the place of files and directories.
fn rename_about(top: &Path, stop: &AtomicBool) -> Result<u32> {
    let mut rounds = 0;
    let swap = |name: &str| {
        let (inside, link, away) = (
            top.join("rootfs/race").join(name),
            top.join("links").join(name),
            top.join("outside").join(name),
        );
        fs::rename(&inside, &away)?;
        fs::rename(&link, &inside)?;
        thread::sleep(Duration::from_micros(500));
        fs::rename(&inside, &link)?;
        fs::rename(&away, &inside)
    };
    while !stop.load(Ordering::Relaxed) {
        for name in ["absolute", "relative", "file"] {
            swap(name).context(name.to_owned())?;
        }
        let (inside, away) = (top.join("rootfs/race/moving"), top.join("outside/moving"));
        fs::rename(&inside, &away)?;
        thread::sleep(Duration::from_micros(500));
        fs::rename(&away, &inside)?;
        rounds += 1;
        thread::sleep(Duration::from_micros(300));
    }
    Ok(rounds)
}

pub(super) fn attempts() -> Result<String> {
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern")?;
    let bundle = bundle()?;
    let listener = UnixListener::bind(bundle.file("made/socket"))?;
    listener.set_nonblocking(true)?;
    let mut reader =
        fs::File::options().read(true).custom_flags(libc::O_NONBLOCK).open(bundle.file("made/fifo"))?;
    let mut session = Session::start(&bundle)?;
    let answer = session.ask(&format!("escape all {}/secret ..", bundle.path.display()))?;
    let (count, escaped) = answer.split_once(" attempts, escaped: ").with_context(|| answer.clone())?;
    ensure!(escaped == "[]\n0", "escaped: {escaped}");
    ensure!(count.parse::<u32>()? >= 50, "{count} attempts");
    is_untouched(&bundle, &pattern)?;
    ensure!(
        listener.accept().is_err_and(|error| error.kind() == ErrorKind::WouldBlock),
        "a connection came out"
    );
    ensure!(reader.read(&mut [0; 16]).map_or(true, |count| count == 0), "bytes came out of a FIFO");
    let stop = AtomicBool::new(false);
    let (answer, rounds) = thread::scope(|scope| {
        let renames = scope.spawn(|| rename_about(&bundle.path, &stop));
        let answer = session.ask("escape race 8");
        stop.store(true, Ordering::Relaxed);
        (answer, renames.join())
    });
    let (answer, rounds) = (answer?, rounds.map_err(|_| anyhow::anyhow!("the renaming thread panicked"))??);
    ensure!(answer == "10 races run, escaped: {}\n0", "{answer}");
    is_untouched(&bundle, &pattern)?;
    session.end()?;
    Ok(format!("{count} attempts, 10 races with {rounds} rounds of renames"))
}

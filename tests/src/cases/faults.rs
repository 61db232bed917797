//! What goes wrong on the host, or is changed there, while a container runs.

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use super::life::sandbox_of;
use crate::{
    bundle::{Bundle, mount},
    command::runtime,
    fuse::FailingDisk,
    session::Session,
};

/// Longest until a change from outside is seen.
const SEEN: Duration = Duration::from_secs(1);

/// Has the shell say something until it is `expected`; the time that it took.
fn until(session: &mut Session, command: &str, expected: &str) -> Result<Duration> {
    let start = Instant::now();
    loop {
        let asked = start.elapsed();
        let got = session.ask(command)?;
        if got == expected {
            return Ok(asked);
        }
        ensure!(asked < SEEN, "after {asked:?}: {got:?} instead of {expected:?}");
    }
}

/// What is copied into the root from outside, removed or replaced there, is seen within a second.
pub(super) fn outside_changes() -> Result<String> {
    let bundle = Bundle::new("outside", &["sh"])?;
    for (name, text) in [("content", "old\n"), ("replaced", "old\n"), ("removed", "old\n")] {
        fs::write(bundle.file("etc").join(name), text)?;
    }
    fs::create_dir_all(bundle.file("srv/old"))?;
    let mut session = Session::start(&bundle)?;
    let look = "read a < /etc/content; read b < /etc/replaced; read c < /etc/new; read d < /etc/dir/f
        [ -e /etc/removed ] && r=there || r=gone; echo $a $b $c $d $r /srv/*; a= b= c= d=";
    let mut slowest = Duration::ZERO;
    let say = |text: &str| format!("{text}\n0");
    session.ask("exec 2>/dev/null")?;
    session.expect(look, &say("old old there /srv/old"))?;
    // Twice: the second time what was changed before is itself cached.
    for round in ["one", "two"] {
        let text = format!("a longer text {round}\n");
        fs::write(bundle.file("etc/content"), &text)?;
        fs::write(bundle.file("etc/.replaced"), &text)?;
        fs::rename(bundle.file("etc/.replaced"), bundle.file("etc/replaced"))?;
        fs::write(bundle.file("etc/new"), &text)?;
        fs::create_dir(bundle.file("etc/dir"))?;
        fs::write(bundle.file("etc/dir/f"), &text)?;
        let _ = fs::remove_file(bundle.file("etc/removed"));
        fs::rename(bundle.file("srv/old"), bundle.file("srv").join(round))?;
        let text = text.trim();
        let all = format!("{text} {text} {text} {text} gone /srv/{round}");
        slowest = slowest.max(until(&mut session, look, &say(&all))?);
        fs::rename(bundle.file("srv").join(round), bundle.file("srv/old"))?;
        fs::remove_dir_all(bundle.file("etc/dir"))?;
        fs::remove_file(bundle.file("etc/new"))?;
        fs::write(bundle.file("etc/removed"), "back\n")?;
        let all = format!("{text} {text} there /srv/old");
        slowest = slowest.max(until(&mut session, look, &say(&all))?);
    }
    // The other way: at once.
    for round in 0..20 {
        session
            .expect(&format!("echo {round} > /etc/inside; mkdir /etc/d{round}; rm -f /etc/removed"), "0")?;
        ensure!(fs::read_to_string(bundle.file("etc/inside"))? == format!("{round}\n"), "not yet written");
        ensure!(bundle.file("etc").join(format!("d{round}")).is_dir(), "not yet made");
        ensure!(!bundle.file("etc/removed").exists(), "not yet removed");
    }
    session.end()?;
    Ok(format!("seen within {} ms", slowest.as_millis()))
}

/// What is asked of the program `fault` in the container, and what is done on the host.
enum Step<'a> {
    /// A line for the program.
    Ask(&'a str),
    /// Something that others do, and the time until it is to be seen.
    Host(&'a dyn Fn(&Bundle) -> Result<()>),
}

/// Does the steps in a container; what was answered.
fn transcript(program: &str, bundle: &Bundle, steps: &[Step<'_>]) -> Result<Vec<String>> {
    let mut session = Session::start_under(&[], program, bundle)?;
    let mut answers = Vec::new();
    for step in steps {
        match step {
            Step::Ask(line) => answers.push(format!("{line}: {}", session.ask(line)?)),
            Step::Host(act) => {
                act(bundle)?;
                if program != "runc" {
                    std::thread::sleep(SEEN / 2);
                }
            }
        }
    }
    session.end()?;
    Ok(answers)
}

/// Does the steps under runc and under the runtime, in bundles made by `make`: the answers must agree.
fn same(make: impl Fn() -> Result<Bundle>, steps: &[Step<'_>]) -> Result<String> {
    let run = |program: &str| {
        let bundle = make()?;
        bundle.add_program("fault")?;
        let answers = transcript(program, &bundle, steps).with_context(|| program.to_owned())?;
        Ok::<_, anyhow::Error>(answers)
    };
    let (expected, got) = (run("runc")?, run(&runtime())?);
    let differ: Vec<_> = expected.iter().zip(&got).filter(|(one, other)| one != other).collect();
    ensure!(differ.is_empty(), "runc and here: {differ:#?}");
    Ok(format!("{} answers", got.len()))
}

fn set_len(path: &Path, len: u64) -> Result<()> {
    Ok(fs::File::options().write(true).open(path)?.set_len(len)?)
}

/// A file is made shorter and longer, or replaced, under a mapping and under readers.
pub(super) fn truncated() -> Result<String> {
    use Step::{Ask, Host};
    let shrink = |bundle: &Bundle| set_len(&bundle.file("data"), 4096 + 100);
    let grow = |bundle: &Bundle| Ok(fs::write(bundle.file("data"), vec![9; 1 << 20])?);
    let replace = |bundle: &Bundle| {
        fs::write(bundle.file("other"), vec![5; 5000])?;
        Ok(fs::rename(bundle.file("other"), bundle.file("data"))?)
    };
    let look = [
        "load 0",
        "load 4150",
        "load 8192",
        "load 1048575",
        "store 4096 3",
        "store 20000 4",
        "send 0 100",
        "send 12288 100",
        "receive 4097 1",
        "receive 12289 1",
        "pread 1 0 1048576",
        "pread 1 4150 100",
        "pread 1 8192 100",
        "size 1",
    ];
    let mut note = Vec::new();
    for how in ["map 1 1048576 shared", "map 1 1048576 private"] {
        let mut steps = vec![Ask("open 1 /data update"), Ask(how)];
        for act in [None, Some(&shrink as &dyn Fn(&Bundle) -> Result<()>), Some(&grow), Some(&replace)] {
            steps.extend(act.map(Host));
            // Private copies of pages that the file has lost go later here.
            let kept = |line: &&str| {
                !how.contains("private") || !line.starts_with("store") && !line.starts_with("receive")
            };
            steps.extend(look.iter().filter(|line| kept(line)).map(|line| Ask(line)));
        }
        steps.extend([Ask("open 2 /data read"), Ask("pread 2 0 9999"), Ask("size 2")]);
        let make = || {
            let bundle = Bundle::new("truncated", &["/fault"])?;
            fs::write(bundle.file("data"), vec![7; 1 << 20])?;
            Ok(bundle)
        };
        note.push(same(make, &steps).context(how)?);
    }
    Ok(note.join(", "))
}

/// Loop devices with an ext4 of this many MiB, or a tmpfs.
const DISKS: [&[&str]; 2] = [&["-t", "tmpfs", "-o", "size=16m", "tmpfs"], &["-o", "loop", EXT4]];
/// The image of the ext4, made anew for each mount.
const EXT4: &str = "/run/ringfence-test-ext4";

/// A bundle that runs the program `fault` on a disk of its own.
fn on_disk(name: &str, disk: &[&str]) -> Result<Bundle> {
    if disk.contains(&EXT4) {
        // Without it there is no loop device; where it is built in there is nothing to load.
        let _ = Command::new("modprobe").arg("loop").status();
        fs::File::create(EXT4)?.set_len(24 << 20)?;
        let made = Command::new("mkfs.ext4").args(["-q", "-F", EXT4]).status().context("mkfs.ext4")?;
        ensure!(made.success(), "mkfs.ext4: {made}");
    }
    Bundle::mounted(name, &["/fault"], disk)
}

/// A full disk: errors of write(2) and of stores to mappings, and room again afterwards.
pub(super) fn disk_full() -> Result<String> {
    use Step::Ask;
    let steps = [
        Ask("open 1 /hole create"),
        Ask("truncate 1 2097152"),
        Ask("map 1 2097152 shared"),
        Ask("store 0 1"),
        Ask("msync"),
        Ask("open 2 /full create"),
        Ask("fill 2"),
        Ask("store 1048576 1"),
        Ask("store 0 2"),
        Ask("load 0"),
        Ask("receive 1500000 1"),
        Ask("pwrite 1 1200000 5000 1"),
        Ask("size 1"),
        Ask("load 1"),
        Ask("close 2"),
        Ask("unlink /full"),
        Ask("store 1048576 3"),
        Ask("load 1048576"),
        Ask("msync"),
        Ask("pwrite 1 1200000 5000 1"),
        Ask("pread 1 1048576 10"),
    ];
    let notes = DISKS.map(|disk| same(|| on_disk("full", disk), &steps).with_context(|| format!("{disk:?}")));
    Ok(notes.into_iter().collect::<Result<Vec<_>>>()?.join(", "))
}

/// A host file system that may not be written, below a root that the bundle would let the container write.
pub(super) fn readonly_host() -> Result<String> {
    use Step::{Ask, Host};
    let readonly = |bundle: &Bundle| {
        let root = bundle.file("");
        mount(&["-o", "remount,ro"], &root)
    };
    let steps = [
        Ask("open 1 /data read"),
        Host(&readonly),
        Ask("open 2 /data update"),
        Ask("open 3 /new create"),
        Ask("mkdir /d"),
        Ask("unlink /data"),
        Ask("pread 1 0 100"),
        Ask("stat /data"),
        Ask("list /etc"),
    ];
    let make = |disk: &[&str]| {
        let bundle = on_disk("readonly", disk)?;
        fs::write(bundle.file("data"), vec![7; 5000])?;
        Ok(bundle)
    };
    let notes = DISKS.map(|disk| same(|| make(disk), &steps).with_context(|| format!("{disk:?}")));
    Ok(notes.into_iter().collect::<Result<Vec<_>>>()?.join(", "))
}

/// A disk that fails: what read(2), mappings and the rest say of it.
pub(super) fn failing_disk() -> Result<String> {
    use Step::Ask;
    let steps = [
        "open 1 /mnt/good read",
        "pread 1 0 8192",
        "open 2 /mnt/bad update",
        "pread 2 0 100",
        "pwrite 2 0 10 1",
        "map 2 8192 private",
        "load 0",
        "load 5000",
        "send 0 10",
        "open 3 /mnt/half read",
        "pread 3 0 4096",
        "pread 3 4096 100",
        "map 3 8192 private",
        "load 100",
        "load 5000",
        "load 101",
        "stat /mnt/broken",
        "stat /mnt/absent",
        "open 4 /mnt/broken read",
        "list /mnt",
        "list /mnt/baddir",
        "fsync 1",
        "pread 1 4096 8192",
        "map 1 8192 private",
        "load 8191",
    ]
    .map(Ask);
    let disks = std::cell::RefCell::new(Vec::new());
    let make = || {
        // The last one's bundle is gone.
        disks.borrow_mut().clear();
        let mut bundle = Bundle::new("failing", &["/fault"])?;
        let place = bundle.path.join("fuse");
        fs::create_dir(&place)?;
        disks.borrow_mut().push(FailingDisk::mount(&place)?);
        let mount = serde_json::json!({ "destination": "/mnt", "type": "bind", "source": place, "options": ["bind"] });
        bundle.config["mounts"].as_array_mut().context("mounts")?.push(mount);
        bundle.write()?;
        Ok(bundle)
    };
    same(make, &steps)
}

/// Many files in one tree, made outside: walked, looked at and removed, beside new ones.
pub(super) fn many_files() -> Result<String> {
    const DIRECTORIES: usize = 100;
    let long = super::long();
    let each = if long { 2000 } else { 50 };
    let bundle = Bundle::new("many", &["/fault"])?;
    bundle.add_program("fault")?;
    for directory in 0..DIRECTORIES {
        let place = bundle.file("tmp/tree").join(format!("d{directory}"));
        fs::create_dir_all(&place)?;
        for file in 0..each {
            fs::write(place.join(format!("file{file}")), "x")?;
        }
    }
    let mut session = Session::start(&bundle)?;
    let start = Instant::now();
    session.expect("make-tree /tmp/tree/new 5 100", "500\n0")?;
    for directory in 0..DIRECTORIES {
        let place = format!("/tmp/tree/d{directory}");
        let walked = format!("{each} files, {each} bytes, 1 directories\n0");
        session.expect(&format!("walk-tree {place}"), &walked)?;
    }
    for directory in 0..DIRECTORIES {
        let removed = format!("{each} removed\n0");
        session.expect(&format!("remove-tree /tmp/tree/d{directory}"), &removed)?;
    }
    session.expect("remove-tree /tmp/tree", "500 removed\n0")?;
    ensure!(!bundle.file("tmp/tree").exists(), "the host still sees the tree");
    session.end()?;
    Ok(format!("{} in {:.1} s", DIRECTORIES * each, start.elapsed().as_secs_f32()))
}

/// More open files than the sandbox process may have descriptors.
pub(super) fn descriptors() -> Result<String> {
    let mut bundle = Bundle::new("descriptors", &["/fault"])?;
    bundle.add_program("fault")?;
    bundle.config["process"]["rlimits"] =
        serde_json::json!([{ "type": "RLIMIT_NOFILE", "soft": 5000, "hard": 5000 }]);
    bundle.write()?;
    // Without the capability the limit cannot be raised.
    let wrapper = ["setpriv", "--bounding-set=-sys_resource", "prlimit", "--nofile=700:700"];
    let mut session = Session::start_under(&wrapper, &runtime(), &bundle)?;
    let mut opened = Vec::new();
    for _ in 0..2 {
        let answer = session.ask("open-many /tmp/file 4000")?;
        let (count, error) = answer.split_once(' ').context("no count")?;
        ensure!(error == "ENFILE\n0" && count.parse::<u32>()? > 300, "open-many: {answer:?}");
        opened.push(count.to_owned());
        session.expect("pread 9 0 1", "EBADF\n0")?;
        session.expect("close-many", "ok\n0")?;
        session.expect("open 1 /tmp/again create", "ok\n0")?;
        session.expect("pwrite 1 0 10 1", "10\n0")?;
    }
    // What is only cached makes room.
    session.expect("make-tree /tmp/tree 20 100", "2000\n0")?;
    session.expect("walk-tree /tmp/tree", "2000 files, 0 bytes, 21 directories\n0")?;
    session.expect("remove-tree /tmp/tree", "2000 removed\n0")?;
    session.end()?;
    Ok(format!("{} open", opened.join(" and ")))
}

/// A number of a line of `/proc/…`, KiB.
fn kib(text: &str, name: &str) -> Result<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    Ok(line.with_context(|| format!("no {name}"))?.trim().trim_end_matches(" kB").trim().parse()?)
}

/// Two sandboxes read the same files: the second costs the host next to nothing more.
pub(super) fn memory_is_shared() -> Result<String> {
    const FILES: usize = 16;
    const SIZE: usize = 4 << 20;
    let bundle = Bundle::new("shared", &["/fault"])?;
    bundle.add_program("fault")?;
    fs::create_dir(bundle.file("tree"))?;
    for file in 0..FILES {
        fs::write(bundle.file("tree").join(file.to_string()), vec![file as u8 + 1; SIZE])?;
    }
    let free = || {
        let text = fs::read_to_string("/proc/meminfo")?;
        // Without what can be dropped at any time, which the files are.
        Ok::<_, anyhow::Error>((kib(&text, "MemFree")?, kib(&text, "Cached")?))
    };
    let mut sessions = Vec::new();
    let mut costs = Vec::new();
    let mut answers = Vec::new();
    for _ in 0..2 {
        let mut session = Session::start(&bundle)?;
        let before = free()?;
        answers.push(session.ask("read-tree /tree")?);
        let after = free()?;
        let process = sandbox_of(session.pid()?).context("no sandbox process")?;
        let files = file_memory(process)?;
        costs.push((before.0.saturating_sub(after.0), after.1.saturating_sub(before.1), files));
        sessions.push(session);
    }
    ensure!(answers[0].starts_with(&format!("{} bytes", FILES * SIZE)), "{answers:?}");
    ensure!(answers[0] == answers[1], "{answers:?}");
    // With both alive each has half of what it shows, and nothing of its own.
    let tree = (FILES * SIZE / 1024) as u64;
    let second = file_memory(sandbox_of(sessions[1].pid()?).context("no sandbox process")?)?;
    ensure!(second.shown > tree * 9 / 10, "the second shows only {} KiB of files", second.shown);
    ensure!(second.private < tree / 5, "{} KiB of {} are the second one's own", second.private, tree);
    ensure!(
        second.share < second.shown * 6 / 10,
        "{} KiB of {} are counted for the second",
        second.share,
        second.shown
    );
    let (_, cached, _) = costs[1];
    ensure!(cached < tree / 5, "the page cache grew by {cached} KiB");
    let used = costs[1].0;
    for session in sessions {
        session.end()?;
    }
    Ok(format!(
        "{} KiB shown, {} private, {} by share; free memory less by {used}, cache more by {cached}",
        second.shown, second.private, second.share
    ))
}

/// What a process has mapped of ordinary files, KiB.
struct FileMemory {
    shown: u64,
    private: u64,
    share: u64,
}

fn file_memory(pid: u32) -> Result<FileMemory> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps"))?;
    let mut sum = FileMemory { shown: 0, private: 0, share: 0 };
    let mut counts = false;
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let (Some(first), Some(value)) = (words.next(), words.next()) else { continue };
        if !first.ends_with(':') {
            counts = line.contains("/tree/");
            continue;
        }
        let sums = match first {
            "Rss:" => &mut sum.shown,
            "Private_Clean:" | "Private_Dirty:" => &mut sum.private,
            "Pss:" => &mut sum.share,
            _ => continue,
        };
        if counts {
            *sums += value.parse::<u64>()?;
        }
    }
    Ok(sum)
}

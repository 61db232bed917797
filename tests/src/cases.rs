//! The cases.

use std::{collections::BTreeSet, fs, path::Path, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::{
    bundle::Bundle,
    command::{finish, id, run, run_with, runtime, start},
};

/// A case gives a note for its line.
type Case = fn() -> Result<String>;

/// All cases, by name.
pub(crate) const ALL: [(&str, Case); 12] = [
    ("shell-as-runc", shell_as_runc),
    ("exit-status", exit_status),
    ("standard-input", standard_input),
    ("large-output", large_output),
    ("environment-and-directory", environment_and_directory),
    ("hostname", hostname),
    ("readonly-root", readonly_root),
    ("files-reach-the-host", files_reach_the_host),
    ("bad-input", bad_input),
    ("idle-memory", idle_memory),
    ("nothing-is-left", nothing_is_left),
    ("nothing-is-left-after-kill", nothing_is_left_after_kill),
];

/// Output of `script` under runc and under the runtime must agree.
fn same(name: &str, script: &str, normalise: impl Fn(&str) -> String) -> Result<String> {
    let bundle = Bundle::new(name, &["sh", "-c", script])?;
    let expected = run("runc", &bundle.path)?;
    let got = run(&runtime(), &bundle.path)?;
    let text = |bytes: &[u8]| normalise(&String::from_utf8_lossy(bytes));
    ensure!(
        text(&expected.stdout) == text(&got.stdout),
        "runc prints {:?}, this prints {:?} {:?}",
        text(&expected.stdout),
        text(&got.stdout),
        text(&got.stderr)
    );
    ensure!(expected.status.code() == got.status.code(), "status {} and {}", expected.status, got.status);
    Ok(String::new())
}

fn shell_as_runc() -> Result<String> {
    let script = "echo hello; ls -l / | head -3; cat /etc/os-release; for i in 1 2 3; do (exit $i); echo $?; \
                  done; uname -a; id; ps";
    same("shell", script, |text| {
        text.lines()
            // The kernel's identity differs on purpose; directories of a file system made in memory by the
            // kernel have sizes and times of their own.
            .map(|line| if line.starts_with("Linux ") { "Linux" } else { line })
            .map(
                |line| if line.starts_with('d') { line.split(' ').next_back().unwrap_or(line) } else { line },
            )
            .collect::<Vec<_>>()
            .join("\n")
    })
}

fn exit_status() -> Result<String> {
    for (script, status) in [("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("kill -9 $$; exit 3", 3)] {
        let bundle = Bundle::new("status", &["sh", "-c", script])?;
        let output = run(&runtime(), &bundle.path)?;
        ensure!(output.status.code() == Some(status), "{script}: {}", output.status);
    }
    Ok(String::new())
}

fn standard_input() -> Result<String> {
    let bundle = Bundle::new("stdin", &["cat"])?;
    let input: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).collect();
    let output = run_with(&runtime(), &bundle.path, &input)?;
    ensure!(output.stdout == input, "{} bytes came back of {}", output.stdout.len(), input.len());
    Ok(format!("{} bytes", input.len()))
}

fn large_output() -> Result<String> {
    let bundle = Bundle::new("output", &["dd", "if=/dev/zero", "bs=65536", "count=160"])?;
    let output = run(&runtime(), &bundle.path)?;
    ensure!(output.stdout.len() == 160 * 65536, "{} bytes", output.stdout.len());
    ensure!(output.stdout.iter().all(|&byte| byte == 0), "not zeroes");
    Ok("10 MiB".into())
}

fn environment_and_directory() -> Result<String> {
    let mut bundle = Bundle::new("env", &["sh", "-c", "pwd; env | sort; echo \"$@\"", "sh", "a b", "c"])?;
    bundle.config["process"]["env"] = json!(["PATH=/bin", "A=1", "B=x y"]);
    bundle.config["process"]["cwd"] = json!("/tmp");
    bundle.write()?;
    let expected = run("runc", &bundle.path)?;
    let got = run(&runtime(), &bundle.path)?;
    let lines = |bytes: &[u8]| {
        // runc adds HOME.
        String::from_utf8_lossy(bytes)
            .lines()
            .filter(|l| !l.starts_with("HOME="))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    ensure!(lines(&expected.stdout) == lines(&got.stdout), "{:?}", String::from_utf8_lossy(&got.stdout));
    Ok(String::new())
}

fn hostname() -> Result<String> {
    let mut bundle = Bundle::new("hostname", &["hostname"])?;
    bundle.config["hostname"] = json!("some-host");
    bundle.write()?;
    let output = run(&runtime(), &bundle.path)?;
    ensure!(output.stdout == b"some-host\n", "{:?}", String::from_utf8_lossy(&output.stdout));
    Ok(String::new())
}

fn readonly_root() -> Result<String> {
    let mut bundle = Bundle::new("readonly", &["sh", "-c", "touch /x; echo $?; cat /x"])?;
    bundle.config["root"]["readonly"] = json!(true);
    bundle.write()?;
    let output = run(&runtime(), &bundle.path)?;
    ensure!(String::from_utf8_lossy(&output.stderr).contains("Read-only file system"), "it can be written");
    ensure!(!bundle.file("x").exists(), "the file exists outside");
    Ok(String::new())
}

fn files_reach_the_host() -> Result<String> {
    let script =
        "mkdir /tmp/d && echo text > /tmp/d/f && ln -s f /tmp/d/l && mv /tmp/d/f /tmp/d/g && rm /bin/false";
    let bundle = Bundle::new("files", &["sh", "-c", script])?;
    let output = run(&runtime(), &bundle.path)?;
    ensure!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    ensure!(fs::read(bundle.file("tmp/d/g")).context("tmp/d/g")? == b"text\n", "wrong text");
    ensure!(fs::read_link(bundle.file("tmp/d/l"))? == Path::new("f"), "wrong link");
    ensure!(fs::symlink_metadata(bundle.file("bin/false")).is_err(), "a removed file is still there");
    Ok(String::new())
}

/// One bad bundle: one line, a status, nothing left.
fn refused(what: &str, bundle: &Path) -> Result<()> {
    let before = traces()?;
    let output = run(&runtime(), bundle)?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(!output.status.success(), "{what}: succeeds");
    ensure!(text.trim_end().lines().count() == 1, "{what}: not one line: {text:?}");
    ensure!(output.stdout.is_empty(), "{what}: prints on standard output");
    let after = traces()?;
    ensure!(after == before, "{what}: leaves {:?}", after.difference(&before).collect::<Vec<_>>());
    Ok(())
}

fn bad_input() -> Result<String> {
    let mut count = 0;
    let mut check = |what: &str, change: &dyn Fn(&mut Bundle) -> Result<()>| -> Result<()> {
        let mut bundle = Bundle::new("bad", &["/bin/prog"])?;
        fs::copy(bundle.file("bin/busybox"), bundle.file("bin/prog"))?;
        change(&mut bundle)?;
        count += 1;
        refused(what, &bundle.path)
    };
    check("no config.json", &|b| Ok(fs::remove_file(b.path.join("config.json"))?))?;
    check("malformed config.json", &|b| Ok(fs::write(b.path.join("config.json"), "{\"ociVersion\": ")?))?;
    check("config.json of another kind", &|b| Ok(fs::write(b.path.join("config.json"), "[]")?))?;
    check("no rootfs", &|b| Ok(fs::remove_dir_all(b.path.join("rootfs"))?))?;
    check("empty args", &|b| {
        b.config["process"]["args"] = json!([]);
        b.write()
    })?;
    check("unknown user", &|b| {
        b.config["process"]["user"] = json!({ "uid": 0, "gid": 0, "username": "nobody-knows" });
        b.write()
    })?;
    check("relative cwd", &|b| {
        b.config["process"]["cwd"] = json!("tmp");
        b.write()
    })?;
    check("no such program", &|b| {
        b.config["process"]["args"] = json!(["/bin/nothing"]);
        b.write()
    })?;
    check("no such program in PATH", &|b| {
        b.config["process"]["args"] = json!(["nothing"]);
        b.write()
    })?;
    check("not an ELF file", &|b| Ok(fs::write(b.file("bin/prog"), [7; 300])?))?;
    check("ELF of another machine", &|b| {
        let mut bytes = fs::read(b.file("bin/prog"))?;
        bytes[18] = 183;
        Ok(fs::write(b.file("bin/prog"), bytes)?)
    })?;
    check("truncated ELF", &|b| {
        let bytes = fs::read(b.file("bin/prog"))?;
        Ok(fs::write(b.file("bin/prog"), &bytes[..100])?)
    })?;
    Ok(format!("{count} kinds"))
}

/// What a container could leave: processes of the runtime, mounts, cgroups, sockets, state.
fn traces() -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Ok(program) = fs::read_link(entry.path().join("exe")) else { continue };
        if program.ends_with("ringfence") {
            found.insert(format!("process {name}"));
        }
    }
    for (what, path) in [("mount", "/proc/self/mounts"), ("socket", "/proc/net/unix")] {
        for line in fs::read_to_string(path)?.lines().filter(|line| line.contains("ringfence")) {
            found.insert(format!("{what} {line}"));
        }
    }
    for directory in ["/run/ringfence", "/sys/fs/cgroup"] {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            found.insert(entry.path().to_string_lossy().into_owned());
        }
    }
    Ok(found)
}

/// How many of `full` repetitions: `RINGFENCE_TEST_SCALE` percent.
fn scaled(full: u32) -> u32 {
    let percent = std::env::var("RINGFENCE_TEST_SCALE").ok().and_then(|v| v.parse().ok()).unwrap_or(100);
    (full * percent / 100).max(1)
}

/// Fails unless what is there is what was there before, within a second.
fn unchanged(before: &BTreeSet<String>) -> Result<()> {
    for _ in 0..50 {
        if traces()? == *before {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(20));
    }
    let now = traces()?;
    ensure!(now == *before, "left: {:?}", now.difference(before).collect::<Vec<_>>());
    Ok(())
}

fn nothing_is_left() -> Result<String> {
    let bundle = Bundle::new("left", &["true"])?;
    let before = traces()?;
    let (sequence, together) = (scaled(100), scaled(20));
    for number in 0..sequence {
        let output = run(&runtime(), &bundle.path)?;
        ensure!(
            output.status.success(),
            "run {number}: {} {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let children: Vec<_> =
        (0..together).map(|_| start(&runtime(), &bundle.path, &id())).collect::<Result<_>>()?;
    for child in children {
        let output = finish(child)?;
        ensure!(
            output.status.success(),
            "at once: {} {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    unchanged(&before)?;
    Ok(format!("{sequence} in sequence, {together} at once"))
}

/// The sandbox process below a runtime process.
fn sandbox_of(parent: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

fn nothing_is_left_after_kill() -> Result<String> {
    let bundle = Bundle::new("killed", &["sh", "-c", "while true; do (true); done"])?;
    let before = traces()?;
    let count = scaled(50);
    let mut random = 0x9e37_79b9u64;
    for _ in 0..count {
        let child = start(&runtime(), &bundle.path, &id())?;
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        thread::sleep(Duration::from_millis(random >> 33 & 0x1ff));
        while sandbox_of(child.id()).is_none() {
            thread::sleep(Duration::from_millis(1));
        }
        if let Some(pid) = sandbox_of(child.id()) {
            // SAFETY: kill takes no pointer.
            #[allow(unsafe_code, reason = "killing another process's child")]
            unsafe {
                libc::kill(pid as i32, libc::SIGKILL);
            }
        }
        let output = finish(child)?;
        ensure!(!output.status.success(), "a killed container succeeds");
    }
    unchanged(&before)?;
    Ok(format!("{count} times"))
}

fn idle_memory() -> Result<String> {
    let bundle = Bundle::new("idle", &["sh", "-c", "echo up; exec sleep 30"])?;
    let mut child = start(&runtime(), &bundle.path, &id())?;
    let mut first = [0; 3];
    std::io::Read::read_exact(child.stdout.as_mut().context("stdout")?, &mut first)
        .context("it does not start")?;
    thread::sleep(Duration::from_millis(500));
    let pid = sandbox_of(child.id()).context("no sandbox process")?;
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let private: u64 = text
        .lines()
        .filter(|line| line.starts_with("Private_"))
        .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
        .sum();
    child.kill()?;
    let _ = finish(child)?;
    ensure!(private <= 16 << 10, "{private} KiB");
    Ok(format!("{private} KiB private"))
}

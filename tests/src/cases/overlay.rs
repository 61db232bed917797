//! Roots that stay as they are: overlays in memory beside Linux's overlayfs, and `do`.

use std::{
    fs,
    io::Write,
    os::unix::{
        fs::{MetadataExt, PermissionsExt, symlink},
        process::{CommandExt, ExitStatusExt},
    },
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::agree;
use crate::{
    bundle::{Bundle, mount},
    command::{finish, run, runtime},
};

/// What the runtime takes as a wish for an overlay.
const ANNOTATION: &str = "io.github.ringfence.overlay2";

/// Fills `below` of a root.
fn fill(root: &Path) -> Result<()> {
    let below = root.join("below");
    for directory in ["", "d", "d/e", "m", "m/n", "t", "ro", "many"] {
        fs::create_dir(below.join(directory))?;
    }
    for name in ["a", "b", "d/x", "d/y", "d/e/z", "m/1", "m/n/2", "t/1", "l1"] {
        fs::write(below.join(name), format!("text of {name}\n"))?;
    }
    for number in 0..300 {
        fs::write(below.join(format!("many/f{number}")), b"")?;
    }
    let big: Vec<u8> = (0..200_000_u32).map(|byte| (byte / 3) as u8).collect();
    fs::write(below.join("big"), &big)?;
    fs::write(below.join("big2"), &big)?;
    fs::hard_link(below.join("l1"), below.join("l2"))?;
    symlink("d/e/z", below.join("s"))?;
    Ok(())
}

/// Everything in a tree, so that a change shows.
fn picture(root: &Path, out: &mut Vec<String>) -> Result<()> {
    let mut entries = fs::read_dir(root)?.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let found = entry.metadata()?;
        let times = (found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec());
        out.push(format!(
            "{:?} {:o} {} {} {times:?}",
            entry.path(),
            found.mode(),
            found.nlink(),
            found.size()
        ));
        if found.is_dir() {
            picture(&entry.path(), out)?;
        }
    }
    Ok(())
}

/// Runs `script` on an overlay over a bundle's root: Linux's under runc, here the sentry's.
fn on_overlay(program: &str, script: &str) -> Result<Output> {
    let mut bundle = Bundle::new("overlay", &["sh", "-c", script])?;
    fill(&bundle.file(""))?;
    bundle.config["process"]["capabilities"] = json!({});
    for set in ["bounding", "effective", "permitted"] {
        bundle.config["process"]["capabilities"][set] =
            json!(["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_MKNOD"]);
    }
    if program == "runc" {
        let [upper, work, root] = ["upper", "work", "merged"].map(|name| bundle.path.join(name));
        for directory in [&upper, &work, &root] {
            fs::create_dir(directory)?;
        }
        let lower = bundle.file("");
        let options = format!(
            "lowerdir={},upperdir={},workdir={},redirect_dir=on,index=on",
            lower.display(),
            upper.display(),
            work.display()
        );
        mount(&["-t", "overlay", "-o", &options, "overlay"], &root)?;
        bundle.config["root"]["path"] = json!(root);
        bundle.write()?;
        let output = run(program, &bundle.path);
        let _ = Command::new("umount").arg("-l").arg(root).status();
        return output;
    }
    bundle.config["annotations"] = json!({ ANNOTATION: "root:memory" });
    bundle.write()?;
    let (mut before, mut after) = (Vec::new(), Vec::new());
    picture(&bundle.file(""), &mut before)?;
    let output = run(program, &bundle.path)?;
    picture(&bundle.file(""), &mut after)?;
    ensure!(
        before == after,
        "{}",
        super::difference(&before.join("\n"), &after.join("\n")).unwrap_or_default()
    );
    Ok(output)
}

pub(super) fn as_linux() -> Result<String> {
    let mut lines = Vec::new();
    for script in [include_str!("../../shell/overlay.sh"), include_str!("../../shell/files.sh")] {
        let script = format!("exec 2>&1\n{script}");
        let expected = on_overlay("runc", &script)?;
        lines.push(agree(&expected, &on_overlay(&runtime(), &script)?, str::to_owned)?);
    }
    Ok(lines.join(" and "))
}

/// Bind mounts get overlays of their own, which are limited.
pub(super) fn of_mounts() -> Result<String> {
    let script = "echo changed >/mnt/file; cat /mnt/file; rm /mnt/dir/gone; ls /mnt/dir; \
                  dd if=/dev/zero of=/mnt/dir/big bs=64k count=100 2>&1 | grep -o 'No space.*'; \
                  stat -c %s /mnt/dir/big; rm /mnt/dir/big; echo new >/mnt/dir/new; cat /mnt/dir/new; \
                  grep /mnt /proc/mounts | cut -d' ' -f 2,3";
    let mut bundle = Bundle::new("overlay-mounts", &["sh", "-c", script])?;
    let [file, dir] = ["file", "dir"].map(|name| bundle.path.join(name));
    fs::write(&file, "text\n")?;
    fs::create_dir(&dir)?;
    fs::write(dir.join("gone"), "text\n")?;
    if let Some(mounts) = bundle.config["mounts"].as_array_mut() {
        for (source, place) in [(&file, "/mnt/file"), (&dir, "/mnt/dir")] {
            mounts.push(
                json!({ "destination": place, "type": "bind", "source": source, "options": ["rbind"] }),
            );
        }
    }
    bundle.config["annotations"] = json!({ ANNOTATION: "all:memory,size=1m" });
    bundle.write()?;
    let output = run(&runtime(), &bundle.path)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let expected = "changed\nNo space left on device\n1048576\nnew\n/mnt/file overlay\n/mnt/dir overlay\n";
    ensure!(text == expected, "{text}{}", String::from_utf8_lossy(&output.stderr));
    ensure!(fs::read(&file)? == b"text\n" && fs::read_dir(&dir)?.count() == 1, "a change reached the host");
    bundle.config["annotations"] = json!({ ANNOTATION: "root:self" });
    bundle.write()?;
    let refused = run(&runtime(), &bundle.path)?;
    let reason = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(refused.status.code() == Some(1) && reason.contains(ANNOTATION), "{reason}");
    Ok(String::new())
}

/// `do` in a directory.
fn do_in(here: &Path, words: &[&str], input: &str) -> Result<Output> {
    let mut child = Command::new(runtime())
        .arg("do")
        .args(words)
        .current_dir(here)
        .env("RINGFENCE_TEST_WORD", "passed on")
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    child.stdin.take().context("stdin")?.write_all(input.as_bytes())?;
    finish(child)
}

pub(super) fn throwaway() -> Result<String> {
    let here: PathBuf = std::env::temp_dir().join(format!("ringfence-do-test-{}", std::process::id()));
    fs::create_dir_all(&here)?;
    fs::write(here.join("file"), "text\n")?;
    fs::set_permissions(here.join("file"), fs::Permissions::from_mode(0o600))?;
    let result = try_throwaway(&here);
    let left = fs::read_dir(std::env::temp_dir())?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with("ringfence-do-") && !name.starts_with("ringfence-do-test"))
        .count();
    fs::remove_dir_all(&here)?;
    result?;
    ensure!(left == 0, "{left} bundles are left");
    Ok(String::new())
}

fn try_throwaway(here: &Path) -> Result<()> {
    let says = |words: &[&str], input: &str, status: i32, expected: &str| {
        let output = do_in(here, words, input)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(
            text == expected && output.status.code() == Some(status),
            "{words:?}: {}: {text}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    };
    // The host's programs, files, directory and environment; changes are seen inside, and only there.
    let script = "pwd; cat file; echo changed >file; cat file; rm -r /etc; ls -d /etc 2>/dev/null; \
                  echo $RINGFENCE_TEST_WORD; id -u; cat; exit 7";
    let expected = format!("{}\ntext\nchanged\npassed on\n0\ntyped\n", here.display());
    says(&["--", "sh", "-c", script], "typed\n", 7, &expected)?;
    ensure!(
        fs::read(here.join("file"))? == b"text\n" && Path::new("/etc").exists(),
        "a change reached the host"
    );
    says(&["--cwd", "/usr", "pwd"], "", 0, "/usr\n")?;
    says(&["sh", "-c", "sleep 60 & kill -TERM $!; wait $!"], "", 128 + libc::SIGTERM, "")?;
    // A tree of its own.
    let bundle = Bundle::new("do-root", &["true"])?;
    let root = bundle.file("");
    let root = root.to_str().context("path")?;
    says(
        &["--network", "none", "--root", root, "cat", "/etc/os-release"],
        "",
        0,
        "NAME=\"test\"\nID=test\n",
    )?;
    // What cannot be started says so.
    for (words, reason) in [(&["/no/such"][..], "/no/such"), (&["--root", "/no/such", "true"], "/no/such")] {
        let output = do_in(here, words, "")?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(
            output.status.code() == Some(1) && text.contains(reason),
            "{words:?}: {}: {text}",
            output.status
        );
    }
    // The caller's terminal becomes the command's.
    let command = format!("stty rows 33 cols 99; exec {} do sh -c 'stty size; tty'", runtime());
    let output = finish(
        Command::new("script")
            .args(["-qec", &command, "/dev/null"])
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("script")?,
    )?;
    let text = String::from_utf8_lossy(&output.stdout).replace('\r', "");
    // `script` types the end of its own input.
    let text = text.trim_start_matches("^@");
    ensure!(text == "33 99\n/dev/pts/0\n" && output.status.signal().is_none(), "on a terminal: {text:?}");
    Ok(())
}

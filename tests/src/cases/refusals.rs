//! What cannot run is refused with one line, and leaves nothing.

use std::{fs, path::Path};

use anyhow::{Result, ensure};
use serde_json::json;

use super::life::traces;
use crate::{
    bundle::Bundle,
    command::{run_under, runtime},
};

/// One bad bundle, started by `wrapper`: one line, a status, nothing left.
fn refused(what: &str, wrapper: &[&str], bundle: &Path) -> Result<String> {
    let before = traces()?;
    let output = run_under(wrapper, &runtime(), bundle)?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(!output.status.success(), "{what}: succeeds");
    ensure!(text.trim_end().lines().count() == 1, "{what}: not one line: {text:?}");
    ensure!(output.stdout.is_empty(), "{what}: prints on standard output");
    let after = traces()?;
    ensure!(after == before, "{what}: leaves {:?}", after.difference(&before).collect::<Vec<_>>());
    Ok(text)
}

pub(super) fn bad_input() -> Result<String> {
    let mut count = 0;
    let mut check = |what: &str, change: &dyn Fn(&mut Bundle) -> Result<()>| -> Result<()> {
        let mut bundle = Bundle::new("bad", &["/bin/prog"])?;
        fs::copy(bundle.file("bin/busybox"), bundle.file("bin/prog"))?;
        change(&mut bundle)?;
        count += 1;
        refused(what, &[], &bundle.path).map(drop)
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

pub(super) fn no_kvm() -> Result<String> {
    // The runtime in a mount namespace where /dev is another: COMMAND makes the node, then it is started.
    let device = |what: &str, commands: &str, drop: &[&str], words: &str| -> Result<()> {
        let bundle = Bundle::new("device", &["true"])?;
        let shell =
            format!("mount -t tmpfs none /dev && mknod -m 666 /dev/null c 1 3 && {commands} && exec \"$@\"",);
        let mut wrapper = vec!["unshare", "-m", "--propagation", "private", "sh", "-c", &shell, "sh"];
        wrapper.extend(drop);
        let text = refused(what, &wrapper, &bundle.path)?;
        ensure!(text.contains("/dev/kvm") && text.contains(words), "{what}: {text:?}");
        Ok(())
    };
    let user = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"];
    let caps = ["setpriv", "--bounding-set", "-dac_override", "--inh-caps", "-dac_override"];
    device("no /dev/kvm", "true", &[], "no such file")?;
    device("/dev/kvm of root alone", "mknod -m 600 /dev/kvm c 10 232", &user, "permission denied")?;
    device("/dev/kvm that nobody may open", "mknod -m 0 /dev/kvm c 10 232", &caps, "permission denied")?;
    device("a device without its driver", "mknod -m 666 /dev/kvm c 10 250", &[], "no such device")?;
    device("a device of another kind", "mknod -m 666 /dev/kvm c 1 3", &[], "/dev/kvm")?;
    device("a file", "touch /dev/kvm", &[], "/dev/kvm")?;
    device("a directory", "mkdir /dev/kvm", &[], "/dev/kvm")?;
    Ok("7 kinds".into())
}

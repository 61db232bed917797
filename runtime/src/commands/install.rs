//! `install` and `uninstall`: makes the runtime known to Docker and containerd.
//!
//! Their configuration files are changed where they name runtimes, and nowhere else: what is there stays, in its order,
//! and in containerd's file with its comments. A file is replaced as a whole; one that cannot be understood is left alone.

use std::{
    fs,
    io::ErrorKind,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};
use toml_edit::{DocumentMut, Item, Table, value};

use crate::cli::{Install, Target, Uninstall};

const RUNC_SHIM: &str = "io.containerd.runc.v2";

/// What became of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Change {
    None(String),
    Made { text: String, what: String },
}

/// Registers this program.
pub(crate) fn install(options: &Install) -> Result<i32> {
    check_name(&options.target.name)?;
    let program = match &options.path {
        Some(path) => path.clone(),
        None => std::env::current_exe().context("this program's path")?,
    };
    ensure!(program.is_absolute(), "--path: not an absolute path");
    let program = program.to_str().context("--path: not text")?;
    each(&options.target, |docker, text| {
        if docker {
            add_to_docker(text, &options.target.name, program, &options.arguments)
        } else {
            ensure!(
                options.arguments.is_empty(),
                "containerd gives a runtime no arguments: use --docker alone, or a script that adds them"
            );
            add_to_containerd(text, &options.target.name, program)
        }
    })
}

/// Takes it back.
pub(crate) fn uninstall(options: &Uninstall) -> Result<i32> {
    check_name(&options.target.name)?;
    each(&options.target, |docker, text| {
        let name = &options.target.name;
        if docker { remove_from_docker(text, name) } else { remove_from_containerd(text, name) }
    })
}

fn check_name(name: &str) -> Result<()> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    ensure!(!name.is_empty() && name.chars().all(good), "--name: letters, digits, - _ and . only");
    ensure!(name != "runc", "--name: runc is taken");
    Ok(())
}

/// Changes the files that are asked for, or of the engines that are here.
fn each(target: &Target, change: impl Fn(bool, &str) -> Result<Change>) -> Result<i32> {
    let asked = target.docker || target.containerd;
    let mut found = false;
    for (docker, wanted, file, program, hint) in [
        (true, target.docker, &target.docker_config, "dockerd", "systemctl reload docker"),
        (false, target.containerd, &target.containerd_config, "containerd", "systemctl restart containerd"),
    ] {
        if asked && !wanted || !asked && !is_here(file, program) {
            continue;
        }
        found = true;
        apply(file, hint, |text| change(docker, text))?;
    }
    ensure!(found, "neither Docker nor containerd is here; --docker and --containerd say that one is");
    Ok(0)
}

fn is_here(file: &Path, program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    file.exists()
        || std::env::split_paths(&path)
            .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin")])
            .any(|directory| directory.join(program).exists())
}

/// Replaces a file by what `change` makes of it, and says so.
fn apply(file: &Path, hint: &str, change: impl Fn(&str) -> Result<Change>) -> Result<()> {
    let name = file.display();
    // What a link leads to is the file.
    let place = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let before = match fs::read_to_string(&place) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).with_context(|| name.to_string()),
    };
    match change(&before).with_context(|| name.to_string())? {
        Change::None(why) => println!("{name}: unchanged: {why}"),
        Change::Made { text, what } => {
            let directory = place.parent().context("not a file")?;
            fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
            let new = place.with_extension("ringfence-new");
            fs::write(&new, &text).with_context(|| new.display().to_string())?;
            let (mode, owner) = fs::metadata(&place)
                .map_or((0o644, None), |meta| (meta.mode() & 0o7777, Some((meta.uid(), meta.gid()))));
            fs::set_permissions(&new, fs::Permissions::from_mode(mode))
                .and_then(|()| match owner {
                    Some((uid, gid)) => std::os::unix::fs::chown(&new, Some(uid), Some(gid)),
                    None => Ok(()),
                })
                .and_then(|()| fs::rename(&new, &place))
                .with_context(|| name.to_string())?;
            println!("{name}: {what}; to be told: {hint}");
        }
    }
    Ok(())
}

fn docker_file(text: &str) -> Result<Map<String, Value>> {
    if text.trim().is_empty() {
        return Ok(Map::new());
    }
    match serde_json::from_str(text).context("not understood, left alone")? {
        Value::Object(object) => Ok(object),
        _ => bail!("not an object, left alone"),
    }
}

fn written(object: Map<String, Value>) -> Result<String> {
    let mut bytes = Vec::new();
    let form = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    serde::Serialize::serialize(
        &Value::Object(object),
        &mut serde_json::Serializer::with_formatter(&mut bytes, form),
    )?;
    Ok(String::from_utf8(bytes)? + "\n")
}

fn add_to_docker(text: &str, name: &str, program: &str, arguments: &[String]) -> Result<Change> {
    let mut object = docker_file(text)?;
    let mut entry = json!({ "path": program });
    if !arguments.is_empty() {
        entry["runtimeArgs"] = json!(arguments);
    }
    let runtimes = object.entry("runtimes").or_insert_with(|| json!({}));
    let runtimes = runtimes.as_object_mut().context("runtimes: not an object, left alone")?;
    let what = match runtimes.insert(name.to_owned(), entry.clone()) {
        Some(before) if before == entry => {
            return Ok(Change::None(format!("it has the runtime {name} already")));
        }
        Some(_) => format!("changed the runtime {name}"),
        None => format!("added the runtime {name}"),
    };
    Ok(Change::Made { text: written(object)?, what })
}

fn remove_from_docker(text: &str, name: &str) -> Result<Change> {
    let mut object = docker_file(text)?;
    let runtimes = object.get_mut("runtimes").and_then(Value::as_object_mut);
    // What follows must stay in its order.
    let removed = runtimes.map(|runtimes| (runtimes.shift_remove(name).is_some(), runtimes.is_empty()));
    let Some((true, empty)) = removed else {
        return Ok(Change::None(format!("it has no runtime {name}")));
    };
    if empty {
        object.shift_remove("runtimes");
    }
    let mut what = format!("removed the runtime {name}");
    if object.get("default-runtime").and_then(Value::as_str) == Some(name) {
        object.shift_remove("default-runtime");
        what.push_str(", which was the default");
    }
    Ok(Change::Made { text: written(object)?, what })
}

/// Where containerd's file lists the runtimes of Kubernetes, by the file's version.
fn containerd_section(file: &DocumentMut) -> Result<[&'static str; 4]> {
    match file.get("version").and_then(Item::as_integer) {
        Some(2) => Ok(["plugins", "io.containerd.grpc.v1.cri", "containerd", "runtimes"]),
        Some(3) => Ok(["plugins", "io.containerd.cri.v1.runtime", "containerd", "runtimes"]),
        other => bail!(
            "version {}: only files of version 2 and 3 are understood; left alone (`containerd config migrate` makes one)",
            other.unwrap_or(1)
        ),
    }
}

fn containerd_file(text: &str) -> Result<DocumentMut> {
    if text.trim().is_empty() {
        return Ok("version = 2\n".parse()?);
    }
    text.parse().context("not understood, left alone")
}

/// Tables on the way that are not there are made, without headers of their own.
fn enter<'a>(table: &'a mut Table, path: &[&str]) -> Result<&'a mut Table> {
    path.iter().try_fold(table, |table, name| {
        let inner = table.entry(name).or_insert_with(|| {
            let mut made = Table::new();
            made.set_implicit(true);
            Item::Table(made)
        });
        inner.as_table_mut().with_context(|| format!("{name}: not a table, left alone"))
    })
}

fn add_to_containerd(text: &str, name: &str, program: &str) -> Result<Change> {
    let mut file = containerd_file(text)?;
    let section = containerd_section(&file)?;
    let runtimes = enter(file.as_table_mut(), &section)?;
    // Paths of cgroups must have the form that Kubernetes' node was set to.
    let systemd = runtimes
        .get("runc")
        .and_then(|runc| runc.get("options"))
        .and_then(|options| options.get("SystemdCgroup"))
        .and_then(Item::as_bool)
        .unwrap_or(false);
    let had = runtimes.contains_key(name);
    let entry = enter(runtimes, &[name])?;
    entry.set_implicit(false);
    set(entry, "runtime_type", RUNC_SHIM.into());
    let options = enter(entry, &["options"])?;
    options.set_implicit(false);
    set(options, "BinaryName", program.into());
    if systemd {
        set(options, "SystemdCgroup", true.into());
    }
    let text_now = file.to_string();
    Ok(match (text_now == text, had) {
        (true, _) => Change::None(format!("it has the runtime {name} already")),
        (_, true) => Change::Made { text: text_now, what: format!("changed the runtime {name}") },
        _ => Change::Made { text: text_now, what: format!("added the runtime {name}") },
    })
}

/// Sets a key, unless it is so already: its comment stays.
fn set(table: &mut Table, key: &str, to: toml_edit::Value) {
    let same = table.get(key).and_then(Item::as_value).is_some_and(|now| match (now.as_str(), to.as_str()) {
        (Some(now), Some(to)) => now == to,
        _ => now.as_bool().is_some() && now.as_bool() == to.as_bool(),
    });
    if !same {
        table.insert(key, value(to));
    }
}

fn remove_from_containerd(text: &str, name: &str) -> Result<Change> {
    let none = || Ok(Change::None(format!("it has no runtime {name}")));
    if text.trim().is_empty() {
        return none();
    }
    let mut file = containerd_file(text)?;
    let section = containerd_section(&file)?;
    let mut table = Some(file.as_table_mut());
    for step in section {
        table = table.and_then(|table| table.get_mut(step)).and_then(Item::as_table_mut);
    }
    if table.and_then(|runtimes| runtimes.remove(name)).is_none() {
        return none();
    }
    Ok(Change::Made { text: file.to_string(), what: format!("removed the runtime {name}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(change: Result<Change>) -> String {
        match change.unwrap() {
            Change::Made { text, .. } => text,
            Change::None(why) => panic!("unchanged: {why}"),
        }
    }

    #[test]
    fn docker_s_file_keeps_what_it_has() {
        let before = "{\n    \"log-level\": \"warn\",\n    \"runtimes\": {\n        \"other\": {\n            \"path\": \"/o\"\n        }\n    },\n    \"bip\": \"10.0.0.1/24\"\n}\n";
        let after = made(add_to_docker(before, "ringfence", "/usr/bin/ringfence", &[]));
        assert!(
            after.contains("\"ringfence\": {\n            \"path\": \"/usr/bin/ringfence\"\n"),
            "{after}"
        );
        assert!(
            after.find("log-level") < after.find("runtimes") && after.find("runtimes") < after.find("bip")
        );
        let again = add_to_docker(&after, "ringfence", "/usr/bin/ringfence", &[]).unwrap();
        assert!(matches!(again, Change::None(_)));
        assert_eq!(made(remove_from_docker(&after, "ringfence")), before);
        let with = made(add_to_docker("", "r", "/r", &["--debug".into()]));
        assert!(with.contains("\"runtimeArgs\": [\n                \"--debug\"\n"), "{with}");
        assert_eq!(made(remove_from_docker(&with, "r")), "{}\n");
        assert!(matches!(remove_from_docker("{}", "r").unwrap(), Change::None(_)));
        let default = "{\"runtimes\":{\"r\":{\"path\":\"/r\"}},\"default-runtime\":\"r\"}";
        assert_eq!(made(remove_from_docker(default, "r")), "{}\n");
        for bad in ["{", "[]", "{\"runtimes\": 1}", "{} // comment"] {
            assert!(add_to_docker(bad, "r", "/r", &[]).is_err(), "{bad}");
        }
    }

    #[test]
    fn containerd_s_file_keeps_comments() {
        let before = "# ours\nversion = 2\n[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc]\n  runtime_type = \"io.containerd.runc.v2\" # as usual\n  [plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc.options]\n    SystemdCgroup = true\n";
        let after = made(add_to_containerd(before, "ringfence", "/r"));
        assert!(after.starts_with(before), "{after}");
        assert!(
            after.contains("runtimes.ringfence.options]\nBinaryName = \"/r\"\nSystemdCgroup = true\n"),
            "{after}"
        );
        assert!(matches!(add_to_containerd(&after, "ringfence", "/r").unwrap(), Change::None(_)));
        assert_eq!(made(remove_from_containerd(&after, "ringfence")), before);
        let fresh = made(add_to_containerd("", "ringfence", "/r"));
        assert_eq!(
            fresh,
            "version = 2\n\n[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.ringfence]\nruntime_type = \"io.containerd.runc.v2\"\n\n[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.ringfence.options]\nBinaryName = \"/r\"\n"
        );
        let third = made(add_to_containerd("version = 3\n", "ringfence", "/r"));
        assert!(third.contains("[plugins.\"io.containerd.cri.v1.runtime\".containerd.runtimes.ringfence]"));
        for bad in ["version = 1", "disabled_plugins = []", "= x", "version = 2\nplugins = 3\n"] {
            assert!(add_to_containerd(bad, "ringfence", "/r").is_err(), "{bad}");
        }
        assert!(matches!(remove_from_containerd("", "r").unwrap(), Change::None(_)));
        assert!(matches!(remove_from_containerd("version = 2\n", "r").unwrap(), Change::None(_)));
    }

    #[test]
    fn names_are_plain() {
        assert!(check_name("ring.fence-2_x").is_ok());
        for bad in ["", "runc", "a b", "a\"b", "a/b"] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}

//! The network of a container: the namespace of its sandbox process, and the interface that is plugged into that.
//!
//! Whoever makes networks has done so when the container is started: the namespace came with the bundle, or a hook or
//! the caller has filled it. So the interface is looked at then. The sandbox gets a socket for its frames and what it
//! must know; the host's own stack in that namespace loses the addresses.

mod read;

use std::{fs::File, os::fd::OwnedFd, path::Path};

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns, unshare};
use oci_spec::runtime::{Linux, LinuxNamespace, LinuxNamespaceType};
use std::os::{fd::AsFd, unix::fs::MetadataExt};
use vmm::control::{Client, Reply, Request};

/// How containers are connected; runsc's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Mode {
    /// The sandbox has a stack of its own, on the interface of the container's network namespace.
    #[default]
    Sandbox,
    /// The host's stack.
    Host,
    /// Only loopback.
    None,
}

/// The network namespace that a bundle asks for.
fn asked(linux: Option<&Linux>) -> Option<&LinuxNamespace> {
    let all = linux.and_then(|linux| linux.namespaces().as_ref())?;
    all.iter().find(|one| one.typ() == LinuxNamespaceType::Network)
}

/// Whether the container may have an interface: it has a network namespace that is not this process's own.
pub(crate) fn is_wanted(mode: Mode, linux: Option<&Linux>) -> Result<bool> {
    match mode {
        Mode::Sandbox => {}
        Mode::None => return Ok(false),
        Mode::Host => bail!("--network host: not supported; `sandbox` and `none` are"),
    }
    let Some(namespace) = asked(linux) else { return Ok(false) };
    let Some(path) = namespace.path() else { return Ok(true) };
    if is_of_a_process(path) {
        log::warn!(
            "{}: the network of another process stays its own; there is only loopback",
            path.display()
        );
        return Ok(false);
    }
    let own = std::fs::metadata("/proc/self/ns/net").context("/proc/self/ns/net")?;
    // One that is not there is reported where it is entered.
    Ok(std::fs::metadata(path).is_ok_and(|other| (other.dev(), other.ino()) != (own.dev(), own.ino())))
}

/// Whether a namespace is named as that of a process (`--network container:…`): who lives there would lose the
/// interface that is taken for a sandbox.
fn is_of_a_process(path: &Path) -> bool {
    let mut parts = path.components().map(|part| part.as_os_str().to_string_lossy());
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    matches!((parts.next(), parts.next(), parts.next()), (Some(root), Some(proc), Some(pid))
        if root == "/" && proc == "proc" && is_number(&pid))
}

/// Whether somebody else made the namespace, so that there may be an interface from the start.
pub(crate) fn is_given(linux: Option<&Linux>) -> bool {
    asked(linux).is_some_and(|namespace| namespace.path().is_some())
}

/// Gives a container that is just created the interface in its sandbox's namespace, if there is one.
pub(crate) fn attach(pid: u32, client: &Client) -> Result<()> {
    let path = format!("/proc/{pid}/ns/net");
    let namespace = File::open(&path).with_context(|| path.clone())?;
    let given = {
        let _inside = Namespace::within(namespace).with_context(|| path)?;
        match read::read().context("look at the container's network")? {
            Some(spec) => {
                let mut sockets = vec![vmm::packet::open(spec.index).context("packet socket")?];
                read::silence(&spec)?;
                if let Some(names) = spec.names {
                    read::turn_inwards(&spec, names).context("the server of names")?;
                    sockets.push(vmm::packet::open(read::LOOPBACK).context("packet socket")?);
                }
                Some((spec, sockets))
            }
            None => None,
        }
    };
    let Some((spec, sockets)) = given else { return Ok(()) };
    let sockets: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
    client.send(&Request::Network(Box::new(spec)), &sockets).context("ask the sandbox")?;
    match client.receive().context("sandbox")? {
        Some(Reply::Done) => Ok(()),
        Some(reply) => bail!("the sandbox takes no network: {reply:?}"),
        None => bail!("the sandbox ended before it was started"),
    }
}

/// This process is in the namespace that the bundle asks for until this is dropped; what is started meanwhile stays
/// there.
#[derive(Debug)]
pub(crate) struct Namespace(Option<OwnedFd>);

impl Namespace {
    /// Enters the namespace that the bundle names, or a new one if it names none but asks for one.
    pub(crate) fn enter(linux: Option<&Linux>) -> Result<Self> {
        let Some(wanted) = asked(linux) else { return Ok(Self(None)) };
        let back = File::open("/proc/self/ns/net").context("/proc/self/ns/net")?;
        match wanted.path() {
            Some(path) => {
                let what = || format!("config.json: linux.namespaces: network: {}", path.display());
                let namespace = File::open(path).with_context(what)?;
                setns(namespace, CloneFlags::CLONE_NEWNET).with_context(what)?;
            }
            None => unshare(CloneFlags::CLONE_NEWNET).context("make a network namespace")?,
        }
        Ok(Self(Some(back.into())))
    }

    /// Enters this namespace.
    fn within(namespace: File) -> Result<Self> {
        let back = File::open("/proc/self/ns/net").context("/proc/self/ns/net")?;
        setns(namespace, CloneFlags::CLONE_NEWNET)?;
        Ok(Self(Some(back.into())))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Some(back) = self.0.take()
            && let Err(errno) = setns(back, CloneFlags::CLONE_NEWNET)
        {
            log::error!("return to the caller's network namespace: {errno}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_from_a_namespace() {
        for (path, is) in [
            ("/proc/12/ns/net", true),
            ("/proc/self/ns/net", false),
            ("/run/netns/a", false),
            ("/var/run/docker/netns/12", false),
        ] {
            assert_eq!(is_of_a_process(Path::new(path)), is, "{path}");
        }
    }
}

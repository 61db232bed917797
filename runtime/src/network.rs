//! The network namespace of a sandbox process: what networks of the host are plugged into.

use std::{fs::File, os::fd::OwnedFd};

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns, unshare};
use oci_spec::runtime::{Linux, LinuxNamespaceType};

/// This process is in the namespace that the bundle asks for until this is dropped; what is started meanwhile stays
/// there.
#[derive(Debug)]
pub(crate) struct Namespace(Option<OwnedFd>);

impl Namespace {
    /// Enters the namespace that the bundle names, or a new one if it names none but asks for one.
    pub(crate) fn enter(linux: Option<&Linux>) -> Result<Self> {
        let wanted = linux
            .and_then(|linux| linux.namespaces().as_ref())
            .and_then(|all| all.iter().find(|one| one.typ() == LinuxNamespaceType::Network));
        let Some(wanted) = wanted else { return Ok(Self(None)) };
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

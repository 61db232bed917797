//! What is kept of the inodes of an exclusive tree, and how it is made sure of.
//!
//! Attributes are believed for the period in which the host was asked for them ([`fresh`]). A directory's names
//! hang on its times: they are believed for as long as the host gives the same modification and change time. Two
//! changes within one tick of the host's clock have the same time, so names are looked up once more in the
//! period after the one in which we changed a name, or the times were seen to change, or were recent at first
//! sight.

use alloc::{
    sync::{Arc, Weak},
    vec,
    vec::Vec,
};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use hostcall::{Attr, MAX_GETATTRS, Timespec};
use linux_raw_sys::general::{S_IFDIR, S_IFREG};

use super::inode::HostInode;
use crate::{
    errno::Result,
    fs::{anon, fresh, inode::Inode},
    sync::SpinLock,
};

/// Most inodes that are remembered to have been asked for.
const REMEMBERED: usize = 1024;
/// Times so near are recent, seconds: longer than the tick of any clock of a file system.
const RECENT: i64 = 2;

/// How far what is kept of an inode can be believed.
pub(super) struct Trust {
    /// The period in which the host was asked last.
    asked: AtomicU64,
    /// Times and blocks are the host's to tell.
    stale: AtomicBool,
    /// Counts our own changes; changed with the attributes' lock held.
    version: AtomicU64,
    /// Counts what others may have done to a directory's names.
    generation: AtomicU64,
    names: SpinLock<Names>,
    /// It is among those that are asked for together.
    remembered: AtomicBool,
}

/// By what a directory's names are known to be the same.
struct Names {
    times: [Timespec; 2],
    /// The period in which a change may have gone unseen.
    doubted: Option<u64>,
}

fn times(attr: &Attr) -> [Timespec; 2] {
    [attr.mtime, attr.ctime]
}

/// Whether a directory with these attributes was changed just now.
fn is_recent(attr: &Attr) -> bool {
    attr.ctime.sec.saturating_add(RECENT) >= anon::now().sec
}

impl Trust {
    pub(super) fn new(attr: &Attr) -> Self {
        let period = fresh::period();
        let names = Names { times: times(attr), doubted: is_recent(attr).then_some(period) };
        Self {
            asked: AtomicU64::new(period),
            stale: AtomicBool::new(false),
            version: AtomicU64::new(0),
            generation: AtomicU64::new(0),
            names: SpinLock::new(names),
            remembered: AtomicBool::new(false),
        }
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }
}

impl HostInode {
    /// Whether the host was asked in this period.
    pub(super) fn is_asked(&self) -> bool {
        self.trust.asked.load(Ordering::Acquire) == fresh::period()
    }

    /// Whether the host must be asked for all attributes to be right.
    pub(super) fn is_stale(&self) -> bool {
        !self.is_asked() || self.trust.stale.load(Ordering::Acquire)
    }

    /// We changed it: contents, names or links. The lock of the attributes is held. What the host's clock
    /// made of it is asked for when somebody wants to know.
    pub(super) fn touched(&self) {
        self.trust.version.fetch_add(1, Ordering::AcqRel);
        self.fs.changes.fetch_add(1, Ordering::AcqRel);
        if !self.trust.stale.swap(true, Ordering::AcqRel) && self.fs.exclusive {
            let mut stale = self.fs.stale.lock();
            if stale.len() >= MAX_GETATTRS {
                stale.pop_front();
            }
            stale.push_back(self.weak());
        }
    }

    /// Others that we changed and whose attributes are the host's to tell: who asks for one most often asks for all.
    fn other_stale(&self) -> Vec<Arc<Self>> {
        let stale = core::mem::take(&mut *self.fs.stale.lock());
        let mut others: Vec<Arc<Self>> = stale.iter().filter_map(Weak::upgrade).collect();
        others.retain(|inode| inode.is_stale() && !core::ptr::eq(&raw const **inode, self));
        others.truncate(MAX_GETATTRS - 1);
        others
    }

    /// We change names: others may have done so at the same time.
    pub(super) fn doubt_names(&self) {
        self.trust.names.lock().doubted = Some(fresh::period());
    }

    /// What is known of the names may be wrong.
    pub(super) fn forget_names(&self) {
        self.trust.generation.fetch_add(1, Ordering::AcqRel);
        *self.listing.lock() = None;
    }

    /// Takes attributes over that answer a change of our own.
    pub(super) fn changed(&self, attr: Attr) {
        self.resized(attr.size);
        {
            let mut kept = self.attr.lock();
            self.touched();
            *kept = attr;
        }
        self.trust.stale.store(false, Ordering::Release);
        self.note_times(&attr);
    }

    /// Takes attributes over that were just asked for.
    pub(super) fn learn(&self, attr: Attr) {
        let version = self.trust.version.load(Ordering::Acquire);
        self.learn_if(attr, fresh::period(), version);
    }

    /// Takes attributes over that were asked for in a period, unless we have changed something since `version`.
    fn learn_if(&self, attr: Attr, period: u64, version: u64) {
        let current = || self.trust.version.load(Ordering::Acquire) == version;
        if self.kind() == S_IFREG && current() {
            // Who makes it shorter outside: pages beyond the end are gone.
            self.resized(attr.size);
        }
        {
            let mut kept = self.attr.lock();
            if !current() {
                return;
            }
            *kept = attr;
            self.trust.stale.store(false, Ordering::Release);
        }
        self.note_times(&attr);
        self.trust.asked.store(period, Ordering::Release);
    }

    /// Notes what a directory's times say of its names.
    fn note_times(&self, attr: &Attr) {
        if self.kind() != S_IFDIR || !self.fs.exclusive {
            return;
        }
        let period = fresh::period();
        let changed = {
            let mut names = self.trust.names.lock();
            let differ = names.times != times(attr);
            names.times = times(attr);
            match names.doubted {
                // Our own changes of this period change the times as well.
                Some(since) if since == period => false,
                doubted => {
                    names.doubted = differ.then_some(period);
                    differ || doubted.is_some()
                }
            }
        };
        if changed {
            self.forget_names();
        }
    }

    /// Asks the host, and for others that were in use when they were asked for last.
    pub(super) fn ask(&self) -> Result<()> {
        let period = fresh::period();
        let version = self.trust.version.load(Ordering::Acquire);
        let others = match (self.fs.exclusive, self.is_asked()) {
            (false, _) => Vec::new(),
            (true, true) => self.other_stale(),
            (true, false) => self.others(),
        };
        if others.is_empty() {
            let attr = self.fs.host.getattr(self.handle())?;
            self.learn_if(attr, period, version);
            return Ok(());
        }
        let versions: Vec<u64> =
            others.iter().map(|inode| inode.trust.version.load(Ordering::Acquire)).collect();
        let handles: Vec<_> =
            core::iter::once(self.handle()).chain(others.iter().map(|inode| inode.handle())).collect();
        let mut attrs = vec![Attr::default(); handles.len()];
        self.fs.host.getattrs(&handles, &mut attrs)?;
        let own = if attrs[0].mode == 0 { self.fs.host.getattr(self.handle())? } else { attrs[0] };
        self.learn_if(own, period, version);
        for ((inode, attr), version) in others.iter().zip(&attrs[1..]).zip(versions) {
            // One that the host cannot tell of is asked for when it is used.
            if attr.mode != 0 {
                inode.learn_if(*attr, period, version);
            }
        }
        Ok(())
    }

    /// Other inodes that are worth asking for with this one, which is remembered to be asked for as well.
    fn others(&self) -> Vec<Arc<Self>> {
        let mut others = Vec::with_capacity(MAX_GETATTRS);
        {
            let mut asked = self.fs.asked.lock();
            if !self.trust.remembered.swap(true, Ordering::AcqRel) {
                if asked.len() >= REMEMBERED
                    && let Some(oldest) = asked.pop_front().as_ref().and_then(Weak::upgrade)
                {
                    oldest.trust.remembered.store(false, Ordering::Release);
                    // Dropped without the lock.
                    others.push(oldest);
                }
                asked.push_back(self.weak());
            }
            for _ in 0..asked.len() {
                if others.len() + 1 == MAX_GETATTRS {
                    break;
                }
                let Some(next) = asked.pop_front() else { break };
                if let Some(inode) = next.upgrade() {
                    asked.push_back(next);
                    others.push(inode);
                }
            }
        }
        others.retain(|inode| !inode.is_asked() && !core::ptr::eq(&raw const **inode, self));
        others
    }
}

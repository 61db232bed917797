//! The file broker: the one thread of a sandbox process that may act on files of other owners.
//!
//! The threads that run the guest and serve its calls have no capability at all. The broker's thread has five
//! (`CAP_CHOWN`, `CAP_DAC_OVERRIDE`, `CAP_FOWNER`, `CAP_FSETID`, `CAP_SETFCAP`) and does one thing with them: the calls of
//! [`FileOp`], when the host has refused one to an ordinary thread. It is behind the same filter and in the same
//! jail, whose root is empty: with these capabilities there is nothing to reach but what lies beneath the trees that
//! the container was given, where the container's superuser may do all that they allow anyway.
//!
//! A process of its own would hold them as well and nothing more would be out of its reach; it was tried, and made
//! every start a seventh dearer.

use std::{
    os::fd::{AsFd, OwnedFd, RawFd},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use rustix::{io::Errno, thread::CapabilitySet};

use crate::{
    error::{Context, Error},
    jail,
    server::files::FileOp,
};

/// What the broker may do that other threads may not.
const CAPABILITIES: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::SETFCAP);

/// Longest request, bytes: a link's target, a name, and a few numbers.
const REQUEST: usize = 4096 + 512;
/// Stack of the thread in bytes.
const STACK: usize = 64 * 1024;

/// What the two sides tell each other.
#[derive(Debug, Default)]
struct Desk {
    /// An encoded [`FileOp`]; empty when there is none.
    request: Vec<u8>,
    /// What goes with it, and then with the answer.
    bytes: Vec<u8>,
    /// A descriptor's number or 0.
    answer: Option<Result<RawFd, Errno>>,
}

/// The callers' side.
#[derive(Debug)]
pub(crate) struct Broker {
    shared: Arc<Shared>,
    /// One request at a time. Taken before the desk.
    turn: Mutex<()>,
}

#[derive(Debug, Default)]
struct Shared {
    desk: Mutex<Desk>,
    changed: Condvar,
}

impl Shared {
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Broker {
    /// Starts the thread. The caller is in the jail and still has its capabilities. `descriptors` is a directory of
    /// this process's descriptors.
    pub(crate) fn start(descriptors: OwnedFd) -> Result<Self, Error> {
        let shared = Arc::new(Shared::default());
        let broker = Self { shared: shared.clone(), turn: Mutex::default() };
        thread::Builder::new()
            .name("files".into())
            .stack_size(STACK)
            .spawn(move || serve(&shared, &descriptors))
            .system("start the file broker")?;
        Ok(broker)
    }

    /// Has the broker make a call.
    pub(crate) fn ask(&self, op: &FileOp<'_>, bytes: &mut Vec<u8>) -> Result<RawFd, Errno> {
        let mut request = [0; REQUEST];
        let request = postcard::to_slice(op, &mut request).map_err(|_| Errno::NAMETOOLONG)?;
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut desk = self.shared.desk();
        desk.request.clear();
        desk.request.extend_from_slice(request);
        std::mem::swap(&mut desk.bytes, bytes);
        self.shared.changed.notify_all();
        loop {
            match desk.answer.take() {
                Some(answer) => {
                    std::mem::swap(&mut desk.bytes, bytes);
                    return answer;
                }
                None => desk = self.shared.changed.wait(desk).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

/// The thread's life.
fn serve(shared: &Shared, descriptors: &OwnedFd) {
    // Without them the host goes on refusing, which is what the callers are told.
    let kept = jail::keep_capabilities(CAPABILITIES);
    let mut desk = shared.desk();
    loop {
        if desk.request.is_empty() {
            desk = shared.changed.wait(desk).unwrap_or_else(PoisonError::into_inner);
            continue;
        }
        let request = std::mem::take(&mut desk.request);
        let mut bytes = std::mem::take(&mut desk.bytes);
        drop(desk);
        let answer = match &kept {
            Ok(()) => decode(&request).and_then(|op| op.perform(descriptors.as_fd(), &mut bytes)),
            Err(_) => Err(Errno::PERM),
        };
        desk = shared.desk();
        // The buffer goes back, so that a request does not allocate.
        desk.request = request;
        desk.request.clear();
        desk.bytes = bytes;
        desk.answer = Some(answer);
        shared.changed.notify_all();
    }
}

/// Decodes a request.
fn decode(request: &[u8]) -> Result<FileOp<'_>, Errno> {
    match postcard::take_from_bytes(request) {
        Ok((op, [])) => Ok(op),
        _ => Err(Errno::INVAL),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::MetadataExt};

    use proptest::prelude::*;

    use super::*;
    use crate::server::files::raw;

    #[test]
    fn requests_round_trip() {
        let op = FileOp::Rename { old_dir: 3, old: b"a", new_dir: 4, new: b"b", flags: 1 };
        let mut bytes = [0; REQUEST];
        let request = postcard::to_slice(&op, &mut bytes).unwrap();
        assert_eq!(decode(request), Ok(op));
    }

    #[test]
    fn the_longest_request_fits() {
        let op = FileOp::Symlink { dir: i32::MAX, name: &[b'n'; 255], target: &[b't'; 4095] };
        assert!(postcard::to_slice(&op, &mut [0; REQUEST]).is_ok());
    }

    #[test]
    fn a_broker_works_for_several_threads() {
        let place = std::env::temp_dir().join(format!("ringfence-broker-{}", std::process::id()));
        fs::create_dir_all(&place).unwrap();
        let dir: OwnedFd = fs::File::open(&place).unwrap().into();
        let broker = Broker::start(fs::File::open("/proc/self/fd").unwrap().into()).unwrap();
        thread::scope(|scope| {
            for number in 0..4 {
                let (broker, dir) = (&broker, &dir);
                scope.spawn(move || {
                    for _ in 0..50 {
                        let name = [b'a' + number];
                        broker
                            .ask(&FileOp::Mkdir { dir: raw(dir), name: &name, mode: 0o700 }, &mut Vec::new())
                            .unwrap();
                        let again = FileOp::Mkdir { dir: raw(dir), name: &name, mode: 0o700 };
                        assert_eq!(broker.ask(&again, &mut Vec::new()), Err(Errno::EXIST));
                        let gone = FileOp::Unlink { dir: raw(dir), name: &name, directory: true };
                        broker.ask(&gone, &mut Vec::new()).unwrap();
                    }
                });
            }
        });
        assert_eq!(
            broker.ask(&FileOp::Mkdir { dir: raw(&dir), name: b"..", mode: 0 }, &mut Vec::new()),
            Err(Errno::INVAL)
        );
        assert!(fs::metadata(&place).unwrap().is_dir() && fs::metadata(&place).unwrap().nlink() >= 1);
        fs::remove_dir_all(&place).unwrap();
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_decoded(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&bytes);
        }
    }
}

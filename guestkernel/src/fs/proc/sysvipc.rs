//! `/proc/sysvipc`: the objects of the reader's IPC namespace (sysvipc(7)).

use alloc::{format, string::String, sync::Arc, vec::Vec};

use super::{FILE, settings::Ref, text};
use crate::{
    fs::static_fs::{Node, Table},
    ipc::perm::Perm,
    task::current,
};

static NAMES: Table<3> = Table::new([
    (b"msg", FILE, || text(191, queues)),
    (b"sem", FILE, || text(192, sets)),
    (b"shm", FILE, || text(193, segments)),
]);

/// The folder.
pub(super) fn root() -> Arc<Node> {
    super::dir(190, Ref(&NAMES))
}

/// How its entry among others begins: key, id and mode.
fn start(id: i32, perm: &Perm) -> String {
    format!("{:10} {id:10}  {:4o}", perm.key, perm.mode)
}

/// Owner and maker.
fn owners(perm: &Perm) -> String {
    format!("{:5} {:5} {:5} {:5}", perm.uid, perm.gid, perm.cuid, perm.cgid)
}

fn queues() -> Vec<u8> {
    let mut all = String::from(
        "       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  cuid  cgid      stime      rtime      ctime\n",
    );
    let namespaces = current().namespaces();
    for (id, queue) in namespaces.ipc.msg.lock().ids().iter() {
        let ([sender, receiver], [sent, received, changed]) = (queue.pids, queue.times);
        all += &format!(
            "{}  {:10} {:10} {sender:5} {receiver:5} {} {sent:10} {received:10} {changed:10}\n",
            start(id, &queue.perm),
            queue.bytes,
            queue.len(),
            owners(&queue.perm),
        );
    }
    all.into_bytes()
}

fn sets() -> Vec<u8> {
    let mut all = String::from(
        "       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n",
    );
    let namespaces = current().namespaces();
    for (id, set) in namespaces.ipc.sem.lock().ids().iter() {
        let ([operated, changed], len) = (set.times, set.len());
        all +=
            &format!("{} {len:10} {} {operated:10} {changed:10}\n", start(id, &set.perm), owners(&set.perm));
    }
    all.into_bytes()
}

fn segments() -> Vec<u8> {
    let mut all = String::from(
        "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid      atime      dtime      ctime                   rss                  swap\n",
    );
    let namespaces = current().namespaces();
    for (id, record) in namespaces.ipc.shm.lock().ids().iter() {
        let ([maker, last], [attached, detached, changed]) = (record.pids, record.times);
        all += &format!(
            "{} {:21} {maker:5} {last:5}  {:5} {} {attached:10} {detached:10} {changed:10} {:21} {:21}\n",
            start(id, &record.perm),
            record.size,
            record.attached,
            owners(&record.perm),
            record.resident(),
            0,
        );
    }
    all.into_bytes()
}

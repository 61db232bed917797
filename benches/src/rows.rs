//! The rows of the benchmark: names, titles and order, the same in every table and file.

/// What a row's figure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Cost of one operation, measured inside.
    Operation,
    /// Cost of one command of the runtime, measured outside.
    Life,
    /// Memory in KiB.
    Memory,
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Name in files and on the command line.
    pub name: &'static str,
    /// Name for readers.
    pub title: &'static str,
    /// What its figure is.
    pub kind: Kind,
}

const fn operation(name: &'static str, title: &'static str) -> Row {
    Row { name, title, kind: Kind::Operation }
}

const fn life(name: &'static str, title: &'static str) -> Row {
    Row { name, title, kind: Kind::Life }
}

/// Every row, in order.
pub const ROWS: [Row; 44] = [
    operation("getpid", "getpid"),
    operation("clock_raw", "clock_gettime, system call"),
    operation("clock_vdso", "clock_gettime, vDSO"),
    operation("read1_devzero", "read 1 byte /dev/zero"),
    operation("write1_devnull", "write 1 byte /dev/null"),
    operation("open_close", "open+close"),
    operation("stat", "stat"),
    operation("fstat", "fstat"),
    operation("pread4k", "pread 4 KiB cached, root"),
    operation("pwrite4k_root", "pwrite 4 KiB, root"),
    operation("seqread_1m", "read 1 MiB in 64 KiB pieces"),
    operation("create_unlink_root", "create+write 4 KiB+unlink, root"),
    operation("create_unlink_tmp", "the same on tmpfs"),
    operation("mmap_anon_page", "anonymous memory, per page touched"),
    operation("mmap_anon_page_nothp", "the same, no huge pages"),
    operation("mmap_file_page", "mmap file, per page touched"),
    operation("mmap_touch_munmap", "mmap+touch+munmap of a page"),
    operation("mprotect_touch", "mprotect x2 + touch"),
    operation("pipe_pingpong", "pipe ping-pong, 2 processes"),
    operation("futex_pingpong", "futex ping-pong, 2 threads"),
    operation("sched_yield", "sched_yield"),
    operation("fork_exit_wait", "fork+exit+wait"),
    operation("fork_exec_static", "fork+exec static+wait"),
    operation("fork_exec_dynamic", "fork+exec dynamic+wait"),
    operation("pthread_create_join", "thread create+join"),
    operation("signal_self", "signal to self"),
    operation("eventfd_epoll", "eventfd+epoll round"),
    operation("unix_pingpong", "Unix socket ping-pong"),
    operation("tcp_pingpong", "TCP loopback ping-pong"),
    operation("tcp_stream_64k", "TCP loopback, per 64 KiB"),
    operation("getdents_100", "getdents of 100 entries"),
    operation("coldread_1m", "read 1 MiB never read before"),
    operation("tree_make", "make a tree, per file"),
    operation("tree_pack", "tar of it to a file, per file"),
    operation("tree_unpack", "tar unpacks it, per file"),
    operation("python_start", "python3 -c pass"),
    life("run_true", "run /bin/true"),
    life("run_true_busy", "the same, without waiting"),
    life("create", "create"),
    life("start", "start"),
    life("exec_true", "exec /bin/true"),
    life("delete", "delete"),
    Row { name: "idle_pss", title: "idle container, PSS, KiB", kind: Kind::Memory },
    Row { name: "idle_private", title: "idle container, private, KiB", kind: Kind::Memory },
];

/// Finds a row by its name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.name == name)
}

/// The rows that are wanted: all, or those named. A name that no row has is the error.
///
/// # Errors
/// The first unknown name.
pub fn choose(names: &[String]) -> Result<Vec<&'static Row>, String> {
    if names.is_empty() {
        return Ok(ROWS.iter().collect());
    }
    if let Some(unknown) = names.iter().find(|name| find(name).is_none()) {
        return Err(format!("no row is called {unknown:?}"));
    }
    Ok(ROWS.iter().filter(|row| names.iter().any(|name| name == row.name)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        for (at, row) in ROWS.iter().enumerate() {
            assert!(ROWS[at + 1..].iter().all(|other| other.name != row.name), "{}", row.name);
        }
    }

    #[test]
    fn chosen_rows_keep_the_order_of_the_table() {
        let chosen = choose(&["start".into(), "getpid".into()]).unwrap_or_default();
        assert_eq!(chosen.iter().map(|row| row.name).collect::<Vec<_>>(), ["getpid", "start"]);
        assert_eq!(choose(&[]).unwrap_or_default().len(), ROWS.len());
        assert!(choose(&["bogus".into()]).is_err());
    }
}

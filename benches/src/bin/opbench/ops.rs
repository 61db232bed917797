//! The operations: one row of the benchmark each, in the order of its tables.

pub(crate) mod calls;
pub(crate) mod files;
mod memory;
mod peers;
mod processes;
mod trees;

use crate::harness::Operation;

/// Finds a row by its name.
pub(crate) fn find(name: &str) -> Option<&'static Operation> {
    OPERATIONS.iter().find(|op| op.name == name)
}

/// Every row. `runs` is chosen so that a batch is a few million instructions on Linux.
#[rustfmt::skip]
pub(crate) static OPERATIONS: [Operation; 36] = [
    Operation { name: "getpid",               runs: 10_000, unit: 1, prepare: calls::getpid },
    Operation { name: "clock_raw",            runs: 10_000, unit: 1, prepare: calls::clock_raw },
    Operation { name: "clock_vdso",           runs: 20_000, unit: 1, prepare: calls::clock_vdso },
    Operation { name: "read1_devzero",        runs:  5_000, unit: 1, prepare: calls::read_zero },
    Operation { name: "write1_devnull",       runs:  5_000, unit: 1, prepare: calls::write_null },
    Operation { name: "open_close",           runs:    500, unit: 1, prepare: files::open_close },
    Operation { name: "stat",                 runs:    500, unit: 1, prepare: files::stat },
    Operation { name: "fstat",                runs:  2_000, unit: 1, prepare: files::fstat },
    Operation { name: "pread4k",              runs:  1_000, unit: 1, prepare: files::pread },
    Operation { name: "pwrite4k_root",        runs:  1_000, unit: 1, prepare: files::pwrite },
    Operation { name: "seqread_1m",           runs:     10, unit: 1, prepare: files::sequential },
    Operation { name: "create_unlink_root",   runs:     40, unit: 1, prepare: files::create_unlink_root },
    Operation { name: "create_unlink_tmp",    runs:     60, unit: 1, prepare: files::create_unlink_tmp },
    Operation { name: "mmap_anon_page",       runs:      2, unit: memory::ANON_PAGES, prepare: memory::anonymous },
    Operation { name: "mmap_anon_page_nothp", runs:      2, unit: memory::ANON_PAGES, prepare: memory::anonymous_small },
    Operation { name: "mmap_file_page",       runs:      8, unit: memory::FILE_PAGES, prepare: memory::file },
    Operation { name: "mmap_touch_munmap",    runs:    200, unit: 1, prepare: memory::map_touch_unmap },
    Operation { name: "mprotect_touch",       runs:    300, unit: 1, prepare: memory::protect_touch },
    Operation { name: "pipe_pingpong",        runs:    200, unit: 1, prepare: peers::pipe },
    Operation { name: "futex_pingpong",       runs:    200, unit: 1, prepare: peers::futex },
    Operation { name: "sched_yield",          runs:  3_000, unit: 1, prepare: calls::sched_yield },
    Operation { name: "fork_exit_wait",       runs:     10, unit: 1, prepare: processes::fork_exit_wait },
    Operation { name: "fork_exec_static",     runs:      5, unit: 1, prepare: processes::exec_static },
    Operation { name: "fork_exec_dynamic",    runs:      5, unit: 1, prepare: processes::exec_dynamic },
    Operation { name: "pthread_create_join",  runs:     40, unit: 1, prepare: processes::thread },
    Operation { name: "signal_self",          runs:    500, unit: 1, prepare: processes::signal_self },
    Operation { name: "eventfd_epoll",        runs:  1_000, unit: 1, prepare: calls::eventfd_epoll },
    Operation { name: "unix_pingpong",        runs:    100, unit: 1, prepare: peers::unix },
    Operation { name: "tcp_pingpong",         runs:    100, unit: 1, prepare: peers::tcp },
    Operation { name: "tcp_stream_64k",       runs:    100, unit: 1, prepare: peers::tcp_stream },
    Operation { name: "getdents_100",         runs:     20, unit: 1, prepare: files::getdents },
    Operation { name: "coldread_1m",          runs:      4, unit: 1, prepare: files::cold },
    Operation { name: "tree_make",            runs:      1, unit: trees::FILES, prepare: trees::make },
    Operation { name: "tree_pack",            runs:      1, unit: trees::FILES, prepare: trees::pack },
    Operation { name: "tree_unpack",          runs:      1, unit: trees::FILES, prepare: trees::unpack },
    Operation { name: "python_start",         runs:      1, unit: 1, prepare: processes::python },
];

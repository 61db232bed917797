//! Space of files: fallocate, holes, flags of single reads and writes, advice.

use crate::{
    Case, Out, case,
    files::{CREATE, RDONLY, WRONLY, both, file, open, show, text},
    sys::{self, call},
};

const KEEP: i32 = libc::FALLOC_FL_KEEP_SIZE;
const PUNCH: i32 = libc::FALLOC_FL_PUNCH_HOLE;

fn allocate(fd: i32, mode: i32, offset: i64, len: i64) -> i64 {
    call!(SYS_fallocate, fd, mode, offset, len)
}

fn size(fd: i32) -> i64 {
    call!(SYS_lseek, fd, 0, libc::SEEK_END)
}

fn seek(out: &mut Out, what: &str, fd: i32, offset: i64, whence: i32) {
    out.ret(what, call!(SYS_lseek, fd, offset, whence));
}

/// Where data and holes begin.
fn map(out: &mut Out, what: &str, fd: i32) {
    let mut at = 0;
    let mut pieces = Vec::new();
    loop {
        let data = call!(SYS_lseek, fd, at, libc::SEEK_DATA);
        if data < 0 {
            break;
        }
        at = call!(SYS_lseek, fd, data, libc::SEEK_HOLE);
        pieces.push((data, at));
    }
    out.say(format_args!("{what}: {pieces:?} of {}", size(fd)));
}

fn vector(bytes: &[u8]) -> [usize; 2] {
    [bytes.as_ptr() as usize, bytes.len()]
}

fn write2(fd: i32, bytes: &[u8], offset: i64, flags: i32) -> i64 {
    let piece = vector(bytes);
    call!(SYS_pwritev2, fd, piece.as_ptr(), 1, offset, 0, flags)
}

fn read2(out: &mut Out, what: &str, fd: i32, offset: i64, flags: i32) {
    let bytes = [b'#'; 8];
    let piece = vector(&bytes);
    let got = call!(SYS_preadv2, fd, piece.as_ptr(), 1, offset, 0, flags);
    match usize::try_from(got) {
        Ok(len) => out.say(format_args!("{what}: {}", text(&std::hint::black_box(bytes)[..len]))),
        Err(_) => out.ret(what, got),
    }
}

pub(crate) const CASES: &[Case] = &[
    case("fallocate/grow", &["fallocate"], |out| {
        both(out, |out| {
            let fd = file("a", b"text");
            out.ret("within", allocate(fd, 0, 0, 4));
            out.ret("size", size(fd));
            out.ret("beyond", allocate(fd, 0, 2, 10));
            show(out, "file", "a");
            out.ret("keeping the size", allocate(fd, KEEP, 0, 10000));
            out.ret("size", size(fd));
            out.ret("leaving a hole", allocate(fd, 0, 8192, 100));
            out.ret("size", size(fd));
        });
    }),
    case("fallocate/punch", &["fallocate"], |out| {
        both(out, |out| {
            let fd = file("a", &[b'x'; 20000]);
            out.ret("pages", allocate(fd, PUNCH | KEEP, 4096, 8192));
            out.ret("a part", allocate(fd, PUNCH | KEEP, 13000, 100));
            out.ret("over the end", allocate(fd, PUNCH | KEEP, 19990, 100));
            show(out, "file", "a");
            out.ret("without keeping the size", allocate(fd, PUNCH, 0, 4096));
            out.ret("size", size(fd));
        });
    }),
    case("fallocate/modes", &["fallocate"], |out| {
        let fd = file("a", &[b'x'; 20000]);
        for mode in [4, 5, 8, 9, 0x10, 0x11, 0x20, 0x21, 0x40, 0x41, 0x80, 0x18, 0x30, 3 | 0x10, 1 << 30] {
            out.ret(&format!("mode {mode:#x}"), allocate(fd, mode, 0, 4096));
        }
        out.ret("size", size(fd));
    }),
    case("fallocate/errors", &["fallocate"], |out| {
        both(out, |out| {
            let fd = file("a", b"text");
            out.ret("negative offset", allocate(fd, 0, -1, 1));
            out.ret("no length", allocate(fd, 0, 0, 0));
            out.ret("negative length", allocate(fd, 0, 0, -1));
            out.ret("too far", allocate(fd, 0, i64::MAX, 1));
            out.ret("reader", allocate(open("a", RDONLY), 0, 0, 1));
            out.ret("reader, bad mode", allocate(open("a", RDONLY), 0x100, 0, 1));
            out.ret("reader, bad length", allocate(open("a", RDONLY), 0x100, 0, 0));
            out.ret("reader, too far", allocate(open("a", RDONLY), 0, i64::MAX, 1));
            out.ret("not open", allocate(999, 0, 0, 0));
            out.ret("a place", allocate(open("a", libc::O_PATH), 0, 0, 1));
            let (reader, writer) = sys::pipe();
            out.ret("pipe", allocate(writer, 0, 0, 1));
            out.ret("reader of a pipe", allocate(reader, 0, 0, 1));
            out.ret("null", allocate(open("/dev/null", WRONLY), 0, 0, 1));
            out.ret("directory", allocate(open(".", RDONLY), 0, 0, 1));
            let event = call!(SYS_eventfd2, 5, 0) as i32;
            out.ret("eventfd", allocate(event, 0, 0, 1));
        });
    }),
    case("fallocate/size-limit", &["fallocate"], |out| {
        let action = [1usize, 0, 0, 0];
        call!(SYS_rt_sigaction, libc::SIGXFSZ, action.as_ptr(), 0, 8);
        let limit = [1000u64, 1000];
        call!(SYS_setrlimit, libc::RLIMIT_FSIZE, limit.as_ptr());
        let fd = file("a", b"text");
        out.ret("within", allocate(fd, 0, 0, 1000));
        out.ret("beyond", allocate(fd, 0, 0, 1001));
        out.ret("beyond, keeping the size", allocate(fd, KEEP, 0, 2000));
        out.ret("size", size(fd));
    }),
    case("fallocate/holes", &["lseek", "fallocate", "ftruncate"], |out| {
        both(out, |out| {
            let fd = open("a", CREATE);
            map(out, "empty", fd);
            call!(SYS_ftruncate, fd, 100_000);
            map(out, "a hole", fd);
            call!(SYS_pwrite64, fd, b"x".as_ptr(), 1, 8192);
            map(out, "a page", fd);
            call!(SYS_pwrite64, fd, b"x".as_ptr(), 1, 99_999);
            map(out, "the last page", fd);
            call!(SYS_pwrite64, fd, [b'x'; 8192].as_ptr(), 8192, 12_288);
            map(out, "pages", fd);
            allocate(fd, PUNCH | KEEP, 12_288, 4096);
            map(out, "punched", fd);
            call!(SYS_ftruncate, fd, 17_000);
            map(out, "cut", fd);
        });
    }),
    case("fallocate/seek-data-errors", &["lseek"], |out| {
        both(out, |out| {
            let fd = file("a", b"0123456789");
            seek(out, "data", fd, 3, libc::SEEK_DATA);
            seek(out, "hole", fd, 3, libc::SEEK_HOLE);
            seek(out, "data at the end", fd, 10, libc::SEEK_DATA);
            seek(out, "hole at the end", fd, 10, libc::SEEK_HOLE);
            seek(out, "negative data", fd, -1, libc::SEEK_DATA);
            seek(out, "negative hole", fd, -1, libc::SEEK_HOLE);
            seek(out, "whence", fd, 0, 5);
            seek(out, "position", fd, 0, libc::SEEK_CUR);
            let (reader, _) = sys::pipe();
            seek(out, "pipe", reader, 0, libc::SEEK_DATA);
        });
    }),
    case("fallocate/write-flags", &["pwritev2", "preadv2"], |out| {
        both(out, |out| {
            let fd = file("a", b"0123456789");
            out.ret("append", write2(fd, b"ab", 0, libc::RWF_APPEND));
            seek(out, "position", fd, 0, libc::SEEK_CUR);
            out.ret("append here", write2(fd, b"cd", -1, libc::RWF_APPEND));
            seek(out, "position", fd, 0, libc::SEEK_CUR);
            out.ret("at an offset", write2(fd, b"XY", 1, 0));
            out.ret("data sync", write2(fd, b"Z", 3, libc::RWF_DSYNC));
            out.ret("sync", write2(fd, b"Z", 4, libc::RWF_SYNC));
            out.ret("high priority", write2(fd, b"Z", 5, libc::RWF_HIPRI));
            show(out, "file", "a");
            let appending = open("a", libc::O_WRONLY | libc::O_APPEND);
            out.ret("appends", write2(appending, b"end", 0, 0));
            out.ret("does not append", write2(appending, b"W", 0, 0x20));
            out.ret("both", write2(appending, b"W", 0, 0x30));
            show(out, "file", "a");
            out.ret("atomic", write2(fd, b"W", 0, 0x40));
            out.ret("unknown", write2(fd, b"W", 0, 0x100));
            out.ret("negative", write2(fd, b"W", -2, 0));
            read2(out, "read", fd, 2, 0);
            read2(out, "read here", fd, -1, 0);
            read2(out, "unknown", fd, 2, 0x100);
            read2(out, "negative", fd, -2, 0);
            read2(out, "append", fd, 2, libc::RWF_APPEND);
        });
    }),
    case("fallocate/advice", &["fadvise64", "readahead", "sync_file_range"], |out| {
        both(out, |out| {
            let fd = file("a", b"0123456789");
            let (pipe, _) = sys::pipe();
            let place = open("a", libc::O_PATH);
            let writer = open("a", WRONLY);
            for advice in 0..7 {
                out.ret("advice", call!(SYS_fadvise64, fd, 0, 0, advice));
            }
            out.ret("negative length", call!(SYS_fadvise64, fd, 0, -1, 0));
            out.ret("negative offset", call!(SYS_fadvise64, fd, -1, 0, 0));
            out.ret("of a pipe", call!(SYS_fadvise64, pipe, 0, 0, 0));
            out.ret("of a place", call!(SYS_fadvise64, place, 0, 0, 0));
            out.ret("readahead", call!(SYS_readahead, fd, 0, 100));
            out.ret("readahead of a writer", call!(SYS_readahead, writer, 0, 100));
            out.ret("readahead of a pipe", call!(SYS_readahead, pipe, 0, 100));
            out.ret("readahead of a directory", call!(SYS_readahead, open(".", RDONLY), 0, 100));
            let sync = |fd: i32, offset: i64, len: i64, flags: i32| {
                call!(SYS_sync_file_range, fd, offset, len, flags)
            };
            out.ret("sync", sync(fd, 0, 100, 7));
            out.ret("nothing", sync(fd, 0, 0, 0));
            out.ret("flags", sync(fd, 0, 0, 8));
            out.ret("flags, not open", sync(999, 0, 0, 8));
            out.ret("negative", sync(fd, -1, 1, 1));
            out.ret("negative length", sync(fd, 0, -1, 1));
            out.ret("too far", sync(fd, i64::MAX, 10, 1));
            out.ret("reader", sync(open("a", RDONLY), 0, 0, 7));
            out.ret("pipe", sync(pipe, 0, 0, 7));
            out.ret("null", sync(open("/dev/null", WRONLY), 0, 0, 7));
            out.ret("directory", sync(open(".", RDONLY), 0, 0, 7));
            out.ret("place", sync(place, 0, 0, 7));
        });
    }),
];

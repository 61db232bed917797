//! Malformed ELF files: this program itself, with its headers (and now and then its code) made wrong, executed.

use super::{calls::VALUES, random::Random};
use std::{
    fs,
    io::{Seek, SeekFrom, Write},
    os::{
        fd::AsRawFd,
        unix::fs::{OpenOptionsExt, PermissionsExt},
    },
    ptr,
    time::{Duration, Instant},
};

/// The file header and the program headers of any of our own files lie below.
const HEADERS: u64 = 1024;
/// How long one may run, should it run.
const PATIENCE: Duration = Duration::from_millis(150);

/// What became of them.
#[derive(Default)]
struct Ends {
    refused: u64,
    killed: u64,
    ran: u64,
    stopped: u64,
}

/// Executes malformed files until `end`; `seed` begins the random numbers.
pub(crate) fn run(end: Instant, seed: u64) {
    let mut own = fs::read("/proc/self/exe").expect("this program");
    own.truncate(loaded(&own));
    let mut random = Random::new(seed);
    let mut ends = Ends::default();
    let path = "/tmp/elf";
    let _ = fs::create_dir("/tmp");
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o755).open(path).expect(path);
    file.write_all(&own).expect(path);
    while Instant::now() < end {
        let (bytes, len) = malformed(&own, &mut random);
        file.seek(SeekFrom::Start(0)).and_then(|_| file.write_all(&bytes)).expect(path);
        file.set_len(len).expect(path);
        // Nobody may have it open for writing when it is executed.
        drop(file);
        execute(&mut ends);
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect(path);
        file = fs::OpenOptions::new().write(true).open(path).expect(path);
        if len != own.len() as u64 || bytes.len() as u64 > HEADERS {
            file.write_all(&own).and_then(|()| file.set_len(own.len() as u64)).expect(path);
        }
    }
    println!(
        "{} malformed files refused, {} killed, {} ran, {} were stopped, seed {seed}",
        ends.refused, ends.killed, ends.ran, ends.stopped
    );
}

/// Where what is loaded of an ELF file ends: behind are sections that only tools read.
fn loaded(file: &[u8]) -> usize {
    let word = |at: usize| u64::from_le_bytes(file[at..at + 8].try_into().expect("8 bytes")) as usize;
    let (headers, count) = (word(32), usize::from(u16::from_le_bytes([file[56], file[57]])));
    (0..count).map(|n| headers + n * 56).map(|at| word(at + 8) + word(at + 32)).max().unwrap_or(file.len())
}

/// The beginning of a file made of `own`, and how long the file is to be.
fn malformed(own: &[u8], random: &mut Random) -> (Vec<u8>, u64) {
    let mut len = own.len() as u64;
    let mut bytes = own[..own.len().min(HEADERS as usize)].to_vec();
    match random.below(8) {
        // Cut off, in the headers or in what they speak of.
        0 => {
            let most = if random.below(2) == 0 { HEADERS } else { len };
            len = random.below(most);
        }
        // Another end, which is not there.
        1 => len += random.below(1 << 40),
        // Its code as well.
        2 => {
            bytes = own.to_vec();
            for _ in 0..64 {
                let place = random.below(bytes.len() as u64) as usize;
                bytes[place] = random.next() as u8;
            }
        }
        _ => {}
    }
    for _ in 0..=random.below(4) {
        let value = match random.below(3) {
            0 => VALUES[random.below(VALUES.len() as u64) as usize],
            1 => random.below(0x10000),
            _ => random.next(),
        };
        // A field of the file header, or one of the first program headers.
        let (place, size) = match random.below(3) {
            0 => (random.below(64), [1, 2, 4, 8][random.below(4) as usize]),
            _ => (64 + random.below(12) * 56 + random.below(7) * 8, [4, 8][random.below(2) as usize]),
        };
        let place = place as usize;
        if let Some(field) = bytes.get_mut(place..place + size) {
            field.copy_from_slice(&value.to_le_bytes()[..size]);
        }
    }
    bytes.truncate(usize::try_from(len).unwrap_or(usize::MAX));
    (bytes, len)
}

/// Executes what was made, and waits for its end.
fn execute(ends: &mut Ends) {
    let argv = [c"elf".as_ptr(), c"nothing".as_ptr(), ptr::null()];
    let null = fs::File::options().read(true).write(true).open("/dev/null").expect("/dev/null");
    // SAFETY: the child of a program with one thread; the strings are ended and the lists are too.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            for stream in 0..3 {
                libc::dup2(null.as_raw_fd(), stream);
            }
            libc::execve(c"/tmp/elf".as_ptr(), argv.as_ptr(), argv[2..].as_ptr());
            libc::_exit(99);
        }
        let begin = Instant::now();
        let mut status = 0;
        let mut stopped = false;
        while libc::waitpid(child, &raw mut status, if stopped { 0 } else { libc::WNOHANG }) == 0 {
            if begin.elapsed() > PATIENCE {
                libc::kill(child, libc::SIGKILL);
                stopped = true;
            } else {
                libc::sched_yield();
            }
        }
        match status {
            _ if stopped => ends.stopped += 1,
            _ if libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 99 => ends.refused += 1,
            _ if libc::WIFSIGNALED(status) => ends.killed += 1,
            _ => ends.ran += 1,
        }
    }
}

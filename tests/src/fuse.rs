//! A file system whose disk fails: spoken on `/dev/fuse` as Linux's `include/uapi/linux/fuse.h` has it.
//!
//! `good` is well but for fsync(2), `bad` can be neither read nor written, of `half` the first page can be read; the
//! directory `baddir` cannot be listed, and `broken` cannot be looked up.

use std::{
    ffi::CString,
    fs::File,
    io::{Read, Write},
    os::{fd::AsRawFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use anyhow::{Context, Result, ensure};

/// Size of a file, bytes.
const SIZE: u64 = 8192;
const PAGE: u64 = 4096;
/// Longest request: a write of 128 KiB with its head.
const REQUEST: usize = 160 * 1024;
/// Length of a request's and of an answer's head.
const IN_HEAD: usize = 40;
const OUT_HEAD: usize = 16;
const ROOT: u64 = 1;
const NAMES: [(&str, u64); 4] = [("good", 2), ("bad", 3), ("half", 4), ("baddir", 5)];
const BAD: u64 = 3;
const HALF: u64 = 4;
const BAD_DIRECTORY: u64 = 5;

/// A mounted one; unmounted when dropped.
#[derive(Debug)]
pub(crate) struct FailingDisk(PathBuf);

impl FailingDisk {
    /// Mounts one.
    pub(crate) fn mount(place: &Path) -> Result<Self> {
        let device = File::options().read(true).write(true).open("/dev/fuse").context("/dev/fuse")?;
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0,allow_other", device.as_raw_fd());
        let (target, options) = (CString::new(place.as_os_str().as_bytes())?, CString::new(options)?);
        // SAFETY: all strings live on.
        #[allow(unsafe_code, reason = "mount(8) would want a helper program for this type")]
        let done = unsafe {
            libc::mount(
                c"failing".as_ptr(),
                target.as_ptr(),
                c"fuse".as_ptr(),
                libc::MS_NOSUID | libc::MS_NODEV,
                options.as_ptr().cast(),
            )
        };
        ensure!(done == 0, "mount fuse: {}", std::io::Error::last_os_error());
        thread::spawn(move || serve(device));
        Ok(Self(place.to_owned()))
    }
}

impl Drop for FailingDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Answers until the mount is gone.
fn serve(mut device: File) {
    let mut request = vec![0; REQUEST];
    loop {
        let len = match device.read(&mut request) {
            Ok(len) if len >= IN_HEAD => len,
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN | libc::ENOENT)) => {
                continue;
            }
            _ => return,
        };
        let unique = &request[8..16];
        let Some(answer) = answer(&request[..len]) else { continue };
        let (error, body) = match answer {
            Ok(body) => (0, body),
            Err(errno) => (-errno, Vec::new()),
        };
        let mut bytes = ((OUT_HEAD + body.len()) as u32).to_le_bytes().to_vec();
        bytes.extend_from_slice(&i32::to_le_bytes(error));
        bytes.extend_from_slice(unique);
        bytes.extend_from_slice(&body);
        // A request that was given up wants no answer.
        let _ = device.write(&bytes);
    }
}

/// Little-endian numbers one after another.
struct Body(Vec<u8>);

impl Body {
    fn wide(mut self, values: &[u64]) -> Self {
        values.iter().for_each(|value| self.0.extend_from_slice(&value.to_le_bytes()));
        self
    }

    fn narrow(mut self, values: &[u32]) -> Self {
        values.iter().for_each(|value| self.0.extend_from_slice(&value.to_le_bytes()));
        self
    }

    /// `struct fuse_attr`.
    fn attr(self, node: u64) -> Self {
        let directory = node == ROOT || node == BAD_DIRECTORY;
        let (mode, size) = if directory { (libc::S_IFDIR | 0o755, 0) } else { (libc::S_IFREG | 0o644, SIZE) };
        self.wide(&[node, size, size / 512, 0, 0, 0]).narrow(&[0, 0, 0, mode, 1, 0, 0, 0, PAGE as u32, 0])
    }
}

fn wide(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes)
}

fn narrow(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes)
}

/// The answer to a request: bytes or an error; none where none is wanted.
fn answer(request: &[u8]) -> Option<Result<Vec<u8>, i32>> {
    let (opcode, node, input) = (narrow(request, 4), wide(request, 16), &request[IN_HEAD..]);
    let body = || Body(Vec::new());
    Some(match opcode {
        // INIT
        26 => Ok(body().narrow(&[7, 31, 0, 0, 0, 128 * 1024, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]).0),
        // LOOKUP
        1 => {
            let name = input.split(|&byte| byte == 0).next().unwrap_or(b"");
            let known = NAMES.iter().find(|(known, _)| known.as_bytes() == name);
            match known {
                Some(&(_, node)) => Ok(body().wide(&[node, 1, 1, 1]).narrow(&[0, 0]).attr(node).0),
                None if name == b"broken" => Err(libc::EIO),
                None => Err(libc::ENOENT),
            }
        }
        // FORGET, BATCH_FORGET
        2 | 42 => return None,
        // GETATTR, SETATTR
        3 | 4 => Ok(body().wide(&[1]).narrow(&[0, 0]).attr(node).0),
        // OPEN, OPENDIR
        14 | 27 => Ok(body().wide(&[0]).narrow(&[0, 0]).0),
        // READ
        15 => {
            let (from, len) = (wide(input, 8), u64::from(narrow(input, 16)));
            let end = (from + len).min(SIZE);
            match node {
                BAD => Err(libc::EIO),
                HALF if end > PAGE => Err(libc::EIO),
                _ => Ok(vec![b'g'; end.saturating_sub(from) as usize]),
            }
        }
        // WRITE
        16 if node == BAD => Err(libc::EIO),
        16 => Ok(body().narrow(&[narrow(input, 16), 0]).0),
        // STATFS
        17 => Ok(body()
            .wide(&[1000, 500, 500, 1000, 500])
            .narrow(&[PAGE as u32, 255, PAGE as u32, 0])
            .narrow(&[0; 6])
            .0),
        // FSYNC
        20 => Err(libc::EIO),
        // READDIR
        28 if node == BAD_DIRECTORY => Err(libc::EIO),
        28 => Ok(listing(wide(input, 8))),
        // RELEASE, FLUSH, RELEASEDIR, ACCESS, DESTROY
        18 | 25 | 29 | 34 | 38 => Ok(Vec::new()),
        _ => Err(libc::ENOSYS),
    })
}

/// The entries of the root from a place on.
fn listing(from: u64) -> Vec<u8> {
    let mut body = Body(Vec::new());
    for (place, (name, node)) in (1u64..).zip(NAMES).skip(from as usize) {
        let kind = if node == BAD_DIRECTORY { libc::DT_DIR } else { libc::DT_REG };
        body = body.wide(&[node, place]).narrow(&[name.len() as u32, u32::from(kind)]);
        body.0.extend_from_slice(name.as_bytes());
        body.0.resize(body.0.len().next_multiple_of(8), 0);
    }
    body.0
}

//! The types of file systems that mount(2) makes, and their options.

use alloc::{
    format,
    string::{String, ToString},
    sync::Arc,
};
use core::fmt::Write;
use linux_raw_sys::general::{MS_DIRSYNC, MS_LAZYTIME, MS_MANDLOCK, MS_RDONLY, MS_SYNCHRONOUS};

use super::{
    dentry::Dentry,
    devpts,
    inode::Inode,
    mount::Super,
    proc, sysfs,
    tmpfs::{TmpInode, Tmpfs, most_inodes},
};
use crate::{
    errno::{Errno, Result},
    mem::{PAGE_SIZE, frame},
    sync::Once,
};

/// A type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Files in memory.
    Tmpfs,
    /// The same without limits.
    Ramfs,
    /// Processes and settings.
    Proc,
    /// Devices.
    Sysfs,
    /// Slaves of pseudo-terminals.
    Devpts,
}

impl Kind {
    /// The type with this name.
    ///
    /// # Errors
    /// `ENODEV`.
    pub fn by_name(name: &[u8]) -> Result<Self> {
        match name {
            b"tmpfs" => Ok(Self::Tmpfs),
            b"ramfs" => Ok(Self::Ramfs),
            b"proc" => Ok(Self::Proc),
            b"sysfs" => Ok(Self::Sysfs),
            b"devpts" => Ok(Self::Devpts),
            _ => Err(Errno::ENODEV),
        }
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tmpfs => "tmpfs",
            Self::Ramfs => "ramfs",
            Self::Proc => "proc",
            Self::Sysfs => "sysfs",
            Self::Devpts => "devpts",
        }
    }
}

/// What a file system is to be like.
#[derive(Clone, Debug)]
pub struct Options {
    kind: Kind,
    /// What is mounted, as `/proc/mounts` is to show it.
    pub source: Option<String>,
    /// `MS_*` of the file system: those set, and those given at all.
    pub flags: (u64, u64),
    pages: Option<u64>,
    inodes: Option<u64>,
    mode: Option<u32>,
    owner: (u32, u32),
    short_numbers: bool,
    huge: Option<String>,
    noswap: bool,
    /// Options that the type reads itself.
    own: String,
}

/// Pages that a tmpfs may have unless said otherwise.
fn default_pages() -> u64 {
    frame::stats().total / PAGE_SIZE / 2
}

/// `64k`, `1g`: a number as `memparse` reads it.
fn parse_size(text: &str) -> Result<u64> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let shift = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return Err(Errno::EINVAL),
    };
    let number: u64 = digits.parse().map_err(|_| Errno::EINVAL)?;
    number.checked_shl(shift).filter(|value| value >> shift == number).ok_or(Errno::EINVAL)
}

fn number(text: &str, radix: u32) -> Result<u32> {
    u32::from_str_radix(text, radix).map_err(|_| Errno::EINVAL)
}

impl Options {
    /// None.
    #[must_use]
    pub const fn new(kind: Kind) -> Self {
        Self {
            kind,
            source: None,
            flags: (0, 0),
            pages: None,
            inodes: None,
            mode: None,
            owner: (0, 0),
            short_numbers: false,
            huge: None,
            noswap: false,
            own: String::new(),
        }
    }

    /// Those of a tmpfs.
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn tmpfs(data: &[u8]) -> Result<Self> {
        let mut options = Self::new(Kind::Tmpfs);
        options.set_all(data)?;
        Ok(options)
    }

    /// The type.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Takes options with commas between.
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn set_all(&mut self, data: &[u8]) -> Result<()> {
        let data = core::str::from_utf8(data).map_err(|_| Errno::EINVAL)?;
        for option in data.split(',').filter(|option| !option.is_empty()) {
            match option.split_once('=') {
                Some((name, value)) => self.set(name, Some(value))?,
                None => self.set(option, None)?,
            }
        }
        Ok(())
    }

    /// Takes one option.
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn set(&mut self, name: &str, value: Option<&str>) -> Result<()> {
        if self.set_flag(name) {
            return Ok(());
        }
        if name == "source" {
            let source = value.ok_or(Errno::EINVAL)?;
            if self.source.is_some() {
                return Err(Errno::EINVAL);
            }
            self.source = Some(source.to_string());
            return Ok(());
        }
        match self.kind {
            Kind::Tmpfs => self.set_tmpfs(name, value),
            Kind::Ramfs => {
                // ramfs has always ignored what it does not know.
                if name == "mode" {
                    self.mode = Some(number(value.ok_or(Errno::EINVAL)?, 8)? & 0o7777);
                }
                Ok(())
            }
            Kind::Proc | Kind::Sysfs => Err(Errno::EINVAL),
            Kind::Devpts => {
                for part in [if self.own.is_empty() { "" } else { "," }, name] {
                    self.own.push_str(part);
                }
                if let Some(value) = value {
                    self.own.push('=');
                    self.own.push_str(value);
                }
                Ok(())
            }
        }
    }

    /// An option that every file system has.
    fn set_flag(&mut self, name: &str) -> bool {
        let (bit, on) = match name {
            "ro" => (MS_RDONLY, true),
            "rw" => (MS_RDONLY, false),
            "sync" => (MS_SYNCHRONOUS, true),
            "async" => (MS_SYNCHRONOUS, false),
            "dirsync" => (MS_DIRSYNC, true),
            "mand" => (MS_MANDLOCK, true),
            "nomand" => (MS_MANDLOCK, false),
            "lazytime" => (MS_LAZYTIME, true),
            "nolazytime" => (MS_LAZYTIME, false),
            _ => return false,
        };
        let bit = u64::from(bit);
        self.flags = (if on { self.flags.0 | bit } else { self.flags.0 & !bit }, self.flags.1 | bit);
        true
    }

    fn set_tmpfs(&mut self, name: &str, value: Option<&str>) -> Result<()> {
        match (name, value) {
            ("size", Some(value)) => {
                let bytes = match value.strip_suffix('%') {
                    Some(percent) => frame::stats().total / 100 * u64::from(number(percent, 10)?),
                    None => parse_size(value)?,
                };
                self.pages = Some(bytes.div_ceil(PAGE_SIZE));
            }
            ("nr_blocks", Some(value)) => self.pages = Some(parse_size(value)?),
            ("nr_inodes", Some(value)) => self.inodes = Some(parse_size(value)?),
            ("mode", Some(value)) => self.mode = Some(number(value, 8)? & 0o7777),
            ("uid", Some(value)) => self.owner.0 = number(value, 10)?,
            ("gid", Some(value)) => self.owner.1 = number(value, 10)?,
            ("huge", Some("never")) => self.huge = None,
            ("huge", Some("always" | "within_size" | "advise")) => self.huge = value.map(String::from),
            ("inode64", None) => self.short_numbers = false,
            ("inode32", None) => self.short_numbers = true,
            ("noswap", None) => self.noswap = true,
            _ => return Err(Errno::EINVAL),
        }
        Ok(())
    }

    /// As `/proc/mounts` shows them.
    #[must_use]
    pub fn shown(&self) -> String {
        let mut out = String::new();
        match self.kind {
            Kind::Tmpfs => {}
            Kind::Ramfs => {
                return self.mode.filter(|&mode| mode != 0o755).map_or(out, |mode| format!("mode={mode:o}"));
            }
            Kind::Proc | Kind::Sysfs | Kind::Devpts => return out,
        }
        if let Some(pages) = self.pages.filter(|&pages| pages != default_pages()) {
            let _ = write!(out, ",size={}k", pages * (PAGE_SIZE >> 10));
        }
        if let Some(inodes) = self.inodes.filter(|&inodes| inodes != most_inodes()) {
            let _ = write!(out, ",nr_inodes={inodes}");
        }
        if let Some(mode) = self.mode.filter(|&mode| mode != 0o1777) {
            let _ = write!(out, ",mode={mode:03o}");
        }
        for (name, id) in [("uid", self.owner.0), ("gid", self.owner.1)] {
            if id != 0 {
                let _ = write!(out, ",{name}={id}");
            }
        }
        let _ = write!(out, ",inode{}", if self.short_numbers { 32 } else { 64 });
        if let Some(huge) = &self.huge {
            let _ = write!(out, ",huge={huge}");
        }
        if self.noswap {
            out.push_str(",noswap");
        }
        out.split_off(1)
    }

    /// Pages that there may be; none given, or 0, is no limit.
    fn limit(&self) -> u64 {
        match self.pages {
            None => default_pages(),
            Some(0) => u64::MAX / PAGE_SIZE,
            Some(pages) => pages,
        }
    }

    /// The root of a new tmpfs.
    #[must_use]
    pub fn mount(&self) -> Arc<TmpInode> {
        let bytes = self.limit().saturating_mul(PAGE_SIZE);
        let root = Tmpfs::mount(bytes, self.mode.unwrap_or(0o1777), self.owner.0, self.owner.1);
        if self.inodes.is_some() {
            // A new one has fewer than any limit.
            let _ = root.file_system().set_limits(None, self.inodes);
        }
        root
    }

    /// A file system with these options.
    ///
    /// # Errors
    /// `EINVAL` for options that the type does not have.
    pub fn create(&self) -> Result<Arc<Super>> {
        let root: Arc<dyn Inode> = match self.kind {
            Kind::Tmpfs => self.mount(),
            Kind::Ramfs => Tmpfs::ramfs(self.mode.unwrap_or(0o755)),
            Kind::Proc => proc::root(),
            Kind::Sysfs => {
                // There is one, however often it is mounted, as it was mounted first.
                static ONE: Once<Arc<Super>> = Once::new();
                let make = || Super::new(Dentry::root(sysfs::root()), "sysfs", self.flags.0, "");
                return Ok(ONE.call_once(make).clone());
            }
            Kind::Devpts => {
                let (root, shown) = devpts::mount(self.own.as_bytes())?;
                return Ok(Super::new(Dentry::root(root), "devpts", self.flags.0, &shown));
            }
        };
        Ok(Super::new(Dentry::root(root), self.kind.name(), self.flags.0, &self.shown()))
    }

    /// Those that the file system has now, to be changed.
    #[must_use]
    pub fn of(fs: &Super) -> Option<Self> {
        let mut options = Self::new(Kind::by_name(fs.kind.as_bytes()).ok()?);
        if options.set_all(fs.options().as_bytes()).is_err() {
            return None;
        }
        options.flags = (fs.flags(), 0);
        Some(options)
    }

    /// Gives a file system these options.
    ///
    /// # Errors
    /// `EINVAL` when it holds more than it may, `EBUSY` when it is to be read-only and is written.
    pub fn apply(&self, fs: &Super, old: &Self) -> Result<()> {
        if self.own != old.own {
            // What a devpts was mounted with stays.
            return Err(Errno::EINVAL);
        }
        let flags = fs.flags() & !self.flags.1 | self.flags.0 & self.flags.1;
        if let Some(root) = fs.root.inode()?.downcast::<TmpInode>().filter(|_| self.kind == Kind::Tmpfs) {
            let pages = (self.pages != old.pages).then(|| self.limit());
            let inodes = (self.inodes != old.inodes).then(|| self.inodes.unwrap_or_else(most_inodes));
            // What is not limited cannot be limited later.
            if pages.is_some() && old.pages == Some(0) || inodes.is_some() && old.inodes == Some(0) {
                return Err(Errno::EINVAL);
            }
            fs.set_flags(flags)?;
            root.file_system().set_limits(pages, inodes)?;
            // Mode and owner are the root's own by now.
            let kept = Self { mode: old.mode, owner: old.owner, huge: old.huge.clone(), ..self.clone() };
            fs.set_options(kept.shown());
            return Ok(());
        }
        fs.set_flags(flags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_a_tmpfs_are_shown_as_linux_shows_them() {
        let shown = |data: &str| Options::tmpfs(data.as_bytes()).map(|options| options.shown());
        assert_eq!(shown(""), Ok("inode64".into()));
        assert_eq!(shown("mode=755,size=64m"), Ok("size=65536k,mode=755,inode64".into()));
        assert_eq!(shown("uid=5,gid=6,nr_inodes=1k"), Ok("nr_inodes=1024,uid=5,gid=6,inode64".into()));
        for bad in ["size=x", "size", "mode=9", "rubbish", "inode64=1", "size=1q"] {
            assert_eq!(shown(bad), Err(Errno::EINVAL), "{bad}");
        }
    }

    #[test]
    fn sizes_that_overflow_are_refused() {
        assert_eq!(parse_size("16777216t"), Err(Errno::EINVAL));
        assert_eq!(parse_size("1g"), Ok(1 << 30));
    }
}

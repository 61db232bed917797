//! Trees of many files.

use std::{fs, io, path::Path};

fn told(result: io::Result<String>) -> String {
    result.unwrap_or_else(|error| crate::sys::name(error.raw_os_error().unwrap_or(0)))
}

/// The names in a directory, in order, without what is said of them.
pub(crate) fn list(name: &str) -> String {
    told((|| {
        let mut names = Vec::new();
        for entry in fs::read_dir(name)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(format!("{} {}", names.len(), names.join(" ").chars().take(200).collect::<String>()))
    })())
}

/// Makes directories with empty files.
pub(crate) fn make(top: &str, directories: u64, files: u64) -> String {
    told((|| {
        for directory in 0..directories {
            let place = Path::new(top).join(format!("d{directory}"));
            fs::create_dir_all(&place)?;
            for file in 0..files {
                fs::File::create(place.join(format!("file{file}")))?;
            }
        }
        Ok(format!("{}", directories * files))
    })())
}

/// Calls `each` for all files beneath a directory, and `after` for the directories, deepest first.
fn visit(
    top: &Path,
    each: &mut dyn FnMut(&Path, u64) -> io::Result<()>,
    after: &mut dyn FnMut(&Path) -> io::Result<()>,
) -> io::Result<()> {
    for entry in fs::read_dir(top)?.collect::<io::Result<Vec<_>>>()? {
        let data = entry.metadata()?;
        if data.is_dir() {
            visit(&entry.path(), each, after)?;
        } else {
            each(&entry.path(), data.len())?;
        }
    }
    after(top)
}

/// Counts files, their bytes, and directories.
pub(crate) fn walk(top: &str) -> String {
    let (mut files, mut bytes, mut directories) = (0, 0, 0);
    let mut each = |_: &Path, len| {
        files += 1;
        bytes += len;
        Ok(())
    };
    let mut after = |_: &Path| {
        directories += 1;
        Ok(())
    };
    let result = visit(Path::new(top), &mut each, &mut after);
    told(result.map(|()| format!("{files} files, {bytes} bytes, {directories} directories")))
}

/// Removes everything.
pub(crate) fn remove(top: &str) -> String {
    let mut count = 0;
    let mut each = |path: &Path, _| {
        count += 1;
        fs::remove_file(path)
    };
    let result = visit(Path::new(top), &mut each, &mut |path| fs::remove_dir(path));
    told(result.map(|()| format!("{count} removed")))
}

/// Reads every byte, by read(2) and through a mapping; gives both sums.
pub(crate) fn read(top: &str) -> String {
    let (mut sum, mut mapped, mut bytes) = (0u64, 0u64, 0u64);
    let mut buffer = vec![0; crate::PIECE];
    let mut each = |path: &Path, len: u64| {
        use std::{io::Read, os::fd::AsRawFd};
        let mut file = fs::File::open(path)?;
        loop {
            let count = file.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            bytes += count as u64;
            sum += buffer[..count].iter().step_by(64).map(|&byte| u64::from(byte)).sum::<u64>();
        }
        let start = crate::sys::map(file.as_raw_fd(), len, false).map_err(io::Error::from_raw_os_error)?;
        mapped += (0..len as usize)
            .step_by(4096)
            .map(|at| crate::sys::load(start + at).map_or(0, u64::from))
            .sum::<u64>();
        Ok(())
    };
    let result = visit(Path::new(top), &mut each, &mut |_| Ok(()));
    told(result.map(|()| format!("{bytes} bytes, {sum}, {mapped}")))
}

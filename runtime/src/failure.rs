//! Why a program cannot be started, in runc's words, by which Docker tells the exit status.

use crate::check;

/// What the sentry says of a process that it could not start, to be shown.
pub(crate) fn start(errno: u32, message: &str) -> String {
    let error = std::io::Error::from_raw_os_error(errno.cast_signed());
    let reason = check::message(&error);
    let text = match message.strip_prefix("exec ") {
        Some(program) if errno == libc::ENOENT.unsigned_abs() && !program.contains('/') => {
            format!("exec: {program:?}: executable file not found in $PATH")
        }
        Some(program) if errno == libc::ENOENT.unsigned_abs() => {
            format!("exec: {program:?}: stat {program}: {reason}")
        }
        Some(program) => format!("exec: {program:?}: {reason}"),
        None => match message.strip_prefix("chdir to ") {
            Some(cwd) => format!("chdir to cwd ({cwd:?}) set in config.json failed: {reason}"),
            None => format!("{message}: {reason}"),
        },
    };
    format!("unable to start container process: {text}")
}

#[cfg(test)]
mod tests {
    use super::start;

    #[test]
    fn failures_are_worded_as_runc_words_them() {
        let prefix = "unable to start container process: ";
        assert_eq!(
            start(2, "exec nothing"),
            format!("{prefix}exec: \"nothing\": executable file not found in $PATH")
        );
        assert_eq!(start(2, "exec /x"), format!("{prefix}exec: \"/x\": stat /x: no such file or directory"));
        assert_eq!(start(13, "exec /x"), format!("{prefix}exec: \"/x\": permission denied"));
        assert_eq!(
            start(2, "chdir to /x"),
            format!("{prefix}chdir to cwd (\"/x\") set in config.json failed: no such file or directory")
        );
    }
}

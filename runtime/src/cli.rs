//! The command line, in runc's words.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::{
    check, commands,
    report::{self, LogFormat},
    run,
};

/// OCI container runtime that gives each container its own kernel in a KVM guest
#[derive(Debug, Parser)]
#[command(name = "ringfence", version = version(), max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Flags of every command.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Directory of container state
    #[arg(long, global = true, default_value = "/run/ringfence")]
    pub(crate) root: PathBuf,
    /// Log file
    #[arg(long, global = true)]
    pub(crate) log: Option<PathBuf>,
    /// Form of the log file
    #[arg(long, global = true, default_value = "text")]
    pub(crate) log_format: LogFormat,
    /// Log more
    #[arg(long, global = true)]
    pub(crate) debug: bool,
    /// Let systemd make cgroups
    #[arg(long, global = true)]
    pub(crate) systemd_cgroup: bool,
    /// Log every system call of the container
    #[arg(long, global = true)]
    pub(crate) strace: bool,
    /// Sandbox log; `%ID%` is the container's id (default: the log file, else nowhere)
    #[arg(long, global = true)]
    pub(crate) sandbox_log: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create and run a container
    Run(Run),
    /// Show the state of a container
    State {
        /// Container id
        id: String,
    },
    /// Send a signal to a container's first process
    Kill {
        /// To all processes
        #[arg(short, long)]
        all: bool,
        /// Container id
        id: String,
        /// Signal name or number
        #[arg(default_value = "SIGTERM")]
        signal: String,
    },
    /// Remove what a stopped container left
    Delete {
        /// Kill it first if it runs; succeed if it does not exist
        #[arg(short, long)]
        force: bool,
        /// Container id
        id: String,
    },
    /// List containers
    List {
        /// Only ids
        #[arg(short, long)]
        quiet: bool,
        /// `table` or `json`
        #[arg(short, long, default_value = "table")]
        format: String,
    },
    /// Write a config.json to start from
    Spec {
        /// Bundle directory
        #[arg(short, long, default_value = ".")]
        bundle: PathBuf,
    },
    /// Say whether this machine can run ringfence, and what to do if not
    Check,
}

/// `run`.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Bundle directory
    #[arg(short, long, default_value = ".")]
    pub(crate) bundle: PathBuf,
    /// File for the process id of the sandbox
    #[arg(long)]
    pub(crate) pid_file: Option<PathBuf>,
    /// Keep the container's state after it has stopped
    #[arg(long)]
    pub(crate) keep: bool,
    /// Pass this many descriptors after standard error
    #[arg(long, default_value_t = 0)]
    pub(crate) preserve_fds: u32,
    /// Container id
    pub(crate) id: String,
}

/// `1.2.3` and the OCI version, as runc prints them.
fn version() -> &'static str {
    concat!(env!("CARGO_PKG_VERSION"), "\nspec: 1.2.0")
}

/// Parses the command line and does what it says; gives the exit status.
pub(crate) fn run() -> i32 {
    crate::timing::enabled();
    let cli = Cli::parse();
    let global = &cli.global;
    let result = report::start(global.log.as_deref(), global.log_format, global.debug).and_then(|()| {
        match &cli.command {
            Command::Run(run) => run::run(global, run),
            Command::State { id } => commands::state(global, id),
            Command::Kill { all, id, signal } => commands::kill(global, id, signal, *all),
            Command::Delete { force, id } => commands::delete(global, id, *force),
            Command::List { quiet, format } => commands::list(global, *quiet, format),
            Command::Spec { bundle } => commands::spec(bundle),
            Command::Check => check::check(),
        }
    });
    result.unwrap_or_else(|error| {
        report::failure(&error, global.log.as_deref(), global.log_format);
        1
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}

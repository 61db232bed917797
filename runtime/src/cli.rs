//! The command line, in runc's words.

use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::{
    check, commands,
    network::Mode,
    overlay::Overlay,
    report::{self, LogFormat},
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
    /// Directory of container state; stands before the command
    #[arg(long, default_value = "/run/ringfence")]
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
    /// Cgroup paths are in systemd's form; the directories are made all the same
    #[arg(long, global = true)]
    systemd_cgroup: bool,
    /// Whether to do without privileges: `true`, `false` or `auto`
    #[arg(long, global = true, default_value = "auto")]
    rootless: String,
    /// Accepted for callers that use it; there are no checkpoints
    #[arg(long, global = true, hide = true)]
    criu: Option<PathBuf>,
    /// How containers are connected
    #[arg(long, global = true, default_value = "sandbox")]
    pub(crate) network: Mode,
    /// Keep changes of the host's files in memory: `none`, `root:memory` or `all:memory`, with `,size=BYTES`
    #[arg(long, global = true, value_name = "OVERLAY")]
    pub(crate) overlay2: Option<Overlay>,
    /// Log every system call of the container
    #[arg(long, global = true)]
    pub(crate) strace: bool,
    /// Sandbox log; `%ID%` is the container's id (default: the log file, else nowhere)
    #[arg(long, global = true)]
    pub(crate) sandbox_log: Option<PathBuf>,
}

/// Form of what a command prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Rows for people.
    Table,
    /// JSON for programs.
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create a container
    Create(Launch),
    /// Let the first process of a created container go
    Start {
        /// Container id
        id: String,
    },
    /// Create and run a container
    Run(Run),
    /// Run a command in a sandbox over the host's files, which it cannot change
    Do(Do),
    /// Run a further process in a container
    Exec(Exec),
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
    /// Stop every process of a container
    Pause {
        /// Container id
        id: String,
    },
    /// Let a paused container go on
    Resume {
        /// Container id
        id: String,
    },
    /// List the processes of a container
    Ps {
        /// Form of the list
        #[arg(short, long, default_value = "table")]
        format: Format,
        /// Container id
        id: String,
        /// Options for ps(1), which have no effect
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
        options: Vec<String>,
    },
    /// List containers
    List {
        /// Only ids
        #[arg(short, long)]
        quiet: bool,
        /// Form of the list
        #[arg(short, long, default_value = "table")]
        format: Format,
    },
    /// Change the limits of a container
    Update(Update),
    /// Write a config.json to start from
    Spec {
        /// Bundle directory
        #[arg(short, long, default_value = ".")]
        bundle: PathBuf,
        /// Refused: nothing can be done without privileges
        #[arg(long, hide = true)]
        rootless: bool,
    },
    /// Print what a container uses, and when memory runs out, until it ends
    Events(Events),
    /// Show what a sandbox is doing: stacks of its tasks, counters
    Debug(Debug),
    /// Print the system calls of a container that runs, until it ends or this is interrupted
    Strace {
        /// Where they go (default: standard output)
        #[arg(short, long)]
        output: Option<PathBuf>,
        /// Container id
        id: String,
    },
    /// Make this runtime known to Docker and containerd
    Install(Install),
    /// Take back what `install` did
    Uninstall(Uninstall),
    /// Print what a shell completes
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write the page of each command into a directory
    Man {
        /// The directory
        directory: Option<PathBuf>,
    },
    /// Print what this runtime can do
    Features,
    /// Say whether this machine can run ringfence, and what to do if not
    Check,
}

/// What makes a container: `create`, and part of `run`.
#[derive(Debug, Args)]
pub(crate) struct Launch {
    /// Bundle directory
    #[arg(short, long, default_value = ".")]
    pub(crate) bundle: PathBuf,
    /// Unix socket that is sent the master of the container's terminal
    #[arg(long)]
    pub(crate) console_socket: Option<PathBuf>,
    /// File for the process id of the sandbox
    #[arg(long)]
    pub(crate) pid_file: Option<PathBuf>,
    /// Pass this many descriptors after standard error
    #[arg(long, default_value_t = 0)]
    pub(crate) preserve_fds: u32,
    /// Accepted for callers that use it; the sandbox has an empty root of its own in any case
    #[arg(long, hide = true)]
    no_pivot: bool,
    /// Accepted for callers that use it; no key of the caller is reachable from a sandbox
    #[arg(long, hide = true)]
    no_new_keyring: bool,
    /// Container id
    pub(crate) id: String,
}

/// `run`.
#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) launch: Launch,
    /// Return when the container runs
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Keep the container's state after it has stopped
    #[arg(long)]
    pub(crate) keep: bool,
    /// Accepted for callers that use it; processes of a container never become children of the host's
    #[arg(long, hide = true)]
    pub(crate) no_subreaper: bool,
}

impl Launch {
    /// With nothing asked for.
    pub(crate) fn of(bundle: &Path, id: &str) -> Self {
        Self {
            bundle: bundle.to_owned(),
            console_socket: None,
            pid_file: None,
            preserve_fds: 0,
            no_pivot: false,
            no_new_keyring: false,
            id: id.to_owned(),
        }
    }
}

/// `do`.
#[derive(Debug, Args)]
pub(crate) struct Do {
    /// Directory that the command sees as its root
    #[arg(id = "directory", long = "root", default_value = "/")]
    pub(crate) directory: PathBuf,
    /// Working directory (default: this one, if it is there)
    #[arg(long)]
    pub(crate) cwd: Option<PathBuf>,
    /// Program and arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    pub(crate) args: Vec<String>,
}

/// `exec`.
#[derive(Debug, Args)]
pub(crate) struct Exec {
    /// Unix socket that is sent the master of the process's terminal
    #[arg(long)]
    pub(crate) console_socket: Option<PathBuf>,
    /// Working directory
    #[arg(long)]
    pub(crate) cwd: Option<PathBuf>,
    /// Environment variable, NAME=value
    #[arg(short, long)]
    pub(crate) env: Vec<String>,
    /// Give it a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// UID[:GID]
    #[arg(short, long)]
    pub(crate) user: Option<String>,
    /// Supplementary group
    #[arg(short = 'g', long)]
    pub(crate) additional_gids: Vec<u32>,
    /// File that describes the process
    #[arg(short, long)]
    pub(crate) process: Option<PathBuf>,
    /// Return when the process runs
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// File for the id of the host process that stands for it
    #[arg(long)]
    pub(crate) pid_file: Option<PathBuf>,
    /// Forbid it to gain privileges
    #[arg(long)]
    pub(crate) no_new_privs: bool,
    /// Add a capability
    #[arg(short, long)]
    pub(crate) cap: Vec<String>,
    /// Pass this many descriptors after standard error
    #[arg(long, default_value_t = 0)]
    pub(crate) preserve_fds: u32,
    /// Accepted for callers that use it; labels of the host do not reach into a sandbox
    #[arg(long, hide = true)]
    apparmor: Option<String>,
    /// As `--apparmor`
    #[arg(long, hide = true)]
    process_label: Option<String>,
    /// Cgroup below the container's: `/`, for there are no others
    #[arg(long, hide = true)]
    pub(crate) cgroup: Vec<String>,
    /// Do so in a paused container; the process starts when that is resumed
    #[arg(long)]
    pub(crate) ignore_paused: bool,
    /// Container id
    pub(crate) id: String,
    /// Program and arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) args: Vec<String>,
}

/// `update`.
#[derive(Debug, Args)]
pub(crate) struct Update {
    /// File of limits as config.json has them, instead of the options; `-` is standard input
    #[arg(short, long)]
    pub(crate) resources: Option<PathBuf>,
    /// Memory in bytes
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) memory: Option<i64>,
    /// Memory that is to be left to it, in bytes
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) memory_reservation: Option<i64>,
    /// Memory and swap in bytes; -1 is no limit
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) memory_swap: Option<i64>,
    /// CPU time of a period in microseconds; -1 is no limit
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) cpu_quota: Option<i64>,
    /// Period of the CPU quota in microseconds
    #[arg(long)]
    pub(crate) cpu_period: Option<i64>,
    /// Share of CPU time
    #[arg(long)]
    pub(crate) cpu_share: Option<i64>,
    /// CPUs to run on
    #[arg(long)]
    pub(crate) cpuset_cpus: Option<String>,
    /// Memory nodes to use
    #[arg(long)]
    pub(crate) cpuset_mems: Option<String>,
    /// Most processes; -1 is no limit
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) pids_limit: Option<i64>,
    /// Share of block I/O, 10 to 1000
    #[arg(long)]
    pub(crate) blkio_weight: Option<u16>,
    /// Refused: there is no real-time CPU time of a cgroup
    #[arg(long, hide = true)]
    pub(crate) cpu_rt_period: Option<u64>,
    /// As `--cpu-rt-period`
    #[arg(long, hide = true, allow_negative_numbers = true)]
    pub(crate) cpu_rt_runtime: Option<i64>,
    /// Refused: there is no Intel RDT
    #[arg(long, hide = true)]
    pub(crate) l3_cache_schema: Option<String>,
    /// As `--l3-cache-schema`
    #[arg(long, hide = true)]
    pub(crate) mem_bw_schema: Option<String>,
    /// Container id
    pub(crate) id: String,
}

/// `events`.
#[derive(Debug, Args)]
pub(crate) struct Events {
    /// Time from one set of figures to the next
    #[arg(long, default_value = "5s")]
    pub(crate) interval: String,
    /// Print figures once
    #[arg(long)]
    pub(crate) stats: bool,
    /// Container id
    pub(crate) id: String,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Level {
    /// Nothing.
    Off,
    /// What makes the sandbox fail.
    Error,
    /// What may be wrong.
    Warn,
    /// What is worth knowing.
    Info,
    /// What helps to find faults.
    Debug,
    /// Everything.
    Trace,
}

impl Level {
    /// Their names, by number.
    pub(crate) const NAMES: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
}

/// `debug`.
#[derive(Debug, Args)]
pub(crate) struct Debug {
    /// Show where each task is; without any of these flags all is shown
    #[arg(long)]
    pub(crate) stacks: bool,
    /// Show counters
    #[arg(long)]
    pub(crate) counters: bool,
    /// Log up to this level from now on, into the sandbox log
    #[arg(long)]
    pub(crate) log_level: Option<Level>,
    /// Container id
    pub(crate) id: String,
}

/// Whose configuration is changed, and where.
#[derive(Debug, Args)]
pub(crate) struct Target {
    /// Name of the runtime
    #[arg(long, default_value = "ringfence")]
    pub(crate) name: String,
    /// Docker's; without this and --containerd, those of the engines that are here
    #[arg(long)]
    pub(crate) docker: bool,
    /// containerd's
    #[arg(long)]
    pub(crate) containerd: bool,
    /// Docker's configuration file
    #[arg(long, default_value = "/etc/docker/daemon.json")]
    pub(crate) docker_config: PathBuf,
    /// containerd's configuration file
    #[arg(long, default_value = "/etc/containerd/config.toml")]
    pub(crate) containerd_config: PathBuf,
}

/// `install`.
#[derive(Debug, Args)]
pub(crate) struct Install {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Path of the program (default: this one's)
    #[arg(long)]
    pub(crate) path: Option<PathBuf>,
    /// Global flags that Docker is to give it, after `--`
    #[arg(last = true)]
    pub(crate) arguments: Vec<String>,
}

/// `uninstall`.
#[derive(Debug, Args)]
pub(crate) struct Uninstall {
    #[command(flatten)]
    pub(crate) target: Target,
}

/// `1.2.3` and the OCI version, as runc prints them.
fn version() -> &'static str {
    concat!(env!("CARGO_PKG_VERSION"), "\nspec: 1.2.0")
}

/// The description of the command line.
pub(crate) fn command() -> clap::Command {
    Cli::command()
}

/// Parses the command line and does what it says; gives the exit status.
pub(crate) fn run() -> i32 {
    crate::timing::enabled();
    let cli = Cli::parse();
    let global = &cli.global;
    let result = report::start(global.log.as_deref(), global.log_format, global.debug).and_then(|()| {
        match &cli.command {
            Command::Create(options) => commands::create::create(global, options),
            Command::Start { id } => commands::start::start(global, id),
            Command::Run(options) => commands::run::run(global, options),
            Command::Do(options) => commands::throwaway::run_command(global, options),
            Command::Exec(options) => commands::exec::exec(global, options),
            Command::State { id } => commands::state::state(global, id),
            Command::Kill { all, id, signal } => commands::kill::kill(global, id, signal, *all),
            Command::Delete { force, id } => commands::delete::delete(global, id, *force),
            Command::Pause { id } => commands::pause::pause(global, id),
            Command::Resume { id } => commands::pause::resume(global, id),
            Command::Ps { id, format, .. } => commands::ps::ps(global, id, *format),
            Command::List { quiet, format } => commands::list::list(global, *quiet, *format),
            Command::Update(options) => commands::update::update(global, options),
            Command::Spec { bundle, rootless } => commands::spec::spec(bundle, *rootless),
            Command::Events(options) => commands::events::events(global, options),
            Command::Debug(options) => commands::debug::debug(global, options),
            Command::Strace { output, id } => commands::debug::strace(global, id, output.as_ref()),
            Command::Install(options) => commands::install::install(options),
            Command::Uninstall(options) => commands::install::uninstall(options),
            Command::Completion { shell } => commands::documents::completion(command(), *shell),
            Command::Man { directory } => commands::documents::man(command(), directory.as_deref()),
            Command::Features => commands::features::features(),
            Command::Check => check::check(),
        }
    });
    result.unwrap_or_else(|error| {
        report::failure(&error, global.log.as_deref(), global.log_format);
        if matches!(cli.command, Command::Exec(_)) { commands::exec::FAILED } else { 1 }
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

//! What the cases of exec share: starting a program in a child, and what the started program says.
#![allow(unsafe_code, reason = "reads the first stack")]

use std::{fs, io::Read, os::fd::FromRawFd, os::unix::fs::PermissionsExt};

use crate::{
    Out,
    sys::{self, call},
    vdso::auxv,
};

/// This program.
pub(crate) const ME: &str = "/bin/linux-cases";

/// A file that may be executed.
pub(crate) fn write_program(name: &str, bytes: &[u8]) {
    let _ = fs::remove_file(name);
    let done =
        fs::write(name, bytes).and_then(|()| fs::set_permissions(name, fs::Permissions::from_mode(0o755)));
    assert!(done.is_ok(), "{name}: {done:?}");
}

pub(crate) fn script(name: &str, text: &str) {
    write_program(name, text.as_bytes());
}

pub(crate) fn copy_of_self(name: &str) {
    write_program(name, &fs::read(ME).unwrap_or_default());
}

/// How a program is started.
pub(crate) struct Run<'a> {
    path: &'a str,
    argv: Vec<&'a str>,
    env: Vec<String>,
    user: Option<u32>,
    no_new_privs: bool,
    stack: Option<u64>,
    personality: u32,
    at: Option<(i32, i32)>,
}

impl<'a> Run<'a> {
    /// `argv` is all of it, but for the cases' own modes: `child …` gets the program's name put before it.
    pub(crate) fn new(path: &'a str, argv: &[&'a str]) -> Self {
        let own = argv.first().is_some_and(|word| *word == "child");
        let argv = own.then_some("linux-cases").into_iter().chain(argv.iter().copied()).collect();
        Self {
            path,
            argv,
            env: Vec::new(),
            user: None,
            no_new_privs: false,
            stack: None,
            personality: 0,
            at: None,
        }
    }

    pub(crate) fn by_user(mut self, user: u32) -> Self {
        self.user = Some(user);
        self
    }

    pub(crate) fn no_new_privs(mut self) -> Self {
        self.no_new_privs = true;
        self
    }

    pub(crate) fn stack(mut self, limit: u64) -> Self {
        self.stack = Some(limit);
        self
    }

    pub(crate) fn env(mut self, variable: &str) -> Self {
        self.env.push(variable.into());
        self
    }

    pub(crate) fn no_env(mut self) -> Self {
        self.env.clear();
        self
    }

    pub(crate) fn personality(mut self, value: u32) -> Self {
        self.personality = value;
        self
    }

    pub(crate) fn at(mut self, dir: i32, flags: i32) -> Self {
        self.at = Some((dir, flags));
        self
    }

    /// Does it in this process; comes back with an error only.
    pub(crate) fn exec(&self) -> i64 {
        if let Some(limit) = self.stack {
            let limit = [limit, u64::MAX];
            call!(SYS_setrlimit, libc::RLIMIT_STACK, limit.as_ptr());
        }
        if let Some(user) = self.user {
            call!(SYS_setgroups, 0, 0);
            call!(SYS_setresgid, user, user, user);
            call!(SYS_setresuid, user, user, user);
        }
        if self.no_new_privs {
            call!(SYS_prctl, libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        }
        call!(SYS_personality, self.personality);
        let pointers = |words: &mut dyn Iterator<Item = &str>| {
            words.map(sys::c).chain([std::ptr::null()]).collect::<Vec<_>>()
        };
        let argv = pointers(&mut self.argv.iter().copied());
        let envp = pointers(&mut self.env.iter().map(String::as_str));
        let path = sys::c(self.path);
        match self.at {
            Some((dir, flags)) => call!(SYS_execveat, dir, path, argv.as_ptr(), envp.as_ptr(), flags),
            None => call!(SYS_execve, path, argv.as_ptr(), envp.as_ptr()),
        }
    }

    /// In a child whose standard output is the case's; says the error or how it ended.
    pub(crate) fn quiet(&self, out: &mut Out) {
        let fd = out.fd();
        let pid = sys::fork(|| {
            call!(SYS_dup2, fd, 1);
            let error = self.exec();
            Out::new(fd).ret("exec", error);
            100
        });
        out.say(sys::status(sys::wait(pid) & !0x80));
    }

    /// As [`Self::quiet`]; the program says what it was given.
    pub(crate) fn show(self, out: &mut Out) {
        self.env("CASE_SHOW=1").quiet(out);
    }

    /// The lines that it writes.
    pub(crate) fn output(&self) -> Vec<String> {
        let (from, to) = sys::pipe();
        let pid = sys::fork(|| {
            sys::close(from);
            call!(SYS_dup2, to, 1);
            self.exec();
            100
        });
        sys::close(to);
        let mut text = String::new();
        // SAFETY: the pipe's end is this function's own.
        let _ = unsafe { fs::File::from_raw_fd(from) }.read_to_string(&mut text);
        sys::wait(pid);
        text.lines().map(str::to_owned).collect()
    }
}

/// Runs a program that says what it was given.
pub(crate) fn show(out: &mut Out, path: &str, argv: &[&str]) {
    Run::new(path, argv).show(out);
}

/// A string of the auxiliary vector.
fn text_at(address: u64) -> String {
    if address == 0 {
        return "none".into();
    }
    // SAFETY: the kernel put a string there.
    unsafe { std::ffi::CStr::from_ptr(address as *const libc::c_char) }.to_string_lossy().into_owned()
}

fn short(text: &str) -> String {
    if text.len() > 60 { format!("{}… ({} bytes)", &text[..20], text.len()) } else { text.into() }
}

/// What a program of `CASE_SHOW` writes.
pub(crate) fn say_given() -> i32 {
    let words: Vec<String> = std::env::args().map(|word| short(&word)).collect();
    let comm = fs::read_to_string("/proc/self/comm").unwrap_or_default();
    let exe = fs::read_link("/proc/self/exe").map(|path| path.to_string_lossy().into_owned());
    println!("given {words:?}");
    println!(
        "name {:?} comm {comm:?} exe {:?}",
        // SAFETY: asks the C library.
        short(&text_at(unsafe { libc::getauxval(libc::AT_EXECFN) })),
        exe.unwrap_or_default()
    );
    0
}

/// What programs of the cases say.
pub(crate) fn child(words: &[&str]) -> Option<i32> {
    match words {
        ["count", ..] => println!("{} words", std::env::args().count()),
        ["wait"] => {
            sys::read(0, &mut [0]);
        }
        ["descriptors"] => {
            let open: Vec<i32> = (3..100).filter(|&fd| call!(SYS_fcntl, fd, libc::F_GETFD) >= 0).collect();
            println!("{:?}", open.iter().filter(|fd| **fd >= 40).collect::<Vec<_>>());
        }
        ["signals"] => signals(),
        ["threads"] => {
            let count = fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
            println!("leader {} threads {count}", sys::gettid() == sys::getpid());
        }
        ["auxv"] => say_auxv(),
        ["stack"] => say_stack(),
        ["ids"] => ids(),
        ["layout"] => layout(),
        ["stack-rights"] => {
            let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
            let line = maps.lines().find(|line| line.ends_with("[stack]")).unwrap_or_default();
            println!("{:?}", line.split_whitespace().nth(1));
        }
        ["stays"] => {
            let cwd = std::env::current_dir().unwrap_or_default();
            let mut limit = [0u64; 2];
            call!(SYS_getrlimit, libc::RLIMIT_NOFILE, limit.as_mut_ptr());
            println!("{:?} {:o}", cwd.file_name(), call!(SYS_umask, 0));
            println!("{} {} {limit:?}", call!(SYS_getpriority, 0, 0), call!(SYS_prctl, 39, 0, 0, 0, 0));
            println!("{:?}", fs::read_to_string("/proc/self/comm").unwrap_or_default());
        }
        ["alarm"] => println!("{}", call!(SYS_alarm, 0) > 900),
        _ => return None,
    }
    Some(0)
}

fn signals() {
    for signo in [libc::SIGUSR1, libc::SIGUSR2, libc::SIGCHLD, libc::SIGHUP] {
        let mut action = [0u64; 4];
        call!(SYS_rt_sigaction, signo, 0, action.as_mut_ptr(), 8);
        let kind = if action[0] > 1 { 2 } else { action[0] };
        println!("{} {kind}", sys::signal_name(signo));
    }
    let (mut mask, mut pending) = ([0u64], [0u64]);
    call!(SYS_rt_sigprocmask, 0, 0, mask.as_mut_ptr(), 8);
    call!(SYS_rt_sigpending, pending.as_mut_ptr(), 8);
    println!("mask {:x} pending {:x}", mask[0], pending[0]);
}

fn say_auxv() {
    let bytes = fs::read("/proc/self/auxv").unwrap_or_default();
    let words: Vec<u64> =
        bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap_or_default())).collect();
    let keys: Vec<u64> = words.chunks_exact(2).map(|pair| pair[0]).collect();
    // What only later kernels have is left out.
    println!("{:?}", keys.iter().filter(|key| !matches!(key, 29 | 30)).collect::<Vec<_>>());
    for key in [6, 17, 4, 7, 8, 11, 12, 13, 14, 23, 27, 28] {
        println!("{key}: {:?}", auxv(key));
    }
    let features = std::arch::x86_64::__cpuid(1);
    println!("hwcap {}", auxv(16) == Some(features.edx.into()));
    println!("platform {}", text_at(auxv(15).unwrap_or(0)));
    println!("name {}", text_at(auxv(31).unwrap_or(0)));
    println!("frame {}", auxv(51).is_some_and(|size| (1000..20_000).contains(&size)));
    println!("headers {}", auxv(5).is_some_and(|count| (1..30).contains(&count)));
    // SAFETY: the kernel put 16 bytes there, and the program's headers.
    unsafe {
        println!("random {}", auxv(25).is_some_and(|at| *(at as *const [u8; 16]) != [0; 16]));
        println!("a header {}", auxv(3).is_some_and(|at| *(at as *const u32) < 8));
    }
}

/// The order of things on the first stack.
fn say_stack() {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let field = |index: usize| {
        let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        rest.split_whitespace().nth(index - 3).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0)
    };
    let start = field(28);
    println!("aligned {}", start % 16);
    // SAFETY: the kernel put the count of arguments there, and pointers behind.
    let (count, first) = unsafe { (*(start as *const u64), *((start + 8) as *const u64)) };
    println!("count {count} first {}", text_at(first));
    println!("arguments {}", field(48) == first);
    println!("in order {}", field(48) < field(49) && field(49) <= field(50) && field(50) <= field(51));
}

fn ids() {
    let mut user = [0u32; 3];
    call!(SYS_getresuid, &raw mut user[0], &raw mut user[1], &raw mut user[2]);
    let mut group = [0u32; 3];
    call!(SYS_getresgid, &raw mut group[0], &raw mut group[1], &raw mut group[2]);
    let mut death = 0i32;
    call!(SYS_prctl, libc::PR_GET_PDEATHSIG, &raw mut death, 0, 0, 0);
    let dumpable = call!(SYS_prctl, libc::PR_GET_DUMPABLE, 0, 0, 0, 0);
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let caps: Vec<&str> = status.lines().filter(|line| line.starts_with("Cap")).collect();
    // Where AT_SECURE is set the program's own auxv may be out of its sight.
    // SAFETY: asks the C library.
    let secure = unsafe { libc::getauxval(libc::AT_SECURE) };
    println!("user {user:?} group {group:?} secure {secure} dumpable {dumpable} death {death}");
    println!("{}", caps.join(" "));
}

fn layout() {
    let here = 0u8;
    let heap = call!(SYS_brk, 0);
    let map = call!(SYS_mmap, 0, 4096, libc::PROT_READ, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0);
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let stack_end =
        maps.lines().find(|line| line.ends_with("[stack]")).and_then(|line| line.split([' ', '-']).nth(1));
    let _ = here;
    println!("stack {}", stack_end.unwrap_or_default());
    println!("heap {heap:x}");
    println!("mmap {map:x}");
    println!("random {:x}", auxv(25).unwrap_or(0));
}

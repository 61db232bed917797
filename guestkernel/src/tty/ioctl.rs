//! Device operations of pseudo-terminals, ioctl_tty(2).
//!
//! What concerns settings and job control acts on the program's end from either.

use alloc::sync::Arc;
use linux_raw_sys::{
    general::{
        CLOCAL, O_CLOEXEC, TCIFLUSH, TCIOFF, TCIOFLUSH, TCION, TCOFLUSH, TCOOFF, TCOON, VSTART, VSTOP,
    },
    ioctl::{
        TCFLSH, TCGETA, TCGETS, TCGETS2, TCSBRK, TCSBRKP, TCSETA, TCSETAF, TCSETS, TCSETS2, TCSETSF,
        TCSETSF2, TCXONC, TIOCCBRK, TIOCCONS, TIOCEXCL, TIOCGDEV, TIOCGETD, TIOCGEXCL, TIOCGLCKTRMIOS,
        TIOCGPGRP, TIOCGPKT, TIOCGPTLCK, TIOCGPTN, TIOCGPTPEER, TIOCGSID, TIOCGSOFTCAR, TIOCGWINSZ, TIOCINQ,
        TIOCNOTTY, TIOCNXCL, TIOCOUTQ, TIOCPKT, TIOCSBRK, TIOCSCTTY, TIOCSETD, TIOCSIG, TIOCSLCKTRMIOS,
        TIOCSPGRP, TIOCSPTLCK, TIOCSSOFTCAR, TIOCSTI, TIOCSWINSZ, TIOCVHANGUP,
    },
};
use zerocopy::{FromBytes, IntoBytes};

use super::{
    Terminal, control,
    file::End,
    pty::{CONTROLLING, PROGRAM, Side},
    termios::{OLD, PLAIN, Termios},
};
use crate::{
    arch::uaccess,
    errno::{Errno, Result},
    fs::{File, devpts},
    signal::{SIGINT, SIGQUIT, SIGTSTP, SIGTTOU, SigSet},
    task::{cred::Caps, current, rlimit::Resource},
};

fn is_admin() -> bool {
    current().with_cred(|cred| cred.capable(Caps::SYS_ADMIN))
}

/// Does it.
///
/// # Errors
/// As ioctl_tty(2).
pub(super) fn ioctl(end: &End, file: &File, request: u32, arg: u64) -> Result<u64> {
    if end.is_hung_up() {
        return Err(if request == TIOCSPGRP { Errno::ENOTTY } else { Errno::EIO });
    }
    if end.side() == CONTROLLING
        && let Some(result) = of_controlling_end(end, request, arg)
    {
        return result;
    }
    match request {
        TCGETS
        | TCGETS2
        | TCGETA
        | TCSETS..=TCSETSF
        | TCSETA..=TCSETAF
        | TCSETS2..=TCSETSF2
        | TIOCGSOFTCAR
        | TIOCSSOFTCAR
        | TIOCGLCKTRMIOS
        | TIOCSLCKTRMIOS => settings(end, request, arg),
        TIOCSCTTY | TIOCNOTTY | TIOCGPGRP | TIOCSPGRP | TIOCGSID => {
            let terminal: Arc<dyn Terminal> = end.pty().clone();
            job_control(&terminal, end.side() == CONTROLLING, file, request, arg)
        }
        TIOCGPTPEER => peer(end, file, arg),
        TIOCGWINSZ => uaccess::put(arg, &end.pty().size()).map(|()| 0),
        TIOCSWINSZ => {
            end.pty().set_size(uaccess::get(arg)?);
            Ok(0)
        }
        TCFLSH => flush(end, arg),
        TCXONC => flow(end, arg),
        TIOCSTI => type_for(end, arg),
        TIOCINQ => put_int(arg, with_side(end, |side| side.line.input_len() as u32)),
        // What is written has arrived.
        TIOCOUTQ => put_int(arg, 0),
        TIOCEXCL | TIOCNXCL => {
            with_side(end, |side| side.exclusive = request == TIOCEXCL);
            Ok(0)
        }
        TIOCGEXCL => put_int(arg, with_side(end, |side| side.exclusive.into())),
        TIOCGDEV => put_int(arg, end.pty().number() as u32),
        // There is no line that could be broken; what is written has arrived.
        TCSBRK | TCSBRKP | TIOCSBRK | TIOCCBRK => changes(end).map(|()| 0),
        TIOCGETD => put_int(arg, 0),
        TIOCSETD => {
            changes(end)?;
            let discipline: u32 = uaccess::get(arg)?;
            if discipline == 0 { Ok(0) } else { Err(Errno::EINVAL) }
        }
        TIOCCONS if end.side() == CONTROLLING => Err(Errno::EINVAL),
        TIOCCONS if !is_admin() => Err(Errno::EPERM),
        TIOCVHANGUP if !is_admin() => Err(Errno::EPERM),
        TIOCVHANGUP => {
            end.pty().hang_up(end.side());
            Ok(0)
        }
        _ => Err(Errno::ENOTTY),
    }
}

/// What only the controlling end knows.
fn of_controlling_end(end: &End, request: u32, arg: u64) -> Option<Result<u64>> {
    let pty = end.pty();
    Some(match request {
        TIOCGPTN => put_int(arg, pty.index),
        TIOCSPTLCK => uaccess::get(arg).map(|on: u32| {
            pty.lock().locked = on != 0;
            0
        }),
        TIOCGPTLCK => put_int(arg, pty.lock().locked.into()),
        TIOCPKT => uaccess::get(arg).map(|on: u32| {
            pty.with(|state| {
                let (own, other) = state.ends(CONTROLLING);
                own.packets = on != 0;
                other.line.watch(on != 0);
            });
            0
        }),
        TIOCGPKT => put_int(arg, with_side(end, |side| side.packets.into())),
        TIOCSIG => match u32::try_from(arg as i32) {
            Ok(signo @ (SIGINT | SIGQUIT | SIGTSTP)) => {
                control::send_to_foreground(&**pty, SigSet::of(&[signo]));
                Ok(0)
            }
            _ => Err(Errno::EINVAL),
        },
        _ => return None,
    })
}

fn put_int(arg: u64, value: u32) -> Result<u64> {
    uaccess::put(arg, &value).map(|()| 0)
}

fn with_side<T>(end: &End, f: impl FnOnce(&mut Side) -> T) -> T {
    f(end.pty().lock().ends(end.side()).0)
}

/// The caller is about to change this end.
fn changes(end: &End) -> Result<()> {
    end.check(SIGTTOU)
}

/// Settings; they are the program's end's.
fn settings(end: &End, request: u32, arg: u64) -> Result<u64> {
    let now = || *end.pty().lock().ends(PROGRAM).0.line.termios();
    match request {
        TCGETS => uaccess::copy_to_user(arg, &now().as_bytes()[..PLAIN])?,
        TCGETS2 => uaccess::put(arg, &now())?,
        TCGETA => uaccess::copy_to_user(arg, &now().to_old())?,
        TIOCGSOFTCAR => uaccess::put(arg, &u32::from(now().control & CLOCAL != 0))?,
        TIOCSSOFTCAR => {
            let on: u32 = uaccess::get(arg)?;
            let termios = now();
            let control = termios.control & !CLOCAL | if on != 0 { CLOCAL } else { 0 };
            set(end, Termios { control, ..termios }, false);
        }
        // None is ever locked.
        TIOCGLCKTRMIOS => uaccess::put(arg, &[0u8; PLAIN])?,
        TIOCSLCKTRMIOS => return Err(if is_admin() { Errno::ENOTTY } else { Errno::EPERM }),
        _ => {
            control::check(&**end.pty(), SIGTTOU)?;
            let old = now();
            let mut bytes = [0; size_of::<Termios>()];
            bytes.copy_from_slice(old.as_bytes());
            let termios = match request {
                TCSETA..=TCSETAF => {
                    let mut short = [0; OLD];
                    uaccess::copy_from_user(&mut short, arg)?;
                    old.with_old(&short)
                }
                TCSETS..=TCSETSF => {
                    uaccess::copy_from_user(&mut bytes[..PLAIN], arg)?;
                    Termios::read_from_bytes(&bytes).map_err(|_| Errno::EINVAL)?
                }
                _ => uaccess::get(arg)?,
            };
            set(end, termios.normalized(), matches!(request, TCSETAF | TCSETSF | TCSETSF2));
        }
    }
    Ok(0)
}

/// Sets them; what is written has arrived already. `flush`: what was typed is forgotten.
fn set(end: &End, termios: Termios, flush: bool) {
    end.pty().with(|state| {
        let (program, controlling) = state.ends(PROGRAM);
        if flush {
            program.line.flush_input();
        }
        program.line.set_termios(termios, &mut controlling.store);
    });
}

/// Operations of job control. `controlling`: at the controlling end of a pseudo-terminal.
///
/// # Errors
/// As ioctl_tty(2); `ENOTTY` for other operations.
pub fn job_control(
    terminal: &Arc<dyn Terminal>,
    controlling: bool,
    file: &File,
    request: u32,
    arg: u64,
) -> Result<u64> {
    match request {
        TIOCSCTTY => control::acquire(terminal.clone(), arg == 1, file.check_readable().is_ok())?,
        // The controlling end controls nobody.
        TIOCNOTTY if controlling => return Err(Errno::ENOTTY),
        TIOCNOTTY => control::give_up(&**terminal)?,
        TIOCGPGRP => uaccess::put(arg, &control::foreground(&**terminal, controlling)?)?,
        TIOCGSID => uaccess::put(arg, &control::session(&**terminal, controlling)?)?,
        TIOCSPGRP => control::set_foreground(&**terminal, || uaccess::get(arg))?,
        _ => return Err(Errno::ENOTTY),
    }
    Ok(0)
}

/// `TIOCGPTPEER`: opens the program's end without its name.
fn peer(end: &End, file: &File, arg: u64) -> Result<u64> {
    if end.side() != CONTROLLING {
        return Err(Errno::EIO);
    }
    let flags = arg as u32;
    let opened = File::open(devpts::path_of(file.path(), end.pty())?, flags & !O_CLOEXEC)?;
    let me = current();
    let limit = me.process.rlimit(Resource::OpenFiles).soft;
    me.files().install(opened, flags & O_CLOEXEC != 0, 0, limit).map(|fd| fd as u64)
}

fn flush(end: &End, arg: u64) -> Result<u64> {
    changes(end)?;
    let which = u32::try_from(arg).map_err(|_| Errno::EINVAL)?;
    if which > TCIOFLUSH {
        return Err(Errno::EINVAL);
    }
    end.pty().with(|state| {
        let (own, other) = state.ends(end.side());
        if matches!(which, TCIFLUSH | TCIOFLUSH) {
            super::line::Output::flush(&mut own.store);
            own.line.flush_input();
            other.line.note_room();
        }
        if matches!(which, TCOFLUSH | TCIOFLUSH) {
            own.line.flush_output(&mut other.store);
        }
    });
    Ok(0)
}

fn flow(end: &End, arg: u64) -> Result<u64> {
    changes(end)?;
    let which = u32::try_from(arg).map_err(|_| Errno::EINVAL)?;
    end.pty().with(|state| {
        let (own, other) = state.ends(end.side());
        match which {
            TCOOFF => own.line.stop_by_program(true),
            TCOON => own.line.stop_by_program(false),
            TCIOFF | TCION => {
                let char = own.line.termios().char(if which == TCIOFF { VSTOP } else { VSTART });
                if char != 0 {
                    own.line.send(char, &mut other.store);
                }
            }
            _ => return Err(Errno::EINVAL),
        }
        Ok(0)
    })
}

/// `TIOCSTI`: a character as if it had been typed.
fn type_for(end: &End, arg: u64) -> Result<u64> {
    // As where `dev.tty.legacy_tiocsti` is 0: it lets programs type into shells.
    if !is_admin() {
        return Err(Errno::EIO);
    }
    let char: u8 = uaccess::get(arg)?;
    end.pty().with(|state| {
        let (own, other) = state.ends(end.side());
        own.line.receive(&[char], &mut other.store);
    });
    Ok(0)
}

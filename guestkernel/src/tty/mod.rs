//! Terminals: the line discipline, pseudo-terminals, and who a terminal controls.
//!
//! A [`line::Line`] is one end's line discipline, without locks or waiting: settings, what was typed and not
//! read, and the echo. A [`pty::Pty`] joins two of them behind one spinning lock; an open end of it is a
//! [`file::End`]. A [`control::Terminal`] is what can control a session: a pseudo-terminal's program end, or
//! a terminal of the host on a stream. The names are in `fs::devpts`; [`joint`] gives a pseudo-terminal to the host.
//!
//! Lock order: the process tree, then a pseudo-terminal's state, a terminal's [`control::Control`] or a
//! process's terminal, which are leaves, as the list of joints is. Signals are sent, and queues woken, when none of them is held.

pub mod control;
pub mod file;
pub mod ioctl;
pub mod joint;
pub mod line;
pub mod pty;
pub mod termios;

pub use control::Terminal;

//! The VMM: KVM, guest memory, the hostcall server and the jail.
//!
//! A sandbox is one process. The runtime starts it with [`spawn`]; its main is [`sandbox_main`].
mod boot;
mod broker;
pub mod check;
mod clients;
pub mod config;
pub mod control;
mod counts;
mod cpu;
mod error;
mod events;
mod filter;
pub mod harness;
mod image;
mod jail;
mod log;
mod marks;
mod memory;
mod network;
pub mod packet;
mod paging;
mod sandbox;
mod server;
mod spawn;
mod stand_in;
mod symbols;
mod vcpu;
mod vm;

pub use error::Error;
pub use sandbox::sandbox_main;
pub use server::request;
pub use spawn::{
    Control, SandboxFds, SandboxProcess, SandboxSettings, Tree, entitle, lead_session, spawn, spawn_program,
    take_name,
};
pub use symbols::find as find_symbol;

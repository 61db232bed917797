//! The commands, one a file.

pub(crate) mod create;
pub(crate) mod debug;
pub(crate) mod delete;
pub(crate) mod documents;
pub(crate) mod events;
pub(crate) mod exec;
pub(crate) mod features;
pub(crate) mod install;
pub(crate) mod kill;
pub(crate) mod list;
pub(crate) mod pause;
pub(crate) mod ps;
pub(crate) mod run;
pub(crate) mod spec;
pub(crate) mod start;
pub(crate) mod state;
pub(crate) mod throwaway;
pub(crate) mod update;

//! Shared by the examples: child processes, command lines, and process statistics.

// No example uses all of it.
#![allow(dead_code)]

pub(crate) mod activity;
pub(crate) mod child;
pub(crate) mod command_line;
pub(crate) mod links;
pub(crate) mod member;
pub(crate) mod memory;
pub(crate) mod open_files;
pub(crate) mod pair;

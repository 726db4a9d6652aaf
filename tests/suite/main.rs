//! The integration tests.

mod bad_input;
mod binds;
mod dialing;
#[cfg(feature = "noise")]
mod encrypted;
mod ends;
mod executors;
mod plain_peer;
mod policy;
mod processes;
mod reliability;
mod resume;
#[path = "../../examples/measure/runner.rs"]
mod runner;
mod scripted;
mod sending;
mod stopping;
mod streams;
mod subject;
mod vectors;

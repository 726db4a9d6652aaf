//! The integration tests.

mod addresses;
mod bad_input;
mod binds;
mod callbacks;
mod dialing;
#[cfg(feature = "noise")]
mod encrypted;
mod ends;
mod executors;
mod neighbours;
mod plain_peer;
mod policy;
#[cfg(feature = "node")]
mod processes;
mod reliability;
mod resume;
mod runner;
mod scripted;
mod sending;
mod stopping;
mod streams;
mod subject;
mod vectors;

/// Stands for the tests of `processes` in a build that lacks the program.
#[cfg(not(feature = "node"))]
#[test]
#[ignore = "the tests of netmod-node need the feature `node`"]
fn processes() {}

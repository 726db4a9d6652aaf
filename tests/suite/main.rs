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

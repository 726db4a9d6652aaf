//! The command `keygen`: creates and shows keys.

use crate::failure::Failure;
use lexopt::{Arg, Parser};
use netmod_inet::{KeyPair, NetworkSecret};
use std::env::ArgsOs;

/// Creates or shows a key. Returns what to print.
pub(crate) fn run(args: ArgsOs) -> Result<String, Failure> {
    let mut parser = Parser::from_args(args);
    let mut what = String::from("key");
    let mut path = None;
    loop {
        match parser.next().map_err(|error| Failure::option(error.to_string()))? {
            Some(Arg::Long(name @ ("secret" | "show"))) => what = name.to_owned(),
            Some(Arg::Value(value)) if path.is_none() => path = Some(value),
            Some(other) => return Err(Failure::option(other.unexpected().to_string())),
            None => break,
        }
    }
    let Some(path) = path else {
        return Err(Failure::option("keygen needs the name of a file".to_owned()));
    };
    let printed = match what.as_str() {
        "secret" => NetworkSecret::create(path).map(|_| String::new()),
        "show" => KeyPair::load(path).map(|keys| format!("{}\n", keys.public())),
        _ => KeyPair::create(path).map(|keys| format!("{}\n", keys.public())),
    };
    printed.map_err(|error| Failure::runtime(error.to_string()))
}

//! The options about keys, and the command `keygen`.

use crate::run::Failure;
use lexopt::{Arg, Parser};
use netmod_inet::{Encryption, KeyError, KeyPair, NetworkSecret, PublicKey};
use std::env::ArgsOs;
use std::fmt::Display;

pub(crate) const HELP: &str = "\
Encryption:
  --key-file FILE       encrypt links, with the key in this file; links to plain
                        nodes stay plain unless an option below or key= in the
                        address of a peer asks for more
  --encrypted-only      refuse plain links
  --allow-key KEY       let only nodes with this key dial in; may be repeated
                        (--allow is for addresses)
  --network-secret-file FILE
                        only have links with nodes that have the same secret
A final ?key=KEY in the ADDR of a peer pins its key, 64 hex digits:
mynas.example:9000?key=KEY. With &key=KEY another one is as good.

Keys are made, and shown, by
  netmod-node keygen FILE           make a key, and show its public half
  netmod-node keygen --secret FILE  make a secret for a network
  netmod-node keygen --show FILE    show the public half of a key

";

/// The options about keys.
#[derive(Default)]
pub(crate) struct Keys {
    own: Option<KeyPair>,
    encrypted_only: bool,
    allowed: Vec<PublicKey>,
    secret: Option<NetworkSecret>,
    /// The first option that requires `--key-file`.
    needs_key: Option<String>,
}

impl Keys {
    /// Parses an option about keys. Returns `false` for any other.
    pub(crate) fn parse_option(&mut self, parser: &mut Parser, name: &str) -> Result<bool, String> {
        match name {
            "key-file" => self.own = Some(file(parser, name, KeyPair::load)?),
            "encrypted-only" => self.encrypted_only = true,
            "allow-key" => self.allowed.push(key(parser, name)?),
            "network-secret-file" => self.secret = Some(file(parser, name, NetworkSecret::load)?),
            _ => return Ok(false),
        }
        if name != "key-file" {
            self.needs_key.get_or_insert_with(|| name.to_owned());
        }
        Ok(true)
    }

    /// The encryption settings, or `None` without a key.
    pub(crate) fn encryption(self) -> Result<Option<Encryption>, String> {
        let Some(own) = self.own else {
            return match self.needs_key {
                Some(name) => Err(format!("--{name} needs --key-file")),
                None => Ok(None),
            };
        };
        let mut encryption = self.allowed.into_iter().fold(Encryption::new(own), Encryption::allow);
        if self.encrypted_only {
            encryption = encryption.required();
        }
        if let Some(secret) = self.secret {
            encryption = encryption.network_secret(secret);
        }
        Ok(Some(encryption))
    }
}

fn file<T>(
    parser: &mut Parser,
    name: &str,
    load: impl Fn(std::ffi::OsString) -> Result<T, KeyError>,
) -> Result<T, String> {
    let path = parser.value().map_err(|_| format!("--{name} needs a value"))?;
    load(path).map_err(|error| format!("--{name} {error}"))
}

fn key(parser: &mut Parser, name: &str) -> Result<PublicKey, String> {
    let text = parser.value().map_err(|_| format!("--{name} needs a value"))?;
    // The value is not quoted: it may be a private key given by mistake.
    text.to_string_lossy().parse().map_err(|error| format!("--{name}: {error}"))
}

/// Creates or shows a key: the command `keygen`.
pub(crate) fn keygen(args: ArgsOs) -> Result<(), Failure> {
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
    crate::print(&printed.map_err(failed)?)
}

fn failed(error: impl Display) -> Failure {
    Failure { status: 1, message: error.to_string() }
}

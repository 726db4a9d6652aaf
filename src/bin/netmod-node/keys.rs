//! Parses the options about keys.

use lexopt::Parser;
use netmod_inet::{Encryption, KeyError, KeyPair, NetworkSecret, PublicKey};
use std::ffi::OsString;

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
            "key-file" => self.own = Some(load_file(parser, name, KeyPair::load)?),
            "encrypted-only" => self.encrypted_only = true,
            "allow-key" => self.allowed.push(parse_key(parser, name)?),
            "network-secret-file" => {
                self.secret = Some(load_file(parser, name, NetworkSecret::load)?)
            }
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

fn load_file<T>(
    parser: &mut Parser,
    name: &str,
    load: impl Fn(OsString) -> Result<T, KeyError>,
) -> Result<T, String> {
    let path = parser.value().map_err(|_| format!("--{name} needs a value"))?;
    load(path).map_err(|error| format!("--{name} {error}"))
}

fn parse_key(parser: &mut Parser, name: &str) -> Result<PublicKey, String> {
    let text = parser.value().map_err(|_| format!("--{name} needs a value"))?;
    // The value is not quoted: it may be a private key given by mistake.
    text.to_string_lossy().parse().map_err(|error| format!("--{name}: {error}"))
}

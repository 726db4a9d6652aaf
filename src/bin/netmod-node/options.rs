//! Parses the command line.

use crate::peer_files::{self, PeerFiles};
use lexopt::{Arg, Parser};
use netmod_inet::{AcceptPolicy, Id, IpRange, Limits};
use std::ffi::OsString;
use std::fmt::Display;
use std::net::SocketAddr;
use std::str::FromStr;

/// Why the options about keys are not available.
#[cfg(not(feature = "noise"))]
const NO_KEYS: &str = "this node was built without the feature noise, and has no keys";

/// What the command line requests.
pub(crate) enum Request {
    Run(Box<Options>),
    Help,
    Limits,
    Version,
}

/// The options of a node.
#[derive(Default)]
pub(crate) struct Options {
    /// Empty means the default.
    pub(crate) binds: Vec<String>,
    pub(crate) peers: PeerFiles,
    pub(crate) id: Option<Id>,
    pub(crate) json: bool,
    /// Whether received frames are not printed.
    pub(crate) quiet: bool,
    /// Whether each line begins with a timestamp.
    pub(crate) time: bool,
    /// Whether to show a table instead of lines.
    pub(crate) watch: bool,
    /// The address of the metrics server.
    pub(crate) metrics: Option<SocketAddr>,
    pub(crate) accept: AcceptPolicy,
    pub(crate) limits: Limits,
    #[cfg(feature = "noise")]
    pub(crate) encryption: Option<netmod_inet::Encryption>,
}

impl Request {
    /// Parses the arguments. The error names the option and its value.
    pub(crate) fn parse(parser: Parser) -> Result<Request, String> {
        let mut reader = Reader {
            parser,
            known_only: false,
            allow: Vec::new(),
            deny: Vec::new(),
            #[cfg(feature = "noise")]
            keys: crate::keys::Keys::default(),
        };
        let mut options = Options::default();
        loop {
            let option = match reader.parser.next() {
                Ok(None) => break,
                Ok(Some(Arg::Long("help") | Arg::Short('h'))) => return Ok(Request::Help),
                Ok(Some(Arg::Long("limits"))) => return Ok(Request::Limits),
                Ok(Some(Arg::Long("version") | Arg::Short('V'))) => return Ok(Request::Version),
                Ok(Some(Arg::Long(name))) => name.to_owned(),
                #[cfg(not(feature = "noise"))]
                Ok(Some(Arg::Value(word))) if word == "keygen" => {
                    return Err(format!("keygen: {NO_KEYS}"));
                }
                Ok(Some(other)) => return Err(other.unexpected().to_string()),
                Err(error) => return Err(error.to_string()),
            };
            reader.parse_option(&option, &mut options)?;
        }
        #[cfg(feature = "noise")]
        {
            options.encryption = std::mem::take(&mut reader.keys).encryption()?;
        }
        options.accept = reader.into_policy();
        if options.json && (options.watch || options.time) {
            return Err(
                "--json is for programs: it goes with neither --watch nor --time".to_owned()
            );
        }
        Ok(Request::Run(Box::new(options)))
    }
}

struct Reader {
    parser: Parser,
    known_only: bool,
    allow: Vec<IpRange>,
    deny: Vec<IpRange>,
    #[cfg(feature = "noise")]
    keys: crate::keys::Keys,
}

impl Reader {
    fn parse_option(&mut self, name: &str, options: &mut Options) -> Result<(), String> {
        match name {
            "bind" => options.binds.push(text_value(&mut self.parser, name)?),
            "peer" => {
                let peer = parsed_value(&mut self.parser, name)?;
                peer_files::check_unique(&options.peers.permanent, &peer)
                    .map_err(|error| format!("--{name} {error}"))?;
                options.peers.permanent.push(peer);
            }
            "peer-file" => options.peers.paths.push(os_value(&mut self.parser, name)?.into()),
            "id" => options.id = Some(parsed_value(&mut self.parser, name)?),
            "json" => options.json = true,
            "quiet" => options.quiet = true,
            "time" => options.time = true,
            "watch" => options.watch = true,
            "metrics" => options.metrics = Some(self.parse_metrics(name)?),
            "accept" => {
                let text = text_value(&mut self.parser, name)?;
                self.known_only = match text.as_str() {
                    "all" => false,
                    "known" => true,
                    _ => return Err(invalid(name, &text, &"neither all nor known")),
                };
            }
            "allow" => self.allow.push(parsed_value(&mut self.parser, name)?),
            "deny" => self.deny.push(parsed_value(&mut self.parser, name)?),
            "limit" => self.parse_limit(name, &mut options.limits)?,
            #[cfg(feature = "noise")]
            _ if self.keys.parse_option(&mut self.parser, name)? => {}
            #[cfg(not(feature = "noise"))]
            "key-file" | "encrypted-only" | "allow-key" | "network-secret-file" => {
                return Err(format!("--{name}: {NO_KEYS}"));
            }
            _ => return Err(Arg::Long(name).unexpected().to_string()),
        }
        Ok(())
    }

    fn parse_metrics(&mut self, name: &str) -> Result<SocketAddr, String> {
        let text = text_value(&mut self.parser, name)?;
        text.parse().map_err(|_| invalid(name, &text, &"no socket address (write 127.0.0.1:9100)"))
    }

    fn parse_limit(&mut self, name: &str, limits: &mut Limits) -> Result<(), String> {
        let text = text_value(&mut self.parser, name)?;
        let Some((limit, value)) = text.split_once('=') else {
            return Err(invalid(name, &text, &"not of the form NAME=VALUE"));
        };
        limits.set(limit, value).map_err(|error| invalid(name, &text, &error))
    }

    fn into_policy(self) -> AcceptPolicy {
        let base = if self.known_only { AcceptPolicy::known() } else { AcceptPolicy::all() };
        let policy = self.allow.into_iter().fold(base, AcceptPolicy::allow);
        self.deny.into_iter().fold(policy, AcceptPolicy::deny)
    }
}

fn os_value(parser: &mut Parser, name: &str) -> Result<OsString, String> {
    parser.value().map_err(|_| format!("--{name} needs a value"))
}

fn text_value(parser: &mut Parser, name: &str) -> Result<String, String> {
    let value = os_value(parser, name)?;
    value.into_string().map_err(|value| invalid(name, &value.to_string_lossy(), &"not UTF-8"))
}

fn parsed_value<T: FromStr<Err: Display>>(parser: &mut Parser, name: &str) -> Result<T, String> {
    let text = text_value(parser, name)?;
    text.parse().map_err(|error| invalid(name, &text, &error))
}

fn invalid(name: &str, value: &str, error: &dyn Display) -> String {
    format!("--{name} `{}`: {error}", peer_files::redact_key(value))
}

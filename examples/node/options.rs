//! The command line.

use lexopt::{Arg, Parser};
use netmod_inet::{AcceptPolicy, Id, IpRange, Limits, PeerAddr};
use std::ffi::OsString;
use std::fmt::Display;
use std::str::FromStr;

/// What the command line asks for.
pub(crate) enum Request {
    Run(Box<Options>),
    Help,
    Version,
}

/// How to run a node.
#[derive(Default)]
pub(crate) struct Options {
    /// Empty: the default.
    pub(crate) binds: Vec<String>,
    pub(crate) peers: Vec<PeerAddr>,
    pub(crate) id: Option<Id>,
    pub(crate) json: bool,
    pub(crate) accept: AcceptPolicy,
    pub(crate) limits: Limits,
}

impl Request {
    /// The error names the option and its value.
    pub(crate) fn parse(parser: Parser) -> Result<Request, String> {
        let mut reader = Reader { parser, known_only: false, allow: Vec::new(), deny: Vec::new() };
        let mut options = Options::default();
        loop {
            let option = match reader.parser.next() {
                Ok(None) => break,
                Ok(Some(Arg::Long("help") | Arg::Short('h'))) => return Ok(Request::Help),
                Ok(Some(Arg::Long("version") | Arg::Short('V'))) => return Ok(Request::Version),
                Ok(Some(Arg::Long(name))) => name.to_owned(),
                Ok(Some(other)) => return Err(other.unexpected().to_string()),
                Err(error) => return Err(error.to_string()),
            };
            reader.option(&option, &mut options)?;
        }
        options.accept = reader.policy();
        Ok(Request::Run(Box::new(options)))
    }
}

struct Reader {
    parser: Parser,
    known_only: bool,
    allow: Vec<IpRange>,
    deny: Vec<IpRange>,
}

impl Reader {
    fn option(&mut self, name: &str, options: &mut Options) -> Result<(), String> {
        match name {
            "bind" => options.binds.push(text(&mut self.parser, name)?),
            "peer" => {
                let peer = value(&mut self.parser, name)?;
                add_peer(&mut options.peers, peer).map_err(|error| format!("--{name} {error}"))?;
            }
            "peer-file" => self.peer_file(name, &mut options.peers)?,
            "id" => options.id = Some(value(&mut self.parser, name)?),
            "json" => options.json = true,
            "accept" => {
                let text = text(&mut self.parser, name)?;
                self.known_only = match text.as_str() {
                    "all" => false,
                    "known" => true,
                    _ => return Err(bad(name, &text, "neither all nor known")),
                };
            }
            "allow" => self.allow.push(value(&mut self.parser, name)?),
            "deny" => self.deny.push(value(&mut self.parser, name)?),
            "limit" => self.limit(name, &mut options.limits)?,
            _ => return Err(Arg::Long(name).unexpected().to_string()),
        }
        Ok(())
    }

    fn peer_file(&mut self, name: &str, peers: &mut Vec<PeerAddr>) -> Result<(), String> {
        let path = raw(&mut self.parser, name)?;
        let bad = |error: &dyn Display| bad(name, &path.to_string_lossy(), error);
        let text = std::fs::read(&path).map_err(|error| bad(&error))?;
        let listed = PeerAddr::parse_list(&text).map_err(|error| bad(&error))?;
        listed.into_iter().try_for_each(|peer| add_peer(peers, peer)).map_err(|error| bad(&error))
    }

    fn limit(&mut self, name: &str, limits: &mut Limits) -> Result<(), String> {
        let text = text(&mut self.parser, name)?;
        let Some((limit, value)) = text.split_once('=') else {
            return Err(bad(name, &text, "not of the form NAME=VALUE"));
        };
        limits.set(limit, value).map_err(|error| bad(name, &text, error))
    }

    fn policy(self) -> AcceptPolicy {
        let base = if self.known_only { AcceptPolicy::known() } else { AcceptPolicy::all() };
        let policy = self.allow.into_iter().fold(base, AcceptPolicy::allow);
        self.deny.into_iter().fold(policy, AcceptPolicy::deny)
    }
}

/// The endpoint checks this too, but cannot tell which option is to blame.
fn add_peer(peers: &mut Vec<PeerAddr>, peer: PeerAddr) -> Result<(), String> {
    let same = |other: &PeerAddr| (other.host(), other.port()) == (peer.host(), peer.port());
    if peers.iter().any(same) {
        return Err(format!("`{peer}`: this peer is given twice"));
    }
    peers.push(peer);
    Ok(())
}

fn raw(parser: &mut Parser, name: &str) -> Result<OsString, String> {
    parser.value().map_err(|_| format!("--{name} needs a value"))
}

fn text(parser: &mut Parser, name: &str) -> Result<String, String> {
    let value = raw(parser, name)?;
    value.into_string().map_err(|value| bad(name, &value.to_string_lossy(), "not UTF-8"))
}

fn value<T: FromStr<Err: Display>>(parser: &mut Parser, name: &str) -> Result<T, String> {
    let text = text(parser, name)?;
    text.parse().map_err(|error| bad(name, &text, error))
}

fn bad(name: &str, value: &str, error: impl Display) -> String {
    format!("--{name} `{value}`: {error}")
}

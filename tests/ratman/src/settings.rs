//! What a Ratman configuration says of the netmod `inet`.

use libratman::types::error::UserError;
use libratman::{NetmodError, RatmanError, Result};
use netmod_inet::{AcceptPolicy, PeerAddr};

/// The keys of Ratman's configuration that are for this netmod, and their values.
///
/// ```
/// use netmod_inet_ratman::Settings;
///
/// let mut settings = Settings::default();
/// for (key, value) in [
///     ("enable", "true"),
///     ("bind", "[::]:9000"),
///     ("accept_unknown_peers", "false"),
///     ("add-peer", "inet:mynas.example:9000X"),
/// ] {
///     settings.set(key, value)?;
/// }
/// assert_eq!(settings.peers().len(), 1);
/// # Ok::<(), libratman::RatmanError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// `enable`: whether the router uses the netmod at all. Default: it does.
    pub enable: bool,
    /// `bind`: the address to listen on. Default: `[::]:9000`, which takes IPv4 as well.
    pub bind: String,
    /// `accept_unknown_peers`: whether nodes may come in that are not in the list of peers. Default:
    /// they may.
    pub accept_unknown_peers: bool,
    peers: Vec<PeerAddr>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            enable: true,
            bind: "[::]:9000".to_owned(),
            accept_unknown_peers: true,
            peers: Vec::new(),
        }
    }
}

impl Settings {
    /// Takes the value of a key: `enable`, `bind`, `accept_unknown_peers`, or `add-peer`, which may
    /// come more than once. A dash in a key is as good as an underscore.
    ///
    /// # Errors
    ///
    /// [`UserError::InvalidInput`] names the key and the value, and what would be right;
    /// [`NetmodError::InvalidPeer`] says what is wrong with an address. Nothing is changed then.
    /// Whether `bind` can be used shows when the endpoint is opened.
    pub fn set(&mut self, key: &str, value: &str) -> Result<()> {
        match key.replace('-', "_").as_str() {
            "enable" => self.enable = read_switch(key, value)?,
            "bind" => value.clone_into(&mut self.bind),
            "accept_unknown_peers" => self.accept_unknown_peers = read_switch(key, value)?,
            "add_peer" => self.add_peers(value)?,
            _ => return Err(invalid(key, "enable, bind, accept_unknown_peers or add-peer")),
        }
        Ok(())
    }

    /// Adds the peers of a list: an address on each line, such as `inet:mynas.example:9000X`. Blank
    /// lines and lines that begin with `#` are skipped.
    ///
    /// # Errors
    ///
    /// [`NetmodError::InvalidPeer`] names the first line that is no address, or the same place as an
    /// earlier one. No peer is added then.
    pub fn add_peers(&mut self, lines: &str) -> Result<()> {
        let peers = PeerAddr::parse_list(lines.as_bytes())
            .map_err(|error| NetmodError::InvalidPeer(error.to_string()))?;
        self.peers.extend(peers);
        Ok(())
    }

    /// The peers to dial.
    pub fn peers(&self) -> &[PeerAddr] {
        &self.peers
    }
}

/// Who may come in.
pub(crate) fn policy(accept_unknown_peers: bool) -> AcceptPolicy {
    match accept_unknown_peers {
        true => AcceptPolicy::all(),
        false => AcceptPolicy::known(),
    }
}

fn read_switch(key: &str, value: &str) -> Result<bool> {
    let invalid = |_| invalid(&format!("{key} {value}"), &format!("{key} true, or {key} false"));
    value.parse().map_err(invalid)
}

fn invalid(got: &str, expected: &str) -> RatmanError {
    UserError::InvalidInput(got.to_owned(), Some(expected.to_owned())).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(key: &str, value: &str) -> String {
        let mut settings = Settings::default();
        let error = settings.set(key, value).expect_err(key);
        assert_eq!(settings, Settings::default());
        error.to_string()
    }

    #[test]
    fn keys_and_values_that_are_wrong_are_named() {
        let error = refused("enable", "yes");
        assert_eq!(
            error,
            "got invalid input 'enable yes' (expected 'enable true, or enable false')"
        );
        assert!(refused("accept_unknown_peers", "").contains("'accept_unknown_peers '"));
        assert!(refused("bnid", "[::]:9000").contains("got invalid input 'bnid'"));
    }

    #[test]
    fn every_peer_of_every_line_counts() {
        let mut settings = Settings::default();
        settings.set("add-peer", "inet:a.example:9000X").expect("an address");
        settings.add_peers("# home\n\ninet#b.example:9000\n[2001:db8::1]:9000\n").expect("a list");
        let peers: Vec<_> = settings.peers().iter().map(PeerAddr::to_string).collect();
        assert_eq!(peers, ["a.example:9000X", "b.example:9000", "[2001:db8::1]:9000"]);
        let error = settings.add_peers("c.example:9000\nd.example").expect_err("no port");
        let RatmanError::Netmod(NetmodError::InvalidPeer(reason)) = error else { panic!() };
        assert_eq!(reason, "line 2: `d.example`: the port is missing");
        assert_eq!(settings.peers().len(), 3);
    }
}

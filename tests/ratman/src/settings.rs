//! The settings of the netmod `inet` in a Ratman configuration.

use std::time::Duration;

use libratman::types::Ident32;
use libratman::types::error::UserError;
use libratman::{NetmodError, RatmanError, Result};
use netmod_inet::{AcceptPolicy, Builder, Id, InetEndpoint, Limits, PeerAddr};

use crate::report::TARGET;

/// The keys of Ratman's configuration that are for this netmod, and their values.
///
/// ```
/// use netmod_inet_ratman::Settings;
///
/// let mut settings = Settings::default();
/// // Section `inet` of the default configuration, and what stands elsewhere.
/// for (section, key, value) in [
///     ("inet", "enable", "true"),
///     ("inet", "bind", "[::]:5860"),
///     ("inet", "use_upnp", "true"),
///     ("ratmand", "accept_unknown_peers", "true"),
/// ] {
///     settings.set_in(section, key, value)?;
/// }
/// settings.add_peers("inet:mynas.example:9000X")?;
/// assert_eq!(settings.peers().len(), 1);
/// # Ok::<(), libratman::RatmanError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// `enable`: whether the router uses the netmod at all. Default: it does.
    pub enable: bool,
    /// `bind`: the address to listen on. Default: `[::]:5860`, which takes IPv4 as well.
    pub bind: String,
    /// `accept_unknown_peers`: whether nodes may come in that are not in the list of peers.
    /// Default: they may. Ratman's default configuration is that they may not, and Ratman's own
    /// `inet` lets them in all the same; this one does not.
    pub accept_unknown_peers: bool,
    /// `send_timeout`: for how long an envelope waits for room. Default: 10 s.
    pub send_timeout: Duration,
    peers: Vec<PeerAddr>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            enable: true,
            bind: "[::]:5860".to_owned(),
            accept_unknown_peers: true,
            send_timeout: Limits::default().send_timeout,
            peers: Vec::new(),
        }
    }
}

impl Settings {
    /// Takes the value of a key of a section as Ratman's configuration has them: of `inet` what
    /// [`set`](Settings::set) takes, of `ratmand` the key `accept_unknown_peers`. What is not for
    /// this netmod is passed over.
    ///
    /// # Errors
    ///
    /// See [`set`](Settings::set).
    pub fn set_in(&mut self, section: &str, key: &str, value: &str) -> Result<()> {
        match (section, key.replace('-', "_").as_str()) {
            ("inet", _) | ("ratmand", "accept_unknown_peers") => self.set(key, value),
            _ => Ok(()),
        }
    }

    /// Takes the value of a key: `enable`, `bind`, `use_upnp`, `accept_unknown_peers`,
    /// `send_timeout` such as `10s`, or `add-peer`, which may come more than once. A dash in a key
    /// is as good as an underscore.
    ///
    /// There is no UPnP here: `use_upnp true` is taken, and the log warns of it.
    ///
    /// # Errors
    ///
    /// [`UserError::InvalidInput`] names the key and the value, and what would be right;
    /// [`NetmodError::InvalidPeer`] names what is wrong with an address. Nothing is changed then.
    /// Whether `bind` can be used shows when the endpoint is opened.
    pub fn set(&mut self, key: &str, value: &str) -> Result<()> {
        match key.replace('-', "_").as_str() {
            "enable" => self.enable = read_switch(key, value)?,
            "bind" => value.clone_into(&mut self.bind),
            "use_upnp" => {
                if read_switch(key, value)? {
                    log::warn!(
                        target: TARGET,
                        "`use_upnp true` has no effect: forward the port of `bind` in your router"
                    );
                }
            }
            "accept_unknown_peers" => self.accept_unknown_peers = read_switch(key, value)?,
            "send_timeout" => {
                let mut limits = Limits::default();
                let set = limits.set("send_timeout", value);
                set.map_err(|_| {
                    invalid(&format!("{key} {value}"), "a time such as `send_timeout 10s`")
                })?;
                self.send_timeout = limits.send_timeout;
            }
            "add_peer" => self.add_peers(value)?,
            _ => {
                let expected =
                    "enable, bind, use_upnp, accept_unknown_peers, send_timeout or add-peer";
                return Err(invalid(key, expected));
            }
        }
        Ok(())
    }

    /// Adds the peers of a list: an address on each line, such as `inet:mynas.example:9000X`. Blank
    /// lines and lines that begin with `#` are skipped.
    ///
    /// # Errors
    ///
    /// [`NetmodError::InvalidPeer`] names the first line that is no address, or the same place as
    /// an earlier one. No peer is added then.
    pub fn add_peers(&mut self, lines: &str) -> Result<()> {
        let peers = PeerAddr::parse_list(lines.as_bytes()).map_err(|error| {
            log::warn!(target: TARGET, "the list of peers cannot be used: {error}");
            NetmodError::InvalidPeer(error.to_string())
        })?;
        self.peers.extend(peers);
        Ok(())
    }

    /// The peers to dial.
    pub fn peers(&self) -> &[PeerAddr] {
        &self.peers
    }

    /// An endpoint with these settings, for the router with this id; for
    /// [`RatmanInet::start`](crate::RatmanInet::start), after what the settings do not cover.
    /// The peers are not in it.
    pub fn builder(&self, router: Ident32) -> Builder {
        let mut limits = Limits::default();
        limits.send_timeout = self.send_timeout;
        InetEndpoint::builder()
            .router_id(Id::from_bytes(router.slice()))
            .bind(&self.bind)
            .accept(policy(self.accept_unknown_peers))
            .limits(limits)
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
        assert!(refused("send_timeout", "soon").contains("a time such as `send_timeout 10s`"));
        assert!(refused("use_upnp", "perhaps").contains("'use_upnp perhaps'"));
    }

    #[test]
    fn the_default_configuration_is_taken_section_by_section() {
        let mut settings = Settings::default();
        for (section, key, value) in [
            ("ratmand", "accept_unknown_peers", "false"),
            ("ratmand", "verbosity", "info"),
            ("inet", "enable", "true"),
            ("inet", "bind", "[::]:5860"),
            ("inet", "use_upnp", "true"),
            ("lan", "bind", "[::]:5861"),
        ] {
            settings.set_in(section, key, value).expect(key);
        }
        let expected = Settings { accept_unknown_peers: false, ..Settings::default() };
        assert_eq!(settings, expected);
        settings.set("send-timeout", "250ms").expect("a time");
        assert_eq!(settings.send_timeout, Duration::from_millis(250));
        assert!(settings.set_in("inet", "accept_unknown_peer", "true").is_err(), "misspelt");
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

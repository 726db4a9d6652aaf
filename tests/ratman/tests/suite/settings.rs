//! A netmod that a Ratman configuration describes.

use libratman::endpoint::EndpointExt;
use libratman::types::{Ident32, Neighbour};
use libratman::{NetmodError, RatmanError};
use netmod_inet::{DropReason, Event};
use netmod_inet_ratman::{RatmanInet, Settings};

use crate::node::{Node, claimed, failure, within};

fn settings(pairs: &[(&str, &str)]) -> Settings {
    let mut settings = Settings::default();
    settings.set("bind", "127.0.0.1:0").unwrap();
    for (key, value) in pairs {
        settings.set(key, value).unwrap();
    }
    settings
}

async fn open(settings: &Settings, id: u8) -> RatmanInet {
    RatmanInet::open(settings, claimed(id)).await.unwrap().expect("it is enabled")
}

#[test]
fn the_peers_of_the_settings_are_dialed_under_the_routers_id() {
    smol::block_on(async {
        let mut hub = Node::new(9).await;
        let peer = format!("inet:{}", hub.addr());
        let inet = open(&settings(&[("enable", "true"), ("add-peer", &peer)]), 1).await;
        hub.up().await;
        hub.send("hello", Neighbour::Single(claimed(1)), None).await;
        let (_, from) = within("envelope", inet.next()).await.unwrap();
        assert_eq!(from, Neighbour::Single(claimed(9)));
        assert!(inet.identifier().starts_with("inet#127.0.0.1:"));
    });
}

#[test]
fn a_netmod_that_is_not_enabled_opens_nothing() {
    smol::block_on(async {
        let taken = Node::new(9).await;
        let settings = settings(&[("enable", "false"), ("bind", &taken.addr())]);
        assert!(RatmanInet::open(&settings, Ident32::random()).await.unwrap().is_none());
    });
}

#[test]
fn settings_that_cannot_be_used_are_named() {
    smol::block_on(async {
        let open = async |pairs: &[(&str, &str)]| match failure(
            RatmanInet::open(&settings(pairs), claimed(1)).await,
        ) {
            RatmanError::Netmod(NetmodError::InvalidBind(reason)) => format!("bind {reason}"),
            RatmanError::Netmod(NetmodError::InvalidPeer(reason)) => format!("peer {reason}"),
            other => panic!("{other:?}"),
        };
        let reason = open(&[("bind", "nowhere")]).await;
        assert!(reason.starts_with("bind ") && reason.contains("nowhere"), "{reason}");
        let reason = open(&[("add-peer", "a.example:9"), ("add_peer", "a.example:9X")]).await;
        assert_eq!(reason, "peer entry 2: `a.example:9X` is in the list twice");
    });
}

#[test]
fn unknown_peers_come_in_only_if_the_settings_let_them() {
    smol::block_on(async {
        let mut node =
            Node::with_settings(&settings(&[("accept_unknown_peers", "false")]), 9).await;
        let mut stranger = Node::limited(1, |_| {}).await;
        stranger.driver.start_peering(&node.addr()).await.unwrap();
        let is_kept_out = |event: &Event| match event {
            Event::Dropped { reason: DropReason::NotAllowed, .. } => Some(()),
            _ => None,
        };
        node.wait("stranger", is_kept_out).await;
        node.inet.accept_unknown_peers(true);
        stranger.up().await;
        node.up().await;
        stranger.send("hello", Neighbour::Flood, None).await;
        assert_eq!(node.next().await.1, claimed(1));

        node.inet.accept_unknown_peers(false);
        let other = Node::limited(2, |_| {}).await;
        other.driver.start_peering(&node.addr()).await.unwrap();
        node.wait("stranger", is_kept_out).await;
        stranger.send("still here", Neighbour::Flood, None).await;
        assert_eq!(node.next().await.0, "still here");
    });
}

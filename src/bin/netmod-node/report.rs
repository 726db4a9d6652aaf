//! The wording of what a node prints: for people, or for programs.

use crate::peer_files::Reload;
use netmod_inet::{Event, Frame, InetEndpoint, PeerInfo, Target};
use std::fmt::Display;
use std::net::SocketAddr;

/// Each method appends whole lines.
pub(crate) trait Report: Send + Sync {
    /// The node is up: where it listens.
    fn started(&self, out: &mut Vec<u8>, endpoint: &InetEndpoint);

    /// Metrics are served there.
    fn serving(&self, out: &mut Vec<u8>, addr: SocketAddr);

    fn event(&self, out: &mut Vec<u8>, event: &Event);

    /// A frame arrived.
    fn frame(&self, out: &mut Vec<u8>, target: Target, frame: &Frame);

    /// A frame was accepted into the queue of a peer.
    fn sent(&self, out: &mut Vec<u8>, target: Target);

    /// A frame was not accepted; without a target if it was meant for all.
    fn refused(&self, out: &mut Vec<u8>, target: Option<u64>, reason: &dyn Display);

    fn peers(&self, out: &mut Vec<u8>, peers: &[PeerInfo]);

    /// The peer files were read again.
    fn reloaded(&self, out: &mut Vec<u8>, reload: &Reload);

    /// A command could not be understood or carried out.
    fn error(&self, out: &mut Vec<u8>, message: &str);

    /// Something only a person wants to be told.
    fn note(&self, out: &mut Vec<u8>, message: &str);

    /// The list of commands, for which a person asked.
    fn help(&self, out: &mut Vec<u8>, text: &str);
}

//! The output format of a node.

use crate::peer_files::Reload;
use netmod_inet::{Event, Frame, InetEndpoint, PeerInfo, Target};
use std::fmt::Display;
use std::net::SocketAddr;

/// Formats what a node prints. Each method appends whole lines.
pub(crate) trait Format: Send + Sync {
    /// The addresses that the node listens on.
    fn listening(&self, out: &mut Vec<u8>, endpoint: &InetEndpoint);

    /// The address of the metrics server.
    fn serving_metrics(&self, out: &mut Vec<u8>, addr: SocketAddr);

    fn event(&self, out: &mut Vec<u8>, event: &Event);

    /// A received frame.
    fn frame(&self, out: &mut Vec<u8>, target: Target, frame: &Frame);

    /// A frame was queued for a peer.
    fn sent(&self, out: &mut Vec<u8>, target: Target);

    /// A frame was not queued. A flood has no target.
    fn refused(&self, out: &mut Vec<u8>, target: Option<u64>, reason: &dyn Display);

    fn peers(&self, out: &mut Vec<u8>, peers: &[PeerInfo]);

    /// The peer files were reloaded.
    fn reloaded(&self, out: &mut Vec<u8>, reload: &Reload);

    /// A command is invalid or failed.
    fn error(&self, out: &mut Vec<u8>, message: &str);

    /// A message for interactive use.
    fn info(&self, out: &mut Vec<u8>, message: &str);

    /// The list of commands.
    fn help(&self, out: &mut Vec<u8>, text: &str);
}

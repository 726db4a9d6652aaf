//! The class of a peer, which decides on its part of what all peers share.

/// How much the local node has to do with a peer, in ascending order.
///
/// A higher class has a part of each shared resource that lower ones cannot use, and takes back
/// from them what they hold beyond theirs before one of its own peers is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PeerClass {
    /// An inbound peer that nothing in the configuration names.
    Stranger,
    /// An inbound peer that authenticated with a key that is listed or pinned.
    Trusted,
    /// A peer that this node was configured to dial, or whose stream the caller brought.
    Dialed,
}

//! The guide: what the crate does, how to use it, and what it does not do. Documentation only.
//!
//! | page | answers |
//! |---|---|
//! | [`runtimes`] | running an endpoint on smol, on your own executor, inside tokio; streams |
//! | [`delivery`] | what happens to a frame: what waits, what is refused, what comes back |
//! | [`peers`] | what happens to a peer: redial, resume, merge, dead peers, who may connect |
//! | [`strangers`] | what a neighbour that nobody knows can take of this node, and what it cannot |
//! | [`encryption`] | how to encrypt links, and against whom that helps |
//! | [`small_boxes`] | the program `netmod-node`; building it small; systemd, OpenWrt, ARM |
//! | [`ratman`] | the adapter to Ratman's driver trait |
//! | [`wire`] | the bytes |
//! | [`limitations`] | what falls short, with figures |
//! | [`verification`] | the command that tests each promise |
//! | [`benchmarks`] | speed, memory and CPU time, and how they were measured |
//! | [`architecture`] | how the crate is built, and its dependencies |
//! | [`changelog`] | what changed |

// The pages link to each other by file, for those who read them in the repository. Of two
// definitions of a link the first counts: the one here, which leads to the page of this module.

/// [benchmarks]: crate::guide::benchmarks
/// [delivery]: crate::guide::delivery
///
// One of its programs uses the feature `sink`.
#[cfg_attr(any(not(doctest), feature = "sink"), doc = include_str!("runtimes.md"))]
///
/// # In the reference
///
/// [`Builder::spawner`](crate::Builder::spawner), [`Spawn`](crate::Spawn),
/// [`Frames`](crate::Frames), [`Events`](crate::Events),
/// [`InetEndpoint::shutdown`](crate::InetEndpoint::shutdown).
pub mod runtimes {}

/// [strangers]: crate::guide::strangers
///
#[doc = include_str!("delivery.md")]
///
/// # In the reference
///
/// [`InetEndpoint::send`](crate::InetEndpoint::send),
/// [`send_within`](crate::InetEndpoint::send_within),
/// [`until_room`](crate::InetEndpoint::until_room),
/// [`try_send`](crate::InetEndpoint::try_send),
/// [`try_send_many`](crate::InetEndpoint::try_send_many),
/// [`recv`](crate::InetEndpoint::recv), [`forward`](crate::InetEndpoint::forward),
/// [`send_all`](crate::InetEndpoint::send_all),
/// [`send_all_except`](crate::InetEndpoint::send_all_except),
/// [`take_unconfirmed`](crate::InetEndpoint::take_unconfirmed),
/// [`take_queued`](crate::InetEndpoint::take_queued),
/// [`Builder::frames_follow_router_id`](crate::Builder::frames_follow_router_id),
/// [`SendError`](crate::SendError), [`SendErrorKind`](crate::SendErrorKind).
pub mod delivery {}

/// [encryption]: crate::guide::encryption
///
#[doc = include_str!("peers.md")]
///
/// # In the reference
///
/// [`InetEndpoint::add_peers`](crate::InetEndpoint::add_peers),
/// [`remove_peer`](crate::InetEndpoint::remove_peer), [`kick`](crate::InetEndpoint::kick),
/// [`peers`](crate::InetEndpoint::peers), [`peer`](crate::InetEndpoint::peer),
/// [`events`](crate::InetEndpoint::events), [`PeerAddr`](crate::PeerAddr),
/// [`PeerInfo`](crate::PeerInfo), [`Event`](crate::Event),
/// [`AcceptPolicy`](crate::AcceptPolicy), [`Limits`](crate::Limits).
pub mod peers {}

/// [wire]: crate::guide::wire
///
#[doc = include_str!("strangers.md")]
///
/// # In the reference
///
/// [`Limits`](crate::Limits), [`AcceptPolicy`](crate::AcceptPolicy).
pub mod strangers {}

/// [wire]: crate::guide::wire
/// [benchmarks]: crate::guide::benchmarks
///
// Its program uses the feature `noise`.
#[cfg_attr(any(not(doctest), feature = "noise"), doc = include_str!("encryption.md"))]
pub mod encryption {}

/// [peers]: crate::guide::peers
/// [Benchmarks]: crate::guide::benchmarks
///
#[doc = include_str!("small_boxes.md")]
pub mod small_boxes {}

#[doc = include_str!("ratman.md")]
pub mod ratman {}

#[doc = include_str!("wire.md")]
pub mod wire {}

/// [small boxes]: crate::guide::small_boxes
///
#[doc = include_str!("verification.md")]
pub mod verification {}

#[doc = include_str!("benchmarks.md")]
pub mod benchmarks {}

/// [Encryption]: crate::guide::encryption
/// [delivery]: crate::guide::delivery
/// [benchmarks]: crate::guide::benchmarks
///
#[doc = include_str!("limitations.md")]
pub mod limitations {}

/// [wire]: crate::guide::wire
///
#[doc = include_str!("architecture.md")]
pub mod architecture {}

#[doc = include_str!("changelog.md")]
pub mod changelog {}

//! A fixture with the shared state of an endpoint, for tests that call single functions of a
//! session.

use std::sync::Arc;

use futures_lite::future;

use crate::config::AcceptPolicy;
#[cfg(feature = "noise")]
use crate::config::Encryption;
use crate::config::Limits;
use crate::config::Spawn;
use crate::config::{Resolve, ResolveFuture};
use crate::peer::inbound;
use crate::proto::Id;
use crate::shared::{Shared, SharedConfig, TaskRef};
use crate::transport::{Keepalive, TcpConnector};

/// A node that does not listen, and whose name lookups never complete.
pub(crate) fn running(spawner: impl Spawn) -> Arc<TaskRef> {
    of(parts(spawner))
}

/// The same, with encryption.
#[cfg(feature = "noise")]
pub(crate) fn encrypting(spawner: impl Spawn, encryption: Encryption) -> Arc<TaskRef> {
    of(SharedConfig { encryption: Some(encryption), ..parts(spawner) })
}

fn of(parts: SharedConfig) -> Arc<TaskRef> {
    let (sender, inbound) = inbound(parts.limits.inbound_bytes, parts.limits.inbound_frames);
    TaskRef::new(Arc::new(Shared::new(parts, inbound)), sender)
}

fn parts(spawner: impl Spawn) -> SharedConfig {
    let limits = Limits::default();
    let patience = Keepalive::new(&limits);
    SharedConfig {
        id: Id::from_bytes([1; 32]),
        instance_id: [1; 16],
        limits,
        frames_follow_id: false,
        resolver: Box::new(Silent),
        connector: Box::new(TcpConnector { keepalive: patience }),
        policy: AcceptPolicy::all(),
        #[cfg(feature = "noise")]
        encryption: None,
        spawner: Box::new(spawner),
    }
}

/// A resolver that never answers.
struct Silent;

impl Resolve for Silent {
    fn resolve(&self, _: &str, _: u16) -> ResolveFuture {
        Box::pin(future::pending())
    }
}

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
    of(config(spawner))
}

/// The same, with these limits.
pub(crate) fn with_limits(spawner: impl Spawn, limits: Limits) -> Arc<TaskRef> {
    of(SharedConfig { limits, ..config(spawner) })
}

/// The same, with encryption.
#[cfg(feature = "noise")]
pub(crate) fn encrypting(spawner: impl Spawn, encryption: Encryption) -> Arc<TaskRef> {
    of(SharedConfig { encryption: Some(encryption), ..config(spawner) })
}

fn of(config: SharedConfig) -> Arc<TaskRef> {
    let (sender, inbound) = inbound(config.limits.inbound_bytes);
    TaskRef::new(Arc::new(Shared::new(config, inbound)), sender)
}

fn config(spawner: impl Spawn) -> SharedConfig {
    let limits = Limits::default();
    let keepalive = Keepalive::new(&limits);
    SharedConfig {
        id: Id::from_bytes([1; 32]),
        instance_id: [1; 16].into(),
        limits,
        frames_follow_id: false,
        resolver: Box::new(Silent),
        connector: Box::new(TcpConnector { keepalive }),
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

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::pin::Pin;
use std::sync::Arc;

use smol::Async;

use crate::transport::{Keepalive, Stream, TcpLink};

/// A connection that is being opened.
pub(crate) type ConnectFuture = Pin<Box<dyn Future<Output = io::Result<Arc<dyn Stream>>> + Send>>;

/// Opens connections: over TCP, or in the simulator through a network in memory.
pub(crate) trait Connect: Send + Sync + 'static {
    /// Opens one. Dropping the future gives it up.
    fn connect(&self, addr: SocketAddr) -> ConnectFuture;
}

/// TCP, with streams set as every link wants them.
#[derive(Debug)]
pub(crate) struct TcpConnector {
    pub(crate) keepalive: Keepalive,
}

impl Connect for TcpConnector {
    fn connect(&self, addr: SocketAddr) -> ConnectFuture {
        let patience = self.keepalive;
        Box::pin(async move {
            let stream = Async::<TcpStream>::connect(addr).await?;
            Ok(Arc::new(TcpLink::new(stream, patience)?) as Arc<dyn Stream>)
        })
    }
}

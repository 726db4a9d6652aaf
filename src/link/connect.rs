use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::pin::Pin;
use std::sync::Arc;

use smol::Async;

use super::{Connection, Patience, Stream};

/// A connection that is being opened.
pub(crate) type Connecting = Pin<Box<dyn Future<Output = io::Result<Arc<dyn Stream>>> + Send>>;

/// Opens connections: over TCP, or in the simulator through a network in memory.
pub(crate) trait Connect: Send + Sync + 'static {
    /// Opens one. Dropping the future gives it up.
    fn connect(&self, addr: SocketAddr) -> Connecting;
}

/// TCP, with streams set as every link wants them.
#[derive(Debug)]
pub(crate) struct Tcp {
    pub(crate) patience: Patience,
}

impl Connect for Tcp {
    fn connect(&self, addr: SocketAddr) -> Connecting {
        let patience = self.patience;
        Box::pin(async move {
            let stream = Async::<TcpStream>::connect(addr).await?;
            Ok(Arc::new(Connection::new(stream, patience)?) as Arc<dyn Stream>)
        })
    }
}

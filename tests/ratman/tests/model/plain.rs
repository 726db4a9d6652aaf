//! A model of Ratman's own `inet` driver, from the outside: the frames that it exchanges, and its
//! faults as far as a neighbour can see them.
//!
//! - Its table of neighbours is keyed by the router id that each claims, in a Hello or in an Ack;
//!   the newest link wins, and the older one is still read.
//! - It reads the frames of a link that it dialed under a name that is not in that table. So what
//!   it answers over such a link fails, and what it floods onwards goes back over the same link.
//! - It polls for the length of each frame: after 128 polls at a partial length it stops reading
//!   the link for good, and keeps it open.
//! - It has neither a queue nor an acknowledgement: what cannot be written is lost.
//! - If a test asks for it, it tears frames, as the original does under load.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use libratman::endpoint::EndpointExt;
use libratman::types::{Ident32, InMemoryEnvelope, Neighbour};
use libratman::{NetmodError, Result};
use netmod_inet::Frame;
use netmod_inet_ratman::to_envelope;
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex as AsyncMutex, mpsc};

use crate::node::{emit, name};

const HELLO: u16 = 32;
const ACK: u16 = 33;
/// The modes between netmods, which the router never sees.
const RESERVED: std::ops::RangeInclusive<u16> = HELLO..=63;

/// Without optional fields.
const HEADER: usize = 41;
/// The peer type Standard, as a handshake writes it.
const STANDARD: [u8; 4] = [0; 4];

/// Looks at a length of which only a part has come.
const MAX_POLLS: usize = 128;

/// Time before a refused dial is repeated, for the first six times.
const REDIAL: Duration = Duration::from_secs(2);

/// Frames that wait for `next`, all links together.
const INBOUND: usize = 64;

/// The faults that a test may ask for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Faults {
    /// Writes half of one frame in so many, and goes on with the next.
    pub(crate) tear_interval: Option<u32>,
}

pub(crate) struct PlainInet(Arc<Shared>);

struct Shared {
    id: Ident32,
    addr: String,
    faults: Faults,
    table: Mutex<HashMap<Ident32, Arc<Link>>>,
    inbound: mpsc::Sender<(InMemoryEnvelope, Ident32)>,
    outbound: AsyncMutex<mpsc::Receiver<(InMemoryEnvelope, Ident32)>>,
    peers: AtomicU16,
}

/// The writing half of a link.
struct Link {
    writer: AsyncMutex<OwnedWriteHalf>,
    written: AtomicU32,
}

impl PlainInet {
    pub(crate) async fn start(id: Ident32, bind: &str, faults: Faults) -> PlainInet {
        let listener = TcpListener::bind(bind).await.expect("a free port");
        let addr = listener.local_addr().expect("an address").to_string();
        let (inbound, outbound) = mpsc::channel(INBOUND);
        let outbound = AsyncMutex::new(outbound);
        let (table, peers) = (Mutex::default(), AtomicU16::new(0));
        let shared = Arc::new(Shared { id, addr, faults, table, inbound, outbound, peers });
        tokio::spawn(shared.clone().accept(listener));
        PlainInet(shared)
    }
}

#[async_trait]
impl EndpointExt for PlainInet {
    fn identifier(&self) -> String {
        format!("inet#{}", self.0.addr)
    }

    async fn start_peering(&self, addr: &str) -> Result<u16> {
        tokio::spawn(self.0.clone().keep_dialing(addr.to_owned()));
        Ok(self.0.peers.fetch_add(1, Ordering::Relaxed))
    }

    async fn send(
        &self,
        envelope: InMemoryEnvelope,
        target: Neighbour,
        exclude: Option<Ident32>,
    ) -> Result<()> {
        let except = match target {
            Neighbour::Single(id) => {
                let link = self.0.table().get(&id).cloned();
                let is_sent = match link {
                    Some(link) => link.write(&envelope.buffer, self.0.faults).await.is_ok(),
                    None => false,
                };
                return match is_sent {
                    true => Ok(()),
                    false => Err(NetmodError::ConnectionLost(envelope).into()),
                };
            }
            Neighbour::Flood => [None, exclude],
            Neighbour::FloodExcept(id) => [Some(id), exclude],
            Neighbour::Drop => return Ok(()),
        };
        let links: Vec<_> = {
            let table = self.0.table();
            let is_meant = |(id, _): &(&Ident32, &Arc<Link>)| !except.contains(&Some(**id));
            table.iter().filter(is_meant).map(|(_, link)| link.clone()).collect()
        };
        for link in links {
            let _ = link.write(&envelope.buffer, self.0.faults).await;
        }
        Ok(())
    }

    async fn next(&self) -> Result<(InMemoryEnvelope, Neighbour)> {
        let next = self.0.outbound.lock().await.recv().await;
        let (envelope, from) = next.expect("the sender lives in the same struct");
        Ok((envelope, Neighbour::Single(from)))
    }
}

impl Link {
    fn new(writer: OwnedWriteHalf) -> Arc<Link> {
        Arc::new(Link { writer: AsyncMutex::new(writer), written: AtomicU32::new(0) })
    }

    async fn write(&self, frame: &[u8], faults: Faults) -> io::Result<()> {
        let len = u32::try_from(frame.len()).expect("a frame").to_be_bytes();
        let mut bytes = [&len, frame].concat();
        let mut writer = self.writer.lock().await;
        let written = self.written.fetch_add(1, Ordering::Relaxed) + 1;
        if faults.tear_interval.is_some_and(|interval| written % interval == 0) {
            bytes.truncate(bytes.len() / 2);
        }
        writer.write_all(&bytes).await
    }
}

impl Shared {
    async fn accept(self: Arc<Shared>, listener: TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            let shared = self.clone();
            tokio::spawn(async move {
                // A link that fails is closed, without a message.
                let _ = shared.accept_link(stream).await;
            });
        }
    }

    async fn accept_link(&self, stream: TcpStream) -> io::Result<()> {
        let (reader, writer) = stream.into_split();
        let hello = read_frame(&reader).await?;
        let (peer_type, id) = parse_handshake(&hello, HELLO)?;
        let ack = [&[1, 0, 0, 0], peer_type, &32u64.to_le_bytes(), &self.id.slice()].concat();
        let link = Link::new(writer);
        link.write(&handshake(ACK, self.id, &ack), Faults::default()).await?;
        self.carry(reader, link, id, id).await
    }

    async fn keep_dialing(self: Arc<Shared>, addr: String) {
        loop {
            if let Ok(stream) = TcpStream::connect(&addr).await {
                let _ = self.dial_link(stream).await;
            }
            tokio::time::sleep(REDIAL).await;
        }
    }

    async fn dial_link(&self, stream: TcpStream) -> io::Result<()> {
        let (reader, writer) = stream.into_split();
        let link = Link::new(writer);
        let port: u16 =
            self.addr.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or(0);
        let own = [&port.to_le_bytes()[..], &32u64.to_le_bytes(), &self.id.slice()].concat();
        let hello = [&[0; 4][..], &STANDARD, &own].concat();
        link.write(&handshake(HELLO, self.id, &hello), Faults::default()).await?;
        let ack = read_frame(&reader).await?;
        let (_, id) = parse_handshake(&ack, ACK)?;
        // What arrives over this link is not known to come from the one that the table has.
        self.carry(reader, link, id, Ident32::random()).await
    }

    /// Enters a link into the table under `id`, and reads it under the name `from`.
    async fn carry(
        &self,
        reader: OwnedReadHalf,
        link: Arc<Link>,
        id: Ident32,
        from: Ident32,
    ) -> io::Result<()> {
        self.table().insert(id, link.clone());
        emit(&format!("up {}", name(id)));
        let end = self.read_all(&reader, from).await;
        let mut table = self.table();
        if table.get(&id).is_some_and(|current| Arc::ptr_eq(current, &link)) {
            table.remove(&id);
        }
        end
    }

    async fn read_all(&self, reader: &OwnedReadHalf, from: Ident32) -> io::Result<()> {
        loop {
            let frame = read_frame(reader).await?;
            let frame = Frame::parse(frame).map_err(io::Error::other)?;
            if !RESERVED.contains(&frame.modes()) {
                let envelope = to_envelope(frame).map_err(io::Error::other)?;
                self.inbound.send((envelope, from)).await.expect("the receiver lives as long");
            }
        }
    }

    fn table(&self) -> MutexGuard<'_, HashMap<Ident32, Arc<Link>>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A carrier frame without optional fields.
fn handshake(modes: u16, sender: Ident32, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(payload.len()).expect("a short payload");
    let (modes, len) = (modes.to_be_bytes(), len.to_be_bytes());
    [&[1][..], &modes, &sender.slice(), &[0; 4], &len, payload].concat()
}

/// The peer type and the id in a Hello or an Ack. What follows them is ignored.
fn parse_handshake(frame: &[u8], modes: u16) -> io::Result<(&[u8], Ident32)> {
    let invalid = || io::Error::from(io::ErrorKind::InvalidData);
    let field = |at: usize, len: usize| frame.get(at..at + len).ok_or_else(invalid);
    if field(1, 2)? != modes.to_be_bytes() {
        return Err(invalid());
    }
    let peer_type_len = match field(HEADER + 4, 4)? {
        [2, 0, 0, 0] => 8,
        _ => 4,
    };
    let peer_type = field(HEADER + 4, peer_type_len)?;
    let port_len = if modes == HELLO { 2 } else { 0 };
    let id = field(HEADER + 4 + peer_type_len + port_len + 8, 32)?;
    Ok((peer_type, Ident32::from(<[u8; 32]>::try_from(id).expect("32 bytes"))))
}

async fn read_frame(reader: &OwnedReadHalf) -> io::Result<Vec<u8>> {
    let mut len = [0; 4];
    read_len(reader, &mut len).await?;
    let mut frame = vec![0; u32::from_be_bytes(len) as usize];
    let mut filled = 0;
    while filled < frame.len() {
        match read_some(reader, &mut frame[filled..])? {
            Some(len) => filled += len,
            None => reader.readable().await?,
        }
    }
    Ok(frame)
}

async fn read_len(reader: &OwnedReadHalf, len: &mut [u8; 4]) -> io::Result<()> {
    let (mut filled, mut polls) = (0, 0);
    while filled < len.len() {
        match read_some(reader, &mut len[filled..])? {
            Some(some) => filled += some,
            None if filled == 0 => reader.readable().await?,
            None if polls < MAX_POLLS => {
                polls += 1;
                tokio::task::yield_now().await;
            }
            None => {
                emit("gave up reading a link");
                std::future::pending().await
            }
        }
    }
    Ok(())
}

/// The bytes that are there; `None` if there are none now.
fn read_some(reader: &OwnedReadHalf, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    match reader.try_read(buffer) {
        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(len) => Ok(Some(len)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

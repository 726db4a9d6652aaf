//! A plain Ratman node, played by hand.
//!
//! Blocking `std::net` sockets and bytes written by value: nothing here uses the crate under test,
//! so a mistake of its codec cannot hide behind the same mistake here. Every read and
//! write has a deadline.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use smol::Async;

use crate::addresses::own_addr;
use crate::subject::{TIMEOUT, within};

/// The peer types as a Hello writes them.
pub(crate) const STANDARD: &[u8] = &[0, 0, 0, 0];
pub(crate) const CROSS: &[u8] = &[1, 0, 0, 0];
pub(crate) const LIMITED_SENDING: &[u8] = &[2, 0, 0, 0, 0, 0, 0, 0];
pub(crate) const LIMITED_RECEIVING: &[u8] = &[2, 0, 0, 0, 1, 0, 0, 0];
pub(crate) const PEER_TYPES: [&[u8]; 4] = [STANDARD, CROSS, LIMITED_SENDING, LIMITED_RECEIVING];

/// The largest carrier frame: a header of 233 bytes and 65 535 of payload.
pub(crate) const LARGEST: usize = 65_768;

/// What a Ratman node takes a Hello or Ack for: the bytes behind its fields, which it ignores, cut
/// off. `len` is the length without them.
pub(crate) fn as_a_ratman_node_reads(body: &[u8], len: usize) -> Vec<u8> {
    let payload = u16::try_from(len - 41).expect("a short payload");
    [&body[..39], &payload.to_be_bytes(), &body[41..len]].concat()
}

/// A carrier frame without optional fields.
pub(crate) fn carrier(modes: u16, sender: u8, payload: &[u8]) -> Vec<u8> {
    let size = u16::try_from(payload.len()).expect("a payload has 65535 bytes at most");
    let mut body = vec![1];
    body.extend(modes.to_be_bytes());
    body.extend([sender; 32]);
    body.extend([0; 4]);
    body.extend(size.to_be_bytes());
    body.extend(payload);
    body
}

/// A carrier frame with every optional field, so with the longest header there is.
pub(crate) fn carrier_with_all_fields(modes: u16, sender: u8, payload: &[u8]) -> Vec<u8> {
    let size = u16::try_from(payload.len()).expect("a payload has 65535 bytes at most");
    let mut body = vec![1];
    body.extend(modes.to_be_bytes());
    body.extend([sender; 32]);
    body.push(1);
    body.extend([0x22; 32]);
    body.push(1);
    body.extend([0x44; 32]);
    body.extend([2, 6]);
    body.extend([0x66; 64]);
    body.extend([0x55; 64]);
    body.extend(size.to_be_bytes());
    body.extend(payload);
    body
}

/// A data frame that carries its number, and `size` bytes in all as its payload.
pub(crate) fn numbered(number: u32, size: usize) -> Vec<u8> {
    let mut payload = number.to_be_bytes().to_vec();
    payload.resize(size.max(4), number.to_le_bytes()[0]);
    carrier(8, 0x11, &payload)
}

/// The number in a frame of [`numbered`].
pub(crate) fn number_of(body: &[u8]) -> u32 {
    u32::from_be_bytes(body[41..45].try_into().expect("four bytes of number"))
}

/// The payload of a Hello.
pub(crate) fn hello_payload(peer_type: &[u8], port: u16, id: u8) -> Vec<u8> {
    let mut payload = vec![0, 0, 0, 0];
    payload.extend(peer_type);
    payload.extend(port.to_le_bytes());
    payload.extend(32u64.to_le_bytes());
    payload.extend([id; 32]);
    payload
}

/// The payload of an Ack.
pub(crate) fn ack_payload(peer_type: &[u8], id: u8) -> Vec<u8> {
    let mut payload = vec![1, 0, 0, 0];
    payload.extend(peer_type);
    payload.extend(32u64.to_le_bytes());
    payload.extend([id; 32]);
    payload
}

/// A whole Hello, without its length.
pub(crate) fn hello(peer_type: &[u8], port: u16, id: u8) -> Vec<u8> {
    carrier(32, id, &hello_payload(peer_type, port, id))
}

/// A whole Ack, without its length.
pub(crate) fn ack(peer_type: &[u8], id: u8) -> Vec<u8> {
    carrier(33, id, &ack_payload(peer_type, id))
}

/// Puts the 4-byte length in front.
pub(crate) fn prefixed(body: &[u8]) -> Vec<u8> {
    let size = u32::try_from(body.len()).expect("a frame is short");
    [&size.to_be_bytes()[..], body].concat()
}

/// Several frames, each behind its length, as one run of bytes.
pub(crate) fn run_of<'a>(bodies: impl IntoIterator<Item = &'a Vec<u8>>) -> Vec<u8> {
    bodies.into_iter().flat_map(|body| prefixed(body)).collect()
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// End of stream.
    Closed,
    /// Connection reset.
    Reset,
}

/// One end of one stream.
#[derive(Debug)]
pub(crate) struct PlainPeer {
    stream: TcpStream,
}

impl PlainPeer {
    /// Opens a stream and sends nothing yet.
    pub(crate) fn connect(port: u16) -> Self {
        Self::connect_to(SocketAddr::from(([127, 0, 0, 1], port)))
    }

    /// The same, to any address.
    pub(crate) fn connect_to(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&addr, TIMEOUT).expect("connect");
        Self::over(stream)
    }

    /// Opens a stream, sends a Hello and reads the Ack; `0` as the listening port.
    pub(crate) fn dial(port: u16, peer_type: &[u8], id: u8) -> Self {
        let mut peer = Self::connect(port);
        peer.write(&prefixed(&hello(peer_type, 0, id)));
        let answer = peer.read_frame();
        assert_eq!(answer[..3], [1, 0, 33], "no Ack but {}", hex(&answer));
        peer
    }

    pub(crate) fn over(stream: TcpStream) -> Self {
        // Every write is a segment of its own.
        stream.set_nodelay(true).expect("nodelay");
        stream.set_read_timeout(Some(TIMEOUT)).expect("read deadline");
        stream.set_write_timeout(Some(TIMEOUT)).expect("write deadline");
        Self { stream }
    }

    /// The stream itself, for who reads in a way of its own.
    pub(crate) fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// The local address: what the endpoint calls this peer in its events.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.stream.local_addr().expect("local address")
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.try_write(bytes).expect("write to the endpoint");
    }

    /// For bytes that the endpoint may refuse half way.
    pub(crate) fn try_write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Writes one frame behind its length.
    pub(crate) fn send(&mut self, body: &[u8]) {
        self.write(&prefixed(body));
    }

    /// Reads exactly one frame and takes its length off.
    pub(crate) fn read_frame(&mut self) -> Vec<u8> {
        let mut size = [0; 4];
        self.stream.read_exact(&mut size).expect("length of a frame from the endpoint");
        let size = usize::try_from(u32::from_be_bytes(size)).expect("a length");
        assert!((41..=LARGEST).contains(&size), "the endpoint wrote a length of {size}");
        let mut body = vec![0; size];
        self.stream.read_exact(&mut body).expect("body of a frame from the endpoint");
        body
    }

    /// Reads all that comes until the stream ends.
    pub(crate) fn read_to_end(&mut self) -> (Vec<u8>, End) {
        let mut bytes = Vec::new();
        match self.stream.read_to_end(&mut bytes) {
            Ok(_) => (bytes, End::Closed),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => (bytes, End::Reset),
            Err(error) => panic!("the endpoint did not end the stream: {error}"),
        }
    }

    /// Waits until the endpoint ends the stream, and fails if it sends anything before.
    pub(crate) fn expect_end(&mut self) {
        let (bytes, _) = self.read_to_end();
        assert!(bytes.is_empty(), "the endpoint sent {} before it closed", hex(&bytes));
    }

    /// Waits at most `pause` for bytes or the end: `None` while there are neither.
    pub(crate) fn poll(&mut self, pause: Duration) -> Option<End> {
        self.stream.set_read_timeout(Some(pause)).expect("read deadline");
        let outcome = self.stream.read(&mut [0; 64]);
        self.stream.set_read_timeout(Some(TIMEOUT)).expect("read deadline");
        match outcome {
            Ok(0) => Some(End::Closed),
            Ok(_) => panic!("the endpoint wrote something"),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                None
            }
            Err(_) => Some(End::Reset),
        }
    }

    /// Ends the outbound direction only; the endpoint can still be read.
    pub(crate) fn half_close(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("half close");
    }

    /// The same where the endpoint may have closed already; whether it had not.
    pub(crate) fn try_half_close(&mut self) -> bool {
        self.stream.shutdown(Shutdown::Write).is_ok()
    }

    /// Closes at once although the endpoint's bytes were not read, which TCP turns into a reset.
    pub(crate) fn reset(self) {
        let waiting = self.stream.peek(&mut [0]).expect("something unread from the endpoint");
        assert_ne!(waiting, 0, "the endpoint closed first");
    }
}

/// A plain node's listener, at an address that stays the test's own when it is dropped.
#[derive(Debug)]
pub(crate) struct PlainListener {
    listener: Async<TcpListener>,
}

impl PlainListener {
    pub(crate) fn bind() -> Self {
        let listener = Async::<TcpListener>::bind(own_addr()).expect("bind");
        Self { listener }
    }

    pub(crate) fn port(&self) -> u16 {
        self.listener.get_ref().local_addr().expect("local address").port()
    }

    /// What a user would write to dial this listener; `suffix` is `X`, for example.
    pub(crate) fn addr(&self, suffix: &str) -> String {
        format!("127.0.0.1:{}{suffix}", self.port())
    }

    /// The next stream, on which nothing was sent yet.
    pub(crate) fn accept(&self) -> PlainPeer {
        let (stream, _) = within("a dial", self.listener.accept()).expect("accept");
        let stream = stream.into_inner().expect("blocking stream");
        stream.set_nonblocking(false).expect("blocking stream");
        PlainPeer::over(stream)
    }

    /// The next stream, after reading its Hello and answering with a fitting Ack.
    pub(crate) fn answer(&self, peer_type: &[u8], id: u8) -> PlainPeer {
        let mut peer = self.accept();
        let asked = peer.read_frame();
        assert_eq!(asked[..3], [1, 0, 32], "no Hello but {}", hex(&asked));
        peer.send(&ack(peer_type, id));
        peer
    }

    /// Whether nobody dials for `quiet`.
    pub(crate) fn stays_alone(&self, quiet: Duration) -> bool {
        let silence = async {
            smol::Timer::after(quiet).await;
            true
        };
        let dialed = async { self.listener.accept().await.is_err() };
        smol::block_on(futures_lite::future::or(silence, dialed))
    }
}

/// Bytes for a person to read.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The opposite of [`hex`].
pub(crate) fn from_hex(text: &str) -> Vec<u8> {
    assert!(text.len() % 2 == 0, "odd number of hex digits");
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hex digits");
    (0..text.len()).step_by(2).map(digit).collect()
}

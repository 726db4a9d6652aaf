//! The handshake, against a remote that the input controls.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::error::HandshakeError;
use crate::peer::Session;
use crate::proto::{
    Ack, Bits, CONTROL, CloseRecord, Direction, Frame, Hello, Id, LENGTH_PREFIX, PeerType, Records,
    Role, SessionSecret, encode_length, peek_len,
};
use crate::session::handshake::{Handshake, LocalHello, Negotiated};
use crate::testing::kit::{
    byte_source::ByteSource,
    pipe::{Pipe, TestWaker},
};

const DIALER: u8 = 1;
const LISTENER: u8 = 2;

/// Number of idle steps after which a handshake with no more input counts as hanging.
const TOO_MANY: usize = 2_000;

/// The result of a handshake, and the bytes that were read beyond it.
struct Outcome {
    terms: Result<Negotiated, HandshakeError>,
    rest: Vec<u8>,
}

type Running<'a> = Pin<Box<dyn Future<Output = Outcome> + 'a>>;

/// See [`crate::testing::fuzz::handshake`].
pub(crate) fn handshake(bytes: &[u8]) {
    let mut input = ByteSource::new(bytes);
    let flags = input.byte();
    let limit = 256 + 4 * usize::from(input.byte());
    match flags & 3 {
        0 => Script::new(Role::Dialer, input).run(limit, flags & 4 != 0),
        1 => Script::new(Role::Listener, input).run(limit, flags & 4 != 0),
        _ => both(&mut input, flags),
    }
}

/// Runs two real ends, between which bytes arrive in fragments. They must agree.
fn both(input: &mut ByteSource<'_>, flags: u8) {
    let (near, far) = Pipe::pair();
    let wakes = TestWaker::new();
    let limit = 512;
    let mut dialing = dial(&near, limit, flags & 4 != 0);
    let mut listening = listen(&far, limit, flags & 8 != 0);
    let (mut dialed, mut listened) = (None, None);
    for _ in 0..TOO_MANY {
        for line in [&near, &far] {
            let (room, arrived) = match input.is_empty() {
                true => (1_000, 1_000),
                false => (input.size() % 512, input.size() % 512),
            };
            line.outgoing().room += room;
            line.incoming().arrive(arrived);
        }
        if dialed.is_none() {
            dialed = wakes.poll(dialing.as_mut());
        }
        if listened.is_none() {
            listened = wakes.poll(listening.as_mut());
        }
        if dialed.is_some() && listened.is_some() {
            break;
        }
    }
    let (Some(dialed), Some(listened)) = (dialed, listened) else { panic!("it never ends") };
    assert!(dialed.rest.is_empty() && listened.rest.is_empty());
    let is_known = flags & 12 == 12;
    match (dialed.terms, listened.terms) {
        (Ok(Negotiated::Resumed { received: 22 }), Ok(Negotiated::Resumed { received: 11 }))
            if is_known => {}
        (Ok(Negotiated::New(one)), Ok(Negotiated::New(other))) if !is_known => {
            assert!(one.secret == other.secret);
            assert_eq!((one.instance_id, other.instance_id), ([LISTENER; 16], [DIALER; 16]));
        }
        (one, other) => panic!("{:?} and {:?}", one.err(), other.err()),
    }
}

fn known_secret() -> SessionSecret {
    SessionSecret::new(&[6; 16], &[7; 16])
}

fn id(number: u8) -> Id {
    Id::from_bytes([number; 32])
}

fn hello(number: u8, peer_type: PeerType) -> Hello {
    Hello { id: id(number), peer_type, port: 9000 }
}

/// Runs the dialer. If `knows`, it resumes a known session in which it received 11 frames.
fn dial(line: &Arc<Pipe>, limit: usize, knows: bool) -> Running<'static> {
    let line = line.clone();
    Box::pin(async move {
        let mut handshake = Handshake::new(line, limit, None, &[]);
        let fresh = LocalHello::new([DIALER; 16]).unwrap();
        let pair = Session::new(known_secret(), [LISTENER; 16], None);
        let hello = hello(DIALER, PeerType::Standard);
        let shaken = handshake.dial(&hello, &fresh, knows.then_some((&pair, 11))).await;
        let terms = shaken.map(|(other, terms)| {
            assert_ne!(other, hello.id);
            terms
        });
        Outcome { terms, rest: handshake.into_stream().1 }
    })
}

/// Runs the listener. If `knows`, it resumes a known session in which it received 22 frames.
fn listen(line: &Arc<Pipe>, limit: usize, knows: bool) -> Running<'static> {
    let line = line.clone();
    Box::pin(async move {
        let mut handshake = Handshake::new(line, limit, None, &[]);
        let terms = answer(&mut handshake, knows).await;
        Outcome { terms, rest: handshake.into_stream().1 }
    })
}

async fn answer(handshake: &mut Handshake<'_>, knows: bool) -> Result<Negotiated, HandshakeError> {
    let (hello, offer) = handshake.recv_hello().await?;
    let Some(offer) = offer else {
        handshake.send_ack(id(LISTENER), &hello).await?;
        return Ok(Negotiated::Plain);
    };
    let fresh = LocalHello::new([LISTENER; 16])?;
    let secret = known_secret();
    let known = (knows && offer.session == Some(secret.public_name())).then_some(&secret);
    handshake.send_extended_ack(id(LISTENER), &hello, &fresh, &offer, known).await?;
    let terms = handshake.recv_proof(&fresh, &offer, known).await?;
    if let Negotiated::Resumed { .. } = terms {
        handshake.send_ack_count(id(LISTENER), 22).await?;
    }
    Ok(terms)
}

/// A scripted remote, which sends what the input makes of it.
struct Script<'a> {
    /// The role of the real end.
    role: Role,
    input: ByteSource<'a>,
    line: Arc<Pipe>,
    /// Frames that the real end sent.
    heard: Vec<Frame>,
    unread: Vec<u8>,
    nonce: Bits,
    share: Bits,
    /// All bytes that were sent to the real end.
    said: Vec<u8>,
    /// Whether a valid proof was sent: under the known secret, or under the new one.
    proved_known: bool,
    proved_new: bool,
}

impl<'a> Script<'a> {
    fn new(role: Role, input: ByteSource<'a>) -> Script<'a> {
        Script {
            role,
            input,
            line: Pipe::pair().0,
            heard: Vec::new(),
            unread: Vec::new(),
            nonce: [0; 16],
            share: [0; 16],
            said: Vec::new(),
            proved_known: false,
            proved_new: false,
        }
    }

    fn run(mut self, limit: usize, knows: bool) {
        let (near, far) = Pipe::pair();
        self.line = far;
        let mut real = match self.role {
            Role::Dialer => dial(&near, limit, knows),
            Role::Listener => listen(&near, limit, knows),
        };
        let wakes = TestWaker::new();
        for _ in 0..TOO_MANY {
            if let Some(outcome) = wakes.poll(real.as_mut()) {
                return self.check(limit, knows, outcome);
            }
            self.turn();
        }
        panic!("it never ends");
    }

    /// Receives what the real end sent, and sends one more message.
    fn turn(&mut self) {
        let piece = self.input.size() + 1;
        self.hear(piece);
        if self.input.is_empty() {
            self.line.outgoing().ended = true;
        } else {
            let said = self.say();
            self.said.extend_from_slice(&said);
            self.line.outgoing().write(&said);
        }
        let all = if self.input.is_empty() { usize::MAX } else { piece };
        self.line.outgoing().arrive(all);
    }

    fn hear(&mut self, room: usize) {
        let mut way = self.line.incoming();
        way.room += room;
        self.unread.extend(way.bytes.drain(..));
        drop(way);
        while let Ok(Some(len)) = peek_len(&self.unread) {
            let Some(frame) = self.unread.get(LENGTH_PREFIX..len) else { break };
            self.heard.push(Frame::parse(frame.to_vec()).unwrap());
            self.unread.drain(..len);
        }
    }

    /// The next message to send.
    fn say(&mut self) -> Vec<u8> {
        let what = self.input.byte();
        let detail = what >> 3;
        let frame = match what & 7 {
            0 => return self.input.take(usize::from(detail)).to_vec(),
            1 | 2 => {
                let records = self.records(detail);
                hello(self.name(), self.peer_type()).encode(&records)
            }
            3 | 4 => {
                let records = self.records(detail);
                Ack { id: id(self.name()), peer_type: self.peer_type() }.encode(&records)
            }
            5 | 6 => {
                let payload = self.proof(detail);
                Frame::builder(CONTROL, id(self.name())).payload(payload).build()
            }
            _ => {
                let payload = vec![0; self.input.size().min(1_000)];
                Frame::builder(8 + u16::from(detail), id(9)).payload(payload).build()
            }
        };
        let frame = frame.unwrap();
        [&encode_length(frame.len())[..], frame.as_bytes()].concat()
    }

    fn name(&mut self) -> u8 {
        // Usually not the id of the real end.
        match self.input.byte() {
            0xFF => DIALER,
            0xFE => LISTENER,
            _ => 3,
        }
    }

    fn peer_type(&mut self) -> PeerType {
        match self.input.byte() {
            1 => PeerType::Cross,
            2 => PeerType::Limited(Direction::Sending),
            3 => PeerType::Limited(Direction::Receiving),
            _ => PeerType::Standard,
        }
    }

    /// The extension of a Hello or an Ack, or arbitrary bytes.
    fn records(&mut self, detail: u8) -> Vec<u8> {
        if detail == 0 {
            let len = usize::from(self.input.byte());
            return self.input.take(len).to_vec();
        }
        self.nonce = [self.input.byte(); 16];
        self.share = [self.input.byte(); 16];
        let known = detail & 2 != 0;
        let records = Records {
            version: (detail & 1 != 0).then_some((1, 1 + detail)),
            boot: Some([3 - (detail >> 4); 16]),
            nonce: Some(self.nonce),
            share: Some(self.share),
            pair: known.then(|| known_secret().public_name()),
            proof: (known && self.role == Role::Dialer).then(|| self.shown(&known_secret())),
            ..Records::default()
        };
        self.proved_known |= records.proof.is_some() && detail & 4 == 0;
        let mut block = records.encode();
        if detail & 4 != 0 {
            self.spoil(&mut block);
        }
        block
    }

    /// Corrupts one byte after the magic.
    fn spoil(&mut self, block: &mut [u8]) {
        let at = 6 + usize::from(self.input.byte()) % (block.len() - 6);
        block[at] ^= self.input.byte() | 1;
        // The byte may be outside of the proof.
        self.proved_known |= Records::decode(block).is_some_and(|records| {
            records.proof.is_some_and(|proof| proof == self.shown(&known_secret()))
        });
    }

    /// The valid proof of the real end's remote.
    fn shown(&self, secret: &SessionSecret) -> Bits {
        let real = self.real_records().and_then(|records| records.nonce).unwrap_or_default();
        match self.role {
            Role::Dialer => secret.proof(Role::Listener, &real, &self.nonce),
            Role::Listener => secret.proof(Role::Dialer, &self.nonce, &real),
        }
    }

    /// The extension in the real end's Hello or Ack.
    fn real_records(&self) -> Option<Records> {
        let first = self.heard.first()?;
        let rest = match self.role {
            Role::Dialer => Hello::decode(first).unwrap().1,
            Role::Listener => Ack::decode(first).unwrap().1,
        };
        Records::decode(rest)
    }

    /// The extension of a control frame, with a valid or an invalid proof.
    fn proof(&mut self, detail: u8) -> Vec<u8> {
        let share = self.real_records().and_then(|records| records.share).unwrap_or_default();
        let new = match self.role {
            Role::Dialer => SessionSecret::new(&share, &self.share),
            Role::Listener => SessionSecret::new(&self.share, &share),
        };
        let proof = match detail & 3 {
            0 => None,
            1 => Some(self.shown(&known_secret())),
            2 => Some(self.shown(&new)),
            _ => Some([self.input.byte(); 16]),
        };
        self.proved_known |= detail & 3 == 1;
        self.proved_new |= detail & 3 == 2;
        let end = CloseRecord { reason: self.input.byte(), retry_after_ms: 5 };
        let received = (detail & 4 != 0).then(|| self.input.byte().into());
        let end = (detail & 24 == 24).then_some(end);
        Records { proof, received, end, ..Records::default() }.encode()
    }

    fn check(mut self, limit: usize, knows: bool, outcome: Outcome) {
        self.hear(0);
        let far = self.line.clone();
        assert!(far.outgoing().widest_read <= limit, "it read too far ahead");
        assert!(outcome.rest.len() <= limit && contains(&self.said, &outcome.rest));
        match outcome.terms {
            Ok(Negotiated::Resumed { .. }) => {
                assert!(knows && self.proved_known, "believed a stranger")
            }
            Ok(Negotiated::New(pair)) => {
                assert_ne!(pair.secret, known_secret());
                // The dialer proves first; its new secret is used only once the listener has proved
                // it too.
                assert!(self.role == Role::Dialer || self.proved_new, "believed a stranger");
            }
            Ok(Negotiated::Plain) => assert!(self.heard.len() <= 1, "told a plain node too much"),
            Err(_) => {}
        }
        for frame in self.heard.iter().skip(1) {
            assert_eq!(frame.modes(), CONTROL);
        }
    }
}

/// Whether `part` is a subslice of `whole`.
fn contains(whole: &[u8], part: &[u8]) -> bool {
    part.is_empty() || whole.windows(part.len()).any(|window| window == part)
}

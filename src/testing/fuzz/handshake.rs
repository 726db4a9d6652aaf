//! The handshake, against a remote that the input controls.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::error::HandshakeError;
use crate::peer::Session;
use crate::proto::{
    Ack, CONTROL, CloseRecord, Direction, Extension, Frame, Hello, Id, KeyShare, LENGTH_PREFIX,
    Nonce, PeerType, Proof, Role, SessionSecret, encode_length, peek_len,
};
use crate::session::handshake::{Handshake, LocalHello, Negotiated, Progress};
use crate::testing::kit::{
    byte_source::ByteSource,
    pipe::{Pipe, TestWaker},
};

const DIALER: u8 = 1;
const LISTENER: u8 = 2;

/// Number of idle steps after which a handshake with no more input counts as hanging.
const MAX_IDLE_STEPS: usize = 2_000;

/// The result of a handshake, and the bytes that were read beyond it.
struct Outcome {
    negotiated: Result<Negotiated, HandshakeError>,
    rest: Vec<u8>,
}

type HandshakeFuture<'a> = Pin<Box<dyn Future<Output = Outcome> + 'a>>;

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
    let waker = TestWaker::new();
    let limit = 512;
    let mut dialing = dial(&near, limit, flags & 4 != 0);
    let mut listening = listen(&far, limit, flags & 8 != 0);
    let (mut dialed, mut listened) = (None, None);
    for _ in 0..MAX_IDLE_STEPS {
        for pipe in [&near, &far] {
            let (room, arrived) = match input.is_empty() {
                true => (1_000, 1_000),
                false => (input.size() % 512, input.size() % 512),
            };
            pipe.outgoing().room += room;
            pipe.incoming().arrive(arrived);
        }
        if dialed.is_none() {
            dialed = waker.poll(dialing.as_mut());
        }
        if listened.is_none() {
            listened = waker.poll(listening.as_mut());
        }
        if dialed.is_some() && listened.is_some() {
            break;
        }
    }
    let (Some(dialed), Some(listened)) = (dialed, listened) else { panic!("it never completes") };
    assert!(dialed.rest.is_empty() && listened.rest.is_empty());
    let is_known = flags & 12 == 12;
    match (dialed.negotiated, listened.negotiated) {
        (Ok(Negotiated::Resumed(one)), Ok(Negotiated::Resumed(other))) if is_known => {
            assert_eq!((one, other), (LISTENER_PROGRESS, DIALER_PROGRESS));
        }
        (Ok(Negotiated::New(one, credit)), Ok(Negotiated::New(other, other_credit)))
            if !is_known =>
        {
            assert!(one.secret == other.secret);
            assert_eq!((credit.granted, credit.received), (DIALER.into(), LISTENER.into()));
            assert_eq!(
                (other_credit.granted, other_credit.received),
                (LISTENER.into(), DIALER.into())
            );
            assert_eq!(
                (one.instance_id, other.instance_id),
                ([LISTENER; 16].into(), [DIALER; 16].into())
            );
        }
        (one, other) => panic!("{:?} and {:?}", one.err(), other.err()),
    }
}

/// How far the two ends have got with a known session.
const DIALER_PROGRESS: Progress = Progress { received: 11, credit: 1011 };
const LISTENER_PROGRESS: Progress = Progress { received: 22, credit: 1022 };

fn known_secret() -> SessionSecret {
    SessionSecret::new(&[6; 16].into(), &[7; 16].into())
}

fn id(number: u8) -> Id {
    Id::from_bytes([number; 32])
}

fn hello(number: u8, peer_type: PeerType) -> Hello {
    Hello { id: id(number), peer_type, port: 9000 }
}

/// Runs the dialer. If `is_known`, it resumes a known session in which it received 11 frames.
fn dial(pipe: &Arc<Pipe>, limit: usize, is_known: bool) -> HandshakeFuture<'static> {
    let pipe = pipe.clone();
    Box::pin(async move {
        let mut handshake = Handshake::new(pipe, limit, None, &[]);
        let local = LocalHello::new([DIALER; 16].into(), DIALER.into()).unwrap();
        let session = Session::new(known_secret(), [LISTENER; 16].into(), None);
        let hello = hello(DIALER, PeerType::Standard);
        let session = is_known.then_some((&session, DIALER_PROGRESS));
        let result = handshake.dial(&hello, &local, session).await;
        let negotiated = result.map(|(other, negotiated)| {
            assert_ne!(other, hello.id);
            negotiated
        });
        Outcome { negotiated, rest: handshake.into_stream().1 }
    })
}

/// Runs the listener. If `is_known`, it resumes a known session in which it received 22 frames.
fn listen(pipe: &Arc<Pipe>, limit: usize, is_known: bool) -> HandshakeFuture<'static> {
    let pipe = pipe.clone();
    Box::pin(async move {
        let mut handshake = Handshake::new(pipe, limit, None, &[]);
        let negotiated = respond(&mut handshake, is_known).await;
        Outcome { negotiated, rest: handshake.into_stream().1 }
    })
}

async fn respond(
    handshake: &mut Handshake<'_>,
    is_known: bool,
) -> Result<Negotiated, HandshakeError> {
    let (hello, offer) = handshake.recv_hello().await?;
    let Some(offer) = offer else {
        handshake.send_ack(id(LISTENER), &hello).await?;
        return Ok(Negotiated::Plain);
    };
    let local = LocalHello::new([LISTENER; 16].into(), LISTENER.into())?;
    let secret = known_secret();
    let known = (is_known && offer.session == Some(secret.public_name())).then_some(&secret);
    handshake.send_extended_ack(id(LISTENER), &hello, &local, &offer, known).await?;
    let negotiated = handshake.recv_proof(&local, &offer, known).await?;
    if let Negotiated::Resumed(_) = negotiated {
        handshake.send_progress(id(LISTENER), LISTENER_PROGRESS).await?;
    }
    Ok(negotiated)
}

/// A scripted remote, which sends what the input makes of it.
struct Script<'a> {
    /// The role of the real end.
    role: Role,
    input: ByteSource<'a>,
    pipe: Arc<Pipe>,
    /// Frames that the real end sent.
    received: Vec<Frame>,
    unread: Vec<u8>,
    nonce: Nonce,
    key_share: KeyShare,
    /// All bytes that were sent to the real end.
    sent: Vec<u8>,
    /// Whether a valid proof was sent: under the known secret, or under the new one.
    proved_known: bool,
    proved_new: bool,
}

impl<'a> Script<'a> {
    fn new(role: Role, input: ByteSource<'a>) -> Script<'a> {
        Script {
            role,
            input,
            pipe: Pipe::pair().0,
            received: Vec::new(),
            unread: Vec::new(),
            nonce: Nonce::default(),
            key_share: KeyShare::default(),
            sent: Vec::new(),
            proved_known: false,
            proved_new: false,
        }
    }

    fn run(mut self, limit: usize, is_known: bool) {
        let (near, far) = Pipe::pair();
        self.pipe = far;
        let mut real = match self.role {
            Role::Dialer => dial(&near, limit, is_known),
            Role::Listener => listen(&near, limit, is_known),
        };
        let waker = TestWaker::new();
        for _ in 0..MAX_IDLE_STEPS {
            if let Some(outcome) = waker.poll(real.as_mut()) {
                return self.check(limit, is_known, outcome);
            }
            self.step();
        }
        panic!("it never completes");
    }

    /// Receives what the real end sent, and sends one more message.
    fn step(&mut self) {
        let count = self.input.size() + 1;
        self.receive(count);
        if self.input.is_empty() {
            self.pipe.outgoing().is_closed = true;
        } else {
            let sent = self.next_message();
            self.sent.extend_from_slice(&sent);
            self.pipe.outgoing().write(&sent);
        }
        let all = if self.input.is_empty() { usize::MAX } else { count };
        self.pipe.outgoing().arrive(all);
    }

    fn receive(&mut self, room: usize) {
        let mut half = self.pipe.incoming();
        half.room += room;
        self.unread.extend(half.bytes.drain(..));
        drop(half);
        while let Ok(Some(len)) = peek_len(&self.unread) {
            let Some(frame) = self.unread.get(LENGTH_PREFIX..len) else { break };
            self.received.push(Frame::parse(frame.to_vec()).unwrap());
            self.unread.drain(..len);
        }
    }

    /// The next message to send.
    fn next_message(&mut self) -> Vec<u8> {
        let what = self.input.byte();
        let detail = what >> 3;
        let frame = match what & 7 {
            0 => return self.input.take(usize::from(detail)).to_vec(),
            1 | 2 => {
                let extension = self.extension(detail);
                hello(self.sender(), self.peer_type()).encode(&extension)
            }
            3 | 4 => {
                let extension = self.extension(detail);
                Ack { id: id(self.sender()), peer_type: self.peer_type() }.encode(&extension)
            }
            5 | 6 => {
                let payload = self.proof(detail);
                Frame::builder(CONTROL, id(self.sender())).payload(payload).build()
            }
            _ => {
                let payload = vec![0; self.input.size().min(1_000)];
                Frame::builder(8 + u16::from(detail), id(9)).payload(payload).build()
            }
        };
        let frame = frame.unwrap();
        [&encode_length(frame.len())[..], frame.as_bytes()].concat()
    }

    fn sender(&mut self) -> u8 {
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
    fn extension(&mut self, detail: u8) -> Vec<u8> {
        if detail == 0 {
            let len = usize::from(self.input.byte());
            return self.input.take(len).to_vec();
        }
        self.nonce = [self.input.byte(); 16].into();
        self.key_share = [self.input.byte(); 16].into();
        let known = detail & 2 != 0;
        let extension = Extension {
            version: (detail & 1 != 0).then_some((1, 1 + detail)),
            instance_id: Some([3 - (detail >> 4); 16].into()),
            nonce: Some(self.nonce),
            key_share: Some(self.key_share),
            session: known.then(|| known_secret().public_name()),
            proof: (known && self.role == Role::Dialer).then(|| self.valid_proof(&known_secret())),
            ..Extension::default()
        };
        self.proved_known |= extension.proof.is_some() && detail & 4 == 0;
        let mut block = extension.encode();
        if detail & 4 != 0 {
            self.corrupt(&mut block);
        }
        block
    }

    /// Corrupts one byte after the magic.
    fn corrupt(&mut self, block: &mut [u8]) {
        let at = 6 + usize::from(self.input.byte()) % (block.len() - 6);
        block[at] ^= self.input.byte() | 1;
        // The byte may be outside of the proof.
        self.proved_known |= Extension::decode(block).is_some_and(|extension| {
            extension.proof.is_some_and(|proof| proof == self.valid_proof(&known_secret()))
        });
    }

    /// The valid proof of the real end's remote.
    fn valid_proof(&self, secret: &SessionSecret) -> Proof {
        let real = self.real_extension().and_then(|extension| extension.nonce).unwrap_or_default();
        match self.role {
            Role::Dialer => secret.proof(Role::Listener, &real, &self.nonce),
            Role::Listener => secret.proof(Role::Dialer, &self.nonce, &real),
        }
    }

    /// The extension in the real end's Hello or Ack.
    fn real_extension(&self) -> Option<Extension> {
        let first = self.received.first()?;
        let rest = match self.role {
            Role::Dialer => Hello::decode(first).unwrap().1,
            Role::Listener => Ack::decode(first).unwrap().1,
        };
        Extension::decode(rest)
    }

    /// The extension of a control frame, with a valid or an invalid proof.
    fn proof(&mut self, detail: u8) -> Vec<u8> {
        let remote_share =
            self.real_extension().and_then(|extension| extension.key_share).unwrap_or_default();
        let new = match self.role {
            Role::Dialer => SessionSecret::new(&remote_share, &self.key_share),
            Role::Listener => SessionSecret::new(&self.key_share, &remote_share),
        };
        let proof = match detail & 3 {
            0 => None,
            1 => Some(self.valid_proof(&known_secret())),
            2 => Some(self.valid_proof(&new)),
            _ => Some([self.input.byte(); 16].into()),
        };
        self.proved_known |= detail & 3 == 1;
        self.proved_new |= detail & 3 == 2;
        let close = CloseRecord { reason: self.input.byte(), retry_after_ms: 5 };
        let ack = (detail & 4 != 0).then(|| self.input.byte().into());
        let close = (detail & 24 == 24).then_some(close);
        let credit = (detail & 32 == 0).then(|| self.input.byte().into());
        Extension { proof, ack, close, credit, ..Extension::default() }.encode()
    }

    fn check(mut self, limit: usize, is_known: bool, outcome: Outcome) {
        self.receive(0);
        let far = self.pipe.clone();
        assert!(far.outgoing().widest_read <= limit, "read beyond the limit");
        assert!(outcome.rest.len() <= limit && contains(&self.sent, &outcome.rest));
        match outcome.negotiated {
            Ok(Negotiated::Resumed(_)) => {
                assert!(is_known && self.proved_known, "accepted a session without its proof")
            }
            Ok(Negotiated::New(new, _)) => {
                assert_ne!(new.secret, known_secret());
                // The dialer proves first; its new secret is used only once the listener has proved
                // it too.
                assert!(
                    self.role == Role::Dialer || self.proved_new,
                    "accepted a session without its proof"
                );
            }
            Ok(Negotiated::Plain) => {
                assert!(self.received.len() <= 1, "sent a plain node more than an Ack")
            }
            Err(_) => {}
        }
        for frame in self.received.iter().skip(1) {
            assert_eq!(frame.modes(), CONTROL);
        }
    }
}

/// Whether `part` is a subslice of `whole`.
fn contains(whole: &[u8], part: &[u8]) -> bool {
    part.is_empty() || whole.windows(part.len()).any(|window| window == part)
}

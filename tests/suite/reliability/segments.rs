//! The segments of a link to a plain node, as they go over the wire: a veth pair between two
//! network namespaces, with the MTU of Ethernet and without segmentation offload.

use std::collections::HashSet;
use std::io::{BufRead, Read};
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use netmod_inet::InetEndpoint;
use rustix::fd::OwnedFd;
use rustix::net::sockopt::{
    Timeout, set_socket_recv_buffer_size, set_socket_recv_buffer_size_force, set_socket_timeout,
};
use rustix::net::{AddressFamily, Protocol, RecvFlags, SocketFlags, SocketType, recv, socket_with};

use super::figures::number;
use super::network::{in_own_network, ip, unshare};
use super::process::{Process, part, report, skipped};
use crate::scripted::{PlainPeer, STANDARD, hello, number_of, numbered, prefixed};
use crate::subject::{Node, TIMEOUT, parsed, quick, within};

const TEST: &str = "reliability::segments::no_length_stands_across_two_segments";

/// The part of the process that plays the plain node.
const PLAIN_NODE: &str = "plain node";

const NEAR: &str = "10.9.1.1";
const FAR: &str = "10.9.1.2";

/// Largest packet of the line.
const MTU: usize = 1500;

/// `FRAMES` frames of sizes that `SEED` makes. With `PAUSE_MS` the plain node stops reading for so
/// long after every megabyte, so that its window ends wherever it does.
#[test]
fn no_length_stands_across_two_segments() {
    if part(TEST).as_deref() == Some(PLAIN_NODE) {
        return plain_node();
    }
    let mut tried = unshare();
    tried.args("ip link add veth0 type veth peer name veth1".split(' '));
    let can_pair = part(TEST).is_some() || tried.output().is_ok_and(|it| it.status.success());
    match can_pair {
        true => in_own_network(TEST, sender),
        false => skipped(TEST, "this takes root or user namespaces, veth, and unshare and ip"),
    }
}

fn frames() -> u32 {
    number("FRAMES", 20_000) as u32
}

/// Sends over one end of the pair faster than the line takes it.
fn sender() {
    ip("link add veth0 type veth peer name veth1");
    let mut plain_node = Process::start_by(unshare(), TEST, PLAIN_NODE);
    plain_node.wait_line("started");
    ip(&format!("link set veth1 netns {}", plain_node.pid()));
    set_up("veth0", NEAR);
    let mut limits = quick();
    limits.send_timeout = TIMEOUT;
    let mut node = Node::built(InetEndpoint::builder().bind("0.0.0.0:0").limits(limits));
    plain_node.send_line(&node.port().to_string());
    let (target, _, _) = node.up();
    let seed = number("SEED", 1) as u64;
    let mut random = fastrand::Rng::with_seed(seed);
    let mut most_queued = 0;
    smol::block_on(async {
        for number in 0..frames() {
            let largest = [64, 1_300, 3_000, 32_000][random.usize(..4)];
            let frame = parsed(&numbered(number, random.usize(4..largest)));
            node.endpoint.send(target, frame).await.expect("a reader that goes on");
            if number % 1_000 == 999 {
                most_queued = most_queued.max(node.info(target).queued_frames);
            }
        }
    });
    assert!(frames() < 1_000 || most_queued > 10, "no backlog: this shows little");
    report(&format!("seed {seed}: {most_queued} frames queued at most"));
    let (torn, seen) = (plain_node.wait_line("torn:"), plain_node.wait_line("seen:"));
    report(&format!("{seen}; {torn} lengths stand in two segments for no reason"));
    assert_eq!(torn, "0", "seed {seed}, {seen}");
    within("shutdown", node.endpoint.shutdown());
    plain_node.end();
}

/// Gives an end of the pair its address, and has TCP make each segment itself.
fn set_up(interface: &str, addr: &str) {
    ip(&format!("addr add {addr}/24 dev {interface}"));
    ip(&format!("link set {interface} mtu {MTU} gso_max_segs 1 up"));
    // Where that is installed; the limit above does the same for what TCP sends.
    let words = ["-K", interface, "tso", "off", "gso", "off", "gro", "off"];
    let _ = Command::new("ethtool").args(words).output();
}

/// Reads everything on the other end, and looks at how it came.
fn plain_node() {
    ip("link set lo up");
    report("started");
    let port = std::io::stdin().lock().lines().next().expect("a line").expect("a port");
    let capture = Capture::start(port.parse().expect("a port"));
    set_up("veth1", FAR);
    let mut peer = PlainPeer::connect_to(format!("{NEAR}:{port}").parse().expect("an address"));
    peer.write(&prefixed(&hello(STANDARD, 0, 7)));
    let ack = peer.read_frame();
    let lengths = read_all(&mut peer.into_stream(), 4 + ack.len());
    let captured = capture.stop();
    let (torn, seen) = captured.torn(&lengths);
    report(&format!("torn: {torn}"));
    report(&format!("seen: {seen}"));
}

/// Reads the frames. Returns where the length of each stands in the stream, of which `at` bytes
/// were read already, and where the last one ends.
fn read_all(stream: &mut TcpStream, mut at: usize) -> Vec<u64> {
    let pause = Duration::from_millis(number("PAUSE_MS", 0) as u64);
    let mut buffer = vec![0; 64 << 10];
    let (mut unread, mut lengths, mut since_pause) = (Vec::new(), vec![at as u64], 0);
    while lengths.len() <= frames() as usize {
        let read = stream.read(&mut buffer).expect("a frame in time");
        assert_ne!(read, 0, "the stream ended after {} frames", lengths.len() - 1);
        unread.extend_from_slice(&buffer[..read]);
        let mut done = 0;
        while let Some(length) = unread[done..].first_chunk() {
            let end = done + 4 + u32::from_be_bytes(*length) as usize;
            let Some(body) = unread.get(done + 4..end) else { break };
            assert_eq!(number_of(body) as usize, lengths.len() - 1);
            at += end - done;
            lengths.push(at as u64);
            done = end;
        }
        unread.drain(..done);
        since_pause += read;
        if since_pause > 1_000_000 && !pause.is_zero() {
            std::thread::sleep(pause);
            since_pause = 0;
        }
    }
    lengths
}

/// What goes through the interfaces of this namespace.
struct Capture {
    packets: JoinHandle<Captured>,
    is_over: Arc<AtomicBool>,
}

impl Capture {
    fn start(port: u16) -> Capture {
        /// `ETH_P_ALL`, as it goes over the wire.
        const ALL: u32 = u16::to_be(3) as u32;
        let protocol = Protocol::from_raw(ALL.try_into().expect("not 0"));
        let (kind, flags) = (SocketType::DGRAM, SocketFlags::CLOEXEC);
        let socket = socket_with(AddressFamily::PACKET, kind, flags, Some(protocol));
        let socket = socket.expect("a packet socket, which root of a namespace may have");
        // The reader may be slower than the line for a moment.
        if set_socket_recv_buffer_size_force(&socket, 256 << 20).is_err() {
            set_socket_recv_buffer_size(&socket, 256 << 20).expect("a large buffer");
        }
        let patience = Some(Duration::from_millis(50));
        set_socket_timeout(&socket, Timeout::Recv, patience).expect("a timeout");
        let is_over = Arc::new(AtomicBool::new(false));
        let is_last = is_over.clone();
        let packets = std::thread::spawn(move || Captured::take_in(&socket, port, &is_last));
        Capture { packets, is_over }
    }

    fn stop(self) -> Captured {
        // What was read has passed the packet socket before.
        self.is_over.store(true, Ordering::SeqCst);
        self.packets.join().expect("no panic")
    }
}

/// One direction of a TCP connection, by the packets of both.
#[derive(Default)]
struct Captured {
    /// The sequence number before the first byte.
    start: u32,
    /// By how much the receiver's window is to be shifted.
    shift: u8,
    /// Sequence number and length of each segment that carries something.
    segments: Vec<(u32, usize)>,
    /// Sequence numbers at which the receiver's window has ended.
    window_ends: HashSet<u32>,
    largest: usize,
}

impl Captured {
    fn take_in(socket: &OwnedFd, port: u16, is_over: &AtomicBool) -> Captured {
        let mut captured = Captured::default();
        let mut headers = [0; 128];
        loop {
            // The whole length of a packet, of which the rest is thrown away.
            match recv(socket, &mut headers, RecvFlags::TRUNC) {
                Ok((_, len)) => captured.record(&headers, len, port),
                Err(rustix::io::Errno::INTR) => {}
                Err(_) if is_over.load(Ordering::SeqCst) => return captured,
                Err(_) => {}
            }
        }
    }

    /// Notes a packet of `len` bytes, if it is one of the connection to this port.
    fn record(&mut self, packet: &[u8; 128], len: usize, port: u16) {
        let header = usize::from(packet[0] & 15) * 4;
        let is_tcp = packet[0] >> 4 == 4 && packet[9] == 6;
        if !is_tcp || len < header + 20 {
            return;
        }
        let tcp = &packet[header..];
        let half = |at: usize| u16::from_be_bytes([tcp[at], tcp[at + 1]]);
        let word = |at: usize| u32::from_be_bytes([tcp[at], tcp[at + 1], tcp[at + 2], tcp[at + 3]]);
        let (options, is_syn) = (usize::from(tcp[12] >> 4) * 4, tcp[13] & 2 != 0);
        let total = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
        if half(0) == port {
            self.largest = self.largest.max(len);
            match (is_syn, total - header - options) {
                (true, _) => self.start = word(4),
                (false, 0) => {}
                (false, carried) => self.segments.push((word(4), carried)),
            }
        } else if half(2) == port && is_syn {
            self.shift = window_shift(&tcp[20..options]);
        } else if half(2) == port {
            self.window_ends.insert(word(8).wrapping_add(u32::from(half(14)) << self.shift));
        }
    }

    /// How many of the lengths at these places, of which the last is the end, stand in two segments
    /// though there was room in the receiver's window. Also returns what there was to see.
    fn torn(&self, lengths: &[u64]) -> (usize, String) {
        assert!(self.largest <= MTU, "a packet of {} bytes: offload is on", self.largest);
        let offset = |sequence: u32| u64::from(sequence.wrapping_sub(self.start.wrapping_add(1)));
        let of = |(at, len): &(u32, usize)| (offset(*at), offset(*at) + *len as u64);
        let mut segments: Vec<_> = self.segments.iter().map(of).collect();
        segments.sort_unstable();
        let (mut seen, mut twice) = (0, 0);
        for (start, end) in &segments {
            assert!(*start <= seen, "the bytes from {seen} to {start} were not seen");
            twice += seen.min(*end) - start;
            seen = seen.max(*end);
        }
        assert_eq!(Some(&seen), lengths.last(), "not all was seen");
        let ends: HashSet<_> = segments.iter().flat_map(|(start, end)| [*start, *end]).collect();
        let window_ends: HashSet<_> = self.window_ends.iter().map(|end| offset(*end)).collect();
        let (frames, mut at_window, mut torn) = (lengths.len() - 1, 0, 0);
        for length in &lengths[..frames] {
            let inside = (length + 1..length + 4).find(|at| ends.contains(at));
            match inside {
                None => {}
                Some(at) if window_ends.contains(&at) => at_window += 1,
                Some(_) => torn += 1,
            }
        }
        let segments = segments.len();
        let seen = format!(
            "{frames} frames in {segments} segments, {twice} bytes sent again, {at_window} lengths \
             in which the window ended"
        );
        (torn, seen)
    }
}

/// The shift among the options of a SYN; 0 if there is none.
fn window_shift(mut options: &[u8]) -> u8 {
    while let [kind, rest @ ..] = options {
        options = match (kind, rest) {
            (1, _) => rest,
            (3, [_, shift, ..]) => return *shift,
            (_, [len, ..]) if *len >= 2 => options.get(usize::from(*len)..).unwrap_or_default(),
            _ => return 0,
        };
    }
    0
}

//! A stranger that speaks the extension, by hand.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, bind, connect, socket};

use crate::resume::by_hand::{
    ACK, CREDIT, Extension, PING, PROOF, Secret, Wire, control, extension_of, hello, new_extension,
    proof_of_dialer, secret,
};

pub(super) const ID: u8 = 0xA5;

/// The lowest instance id there is: a node with the lower one decides on merges.
pub(super) const INSTANCE: [u8; 16] = [0; 16];

/// A link of the stranger, and the secret of its session.
pub(super) struct Link {
    pub(super) wire: Wire,
    pub(super) session: Secret,
}

impl Link {
    /// Dials from this address and completes the handshake.
    pub(super) fn from(source: Ipv4Addr, port: u16, instance: [u8; 16]) -> Link {
        let mut wire = Wire::over(dial_from(source, port));
        let sent = new_extension(&instance, [1; 16], [2; 16]);
        wire.send(&hello(ID, &sent));
        let listener = extension_of(&wire.expect_frame());
        let session = secret(&sent, &listener);
        let proof = proof_of_dialer(&session, &sent, &listener).to_vec();
        wire.send(&control(
            ID,
            &Extension::from([(PROOF, proof), (ACK, vec![0; 8]), (CREDIT, vec![0; 8])]),
        ));
        Link { wire, session }
    }

    /// Waits until the node has processed all that was sent.
    pub(super) fn wait_processed(&mut self) {
        self.wire.send(&control(ID, &Extension::from([(PING, Vec::new())])));
        self.wire.expect_record(ACK);
    }

    /// Closes with a reset, which leaves the port free.
    pub(super) fn reset(self) {
        let _ = rustix::net::sockopt::set_socket_linger(&self.wire.0, Some(Duration::ZERO));
    }
}

/// Connects from an address of the loopback.
pub(super) fn dial_from(source: Ipv4Addr, port: u16) -> TcpStream {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    bind(&socket, &SocketAddr::from((source, 0))).expect("an address of the loopback");
    connect(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, port))).expect("a listener");
    socket.into()
}

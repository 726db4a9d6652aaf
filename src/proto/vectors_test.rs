//! Samples of the records and of the handshakes that carry them, made by other code than ours:
//! each is read to its fields, and written to the same bytes.

use serde_json::Value;

use crate::proto::{
    Ack, Bits, CloseRecord, Frame, Hello, Id, PeerType, Records, Role, SessionSecret,
};

const SAMPLES: &str = include_str!("../../tests/vectors/records.json");

fn samples() -> Value {
    serde_json::from_str(SAMPLES).unwrap()
}

fn list<'a>(of: &'a Value, name: &str) -> &'a [Value] {
    of[name].as_array().unwrap()
}

fn bytes(hex: &Value) -> Vec<u8> {
    let hex = hex.as_str().unwrap();
    let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(byte).collect()
}

fn fixed<const N: usize>(hex: &Value) -> [u8; N] {
    bytes(hex).try_into().unwrap()
}

fn number<T: TryFrom<u64>>(value: &Value) -> T {
    value.as_u64().and_then(|number| T::try_from(number).ok()).unwrap()
}

/// The records that a sample tells in words.
fn records(told: &Value) -> Records {
    let mut records = Records::default();
    for (name, value) in told.as_object().unwrap() {
        let counted = || (fixed(&value["name"]), number(&value["received"]));
        match name.as_str() {
            "version" => records.version = Some((number(&value[0]), number(&value[1]))),
            "boot" => records.boot = Some(fixed(value)),
            "nonce" => records.nonce = Some(fixed(value)),
            "share" => records.share = Some(fixed(value)),
            "pair" => records.pair = Some(fixed(value)),
            "proof" => records.proof = Some(fixed(value)),
            "received" => records.received = Some(number(value)),
            "held" => records.held = Some(number(value)),
            "end" => {
                let retry_after_ms = number(&value["retry_after_ms"]);
                records.end =
                    Some(CloseRecord { reason: number(&value["reason"]), retry_after_ms });
            }
            "probe" => records.probe = Some(()),
            "busy" => records.busy = Some(()),
            "same" => records.same = Some((fixed(&value["name"]), fixed(&value["proof"]))),
            "merge" => {
                let (name, received) = counted();
                records.merge = Some((name, (received, fixed(&value["proof"]))));
            }
            "merged" => records.merged = Some(counted()),
            other => panic!("a record that this test does not know: {other}"),
        }
    }
    records
}

fn control(sample: &Value, sender: u8) {
    let (bytes, records) = (bytes(&sample["frame_hex"]), records(&sample["records"]));
    let frame = Frame::parse(bytes.clone()).unwrap();
    assert_eq!(Records::decode(frame.payload()).as_ref(), Some(&records), "{sample}");
    let written = records.into_frame(Id::from_bytes([sender; 32])).unwrap();
    assert_eq!(written.as_bytes(), bytes, "{sample}");
}

#[test]
fn control_frames() {
    let samples = samples();
    list(&samples, "control_frames").iter().for_each(|sample| control(sample, 0x11));
}

#[test]
fn blocks_that_others_may_write() {
    let samples = samples();
    for sample in list(&samples, "blocks_read_only") {
        let told = sample["records"].as_object().map(|_| records(&sample["records"]));
        assert_eq!(Records::decode(&bytes(&sample["block_hex"])), told, "{sample}");
    }
}

/// The secret that the samples are about.
fn secret(samples: &Value) -> SessionSecret {
    let pair = &samples["pair"];
    SessionSecret::new(&fixed(&pair["dialer_share"]), &fixed(&pair["listener_share"]))
}

#[test]
fn what_is_derived_from_the_secret_of_a_pair() {
    let samples = samples();
    let (pair, secret) = (&samples["pair"], secret(&samples));
    assert_eq!(secret.public_name(), fixed(&pair["name"]));
    let shown = secret.duplicate_mac(&fixed(&pair["boot"]), &fixed(&pair["other_name"]));
    assert_eq!(shown, fixed(&pair["same_node"]));
    let shown = secret.merge_mac(&fixed(&pair["boot"]), &fixed(&pair["other_name"]), 300);
    assert_eq!(shown, fixed(&pair["decision"]));
}

#[test]
fn whole_handshakes() {
    let samples = samples();
    let secret = secret(&samples);
    for exchange in list(&samples, "exchanges") {
        let messages = list(exchange, "messages");
        for message in messages {
            shaking(message);
        }
        let nonce = |at: usize| -> Bits { fixed(&messages[at]["records"]["nonce"]) };
        let (dialer, listener) = (nonce(0), nonce(1));
        let shown = fixed(&messages[2]["records"]["proof"]);
        assert_eq!(secret.proof(Role::Dialer, &dialer, &listener), shown, "{exchange}");
        if messages[0]["records"]["pair"].is_string() {
            assert_eq!(fixed(&messages[0]["records"]["pair"]), secret.public_name());
            let shown = fixed(&messages[1]["records"]["proof"]);
            assert_eq!(secret.proof(Role::Listener, &dialer, &listener), shown, "{exchange}");
        }
    }
}

/// One message of a handshake.
fn shaking(message: &Value) {
    let sender = if message["from"] == "dialer" { 0xd1 } else { 0x71 };
    let (id, peer_type) = (Id::from_bytes([sender; 32]), PeerType::Standard);
    let bytes = bytes(&message["frame_hex"]);
    let frame = Frame::parse(bytes.clone()).unwrap();
    let written = match message["what"].as_str().unwrap() {
        "hello" => {
            let hello = Hello { id, peer_type, port: number(&message["port"]) };
            let (read, rest) = Hello::decode(&frame).unwrap();
            assert_eq!((read, Records::decode(rest)), (hello, Some(records(&message["records"]))));
            hello.encode(&records(&message["records"]).encode())
        }
        "ack" => {
            let ack = Ack { id, peer_type };
            let (read, rest) = Ack::decode(&frame).unwrap();
            assert_eq!((read, Records::decode(rest)), (ack, Some(records(&message["records"]))));
            ack.encode(&records(&message["records"]).encode())
        }
        _ => return control(message, sender),
    };
    assert_eq!(written.unwrap().as_bytes(), bytes, "{message}");
}

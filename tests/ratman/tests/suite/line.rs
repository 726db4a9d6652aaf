//! Three routers in a line that know their netmod by Ratman's trait alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use libratman::NetmodError;
use libratman::RatmanError;
use libratman::endpoint::EndpointExt;
use libratman::frame::carrier::{CarrierFrameHeader, CarrierFrameHeaderV1};
use libratman::types::{Address, Ident32, InMemoryEnvelope, Neighbour};
use netmod_inet_ratman::{RatmanInet, Settings};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;

type Driver = Arc<dyn EndpointExt + Send + Sync>;

/// Far longer than anything takes here: a wait that lasts so long has failed.
const DEADLINE: Duration = Duration::from_secs(20);

/// Envelopes that each router floods.
const COUNT: usize = 200;

/// Who saw which text, and how often.
type Seen = BTreeMap<(u8, String), usize>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_along_a_line_arrives_once_at_each_and_none_echoes() {
    let line = [router(1).await, router(2).await, router(3).await];
    let [left, middle, right] = &line;
    for end in [left, right] {
        end.start_peering(&address(middle)).await.unwrap();
    }
    for (from, to) in [(left, 2), (middle, 1), (middle, 3), (right, 2)] {
        reach(from, to).await;
    }

    let (log, mut arrivals) = unbounded_channel();
    for (driver, name) in line.iter().zip(1..) {
        tokio::spawn(route(driver.clone(), name, log.clone()));
    }
    let mut seen = Seen::new();
    flood(&line, &[1, 2, 3], COUNT, &mut arrivals, &mut seen).await;
    // Whatever echoes goes ahead of what is sent after it. So once one more flood has gone from end
    // to end, back, and there again, every echo has arrived.
    for end in [1, 3, 1] {
        flood(&line, &[end], 1, &mut arrivals, &mut seen).await;
    }
    assert_eq!(seen.len(), 2 * (3 * COUNT + 3));
    let more_than_once: Vec<_> = seen.iter().filter(|(_, count)| **count != 1).collect();
    assert!(more_than_once.is_empty(), "{more_than_once:?}");
    let echo = seen.keys().find(|(at, text)| text.starts_with(&format!("{at} ")));
    assert_eq!(echo, None);
}

/// A netmod as a router gets it: from a configuration, and behind the trait.
async fn router(name: u8) -> Driver {
    let mut settings = Settings::default();
    for (key, value) in [("enable", "true"), ("bind", "127.0.0.1:0")] {
        settings.set(key, value).unwrap();
    }
    Arc::new(RatmanInet::open(&settings, id(name)).await.unwrap().expect("it is enabled"))
}

fn id(name: u8) -> Ident32 {
    Ident32::from([name; 32])
}

/// Where to dial a netmod, which is in its name.
fn address(driver: &Driver) -> String {
    driver.identifier().strip_prefix("inet#").expect("an address").to_owned()
}

/// Waits until the neighbour is there: until then what is sent to it comes back.
async fn reach(driver: &Driver, neighbour: u8) {
    let mut envelope = envelope("are you there?");
    let reach = async {
        loop {
            match driver.send(envelope, Neighbour::Single(id(neighbour)), None).await {
                Ok(()) => return,
                Err(RatmanError::Netmod(NetmodError::ConnectionLost(back))) => envelope = back,
                Err(error) => panic!("{error}"),
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(DEADLINE, reach).await.expect("a neighbour");
}

/// A router with nothing but the flood in it: what arrives goes on to all but its sender. It has
/// something else to do all the time, for which it lets go of `next`.
async fn route(driver: Driver, name: u8, log: UnboundedSender<(u8, String)>) {
    let mut tick = tokio::time::interval(Duration::from_micros(100));
    loop {
        tokio::select! {
            biased;
            next = driver.next() => {
                let Ok((envelope, from)) = next else { return };
                let text = String::from_utf8(envelope.get_payload_slice().to_vec()).unwrap();
                if !text.ends_with('?') {
                    driver.send(envelope, Neighbour::Flood, from.maybe_single()).await.unwrap();
                    log.send((name, text)).expect("a test that listens");
                }
            }
            _ = tick.tick() => {}
        }
    }
}

/// Lets each of these routers flood so many envelopes at once, and waits until the two others have
/// each.
async fn flood(
    line: &[Driver; 3],
    names: &[u8],
    count: usize,
    arrivals: &mut UnboundedReceiver<(u8, String)>,
    seen: &mut Seen,
) {
    let round = seen.len();
    for number in 0..count {
        for &name in names {
            let envelope = envelope(&format!("{name} {round}.{number}"));
            let driver = &line[usize::from(name) - 1];
            driver.send(envelope, Neighbour::Flood, None).await.unwrap();
        }
    }
    let expected = round + 2 * names.len() * count;
    while seen.len() < expected {
        let arrival = timeout(DEADLINE, arrivals.recv()).await.expect("an envelope");
        *seen.entry(arrival.expect("a router")).or_default() += 1;
    }
}

fn envelope(text: &str) -> InMemoryEnvelope {
    let len = text.len().try_into().expect("a short text");
    let sender = Address::from_bytes(&[0xEE; 32]);
    let header = CarrierFrameHeaderV1::new(8, sender, None, None, None, None, len);
    let header = CarrierFrameHeader::V1(header);
    InMemoryEnvelope::from_header_and_payload(header, text.into()).expect("an envelope")
}

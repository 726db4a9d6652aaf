//! A node: a model of a router and its driver, in a process that lines on standard input command.
//!
//! It ends with its standard input, so with the test that started it.

use std::io::{BufRead, Write};
use std::sync::Arc;

use libratman::types::Ident32;
use log::{LevelFilter, Log, Metadata, Record};
use netmod_inet::Event;
use netmod_inet_ratman::{RatmanInet, Settings};
use tokio::sync::mpsc::unbounded_channel;

use crate::plain::{Faults, PlainInet};
use crate::router::{Driver, Router};
use crate::stream::{self, DATA};

/// The variable of the environment that makes a process a node: its driver, the byte of its router
/// id, and the address to listen on.
pub(crate) const ARGUMENTS: &str = "NETMOD_INET_MODEL_NODE";

/// The modes of an envelope that no router may send.
const RESERVED: u16 = 40;

/// A node that tears frames tears one in this many.
pub(crate) const TEAR_INTERVAL: u32 = 500;

/// Runs a node until its standard input ends.
pub(crate) fn run(arguments: &str) -> ! {
    log::set_logger(&LogLines).expect("no other logger");
    log::set_max_level(LevelFilter::Info);
    let arguments: Vec<_> = arguments.split(' ').collect();
    let [driver, id, bind] = arguments[..] else { panic!("{arguments:?}") };
    let id = router_id(number(id));

    let (sender, mut commands) = unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
        std::process::exit(0)
    });
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let driver: Driver = match driver {
            "ours" => ours(id, bind).await,
            "plain" => Arc::new(PlainInet::start(id, bind, Faults::default()).await),
            "tearing" => {
                let faults = Faults { tear_interval: Some(TEAR_INTERVAL) };
                Arc::new(PlainInet::start(id, bind, faults).await)
            }
            other => panic!("there is no driver {other}"),
        };
        // The test runner has begun a line of its own.
        emit("");
        let address = driver.identifier();
        emit(&format!("listening {}", address.strip_prefix("inet#").expect("an address")));
        let router = Router::start(id, driver);
        while let Some(command) = commands.recv().await {
            dispatch(&router, &command).await;
        }
    });
    unreachable!("the process ends with its standard input")
}

/// The driver under test, as a router opens it.
async fn ours(id: Ident32, bind: &str) -> Driver {
    let mut settings = Settings::default();
    settings.set("bind", bind).expect("a key");
    let inet = RatmanInet::open(&settings, id).await.expect("a free port").expect("it is enabled");
    let events = inet.endpoint().events();
    tokio::spawn(async move {
        while let Ok(event) = events.next().await {
            match event {
                Event::Up { id, .. } => emit(&format!("up {}", name(id.as_bytes().into()))),
                Event::Down { target, reason, .. } => emit(&format!("down {target}: {reason}")),
                _ => {}
            }
        }
    });
    Arc::new(inet)
}

async fn dispatch(router: &Arc<Router>, command: &str) {
    let words: Vec<_> = command.split(' ').collect();
    match words[..] {
        ["peer", addr] => router.peer(addr).await,
        ["announce", count] => router.announce(number(count)).await,
        ["stream", to, stream, bytes] => {
            let (to, stream, bytes) = (router_id(number(to)), number(stream), number(bytes));
            tokio::spawn(router.clone().stream(to, stream, bytes));
        }
        ["send-reserved", to] => {
            let to = router_id(number(to));
            router.send(stream::empty(RESERVED, to), to).await;
        }
        ["send-unknown", to] => {
            let to = router_id(number(to));
            router.send(stream::empty(DATA, to), to).await;
        }
        ["figures"] => emit(&format!("figures {}", router.figures())),
        _ => panic!("there is no command {command}"),
    }
}

/// The router id that is this byte, 32 times.
pub(crate) fn router_id(byte: u8) -> Ident32 {
    Ident32::from([byte; 32])
}

/// A short name for an id: the byte that it repeats. Any other id begins with a question mark.
pub(crate) fn name(id: Ident32) -> String {
    let bytes = id.slice();
    match bytes.iter().all(|byte| *byte == bytes[0]) {
        true => bytes[0].to_string(),
        false => format!("?{id}"),
    }
}

/// Writes a line for the test.
pub(crate) fn emit(line: &str) {
    // In one piece, for lines come from several threads. Without a test there is nobody to read it.
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

fn number<T: std::str::FromStr>(word: &str) -> T {
    word.parse().unwrap_or_else(|_| panic!("`{word}` is no number"))
}

/// Writes the log as lines for the test.
struct LogLines;

impl Log for LogLines {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        emit(&format!("log {} {}: {}", record.level(), record.target(), record.args()));
    }

    fn flush(&self) {}
}

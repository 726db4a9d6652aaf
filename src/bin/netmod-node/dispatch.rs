//! Executes the commands of standard input.

use crate::command::{Command, Content};
use crate::format::Format;
use crate::help;
use crate::input::{self, Input};
use crate::output::Output;
use crate::peer_files;
use netmod_inet::{AddPeersError, InetEndpoint, PeerAddr, SendErrorKind, Target};
use smol::future::block_on;
use std::io::{self, BufReader};
use std::time::Duration;

/// How long a command waits for room in the send queue. The commands behind it wait as well.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);

/// Executes commands until `quit`, for which it returns `true`, or the end of input.
///
/// Blocks while it reads and prints, and so needs a thread of its own.
pub(crate) fn run(endpoint: &InetEndpoint, output: &Output) -> bool {
    let mut reader = BufReader::with_capacity(input::BLOCK, io::stdin().lock());
    let (mut line, mut answer) = (Vec::new(), Vec::new());
    loop {
        let (result, is_end) = match input::next(&mut reader, &mut line) {
            Input::Command(Command::Quit) => return true,
            Input::Command(command) => {
                (execute(endpoint, &*output.format, &mut answer, command), false)
            }
            Input::Invalid(message) => (Err(message), false),
            Input::End(end) => (end.map_err(|error| format!("standard input: {error}")), true),
        };
        if let Err(message) = result {
            output.format.error(&mut answer, &message);
        }
        output.print(&answer);
        answer.clear();
        if is_end {
            return false;
        }
    }
}

/// Appends the answer. Returns an error for a command that does not apply.
fn execute(
    endpoint: &InetEndpoint,
    format: &dyn Format,
    answer: &mut Vec<u8>,
    command: Command,
) -> Result<(), String> {
    match command {
        Command::Send { target, content } => match send(endpoint, target, content) {
            Ok(target) => format.sent(answer, target),
            Err(reason) => format.refused(answer, Some(target), &reason),
        },
        Command::Flood(content) => flood(endpoint, format, answer, content),
        Command::Add(text) => {
            let target = add(endpoint, &text).map_err(|reason| format!("add: {reason}"))?;
            format.info(answer, &format!("dialing {text} as {target}"));
        }
        Command::Remove(number) => {
            let target = to_target("remove", number)?;
            block_on(endpoint.remove_peer(target)).map_err(|error| format!("remove: {error}"))?;
        }
        Command::Kick(number) => {
            let target = number.map(|number| to_target("kick", number)).transpose()?;
            endpoint.kick(target).map_err(|error| format!("kick: {error}"))?;
            format.info(answer, "redialing what is down");
        }
        Command::Peers => format.peers(answer, &endpoint.peers()),
        Command::Help => format.help(answer, help::COMMANDS),
        Command::Quit => {}
    }
    Ok(())
}

fn send(endpoint: &InetEndpoint, number: u64, content: Content) -> Result<Target, String> {
    let frame = content.into_frame(endpoint.router_id()).map_err(|error| error.to_string())?;
    let target = u16::try_from(number).map_err(|_| SendErrorKind::UnknownTarget.to_string())?;
    let target = Target::from(target);
    match block_on(endpoint.send_within(target, frame, SEND_TIMEOUT)) {
        Ok(()) => Ok(target),
        Err(error) => Err(error.to_string()),
    }
}

fn flood(endpoint: &InetEndpoint, format: &dyn Format, answer: &mut Vec<u8>, content: Content) {
    let flooded = match content.into_frame(endpoint.router_id()) {
        Ok(frame) => endpoint.send_all(frame).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    match flooded {
        Ok(flooded) => {
            for target in &flooded.sent {
                format.sent(answer, *target);
            }
            for (target, refusal) in &flooded.refused {
                format.refused(answer, Some(u16::from(*target).into()), refusal);
            }
            if answer.is_empty() {
                format.info(answer, "nothing was sent: there is no peer");
            }
        }
        Err(reason) => format.refused(answer, None, &reason),
    }
}

fn add(endpoint: &InetEndpoint, text: &str) -> Result<Target, String> {
    let addr: PeerAddr =
        text.parse().map_err(|error| format!("`{}`: {error}", peer_files::redact_key(text)))?;
    match peer_files::add(endpoint, vec![addr]) {
        Ok(targets) => Ok(targets[0]),
        // The index is omitted: there is one entry.
        Err(AddPeersError::Known { target, .. }) => {
            Err(format!("`{text}` is peer {target} already"))
        }
        Err(error) => Err(error.to_string()),
    }
}

/// Converts a number to a target.
fn to_target(command: &str, number: u64) -> Result<Target, String> {
    u16::try_from(number)
        .map(Target::from)
        .map_err(|_| format!("{command}: there is no peer with target {number}"))
}

//! A terminal with a node in it.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::Process;
use crate::subject::TIMEOUT;

/// What begins a picture, and what ends it.
const HOME: &str = "\x1b[H";
const END: &str = "\x1b[J";

/// What a terminal was sent, and may be typed at.
pub(crate) struct Screen {
    terminal: File,
    sent: Arc<Mutex<Vec<u8>>>,
}

impl Screen {
    /// Starts a program whose standard input and output are a terminal of this size. Its
    /// standard error can be read.
    pub(crate) fn start(command: &mut Command, columns: u16, rows: u16) -> (Screen, Process) {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
            .expect("a terminal");
        grantpt(&master).and_then(|()| unlockpt(&master)).expect("a terminal");
        let name = ptsname(&master, Vec::new()).expect("its name");
        let slave = OpenOptions::new()
            .read(true)
            .write(true)
            .open(name.to_str().expect("text"))
            .expect("a terminal");
        let mut terminal = File::from(master);
        resize(&terminal, columns, rows);
        command.stdin(slave.try_clone().expect("a descriptor")).stdout(slave);
        let process = Process::run(command.stderr(Stdio::piped()));
        // Or it would hold the terminal open.
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let sent = Arc::new(Mutex::new(Vec::new()));
        let (reader, writer) = (terminal.try_clone(), sent.clone());
        let mut reader = reader.expect("a descriptor");
        std::thread::spawn(move || {
            let mut block = [0; 4096];
            while let Ok(len @ 1..) = reader.read(&mut block) {
                writer.lock().expect("no panic").extend_from_slice(&block[..len]);
            }
        });
        terminal.flush().expect("a terminal");
        (Screen { terminal, sent }, process)
    }

    pub(crate) fn resize(&self, columns: u16, rows: u16) {
        resize(&self.terminal, columns, rows);
    }

    pub(crate) fn press(&mut self, key: &str) {
        self.terminal.write_all(key.as_bytes()).expect("a terminal");
    }

    /// Waits until what was sent ends so, and returns all of it. What a program sent last may still
    /// be under way when it has ended.
    pub(crate) fn until(&self, end: &str) -> String {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let sent = self.sent();
            if sent.ends_with(end) {
                return sent;
            }
            assert!(Instant::now() < deadline, "it does not end with {end:?}: {sent}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn sent(&self) -> String {
        String::from_utf8_lossy(&self.sent.lock().expect("no panic")).into_owned()
    }

    /// Waits for a whole picture that is as it should be: its lines.
    pub(crate) fn wait(
        &self,
        what: &str,
        patience: Duration,
        is_it: impl Fn(&[String]) -> bool,
    ) -> Vec<String> {
        let end = Instant::now() + patience;
        loop {
            let picture = self.picture();
            if is_it(&picture) {
                return picture;
            }
            assert!(Instant::now() < end, "no {what}; shown last:\n{}", picture.join("\n"));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The lines of the last whole picture, without what makes them bold and the like.
    fn picture(&self) -> Vec<String> {
        let sent = self.sent();
        let Some(end) = sent.rfind(END) else { return Vec::new() };
        let start = sent[..end].rfind(HOME).expect("a picture has a start") + HOME.len();
        sent[start..end].split('\n').map(|line| plain(line.trim_end_matches('\r'))).collect()
    }
}

fn resize(terminal: &File, columns: u16, rows: u16) {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(terminal, size).expect("a terminal");
}

fn plain(line: &str) -> String {
    let mut parts = line.split('\x1b');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| c.is_ascii_alphabetic()).expect("a whole sequence");
        text.push_str(&part[end + 1..]);
    }
    text
}

//! The configured peers: those of the command line, and those of the peer files, which can be
//! reloaded.

use netmod_inet::{AddPeersError, InetEndpoint, PeerAddr, Target};
use smol::future::block_on;
use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The largest peer file. One that lists 65 536 peers is far smaller.
const MAX_FILE: u64 = 16 << 20;

/// The sources of peers, and the peers that the files list.
#[derive(Default)]
pub(crate) struct PeerFiles {
    pub(crate) paths: Vec<PathBuf>,
    /// Peers of the command line. A reload does not remove them.
    pub(crate) permanent: Vec<PeerAddr>,
    permanent_targets: Vec<Target>,
    listed: Vec<(PeerAddr, Target)>,
}

/// The result of a reload.
#[derive(Default)]
pub(crate) struct Reload {
    pub(crate) added: u64,
    pub(crate) removed: u64,
    pub(crate) kept: u64,
    /// Entries that could not be added or removed, each with the reason.
    pub(crate) errors: Vec<String>,
}

impl PeerFiles {
    /// Reads all entries. The error names the file and the line.
    pub(crate) fn read(&self) -> Result<Vec<PeerAddr>, String> {
        self.read_all(|path| File::open(path))
    }

    /// Adds all peers to an endpoint: those of the command line, and `listed` of the files.
    pub(crate) fn add_all(
        &mut self,
        endpoint: &InetEndpoint,
        listed: Vec<PeerAddr>,
    ) -> Result<(), AddPeersError> {
        let peers = self.permanent.iter().chain(&listed).cloned().collect();
        let mut targets = add(endpoint, peers)?;
        let of_files = targets.split_off(self.permanent.len());
        self.permanent_targets = targets;
        self.listed = listed.into_iter().zip(of_files).collect();
        Ok(())
    }

    /// Reloads the files: adds new peers, removes peers that are no longer listed, and leaves the
    /// others alone. On an error, which names the file and the line, nothing changes.
    pub(crate) fn reload(&mut self, endpoint: &InetEndpoint) -> Result<Reload, String> {
        let wanted = self.read_all(|path| {
            // Opening a FIFO would block, and its content can be read once only.
            match fs::metadata(path)?.is_file() {
                true => File::open(path),
                false => Err(io::Error::other("no regular file, which could be read again")),
            }
        })?;
        let (mut old, mut reload) = (std::mem::take(&mut self.listed), Reload::default());
        let (mut staying, mut new) = (self.permanent_targets.clone(), Vec::new());
        for addr in wanted {
            let Some(at) = old.iter().position(|(other, _)| *other == addr) else {
                new.push(addr);
                continue;
            };
            old.swap_remove(at);
            self.add_listed(endpoint, addr, &mut reload);
        }
        staying.extend(self.listed.iter().map(|(_, target)| *target));
        for (addr, target) in old {
            remove(endpoint, addr, target, &staying, &mut reload);
        }
        // After the removals: an entry may be listed again in another form.
        for addr in new {
            self.add_listed(endpoint, addr, &mut reload);
        }
        Ok(reload)
    }

    fn read_all(&self, open: fn(&Path) -> io::Result<File>) -> Result<Vec<PeerAddr>, String> {
        let mut peers: Vec<PeerAddr> = Vec::new();
        for path in &self.paths {
            let in_file =
                |error: &dyn Display| format!("--peer-file `{}`: {error}", path.display());
            let text = open(path).and_then(read_file).map_err(|error| in_file(&error))?;
            let entries = PeerAddr::parse_list(&text).map_err(|error| in_file(&error))?;
            for entry in &entries {
                check_unique(&self.permanent, entry)
                    .and_then(|()| check_unique(&peers, entry))
                    .map_err(|error| in_file(&error))?;
            }
            peers.extend(entries);
        }
        Ok(peers)
    }

    /// Adds a peer, unless the endpoint dials it already.
    fn add_listed(&mut self, endpoint: &InetEndpoint, addr: PeerAddr, reload: &mut Reload) {
        match target_of(endpoint, &addr) {
            Ok((target, is_new)) => {
                *(if is_new { &mut reload.added } else { &mut reload.kept }) += 1;
                self.listed.push((addr, target));
            }
            Err(error) => reload.errors.push(format!("`{addr}`: {error}")),
        }
    }
}

/// Returns the target of a peer and whether it was added here.
fn target_of(endpoint: &InetEndpoint, addr: &PeerAddr) -> Result<(Target, bool), AddPeersError> {
    match add(endpoint, vec![addr.clone()]) {
        Ok(targets) => Ok((targets[0], true)),
        Err(AddPeersError::Known { target, .. }) => Ok((target, false)),
        Err(error) => Err(error),
    }
}

/// Adds peers. `add_peers` never waits; a single call site keeps its code from being duplicated.
pub(crate) fn add(
    endpoint: &InetEndpoint,
    peers: Vec<PeerAddr>,
) -> Result<Vec<Target>, AddPeersError> {
    block_on(endpoint.add_peers(peers))
}

/// Removes a peer that is no longer listed. It is kept if it is the same node as a peer that stays:
/// the two share a link.
fn remove(
    endpoint: &InetEndpoint,
    addr: PeerAddr,
    target: Target,
    staying: &[Target],
    reload: &mut Reload,
) {
    // The peer may have been merged, or removed by a command.
    let target = match endpoint.peers().iter().any(|info| info.target == target) {
        true => target,
        false => target_of(endpoint, &addr).map_or(target, |(target, _)| target),
    };
    if staying.contains(&target) {
        let why = "the same node as another peer that is listed; it stays until the next start";
        reload.errors.push(format!("`{addr}`: {why}"));
    } else if block_on(endpoint.remove_peer(target)).is_ok() {
        reload.removed += 1;
    }
}

fn read_file(file: File) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut text)?;
    match text.len() as u64 > MAX_FILE {
        true => Err(io::Error::other("larger than a peer file can be")),
        false => Ok(text),
    }
}

/// Checks that a peer is not listed twice. The endpoint checks it as well, but does not know the
/// file and the line.
pub(crate) fn check_unique(peers: &[PeerAddr], peer: &PeerAddr) -> Result<(), String> {
    let same = |other: &PeerAddr| (other.host(), other.port()) == (peer.host(), peer.port());
    match peers.iter().any(same) {
        true => Err(format!("`{peer}`: this peer is given twice")),
        false => Ok(()),
    }
}

/// Redacts an invalid address for a message: truncates it before anything that may be a key, since
/// that may be a private key given by mistake.
pub(crate) fn redact_key(addr: &str) -> String {
    let may_be_key = |run: &[u8]| {
        run.iter().all(u8::is_ascii_hexdigit) && run.iter().any(u8::is_ascii_alphabetic)
    };
    let bytes = addr.as_bytes();
    let named = bytes.windows(4).position(|run| run == b"key=").map(|at| at + 4);
    match named.into_iter().chain(bytes.windows(16).position(may_be_key)).min() {
        Some(end) => format!("{}…", &addr[..end]),
        None => addr.to_owned(),
    }
}

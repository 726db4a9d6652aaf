//! The node of the command line, with keys in files.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::processes::{Process, program};

/// A folder of this test's own, which goes with it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        let name = format!("netmod-inet-node-keys-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).expect("a folder");
        Folder(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("a path").to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs the node to its end: its status, what it printed, and its errors.
fn run(args: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(program()).args(args).output().expect("a process");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text").trim().to_owned();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn keygen(args: &[&str]) -> String {
    let (status, printed, errors) = run(&[&["keygen"], args].concat());
    assert_eq!((status, errors.as_str()), (Some(0), ""));
    printed
}

#[test]
fn two_nodes_with_keys_from_files_peer_and_a_third_is_kept_out() {
    let folder = Folder::new();
    let [a, b, c, net] = ["a.key", "b.key", "c.key", "net.secret"].map(|name| folder.file(name));
    let [key_a, key_b, key_c] = [&a, &b, &c].map(|file| keygen(&[file]));
    assert_eq!(keygen(&["--show", &a]), key_a);
    assert_eq!(keygen(&["--secret", &net]), "");
    let (status, _, error) = run(&["keygen", &a]);
    assert_eq!(status, Some(1), "it was overwritten");
    assert!(error.contains("a.key"), "{error}");
    let secret = ["--network-secret-file", net.as_str()];
    let listens = ["--bind", "127.0.0.1:0", "--key-file", &a, "--allow-key", &key_b];
    let mut far = Process::start(&[&listens[..], &secret].concat());
    let addr = far.wait("listening")["addr"].as_str().expect("an address").to_owned();
    let peer = format!("{addr}?key={key_a}");
    let dials = ["--bind", "127.0.0.1:0", "--peer", &peer, "--key-file"];
    let mut near = Process::start(&[&dials[..], &[&b], &secret].concat());
    assert_eq!(near.wait("up")["key"], key_a);
    assert_eq!(far.wait("up")["key"], key_b);
    near.say("send 0 hello");
    assert_eq!(far.wait("frame")["payload"], crate::scripted::hex(b"hello"));
    let mut other = Process::start(&[&dials[..], &[&c], &secret].concat());
    let told = far.wait("dropped")["reason"].as_str().expect("a reason").to_owned();
    assert_eq!(told, format!("the key {key_c} is not allowed in"));
    let told = other.wait("attempt")["reason"].as_str().expect("a reason").to_owned();
    assert_eq!(told, "refused: it does not let this node in");
}

#[test]
fn options_about_keys_name_what_is_wrong() {
    let folder = Folder(std::env::temp_dir().join("netmod-inet-no-such-folder"));
    let missing = folder.file("node.key");
    let key = "0a".repeat(32);
    for (args, told) in [
        (&["--key-file", missing.as_str()][..], "--key-file "),
        (&["--allow-key", "12"], "--allow-key `12`: a key has 64 hexadecimal digits, not 2"),
        (&["--allow-key", &key], "--allow-key needs --key-file"),
        (&["--encrypted-only"], "--encrypted-only needs --key-file"),
        (&["--peer", &format!("a.example:1?key={key}")], "and this node has no key"),
        (&["keygen"], "keygen needs the name of a file"),
    ] {
        let (status, _, error) = run(args);
        assert!(status == Some(2) && error.contains(told), "{args:?}: {status:?} {error}");
    }
    assert!(!Path::new(&missing).exists());
}

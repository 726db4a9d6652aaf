//! The node of the command line, with keys in files.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::processes::{Process, program};

/// A folder of this test's own, which goes with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let name = format!("netmod-inet-node-{name}-{}", std::process::id());
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
    let folder = Folder::new("keys");
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
    near.command("send 0 hello");
    assert_eq!(far.wait("frame")["payload"], crate::scripted::hex(b"hello"));
    let mut other = Process::start(&[&dials[..], &[&c], &secret].concat());
    let reason = far.wait("dropped")["reason"].as_str().expect("a reason").to_owned();
    assert_eq!(reason, format!("the key {key_c} is not allowed in"));
    let reason = other.wait("attempt")["reason"].as_str().expect("a reason").to_owned();
    assert_eq!(reason, "refused: it does not let this node in");
}

#[test]
fn options_about_keys_name_what_is_wrong() {
    let folder = Folder(std::env::temp_dir().join("netmod-inet-no-such-folder"));
    let missing = folder.file("node.key");
    let key = "0a".repeat(32);
    for (args, expected) in [
        (&["--key-file", missing.as_str()][..], "--key-file "),
        (&["--allow-key", &key[1..]], "--allow-key: a key has 64 hexadecimal digits, not 63"),
        (
            &["--allow-key", &format!("{}x", &key[1..])],
            "--allow-key: character 64 of the key is no hexadecimal digit",
        ),
        (
            &["--peer", &format!("a.example:1?key={}", &key[1..])],
            "--peer `a.example:1?key=…`: a key has 64 hexadecimal digits, not 63",
        ),
        (
            &["--peer", &format!("a.example:1?Key={key}")],
            "--peer `a.example:1?Key=…`: unknown option `Key=…` (",
        ),
        (
            &["--peer", &format!("a.example:{key}")],
            "--peer `a.example:…`: `…` is no port (1 to 65535)",
        ),
        (&["--allow-key", &key], "--allow-key needs --key-file"),
        (&["--encrypted-only"], "--encrypted-only needs --key-file"),
        (&["--peer", &format!("a.example:1?key={key}")], "and this node has no key"),
        (&["keygen"], "keygen needs the name of a file"),
    ] {
        let (status, _, error) = run(args);
        assert!(status == Some(2) && error.contains(expected), "{args:?}: {status:?} {error}");
        // What was taken for the public half may be the secret one.
        assert!(expected.contains("this node has no key") || !error.contains("0a0a"), "{error}");
    }
    assert!(!Path::new(&missing).exists());
}

/// It left an empty file, which was in the way of the next try.
#[test]
fn a_key_file_is_there_as_a_whole_or_not_at_all() {
    let folder = Folder::new("killed");
    let file = folder.file("node.key");
    // The system kills it when it writes the first byte.
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -c 0; ulimit -f 0; exec \"$@\"", "sh"]).arg(program());
    let status = shell.args(["keygen", &file]).status().expect("a shell");
    assert_eq!(status.code(), None, "it was not killed");
    assert!(!Path::new(&file).exists());
    let key = keygen(&[&file]);
    assert_eq!(keygen(&["--show", &file]), key);
}

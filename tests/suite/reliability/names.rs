//! A name server that answers nothing.

use std::net::UdpSocket;
use std::process::{Command, Stdio};

use super::network::{in_own_network, ip};
use super::process::skipped;
use crate::processes::{Process, program};
use crate::runner;

const TEST: &str = "reliability::names::forty_names_that_hang_hold_up_nobody";

/// Runs what is added to it with files of its own in place of two of the system's.
const WITH_FILES: &str = r#"
set -e
dir=$(mktemp -d)
printf 'nameserver 127.0.0.1\noptions timeout:5 attempts:4\n' >"$dir/resolv.conf"
printf '127.0.0.1 localhost good.example\n' >"$dir/hosts"
printf 'hosts: files dns\n' >"$dir/nsswitch.conf"
for file in resolv.conf hosts nsswitch.conf; do
  [ -e "/etc/$file" ] || continue
  mount --bind "$dir/$file" "/etc/$file"
done
rm -r "$dir"
exec "$@"
"#;

/// Regression: four lookups at a time, of which names that hung held all, and an address with a
/// zone took one too. The good ones came up after 10 to 30 s, or never.
#[test]
fn forty_names_that_hang_hold_up_nobody() {
    in_own_network(TEST, || {
        let _server = UdpSocket::bind("127.0.0.1:53").expect("a port of this network");
        ip("link add d0 type veth peer name d1");
        ip("link set d1 up");
        ip("link set d0 up");
        ip("addr add fe80::77/64 dev d0 nodad");
        let with_files = |words: &[&str]| {
            let mut command = Command::new("unshare");
            command.args(["--mount", "sh", "-c", WITH_FILES, "sh"]).args(words);
            command
        };
        if !with_files(&["true"]).output().is_ok_and(|tried| tried.status.success()) {
            return skipped(TEST, "this takes mount namespaces");
        }

        let good = ["127.0.0.1:9000", "[::]:9001"].map(|addr| {
            let mut node = Process::start(&["--bind", addr]);
            node.wait("listening");
            node
        });
        let mut node = with_files(&[]);
        node.args(runner::words(program())).args(["--json", "--bind", "127.0.0.1:0"]);
        for number in 0..40 {
            node.args(["--peer", &format!("hangs{number}.example:9000")]);
        }
        node.args(["--peer", "good.example:9000", "--peer", "[fe80::77%d0]:9001"]);
        let mut node = Process::run(node.stdin(Stdio::piped()).stdout(Stdio::piped()));
        let ups = [node.wait("up"), node.wait("up")].map(|up| up["addr"].clone());
        assert!(ups.iter().any(|addr| addr == "127.0.0.1:9000"), "{ups:?}");
        // The name server has five seconds for each of the others, and no error comes before.
        let lines = node.lines_so_far();
        assert!(!lines.iter().any(|line| line.contains("hangs")), "{lines:?}");
        drop(good);
    });
}

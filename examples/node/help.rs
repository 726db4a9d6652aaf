//! The texts that explain the program.

use netmod_inet::Limits;

pub(crate) const COMMANDS: &str = "\
Commands, one per line on standard input:
  send TARGET TEXT      send a data frame to one peer
  send-hex TARGET HEX   send a carrier frame, given byte by byte
  flood TEXT            send a data frame to every peer that is up
  flood-hex HEX         send a carrier frame to every peer that is up
  add ADDR              dial one more peer
  remove TARGET         forget a peer
  kick [TARGET]         redial what is down at once
  peers                 explain every peer
  help                  show this list
  quit                  shut down; so do SIGINT and SIGTERM";

const OPTIONS: &str = "\
A node that peers with Ratman nodes over TCP and sends and prints frames.

Usage: node [OPTION]...

Options:
  --bind ADDR           listen there, e.g. [::]:9000 or 127.0.0.1:0; may be
                        repeated. Default: [::]:9000 for IPv6 and IPv4, or
                        0.0.0.0:9000 on a machine without IPv6
  --peer ADDR           dial this peer; may be repeated
  --peer-file FILE      dial every peer in this file, one ADDR per line; blank
                        lines and lines that begin with # are skipped; may be
                        repeated
  --id HEX64            router id, 64 hex digits. Default: a random one
  --json                print one JSON object per line
  --accept all|known    who may dial in: anyone (default), or only from the
                        addresses of configured peers
  --allow CIDR          let these addresses in, e.g. 10.0.0.0/8 or fe80::/10,
  --deny CIDR           keep these out; both may be repeated. The longest range
                        that matches decides, --deny wins a tie. With any
                        --allow, addresses that no range names are kept out
  --limit NAME=VALUE    set a limit of the list below; may be repeated
  --help                show this text
  --version             show the version

ADDR of a peer is host:port or [v6]:port, and may begin with inet: or inet#.
A final X makes a cross connection, where both sides dial: mynas.example:9000X
A final ?limited=send or ?limited=recv lets frames flow one way only.

";

const EXAMPLES: &str = "
Examples:
  node                                      listen on port 9000
  node --bind [::1]:9001 --peer [::1]:9000  a second node beside it, dialing it
  node --peer-file peers.txt --accept known dial a list, let nobody else in
  node --allow 192.168.0.0/16 --allow ::1   only the local network may dial in
  node --limit queue_bytes=64k --limit redial_cap=5m
  echo 'send 0 hello' | node --json --peer mynas.example:9000X
                                            send once the first peer is up

Exit status: 0 after a clean end, 1 if the node cannot start, 2 for an option
that cannot be used.
";

/// All that `--help` prints.
pub(crate) fn text() -> String {
    let mut text = [OPTIONS, COMMANDS, "\n\nLimits, with their defaults and bounds:\n"].concat();
    for (name, default, meaning) in Limits::describe() {
        text.push_str(&["  ", name, "=", default].concat());
        wrap(&mut text, meaning);
    }
    text.push_str(EXAMPLES);
    text
}

/// Appends words in lines that fit a terminal, and are told from what they explain.
fn wrap(text: &mut String, words: &str) {
    const WIDTH: usize = 78;
    const INDENT: &str = "\n     ";
    let mut column = WIDTH;
    for word in words.split_whitespace() {
        if column + 1 + word.len() > WIDTH {
            text.push_str(INDENT);
            column = INDENT.len() - 1;
        }
        text.push(' ');
        text.push_str(word);
        column += 1 + word.len();
    }
    text.push('\n');
}

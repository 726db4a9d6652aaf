//! The texts of `--help`, `--limits` and `help`.

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
A node that peers with Ratman nodes over TCP, and keeps its links up.

Usage: netmod-node [OPTION]...

Try it, in two terminals:
  netmod-node --bind [::1]:9000
  netmod-node --bind [::1]:9001 --peer [::1]:9000 --watch
and stop the first with Ctrl-C: the second shows why the link went down, and
redials.

Options:
  --bind ADDR           listen there, e.g. [::]:9000 or 127.0.0.1:0; may be
                        repeated. Default: [::]:9000 for IPv6 and IPv4, or
                        0.0.0.0:9000 on a machine without IPv6
  --peer ADDR           dial this peer; may be repeated
  --peer-file FILE      dial every peer in this file; may be repeated. SIGHUP
                        reloads the files: see below
  --id HEX64            router id, 64 hex digits. Default: a random one
  --accept all|known    which nodes may dial in: all (default), or only those at
                        the addresses of configured peers
  --allow CIDR          let these addresses in, e.g. 10.0.0.0/8 or fe80::/10,
  --deny CIDR           keep these out; both may be repeated. The longest range
                        that matches decides, --deny wins a tie. With any
                        --allow, addresses that no range names are kept out
  --watch               show a table of the peers, and the last changes, while
                        standard output is a terminal. The lines of the log go to
                        standard error if that is not one:
                        netmod-node --watch 2>node.log
  --quiet               do not print each frame that arrives
  --time                begin each line with the time, for a log without its own
  --json                print one JSON object per line
  --metrics ADDR        serve http://ADDR/metrics as OpenMetrics text, e.g. for
                        127.0.0.1:9100. Default: not at all
  --limit NAME=VALUE    set a limit, e.g. keepalive=10s or queue_bytes=64k; may be
                        repeated
  --limits              list the limits, with their defaults and bounds
  --help                show this text
  --version             show the version

ADDR of a peer is host:port or [v6]:port, and may begin with inet: or inet#.
A final X makes a cross connection, where both nodes dial: mynas.example:9000X
A final ?limited=send or ?limited=recv lets frames flow one way only.

A peer file has one such ADDR per line; blank lines and lines that begin with #
are skipped:
  # the neighbours
  mynas.example:9000X
  [2001:db8::7]:9000?limited=recv
kill -HUP PID reloads it: new peers are dialed, those that are gone are removed,
the others keep their links. If a line is invalid, the node names it and changes
nothing.

The log has one line for each change. A dial that fails again in the same way is
no change.

";

#[cfg(feature = "noise")]
const ENCRYPTION: &str = "\
Encryption:
  --key-file FILE       encrypt links, with the key in this file; links to plain
                        nodes stay plain unless an option below or key= in the
                        address of a peer asks for more
  --encrypted-only      refuse plain links
  --allow-key KEY       let only nodes with this key dial in; may be repeated
                        (--allow is for addresses)
  --network-secret-file FILE
                        only link with nodes that have the same secret
A final ?key=KEY in the ADDR of a peer pins its key, 64 hex digits:
mynas.example:9000?key=KEY. A further &key=KEY allows another one.

Commands for keys:
  netmod-node keygen FILE           make a key, and show its public half
  netmod-node keygen --secret FILE  make a secret for a network
  netmod-node keygen --show FILE    show the public half of a key

";

#[cfg(not(feature = "noise"))]
const ENCRYPTION: &str = "";

const EXAMPLES: &str = "
Examples:
  netmod-node                               listen on port 9000
  netmod-node --peer-file peers.txt --accept known
                                            dial a list, admit only these peers
  netmod-node --allow 192.168.0.0/16 --allow ::1
                                            only the local network may dial in
  netmod-node --limit queue_bytes=64k --limit redial_cap=5m
  echo 'send 0 hello' | netmod-node --json --peer mynas.example:9000X
                                            send once the first peer is up

Exit status:
  0  a clean end: quit, SIGINT or SIGTERM; SIGHUP without a peer file
  1  a failure at run time, such as standard output that cannot be written
  2  an option or a line of a peer file is invalid; a restart does not help
  3  the node cannot listen; a later start may succeed
  4  a second signal, before everything was delivered
";

/// The text of `--help`.
pub(crate) fn text() -> String {
    [OPTIONS, ENCRYPTION, COMMANDS, "\n", EXAMPLES].concat()
}

/// The text of `--limits`.
pub(crate) fn limits() -> String {
    let mut text = "Limits for --limit NAME=VALUE, with their defaults and bounds:\n".to_owned();
    for (name, default, meaning) in Limits::describe() {
        text.push_str(&["  ", name, "=", default].concat());
        wrap(&mut text, meaning);
    }
    text
}

/// Appends words, wrapped to the width of a terminal and indented below their heading.
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

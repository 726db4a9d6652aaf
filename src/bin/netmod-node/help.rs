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
and stop the first with Ctrl-C: the second shows why the link went, and dials on.

Options:
  --bind ADDR           listen there, e.g. [::]:9000 or 127.0.0.1:0; may be
                        repeated. Default: [::]:9000 for IPv6 and IPv4, or
                        0.0.0.0:9000 on a machine without IPv6
  --peer ADDR           dial this peer; may be repeated
  --peer-file FILE      dial every peer in this file; may be repeated. SIGHUP has
                        the files read again: see below
  --id HEX64            router id, 64 hex digits. Default: a random one
  --accept all|known    who may dial in: anyone (default), or only from the
                        addresses of configured peers
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
A final X makes a cross connection, where both sides dial: mynas.example:9000X
A final ?limited=send or ?limited=recv lets frames flow one way only.

A peer file has one such ADDR per line; blank lines and lines that begin with #
are skipped:
  # the neighbours
  mynas.example:9000X
  [2001:db8::7]:9000?limited=recv
kill -HUP PID has it read again: new peers are dialed, those that are gone are
removed, the others keep their links. If a line is wrong the node says which,
and nothing changes.

The log has one line for each change. A dial that fails again in the same way is
no change.

";

const EXAMPLES: &str = "
Examples:
  netmod-node                               listen on port 9000
  netmod-node --peer-file peers.txt --accept known
                                            dial a list, let nobody else in
  netmod-node --allow 192.168.0.0/16 --allow ::1
                                            only the local network may dial in
  netmod-node --limit queue_bytes=64k --limit redial_cap=5m
  echo 'send 0 hello' | netmod-node --json --peer mynas.example:9000X
                                            send once the first peer is up

Exit status:
  0  a clean end: quit, SIGINT or SIGTERM; SIGHUP without a peer file
  1  a failure on the way, such as standard output that cannot be written
  2  an option or a line of a peer file that cannot be used; do not start again
  3  an address that cannot be listened on now
  4  a second signal, before everything was handed on
";

/// The text of `--help`.
pub(crate) fn text() -> String {
    #[cfg(feature = "noise")]
    let keys = crate::keys::HELP;
    #[cfg(not(feature = "noise"))]
    let keys = "";
    [OPTIONS, keys, COMMANDS, "\n", EXAMPLES].concat()
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

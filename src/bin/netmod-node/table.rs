//! Renders the table of peers with the log below it.

use crate::screen::State;
use crate::text_lines::HumanDuration;
use crate::units::{SiNumber, age, rtt};
use netmod_inet::{Origin, PeerInfo, PeerState, Target};
use std::fmt::Write as _;
use std::time::Duration;

/// How long a peer that is up shows why its last link went down.
const RECENT_OUTAGE: Duration = Duration::from_secs(60);

/// Lines above the table.
const HEADER_LINES: usize = 3;

/// A row of the table: one peer.
pub(crate) struct Row {
    pub(crate) target: Target,
    pub(crate) state: PeerState,
    pub(crate) since: Duration,
    pub(crate) received: u64,
    pub(crate) sent: u64,
    pub(crate) queued: usize,
    pub(crate) round_trip: Option<Duration>,
    pub(crate) address: String,
    /// The second line: what failed, and the next retry.
    pub(crate) note: String,
}

impl Row {
    pub(crate) fn new(info: &PeerInfo, down_reasons: &[(Target, String)]) -> Row {
        let end = down_reasons.iter().find(|(target, _)| *target == info.target);
        let mark = if info.origin == Origin::Accepted { "<" } else { " " };
        let address = match (&info.dial, info.addr) {
            (Some(dial), _) => format!("{mark}{dial}"),
            (None, Some(addr)) => format!("{mark}{addr}"),
            (None, None) => format!("{mark}unknown address"),
        };
        Row {
            target: info.target,
            state: info.state,
            since: info.since,
            received: info.receive_rate,
            sent: info.send_rate,
            queued: info.queued_frames,
            round_trip: info.round_trip,
            address,
            note: note(info, end.map(|(_, reason)| reason.as_str())),
        }
    }

    fn height(&self) -> usize {
        1 + usize::from(!self.note.is_empty())
    }
}

/// The second line of a row: why the link went down, the next retry, and the last dial error.
fn note(info: &PeerInfo, end: Option<&str>) -> String {
    let error = info.last_error.as_deref().unwrap_or("no link yet");
    let why = end.unwrap_or(error);
    let next = match (info.state, info.next_retry) {
        (PeerState::Up, _) if end.is_some() && info.since < RECENT_OUTAGE => {
            return format!("was down: {}", without_errno(why));
        }
        (PeerState::Up, _) => return String::new(),
        (_, Some(retry)) => format!("next try in {}", HumanDuration(retry)),
        (PeerState::Down, None) => "waits for it to come back".to_owned(),
        (_, None) => return without_errno(why).to_owned(),
    };
    match why == error {
        true => format!("{}; {next}", without_errno(why)),
        false => format!("{}; {next} ({})", without_errno(why), without_errno(error)),
    }
}

/// Strips the error number of the operating system.
fn without_errno(error: &str) -> &str {
    error.split(" (os error").next().unwrap_or(error)
}

/// What [`render`] draws.
pub(crate) struct Page<'a> {
    pub(crate) title: &'a str,
    pub(crate) time: &'a str,
    pub(crate) keys: &'a str,
    pub(crate) rows: &'a [Row],
    pub(crate) columns: usize,
    pub(crate) lines: usize,
}

/// Appends the escape sequences that draw a page over the previous one.
pub(crate) fn render(out: &mut Vec<u8>, page: &Page<'_>, state: &mut State) {
    let mut canvas = Canvas { out, columns: page.columns, left: page.lines };
    canvas.out.extend_from_slice(b"\x1b[H");
    canvas.justified(page.title, page.time);
    canvas.justified(&summary(page.rows), page.keys);
    let header = " PEER STATE   SINCE  IN/s OUT/s QUEUE    RTT  ADDRESS (< it dialed)";
    canvas.line("\x1b[7m", header, true);
    let height: usize = page.rows.iter().map(Row::height).sum();
    let room = page.lines.saturating_sub(HEADER_LINES);
    // The log gets a third, or what the table leaves if that is more.
    let most = (room / 3).max(room.saturating_sub(height));
    let newest = wrapped(&state.log, page.columns, most.saturating_sub(1));
    let log = most.min(newest.len() + 1);
    let shown = table(&mut canvas, page.rows, room - log, &mut state.top);
    state.page = shown;
    while canvas.left > log {
        canvas.line("", "", false);
    }
    canvas.line("\x1b[2m", "last changes:", false);
    newest.iter().for_each(|line| canvas.line("", line, false));
    canvas.out.extend_from_slice(b"\x1b[J");
}

/// Wraps the end of the log to at most `lines` lines of `columns` columns.
fn wrapped(log: &[String], columns: usize, lines: usize) -> Vec<String> {
    const INDENT: &str = "          ";
    let mut shown: Vec<String> = Vec::new();
    for text in log.iter().rev() {
        let mut parts = vec![String::new()];
        let mut used = 0;
        for character in text.chars() {
            used += width_of(character);
            if used > columns {
                parts.push(INDENT.to_owned());
                used = INDENT.len() + width_of(character);
            }
            if let Some(part) = parts.last_mut() {
                part.push(character);
            }
        }
        if shown.len() + parts.len() > lines {
            break;
        }
        // Collected in reverse order.
        parts.reverse();
        shown.append(&mut parts);
    }
    shown.reverse();
    shown
}

fn summary(rows: &[Row]) -> String {
    let count = |state| rows.iter().filter(|row| row.state == state).count();
    let (up, dialing) = (count(PeerState::Up), count(PeerState::Connecting));
    let down = rows.len() - up - dialing;
    let sum = |rate: fn(&Row) -> u64| SiNumber(rows.iter().map(rate).sum()).text();
    let (received, sent) = (sum(|row| row.received), sum(|row| row.sent));
    let plural = if rows.len() == 1 { "" } else { "s" };
    let peers = rows.len();
    format!(
        "{peers} peer{plural}: {up} up, {dialing} dialing, {down} down; \
         bytes/s {received} in, {sent} out"
    )
}

/// Draws rows from `top` on. Returns how many fit.
fn table(canvas: &mut Canvas<'_>, rows: &[Row], mut room: usize, top: &mut usize) -> usize {
    let fits = |from: usize, room: usize| {
        let mut left = room;
        let rows = rows[from..].iter().take_while(|row| {
            let is_room = left >= row.height();
            left = left.saturating_sub(row.height());
            is_room
        });
        rows.count()
    };
    let is_whole = fits(0, room) == rows.len();
    if !is_whole {
        room = room.saturating_sub(1);
    }
    // Scroll back if the last page is not full.
    *top = if is_whole { 0 } else { (*top).min(rows.len().saturating_sub(1)) };
    while *top > 0 && *top - 1 + fits(*top - 1, room) >= rows.len() {
        *top -= 1;
    }
    let shown = fits(*top, room);
    for row in &rows[*top..*top + shown] {
        draw(canvas, row);
    }
    if !is_whole {
        let text = match shown {
            0 => "      no room".to_owned(),
            _ => format!("      {} to {} of {}", *top + 1, *top + shown, rows.len()),
        };
        canvas.line("\x1b[2m", &text, false);
    }
    shown
}

fn draw(canvas: &mut Canvas<'_>, row: &Row) {
    let state = match row.state {
        PeerState::Up => "up",
        PeerState::Connecting => "dialing",
        _ => "down",
    };
    let mut text = format!("{:>5} {state:<7} {:>5}", row.target, age(row.since));
    let [received, sent, queued] = [row.received, row.sent, row.queued as u64].map(SiNumber);
    let round_trip = row.round_trip.map_or_else(|| "-".to_owned(), rtt);
    let (received, sent, queued) = (received.text(), sent.text(), queued.text());
    let _ = write!(text, " {received:>5} {sent:>5} {queued:>5} {round_trip:>6} ");
    let room = canvas.columns.saturating_sub(text.len());
    text.push_str(&elide_middle(&row.address, room));
    canvas.line(if row.state == PeerState::Up { "" } else { "\x1b[1m" }, &text, false);
    if !row.note.is_empty() {
        canvas.line("", &format!("      {}", row.note), false);
    }
}

/// The lines of a page.
struct Canvas<'a> {
    out: &'a mut Vec<u8>,
    columns: usize,
    /// Lines left. Further lines are not drawn: the terminal would scroll.
    left: usize,
}

impl Canvas<'_> {
    /// Draws a line, truncated to the width. The style covers the text, or the whole line if
    /// `whole`.
    fn line(&mut self, style: &str, text: &str, whole: bool) {
        if self.left == 0 {
            return;
        }
        self.left -= 1;
        self.out.extend_from_slice(style.as_bytes());
        let mut room = self.columns;
        if width(text) > room {
            room = room.saturating_sub(1);
        }
        let mut used = 0;
        for character in text.chars() {
            let shown = if character.is_control() { '\u{fffd}' } else { character };
            if used + width_of(shown) > room {
                self.out.extend_from_slice("…".as_bytes());
                used += 1;
                break;
            }
            used += width_of(shown);
            self.out.extend_from_slice(shown.encode_utf8(&mut [0; 4]).as_bytes());
        }
        if whole {
            self.out.resize(self.out.len() + self.columns.saturating_sub(used), b' ');
        }
        if !style.is_empty() {
            self.out.extend_from_slice(b"\x1b[0m");
        }
        // After the last column the cursor still is on it, and this would erase the character.
        if used < self.columns {
            self.out.extend_from_slice(b"\x1b[K");
        }
        if self.left > 0 {
            self.out.extend_from_slice(b"\r\n");
        }
    }

    /// Draws a text aligned left and, if it fits, another aligned right.
    fn justified(&mut self, left: &str, right: &str) {
        let used = width(left) + width(right);
        let text = match self.columns.checked_sub(used) {
            Some(gap) if gap > 0 => format!("{left}{:gap$}{right}", ""),
            _ => left.to_owned(),
        };
        self.line("", &text, false);
    }
}

fn width(text: &str) -> usize {
    text.chars().map(width_of).sum()
}

/// The width of a character. East Asian characters take two columns; a few narrow ones are
/// overestimated, which is harmless.
fn width_of(character: char) -> usize {
    if ('\u{1100}'..'\u{fff0}').contains(&character)
        && !('\u{2000}'..'\u{2e80}').contains(&character)
        || character > '\u{ffff}'
    {
        2
    } else {
        1
    }
}

/// Shortens a text to `columns` characters by eliding its middle, since addresses differ at both
/// ends. Wide characters count as one; the line truncates the rest.
fn elide_middle(text: &str, columns: usize) -> String {
    let characters = text.chars().count();
    if characters <= columns {
        return text.to_owned();
    }
    let kept = columns.saturating_sub(1);
    let end = kept.div_ceil(2);
    let mut cut: String = text.chars().take(end).collect();
    cut.push('…');
    cut.extend(text.chars().skip(characters + end - kept));
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(target: Target, address: &str, note: &str) -> Row {
        Row {
            target,
            state: PeerState::Down,
            since: Duration::from_secs(u64::MAX),
            received: u64::MAX / 4_096,
            sent: 9_949,
            queued: 8_192,
            round_trip: Some(Duration::from_micros(1_299)),
            address: address.to_owned(),
            note: note.to_owned(),
        }
    }

    fn lines(rows: &[Row], log: &str, columns: usize, lines: usize) -> Vec<String> {
        let mut out = Vec::new();
        let page = Page { title: "node", time: "09:30:00Z", keys: "", rows, columns, lines };
        let mut state = State { log: vec![log.to_owned()], ..State::default() };
        render(&mut out, &page, &mut state);
        let text = String::from_utf8(out).unwrap();
        ["\x1b[H", "\x1b[J", "\x1b[K", "\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[7m"]
            .iter()
            .fold(text, |text, code| text.replace(code, ""))
            .split("\r\n")
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn no_picture_is_larger_than_its_terminal() {
        let long = "界".repeat(200) + "\x1b[2J\n";
        let rows: Vec<Row> = (0..50).map(|target| row(target, &long, &long)).collect();
        for columns in 1..120 {
            for height in [1, 2, 3, 5, 24, 200] {
                let page_lines = lines(&rows, &long, columns, height);
                assert_eq!(page_lines.len(), height, "{columns} columns");
                for line in page_lines {
                    assert!(width(&line) <= columns.max(2), "{columns}: {line:?}");
                    assert!(!line.contains(char::is_control), "{line:?}");
                }
            }
        }
    }

    #[test]
    fn columns_stand_under_their_heads() {
        let page_lines = lines(&[row(65_535, " [2001:db8::1]:9000X", "why")], "", 80, 24);
        assert_eq!(
            page_lines[2].trim_end(),
            " PEER STATE   SINCE  IN/s OUT/s QUEUE    RTT  ADDRESS (< it dialed)"
        );
        assert!(page_lines[3].starts_with("65535 down "), "{:?}", page_lines[3]);
        assert!(
            page_lines[3].ends_with("  4.5P  9.9k  8.1k  1.2ms  [2001:db8::1]:9000X"),
            "{:?}",
            page_lines[3]
        );
        assert_eq!(page_lines[4], "      why");
    }

    #[test]
    fn both_ends_of_an_address_are_kept() {
        assert_eq!(elide_middle("mynas.example:9000X", 19), "mynas.example:9000X");
        assert_eq!(elide_middle("mynas.example:9000X", 11), "mynas…9000X");
        assert_eq!(elide_middle("mynas.example:9000X", 0), "…");
    }
}

//! Renders the table of peers with the log below it.

use crate::canvas::{Canvas, Style, char_width, elide_middle};
use crate::units::{HumanDuration, SiNumber, age, rtt};
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
        let down = down_reasons.iter().find(|(target, _)| *target == info.target);
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
            note: note(info, down.map(|(_, reason)| reason.as_str())),
        }
    }

    fn height(&self) -> usize {
        1 + usize::from(!self.note.is_empty())
    }
}

/// The second line of a row: why the link went down, the next retry, and the last dial error.
fn note(info: &PeerInfo, down_reason: Option<&str>) -> String {
    let error = info.last_error.as_deref().unwrap_or("no link yet");
    let why = down_reason.unwrap_or(error);
    let next = match (info.state, info.next_retry) {
        (PeerState::Up, _) if down_reason.is_some() && info.since < RECENT_OUTAGE => {
            return format!("was down: {}", without_errno(why));
        }
        (PeerState::Up, _) => return String::new(),
        (_, Some(retry)) => format!("next try in {}", HumanDuration(retry)),
        (PeerState::Down, None) => "waits for the peer to reconnect".to_owned(),
        (_, None) => return without_errno(why).to_owned(),
    };
    match why == error {
        true => format!("{}; {next}", without_errno(why)),
        false => format!("{}; {next} ({})", without_errno(why), without_errno(error)),
    }
}

/// Strips the error number of the operating system.
fn without_errno(error: &str) -> &str {
    const NUMBER: &[u8] = b" (os error";
    let end = error.as_bytes().windows(NUMBER.len()).position(|run| run == NUMBER);
    end.map_or(error, |end| &error[..end])
}

/// A movement of the viewport.
pub(crate) enum Motion {
    RowDown,
    RowUp,
    PageDown,
    PageUp,
}

/// The rows that are visible.
#[derive(Default)]
pub(crate) struct Viewport {
    /// The first visible row.
    top: usize,
    /// The number of visible rows.
    rows: usize,
}

impl Viewport {
    /// Scrolls. The next [`render`] limits it to the rows that exist.
    pub(crate) fn scroll(&mut self, motion: Motion) {
        let page = self.rows.max(1);
        self.top = match motion {
            Motion::RowDown => self.top + 1,
            Motion::RowUp => self.top.saturating_sub(1),
            Motion::PageDown => self.top + page,
            Motion::PageUp => self.top.saturating_sub(page),
        };
    }
}

/// What [`render`] draws.
pub(crate) struct Page<'a> {
    pub(crate) title: &'a str,
    pub(crate) time: &'a str,
    /// What the keys do.
    pub(crate) keys: &'a str,
    pub(crate) rows: &'a [Row],
    /// Oldest line first.
    pub(crate) log: &'a [String],
    pub(crate) columns: usize,
    pub(crate) lines: usize,
}

/// Appends the escape sequences that draw a page over the previous one.
pub(crate) fn render(out: &mut Vec<u8>, page: &Page<'_>, viewport: &mut Viewport) {
    let mut canvas = Canvas::new(out, page.columns, page.lines);
    canvas.justified(page.title, page.time);
    canvas.justified(&summary(page.rows), page.keys);
    let header = " PEER STATE   SINCE  IN/s OUT/s QUEUE    RTT  ADDRESS (< it dialed)";
    canvas.line(Style::Bar, header);
    let height: usize = page.rows.iter().map(Row::height).sum();
    let room = page.lines.saturating_sub(HEADER_LINES);
    // The log gets a third, or what the table leaves if that is more.
    let max_log = (room / 3).max(room.saturating_sub(height));
    let newest = wrap_log(page.log, page.columns, max_log.saturating_sub(1));
    let log = max_log.min(newest.len() + 1);
    viewport.rows = draw_rows(&mut canvas, page.rows, room - log, &mut viewport.top);
    while canvas.left() > log {
        canvas.line(Style::Plain, "");
    }
    canvas.line(Style::Dim, "last changes:");
    newest.iter().for_each(|line| canvas.line(Style::Plain, line));
    canvas.finish();
}

/// Wraps the end of the log to at most `lines` lines of `columns` columns.
fn wrap_log(log: &[String], columns: usize, lines: usize) -> Vec<String> {
    const INDENT: &str = "          ";
    let mut shown: Vec<String> = Vec::new();
    for text in log.iter().rev() {
        let mut parts = vec![String::new()];
        let mut used = 0;
        for character in text.chars() {
            used += char_width(character);
            if used > columns {
                parts.push(INDENT.to_owned());
                used = INDENT.len() + char_width(character);
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
fn draw_rows(canvas: &mut Canvas<'_>, rows: &[Row], mut room: usize, top: &mut usize) -> usize {
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
        draw_row(canvas, row);
    }
    if !is_whole {
        let text = match shown {
            0 => "      no room".to_owned(),
            _ => format!("      {} to {} of {}", *top + 1, *top + shown, rows.len()),
        };
        canvas.line(Style::Dim, &text);
    }
    shown
}

fn draw_row(canvas: &mut Canvas<'_>, row: &Row) {
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
    let room = canvas.columns().saturating_sub(text.len());
    text.push_str(&elide_middle(&row.address, room));
    let style = if row.state == PeerState::Up { Style::Plain } else { Style::Bold };
    canvas.line(style, &text);
    if !row.note.is_empty() {
        canvas.line(Style::Plain, &format!("      {}", row.note));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canvas::width;

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
        let log = &[log.to_owned()];
        let page = Page { title: "node", time: "09:30:00Z", keys: "", rows, log, columns, lines };
        render(&mut out, &page, &mut Viewport::default());
        let text = String::from_utf8(out).unwrap();
        ["\x1b[H", "\x1b[J", "\x1b[K", "\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[7m"]
            .iter()
            .fold(text, |text, code| text.replace(code, ""))
            .split("\r\n")
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn a_page_fits_its_terminal() {
        let long = "界".repeat(200) + "\x1b[2J\n";
        let rows: Vec<Row> = (0..50).map(|target: u16| row(target.into(), &long, &long)).collect();
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
    fn columns_are_aligned_with_the_header() {
        let page_lines = lines(&[row(65_535.into(), " [2001:db8::1]:9000X", "why")], "", 80, 24);
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
}

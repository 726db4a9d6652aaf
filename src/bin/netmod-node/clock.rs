//! UTC timestamps of log lines.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

/// Appends lines, each with a timestamp in front: `2026-11-25T09:30:00Z`.
pub(crate) fn stamp(out: &mut Vec<u8>, lines: &[u8]) {
    let now = utc(since_epoch());
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        out.extend_from_slice(now.as_bytes());
        out.push(b' ');
        out.extend_from_slice(line);
    }
}

/// The current time without the date: `09:30:00Z`.
pub(crate) fn time() -> String {
    utc(since_epoch()).split_off("2026-11-25T".len())
}

/// Seconds since 1970, or 0 if the clock is set to a time before that.
fn since_epoch() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn utc(seconds: u64) -> String {
    let (mut days, second) = (seconds / 86_400, seconds % 86_400);
    let mut year = 1970;
    while days >= days_of_year(year) {
        days -= days_of_year(year);
        year += 1;
    }
    let mut month = 1;
    while days >= days_of_month(year, month) {
        days -= days_of_month(year, month);
        month += 1;
    }
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let mut text = String::new();
    let _ = write!(text, "{year}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", days + 1);
    text
}

fn days_of_year(year: u64) -> u64 {
    365 + u64::from(is_leap(year))
}

fn days_of_month(year: u64, month: u64) -> u64 {
    match month {
        2 => 28 + u64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn is_leap(year: u64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_704_067_199, "2023-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(utc(seconds), text);
        }
    }

    #[test]
    fn each_line_has_its_stamp() {
        let mut out = Vec::new();
        stamp(&mut out, b"one\ntwo\n");
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<_> = text.lines().map(|line| line.split_once("Z ").unwrap().1).collect();
        assert_eq!(lines, ["one", "two"]);
        assert!(text.ends_with('\n'));
    }
}

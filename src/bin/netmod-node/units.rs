//! Ids, numbers and durations formatted for people.

use netmod_inet::Id;
use std::fmt::{self, Display};
use std::time::Duration;

/// The first bytes of an id.
pub(crate) struct ShortId(pub(crate) Id);

impl Display for ShortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in &self.0.as_bytes()[..4] {
            write!(f, "{byte:02x}")?;
        }
        f.write_str("…")
    }
}

/// A duration in a suitable unit.
pub(crate) struct HumanDuration(pub(crate) Duration);

impl Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        match seconds {
            0 => write!(f, "{} ms", self.0.subsec_millis()),
            1..=119 => write!(f, "{seconds} s"),
            120..=7199 => write!(f, "{} min", seconds / 60),
            _ => write!(f, "{} h", seconds / 3600),
        }
    }
}

/// A number with an SI prefix, at most four characters wide.
pub(crate) struct SiNumber(pub(crate) u64);

impl SiNumber {
    pub(crate) fn text(&self) -> String {
        let (mut number, mut tenths) = (self.0, 0);
        for unit in ["", "k", "M", "G", "T", "P"] {
            if number < 1_000 {
                return match number < 10 && !unit.is_empty() {
                    true => format!("{number}.{tenths}{unit}"),
                    false => format!("{number}{unit}"),
                };
            }
            tenths = number / 100 % 10;
            number /= 1_000;
        }
        "many".to_owned()
    }
}

/// Formats how long a state has lasted, at most five characters wide up to 27 years.
pub(crate) fn age(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..=99 => format!("{seconds}s"),
        100..=5_999 => format!("{}min", seconds / 60),
        6_000..=359_999 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Formats a round-trip time, at most six characters wide.
pub(crate) fn rtt(time: Duration) -> String {
    // 64 bits, since formatting 128 takes a kilobyte of code.
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    match micros {
        0..=999 => format!("{micros}us"),
        1_000..=9_999 => format!("{}.{}ms", micros / 1_000, micros / 100 % 10),
        10_000..=999_999 => format!("{}ms", micros / 1_000),
        _ => format!("{}s", micros / 1_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_few_characters() {
        for (number, text) in
            [(0, "0"), (999, "999"), (1_000, "1.0k"), (12_345, "12k"), (1_999_999, "1.9M")]
        {
            assert_eq!(SiNumber(number).text(), text);
        }
        for number in 0..20 {
            assert!(SiNumber(7 << (3 * number)).text().len() <= 4);
        }
        for exponent in 0..30 {
            let time = Duration::from_secs(1 << exponent);
            assert!(age(time).len() <= 5 && rtt(time / 1_000_000).len() <= 6, "{time:?}");
        }
    }
}

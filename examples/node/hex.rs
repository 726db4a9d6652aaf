//! Bytes as hexadecimal digits and back.

use std::fmt;

/// The two digits of every byte: a frame then costs one look-up per byte, which keeps the printing
/// of large frames ahead of the pipe that they are printed into.
const DIGITS: [[u8; 2]; 256] = digits();

const fn digits() -> [[u8; 2]; 256] {
    let alphabet = b"0123456789abcdef";
    let mut table = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = [alphabet[byte >> 4], alphabet[byte & 15]];
        byte += 1;
    }
    table
}

/// The value of every digit, for the same reason.
const VALUES: [u8; 256] = values();

const NONE: u8 = 0xff;

const fn values() -> [u8; 256] {
    let mut table = [NONE; 256];
    let mut value = 0;
    while value < 16 {
        let digit = b"0123456789abcdef"[value];
        table[digit as usize] = value as u8;
        table[digit.to_ascii_uppercase() as usize] = value as u8;
        value += 1;
    }
    table
}

/// Appends two lower-case digits for each byte.
pub(crate) fn push(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    out.resize(start + 2 * bytes.len(), 0);
    for (pair, byte) in out[start..].chunks_exact_mut(2).zip(bytes) {
        pair.copy_from_slice(&DIGITS[usize::from(*byte)]);
    }
}

/// Reads digits of either case.
pub(crate) fn parse(text: &[u8]) -> Result<Vec<u8>, HexError> {
    let value = |digit: &u8| VALUES[usize::from(*digit)];
    let mut bytes = Vec::with_capacity(text.len() / 2);
    for pair in text.chunks_exact(2) {
        let (high, low) = (value(&pair[0]), value(&pair[1]));
        // Digits have four bits, and what is none has all eight.
        if high | low > 0xf {
            break;
        }
        bytes.push(high << 4 | low);
    }
    match text.iter().skip(2 * bytes.len()).position(|digit| value(digit) == NONE) {
        Some(more) => Err(HexError::NotADigit { column: 2 * bytes.len() + more + 1 }),
        None if text.len() % 2 != 0 => Err(HexError::Odd(text.len())),
        None => Ok(bytes),
    }
}

/// Why a text is not a run of bytes in hex.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HexError {
    /// Two digits make a byte; this many were given.
    Odd(usize),
    /// Something else stands where a digit is due; columns count from 1.
    NotADigit { column: usize },
}

impl fmt::Display for HexError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HexError::Odd(digits) => write!(f, "{digits} hex digits do not make whole bytes"),
            HexError::NotADigit { column } => write!(f, "no hex digit at position {column}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_there_and_back() {
        let bytes: Vec<u8> = (0..=255).collect();
        let mut text = Vec::new();
        push(&mut text, &bytes);
        assert!(text.starts_with(b"000102") && text.ends_with(b"fdfeff"));
        assert_eq!(parse(&text), Ok(bytes.clone()));
        assert_eq!(parse(&text.to_ascii_uppercase()), Ok(bytes));
    }

    #[test]
    fn errors_name_the_place() {
        assert_eq!(parse(b""), Ok(Vec::new()));
        assert_eq!(parse(b"012"), Err(HexError::Odd(3)));
        assert_eq!(parse(b"0g"), Err(HexError::NotADigit { column: 2 }));
        assert_eq!(parse(b"00 "), Err(HexError::NotADigit { column: 3 }));
    }
}

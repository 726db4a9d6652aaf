//! Encodes and decodes hexadecimal digits.

use std::fmt;

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Appends two lowercase digits per byte.
pub(crate) fn push(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(2 * bytes.len());
    for byte in bytes {
        out.extend([byte >> 4, byte & 0xf].map(|digit| DIGITS[usize::from(digit)]));
    }
}

/// Decodes digits of either case.
pub(crate) fn parse(text: &[u8]) -> Result<Vec<u8>, HexError> {
    let mut bytes = Vec::with_capacity(text.len() / 2);
    for (at, digit) in text.iter().enumerate() {
        let value = char::from(*digit).to_digit(16);
        let value = value.ok_or(HexError::NotADigit { column: at + 1 })? as u8;
        match bytes.last_mut() {
            Some(byte) if at % 2 == 1 => *byte = *byte << 4 | value,
            _ => bytes.push(value),
        }
    }
    match text.len() % 2 {
        0 => Ok(bytes),
        _ => Err(HexError::Odd(text.len())),
    }
}

/// Why a text is not a sequence of bytes in hex.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HexError {
    /// The number of digits is odd.
    Odd(usize),
    /// A character is not a hex digit. Columns count from 1.
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
    fn every_byte_round_trips() {
        let bytes: Vec<u8> = (0..=255).collect();
        let mut text = Vec::new();
        push(&mut text, &bytes);
        assert!(text.starts_with(b"000102") && text.ends_with(b"fdfeff"));
        assert_eq!(parse(&text), Ok(bytes.clone()));
        assert_eq!(parse(&text.to_ascii_uppercase()), Ok(bytes));
    }

    #[test]
    fn errors_give_the_column() {
        assert_eq!(parse(b""), Ok(Vec::new()));
        assert_eq!(parse(b"012"), Err(HexError::Odd(3)));
        assert_eq!(parse(b"0g"), Err(HexError::NotADigit { column: 2 }));
        assert_eq!(parse(b"00 "), Err(HexError::NotADigit { column: 3 }));
    }
}

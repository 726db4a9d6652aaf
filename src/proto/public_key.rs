use std::fmt;
use std::str::FromStr;

/// The public key of a node, which identifies it on encrypted links.
///
/// Displayed and parsed as 64 hexadecimal digits. It is not secret. Used only with the feature
/// `noise`; without it no peer has one.
///
/// ```
/// use netmod_inet::PublicKey;
///
/// let key: PublicKey = "0a".repeat(32).parse()?;
/// assert_eq!(key, PublicKey::from_bytes([10; 32]));
/// # Ok::<(), netmod_inet::ParseKeyError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Creates a key from its bytes: a Curve25519 point in the encoding of Noise.
    ///
    /// ```
    /// # use netmod_inet::PublicKey;
    /// assert_eq!(PublicKey::from_bytes([10; 32]).to_string(), "0a".repeat(32));
    /// ```
    pub const fn from_bytes(bytes: [u8; 32]) -> PublicKey {
        PublicKey(bytes)
    }

    /// The bytes of the key.
    ///
    /// ```
    /// # use netmod_inet::PublicKey;
    /// let key: PublicKey = "0a".repeat(32).parse()?;
    /// assert_eq!(key.as_bytes(), &[10; 32]);
    /// # Ok::<(), netmod_inet::ParseKeyError>(())
    /// ```
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl FromStr for PublicKey {
    type Err = ParseKeyError;

    fn from_str(text: &str) -> Result<PublicKey, ParseKeyError> {
        let mut bytes = [0; 32];
        read_digits(text, &mut bytes).map(|()| PublicKey(bytes))
    }
}

/// Parses the hexadecimal digits of a key into `bytes`, which the caller may want to wipe.
pub(crate) fn read_digits(text: &str, bytes: &mut [u8; 32]) -> Result<(), ParseKeyError> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return Err(ParseKeyError::Length(digits.len()));
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = digit(digits, 2 * at)? << 4 | digit(digits, 2 * at + 1)?;
    }
    Ok(())
}

fn digit(digits: &[u8], at: usize) -> Result<u8, ParseKeyError> {
    let digit = digits.get(at).and_then(|digit| char::from(*digit).to_digit(16));
    digit.map(|digit| digit as u8).ok_or(ParseKeyError::Digit(at))
}

/// Why a text is not a key. Does not quote the text, which may be a secret.
///
/// ```
/// use netmod_inet::{ParseKeyError, PublicKey};
///
/// assert_eq!("0a0b".parse::<PublicKey>(), Err(ParseKeyError::Length(4)));
/// assert_eq!("x".repeat(64).parse::<PublicKey>(), Err(ParseKeyError::Digit(0)));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParseKeyError {
    /// The text has this many bytes, not 64.
    Length(usize),
    /// The character at this position, counted from 0, is not a hexadecimal digit.
    Digit(usize),
}

impl fmt::Display for ParseKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ParseKeyError::Length(len) => write!(f, "a key has 64 hexadecimal digits, not {len}"),
            ParseKeyError::Digit(at) => {
                write!(f, "character {} of the key is no hexadecimal digit", at + 1)
            }
        }
    }
}

impl std::error::Error for ParseKeyError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips() {
        let key = PublicKey::from_bytes(std::array::from_fn(|at| (at * 9) as u8));
        assert_eq!(key.to_string().parse(), Ok(key));
        assert_eq!("12".parse::<PublicKey>(), Err(ParseKeyError::Length(2)));
        let text = format!("{}x{}", "0".repeat(40), "0".repeat(23));
        assert_eq!(text.parse::<PublicKey>(), Err(ParseKeyError::Digit(40)));
    }
}

use std::fmt;
use std::str::FromStr;

/// A 32-byte identity: an address key, or the id of a router.
///
/// Displayed and parsed as 64 hexadecimal digits.
///
/// ```
/// use netmod_inet::Id;
///
/// let id: Id = "01".repeat(32).parse()?;
/// assert_eq!(id, Id::from_bytes([1; 32]));
/// # Ok::<(), netmod_inet::ParseIdError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id([u8; 32]);

impl Id {
    /// Creates an identity from its bytes.
    ///
    /// ```
    /// let id = netmod_inet::Id::from_bytes([0xAB; 32]);
    /// assert_eq!(id.to_string(), "ab".repeat(32));
    /// ```
    pub const fn from_bytes(bytes: [u8; 32]) -> Id {
        Id(bytes)
    }

    /// The bytes of the identity.
    ///
    /// ```
    /// assert_eq!(netmod_inet::Id::from_bytes([7; 32]).as_bytes(), &[7; 32]);
    /// ```
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads an identity from the first 32 bytes of `slice`. `None` if it is too short.
    pub(crate) fn read(slice: &[u8]) -> Option<Id> {
        slice.first_chunk().copied().map(Id)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Id({self})")
    }
}

impl FromStr for Id {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Id, ParseIdError> {
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return Err(ParseIdError::Length(digits.len()));
        }
        let mut bytes = [0; 32];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = digit(digits, 2 * at)? << 4 | digit(digits, 2 * at + 1)?;
        }
        Ok(Id(bytes))
    }
}

fn digit(digits: &[u8], at: usize) -> Result<u8, ParseIdError> {
    match digits[at] {
        d @ b'0'..=b'9' => Ok(d - b'0'),
        d @ b'a'..=b'f' => Ok(d - b'a' + 10),
        d @ b'A'..=b'F' => Ok(d - b'A' + 10),
        _ => Err(ParseIdError::Digit(at)),
    }
}

/// Why a text is not an [`Id`].
///
/// ```
/// use netmod_inet::{Id, ParseIdError};
///
/// assert_eq!("ab".parse::<Id>(), Err(ParseIdError::Length(2)));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParseIdError {
    /// The text has this many bytes, not 64.
    Length(usize),
    /// The character at this position, counted from 0, is not a hexadecimal digit.
    Digit(usize),
}

impl fmt::Display for ParseIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ParseIdError::Length(len) => write!(f, "an id has 64 hexadecimal digits, not {len}"),
            ParseIdError::Digit(at) => {
                write!(f, "character {} of the id is no hexadecimal digit", at + 1)
            }
        }
    }
}

impl std::error::Error for ParseIdError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips() {
        let id = Id::from_bytes(std::array::from_fn(|i| (i * 7) as u8));
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.to_string().to_uppercase().parse(), Ok(id));
    }

    #[test]
    fn errors_name_the_fault() {
        assert_eq!("ab".parse::<Id>(), Err(ParseIdError::Length(2)));
        let text = format!("{}x{}", "0".repeat(40), "0".repeat(23));
        assert_eq!(text.parse::<Id>(), Err(ParseIdError::Digit(40)));
    }
}

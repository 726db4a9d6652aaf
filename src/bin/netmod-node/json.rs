//! Writes JSON objects into a byte buffer.

use crate::hex;
use crate::hidden::is_hidden;
use std::fmt::{self, Display, Write as _};

/// An object being written. [`end`](Object::end) closes it and ends its line.
#[must_use]
pub(crate) struct Object<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Object<'a> {
    /// Opens a line `{"event":"<event>"`.
    pub(crate) fn event(out: &'a mut Vec<u8>, event: &str) -> Object<'a> {
        out.extend_from_slice(b"{\"event\":");
        push_text(out, &event);
        Object { out }
    }

    pub(crate) fn number(mut self, key: &str, value: impl Into<u64>) -> Self {
        self.key(key);
        push_number(self.out, value.into());
        self
    }

    /// Writes `null` for `None`.
    pub(crate) fn number_or_null(self, key: &str, value: Option<u64>) -> Self {
        match value {
            Some(value) => self.number(key, value),
            None => self.null(key),
        }
    }

    pub(crate) fn text(mut self, key: &str, value: &dyn Display) -> Self {
        self.key(key);
        push_text(self.out, value);
        self
    }

    /// Writes `null` for `None`.
    pub(crate) fn text_or_null(self, key: &str, value: Option<impl Display>) -> Self {
        match value {
            Some(value) => self.text(key, &value),
            None => self.null(key),
        }
    }

    pub(crate) fn hex(mut self, key: &str, bytes: &[u8]) -> Self {
        self.key(key);
        self.out.push(b'"');
        hex::push(self.out, bytes);
        self.out.push(b'"');
        self
    }

    /// Writes an array of objects, one per item, each filled by `fill`.
    pub(crate) fn array<T>(
        mut self,
        key: &str,
        items: impl IntoIterator<Item = T>,
        fill: impl for<'m> Fn(Member<'m>, T) -> Object<'m>,
    ) -> Self {
        self.key(key);
        self.out.push(b'[');
        for (index, item) in items.into_iter().enumerate() {
            self.out.extend_from_slice(if index == 0 { b"{" } else { b",{" });
            fill(Member { out: self.out }, item).out.push(b'}');
        }
        self.out.push(b']');
        self
    }

    pub(crate) fn end(self) {
        self.out.extend_from_slice(b"}\n");
    }

    fn null(mut self, key: &str) -> Self {
        self.key(key);
        self.out.extend_from_slice(b"null");
        self
    }

    fn key(&mut self, key: &str) {
        self.out.push(b',');
        push_key(self.out, key);
    }
}

/// An object in an array, before its first key.
pub(crate) struct Member<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Member<'a> {
    /// Writes the first key. The others are written through the returned object.
    pub(crate) fn text(self, key: &str, value: &dyn Display) -> Object<'a> {
        push_key(self.out, key);
        push_text(self.out, value);
        Object { out: self.out }
    }
}

/// Appends decimal digits.
pub(crate) fn push_number(out: &mut Vec<u8>, value: u64) {
    // Writing into memory cannot fail.
    let _ = write!(Escaped(out), "{value}");
}

fn push_key(out: &mut Vec<u8>, key: &str) {
    push_text(out, &key);
    out.push(b':');
}

fn push_text(out: &mut Vec<u8>, value: &dyn Display) {
    out.push(b'"');
    let _ = write!(Escaped(out), "{value}");
    out.push(b'"');
}

/// A writer that escapes text for a JSON string.
struct Escaped<'a>(&'a mut Vec<u8>);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c {
                '"' | '\\' => self.0.extend_from_slice(&[b'\\', c as u8]),
                '\n' => self.0.extend_from_slice(b"\\n"),
                '\r' => self.0.extend_from_slice(b"\\r"),
                '\t' => self.0.extend_from_slice(b"\\t"),
                // Most of them are legal in JSON, but a terminal may interpret them.
                _ if is_hidden(c) => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        self.0.extend_from_slice(b"\\u");
                        hex::push(self.0, &unit.to_be_bytes());
                    }
                }
                _ => self.0.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn fields_in_order() {
        let text = line(|out| {
            Object::event(out, "down")
                .number("target", 7u16)
                .number_or_null("retry_ms", None)
                .text_or_null("addr", Some("[::1]:9000"))
                .hex("frame", &[0, 255])
                .end();
        });
        let expected =
            r#"{"event":"down","target":7,"retry_ms":null,"addr":"[::1]:9000","frame":"00ff"}"#;
        assert_eq!(text, format!("{expected}\n"));
    }

    #[test]
    fn text_is_escaped() {
        let text = line(|out| push_text(out, &"a\"\\\n\r\t\u{0}\u{1b}\u{7f}é\u{1f980}"));
        assert_eq!(text, "\"a\\\"\\\\\\n\\r\\t\\u0000\\u001b\\u007fé\u{1f980}\"");
        let text = line(|out| push_text(out, &"\u{9b}\u{202e}\u{e0041}"));
        assert_eq!(text, "\"\\u009b\\u202e\\udb40\\udc41\"");
    }

    #[test]
    fn arrays_of_objects() {
        let text = line(|out| {
            Object::event(out, "peer")
                .array("list", [1_u64, 2], |member, n| member.text("a", &n).number("b", n))
                .array("none", [""], |member, text| member.text("c", &text))
                .end();
        });
        let expected =
            r#"{"event":"peer","list":[{"a":"1","b":1},{"a":"2","b":2}],"none":[{"c":""}]}"#;
        assert_eq!(text, format!("{expected}\n"));
    }
}

/// The input of a fuzz case, consumed from the front. Yields zeros once it is exhausted.
#[derive(Debug, Clone)]
pub(crate) struct ByteSource<'a>(&'a [u8]);

impl<'a> ByteSource<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> ByteSource<'a> {
        ByteSource(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    /// Takes up to `len` bytes.
    pub(crate) fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// Takes a size: small ones at full resolution, and some large ones.
    pub(crate) fn size(&mut self) -> usize {
        match usize::from(self.byte()) {
            small @ 0..=0xDF => small,
            medium @ 0xE0..=0xFB => (medium - 0xDF) * 160,
            large => (large - 0xFB) * 20_000,
        }
    }
}

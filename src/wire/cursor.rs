//! A reader over untrusted bytes: every read is checked, nothing allocates.

/// The bytes ended before the field did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("truncated: {needed} bytes needed at offset {offset}, {left} left")]
pub struct Truncated {
    /// Where the field begins.
    pub offset: usize,
    /// How long the field is.
    pub needed: usize,
    /// How many bytes there are.
    pub left: usize,
}

/// Walks over a byte slice, front to back.
#[derive(Debug, Clone, Copy)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Cursor<'a> {
    /// Starts at the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0 }
    }

    /// How many bytes have been read.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// How many bytes are left.
    pub fn left(&self) -> usize {
        self.bytes.len() - self.offset
    }

    /// The bytes that are left, without reading them.
    pub fn rest(&self) -> &'a [u8] {
        &self.bytes[self.offset..]
    }

    /// Reads `needed` bytes.
    pub fn take(&mut self, needed: usize) -> Result<&'a [u8], Truncated> {
        if needed > self.left() {
            return Err(Truncated { offset: self.offset, needed, left: self.left() });
        }
        let taken = &self.bytes[self.offset..self.offset + needed];
        self.offset += needed;
        Ok(taken)
    }

    /// Reads a fixed number of bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Truncated> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// Reads one byte.
    pub fn u8(&mut self) -> Result<u8, Truncated> {
        Ok(self.array::<1>()?[0])
    }

    /// Reads two bytes, little endian.
    pub fn u16(&mut self) -> Result<u16, Truncated> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    /// Reads three bytes, little endian.
    pub fn u24(&mut self) -> Result<u32, Truncated> {
        let [a, b, c] = self.array()?;
        Ok(u32::from_le_bytes([a, b, c, 0]))
    }

    /// Reads four bytes, little endian.
    pub fn u32(&mut self) -> Result<u32, Truncated> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// Reads six bytes, little endian (table ids).
    pub fn u48(&mut self) -> Result<u64, Truncated> {
        let [a, b, c, d, e, f] = self.array()?;
        Ok(u64::from_le_bytes([a, b, c, d, e, f, 0, 0]))
    }

    /// Reads seven bytes, little endian (commit timestamps).
    pub fn u56(&mut self) -> Result<u64, Truncated> {
        let [a, b, c, d, e, f, g] = self.array()?;
        Ok(u64::from_le_bytes([a, b, c, d, e, f, g, 0]))
    }

    /// Reads eight bytes, little endian.
    pub fn u64(&mut self) -> Result<u64, Truncated> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// Reads a length-encoded integer: one byte up to 250, else 0xfc + 2, 0xfd + 3 or 0xfe + 8 bytes. 0xfb and 0xff,
    /// which are NULL and an error where rows are sent, count as truncated here.
    pub fn packed(&mut self) -> Result<u64, Truncated> {
        let (offset, left) = (self.offset, self.left());
        match self.u8()? {
            small @ 0..=250 => Ok(u64::from(small)),
            0xfc => self.u16().map(u64::from),
            0xfd => self.u24().map(u64::from),
            0xfe => self.u64(),
            0xfb | 0xff => Err(Truncated { offset, needed: usize::MAX, left }),
        }
    }

    /// Reads up to a NUL byte and the NUL byte itself, and returns what stands before it.
    pub fn until_nul(&mut self) -> Result<&'a [u8], Truncated> {
        match self.rest().iter().position(|&byte| byte == 0) {
            Some(length) => {
                let text = self.take(length)?;
                self.take(1)?;
                Ok(text)
            }
            None => Err(Truncated { offset: self.offset, needed: self.left() + 1, left: self.left() }),
        }
    }
}

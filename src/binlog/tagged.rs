//! GTID_TAGGED_LOG_EVENT (MySQL 8.3 and later): a GTID in MySQL's self-describing encoding.

use uuid::Uuid;

use super::LengthField;
use crate::wire::{Cursor, Truncated};

/// The body: `format version | length of the body | last field that must be known | (field id, value)…`, all integers of
/// variable length. Fields: 0 flags, 1 uuid as 16 integers, 2 number, 3 tag after its length, 4 last_committed and 5
/// sequence_number (2, 4 and 5 zigzag), 6 and 7 commit times, 8 transaction_length, 9 and 10 server versions, 11 commit group
/// ticket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaggedGtid {
    /// The server's uuid.
    pub uuid: Uuid,
    /// The tag.
    pub tag: String,
    /// The number.
    pub number: u64,
    /// The parallel applier's clock.
    pub last_committed: Option<u64>,
    /// The parallel applier's clock.
    pub sequence_number: Option<u64>,
    /// Bytes of the whole transaction with this event and all checksums.
    pub transaction_length: Option<LengthField>,
    /// The body's own length.
    body_length: LengthField,
}

impl TaggedGtid {
    /// Reads the body.
    pub fn read(body: &[u8]) -> Result<Self, Truncated> {
        let mut cursor = Cursor::new(body);
        variable(&mut cursor)?;
        let body_length = length_field(&mut cursor)?;
        variable(&mut cursor)?;
        let mut uuid = [0; 16];
        let mut gtid = Self {
            uuid: Uuid::nil(),
            tag: String::new(),
            number: 0,
            last_committed: None,
            sequence_number: None,
            transaction_length: None,
            body_length,
        };
        while cursor.left() > 0 {
            match variable(&mut cursor)? {
                1 => {
                    for byte in &mut uuid {
                        *byte = variable(&mut cursor)? as u8;
                    }
                }
                2 => gtid.number = zigzag(variable(&mut cursor)?),
                3 => {
                    let length = usize::try_from(variable(&mut cursor)?).unwrap_or(usize::MAX);
                    gtid.tag = String::from_utf8_lossy(cursor.take(length)?).into_owned();
                }
                4 => gtid.last_committed = Some(zigzag(variable(&mut cursor)?)),
                5 => gtid.sequence_number = Some(zigzag(variable(&mut cursor)?)),
                8 => gtid.transaction_length = Some(length_field(&mut cursor)?),
                0 | 6 | 7 | 9..=11 => {
                    variable(&mut cursor)?;
                }
                // A field of a later version: what follows cannot be told from its value.
                _ => break,
            }
        }
        gtid.uuid = Uuid::from_bytes(uuid);
        Ok(gtid)
    }

    /// The same body in a transaction whose other events have `rest` bytes, header and checksum of this one among them.
    pub fn body_in_transaction_of(&self, body: &[u8], rest: u64) -> Option<Vec<u8>> {
        let field = self.transaction_length?;
        // Both lengths count the fields that state them, and their widths depend on what they say: a few rounds settle it.
        let mut length = body.len();
        for _ in 0..4 {
            let (own, total) = (encoded(length as u64), encoded(rest + length as u64));
            let new = [
                &body[..self.body_length.offset],
                &own,
                &body[self.body_length.offset + self.body_length.width..field.offset],
                &total,
                &body[field.offset + field.width..],
            ]
            .concat();
            if new.len() == length {
                return Some(new);
            }
            length = new.len();
        }
        None
    }
}

fn length_field(cursor: &mut Cursor<'_>) -> Result<LengthField, Truncated> {
    let offset = cursor.offset();
    let value = variable(cursor)?;
    Ok(LengthField { value, offset, width: cursor.offset() - offset })
}

/// So many bytes follow the first as it has ones at its low end; the value is what stands above those.
fn variable(cursor: &mut Cursor<'_>) -> Result<u64, Truncated> {
    let extra = cursor.rest().first().map_or(0, |first| first.trailing_ones()) as usize;
    let bytes = cursor.take(extra + 1)?;
    let mut wide = [0; 16];
    wide[..bytes.len()].copy_from_slice(bytes);
    // With eight ones the whole first byte is a mark and eight bytes of value follow.
    let shift = if extra == 8 { 8 } else { extra + 1 };
    Ok((u128::from_le_bytes(wide) >> shift) as u64)
}

/// The form that [`variable`] reads: seven bits of value a byte.
fn encoded(value: u64) -> Vec<u8> {
    let bits = u64::BITS - value.leading_zeros();
    let length = bits.div_ceil(7).clamp(1, 9) as usize;
    let wide = if length == 9 {
        u128::from(value) << 8 | 0xff
    } else {
        u128::from(value) << length | ((1 << (length - 1)) - 1)
    };
    wide.to_le_bytes()[..length].to_vec()
}

/// Numbers are written with their sign in the lowest bit; those of a GTID have none.
fn zigzag(value: u64) -> u64 {
    value >> 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_of_every_width_come_back() {
        for value in (0..64).flat_map(|bit| [(1u64 << bit) - 1, 1 << bit, (1 << bit) + 1]).chain([u64::MAX]) {
            let bytes = encoded(value);
            assert_eq!(variable(&mut Cursor::new(&bytes)), Ok(value), "{value}: {bytes:x?}");
            assert!(variable(&mut Cursor::new(&bytes[..bytes.len() - 1])).is_err());
        }
    }

    #[test]
    fn lengths_count_themselves() {
        // version 1, length 9, last 0, number 3, transaction_length 100
        let body = [2, 18, 0, 4, 12, 16, 0x91, 0x01, 0];
        let gtid = TaggedGtid::read(&body[..8]).expect("whole");
        assert_eq!((gtid.number, gtid.transaction_length.map(|field| field.value)), (3, Some(100)));
        let new = gtid.body_in_transaction_of(&body[..8], 1 << 20).expect("it settles");
        let again = TaggedGtid::read(&new).expect("whole");
        assert_eq!(again.body_length.value, new.len() as u64);
        assert_eq!(again.transaction_length.map(|field| field.value), Some((1 << 20) + new.len() as u64));
    }
}

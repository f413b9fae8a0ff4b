//! Compressed events: MySQL's TRANSACTION_PAYLOAD and MariaDB's compressed QUERY.

use std::io::{Read, Write};

use crate::wire::{Cursor, Truncated};

/// The largest transaction or statement that is opened.
pub const MAX_OPENED_LENGTH: usize = 256 << 20;

/// Why a compressed event cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// The body ends too early.
    #[error("compressed event {0}")]
    Truncated(#[from] Truncated),
    /// An algorithm that no release writes.
    #[error("compressed event with algorithm {0}, which is not known")]
    UnknownAlgorithm(u64),
    /// More than [`MAX_OPENED_LENGTH`].
    #[error("compressed event holds {0} bytes, more than the {MAX_OPENED_LENGTH} that are opened")]
    TooLarge(u64),
    /// The compressed bytes are damaged.
    #[error("compressed event cannot be opened: {0}")]
    Damaged(#[from] std::io::Error),
}

const FIELD_END: u64 = 0;
const FIELD_PAYLOAD_SIZE: u64 = 1;
const FIELD_ALGORITHM: u64 = 2;
const FIELD_UNCOMPRESSED_SIZE: u64 = 3;
const ALGORITHM_ZSTD: u64 = 0;
const ALGORITHM_NONE: u64 = 255;

/// The events inside a TRANSACTION_PAYLOAD event, one after the other, without checksums. The body is a list of packed
/// integers: `type, length, value` with types 2 algorithm (0 ZSTD, 255 none), 3 uncompressed size, 1 payload size, then 0
/// and the payload.
pub fn open_transaction(body: &[u8]) -> Result<Vec<u8>, PayloadError> {
    let mut cursor = Cursor::new(body);
    let (mut algorithm, mut size, mut uncompressed) = (ALGORITHM_ZSTD, None, None);
    loop {
        let field = cursor.packed()?;
        if field == FIELD_END {
            break;
        }
        let length = usize::try_from(cursor.packed()?).unwrap_or(usize::MAX);
        let mut value = Cursor::new(cursor.take(length)?);
        match field {
            FIELD_ALGORITHM => algorithm = value.packed()?,
            FIELD_PAYLOAD_SIZE => size = Some(value.packed()?),
            FIELD_UNCOMPRESSED_SIZE => uncompressed = Some(value.packed()?),
            _ => {}
        }
    }
    let size = size.map_or(cursor.left(), |size| usize::try_from(size).unwrap_or(usize::MAX));
    let payload = cursor.take(size)?;
    match algorithm {
        ALGORITHM_NONE => Ok(payload.to_vec()),
        ALGORITHM_ZSTD => {
            if let Some(stated) = uncompressed
                && stated > MAX_OPENED_LENGTH as u64
            {
                return Err(PayloadError::TooLarge(stated));
            }
            read_limited(zstd::stream::read::Decoder::new(payload)?)
        }
        other => Err(PayloadError::UnknownAlgorithm(other)),
    }
}

/// Levels above the usual one that are tried for transactions of up to so many bytes; what comes later takes longer. With the length
/// known from the start zstd takes tables that fit it, so that a level costs a few times the length in memory.
const HARDER_ZSTD: [(i32, usize); 3] = [(9, MAX_OPENED_LENGTH), (19, 16 << 20), (22, 1 << 20)];

/// The body of a TRANSACTION_PAYLOAD event that holds these events. It is compressed harder than usual where it would be longer than
/// `at_most`, and comes out as short as it gets.
pub fn close_transaction(events: &[u8], at_most: usize) -> Result<Vec<u8>, PayloadError> {
    let mut shortest = transaction_body(events, zstd::DEFAULT_COMPRESSION_LEVEL)?;
    for (level, limit) in HARDER_ZSTD {
        if shortest.len() <= at_most || events.len() > limit {
            break;
        }
        let body = transaction_body(events, level)?;
        if body.len() < shortest.len() {
            shortest = body;
        }
    }
    Ok(shortest)
}

fn transaction_body(events: &[u8], level: i32) -> Result<Vec<u8>, PayloadError> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), level)?;
    encoder.set_pledged_src_size(Some(events.len() as u64))?;
    // It stands before the payload already.
    encoder.include_contentsize(false)?;
    encoder.write_all(events)?;
    let payload = encoder.finish()?;
    let mut body = Vec::with_capacity(payload.len() + 32);
    for (field, value) in [
        (FIELD_ALGORITHM, ALGORITHM_ZSTD),
        (FIELD_UNCOMPRESSED_SIZE, events.len() as u64),
        (FIELD_PAYLOAD_SIZE, payload.len() as u64),
    ] {
        let mut packed = Vec::with_capacity(9);
        put_packed(&mut packed, value);
        put_packed(&mut body, field);
        put_packed(&mut body, packed.len() as u64);
        body.extend_from_slice(&packed);
    }
    put_packed(&mut body, FIELD_END);
    body.extend_from_slice(&payload);
    Ok(body)
}

/// Appends a length-encoded integer.
pub fn put_packed(bytes: &mut Vec<u8>, value: u64) {
    match packed_width(value) {
        1 => bytes.push(value as u8),
        3 => {
            bytes.push(0xfc);
            bytes.extend_from_slice(&(value as u16).to_le_bytes());
        }
        4 => {
            bytes.push(0xfd);
            bytes.extend_from_slice(&value.to_le_bytes()[..3]);
        }
        _ => {
            bytes.push(0xfe);
            bytes.extend_from_slice(&value.to_le_bytes());
        }
    }
}

/// How many bytes a length-encoded integer takes.
pub fn packed_width(value: u64) -> usize {
    match value {
        0..=250 => 1,
        251..=0xffff => 3,
        0x1_0000..=0xff_ffff => 4,
        _ => 9,
    }
}

/// Opens MariaDB's compressed statement: `u8 0x80 | n` (n = 1 to 4 length bytes; bits 4 to 6 are the algorithm, 0 zlib),
/// the length big endian, a zlib stream.
pub fn open_statement(bytes: &[u8]) -> Result<Vec<u8>, PayloadError> {
    let mut cursor = Cursor::new(bytes);
    let head = cursor.u8()?;
    let algorithm = u64::from(head >> 4 & 7);
    if algorithm != 0 {
        return Err(PayloadError::UnknownAlgorithm(algorithm));
    }
    let length = cursor.take(usize::from(head & 7))?.iter().fold(0u64, |length, &byte| length << 8 | u64::from(byte));
    if length > MAX_OPENED_LENGTH as u64 {
        return Err(PayloadError::TooLarge(length));
    }
    read_limited(flate2::read::ZlibDecoder::new(cursor.rest()))
}

/// The form that [`open_statement`] opens. It is compressed harder than usual where it would be longer than `at_most`.
pub fn close_statement(text: &[u8], at_most: usize) -> Result<Vec<u8>, PayloadError> {
    let usual = statement_at(text, flate2::Compression::default())?;
    if usual.len() <= at_most {
        return Ok(usual);
    }
    let harder = statement_at(text, flate2::Compression::best())?;
    Ok(if harder.len() < usual.len() { harder } else { usual })
}

fn statement_at(text: &[u8], level: flate2::Compression) -> Result<Vec<u8>, PayloadError> {
    let length = (text.len() as u32).to_be_bytes();
    let skip = length.iter().take(3).take_while(|&&byte| byte == 0).count();
    let mut bytes = vec![0x80 | (4 - skip) as u8];
    bytes.extend_from_slice(&length[skip..]);
    let mut encoder = flate2::write::ZlibEncoder::new(bytes, level);
    encoder.write_all(text)?;
    Ok(encoder.finish()?)
}

/// Grows with what comes out, never with what a field says.
fn read_limited(input: impl Read) -> Result<Vec<u8>, PayloadError> {
    let mut opened = Vec::new();
    input.take(MAX_OPENED_LENGTH as u64 + 1).read_to_end(&mut opened)?;
    if opened.len() > MAX_OPENED_LENGTH {
        return Err(PayloadError::TooLarge(opened.len() as u64));
    }
    Ok(opened)
}

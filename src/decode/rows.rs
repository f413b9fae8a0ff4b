//! Rows by column, for `--rows` only. Every length is checked against what is there.

use mysql_common::{binlog::jsonb, io::ParseBuf, proto::MyDeserialize};
use serde::Serialize;
use serde_json::{Value, json};

use super::describe::{BodyError, hex};
use crate::{
    binlog::{EventType, FormatDescription, open_statement},
    wire::{Cursor, Truncated},
};

/// MySQL allows 4096 columns.
const COLUMN_LIMIT: u64 = 4096;

/// Type codes of columns.
mod code {
    pub(super) const TINY: u8 = 1;
    pub(super) const SHORT: u8 = 2;
    pub(super) const LONG: u8 = 3;
    pub(super) const FLOAT: u8 = 4;
    pub(super) const DOUBLE: u8 = 5;
    pub(super) const TIMESTAMP: u8 = 7;
    pub(super) const LONGLONG: u8 = 8;
    pub(super) const INT24: u8 = 9;
    pub(super) const DATE: u8 = 10;
    pub(super) const TIME: u8 = 11;
    pub(super) const DATETIME: u8 = 12;
    pub(super) const YEAR: u8 = 13;
    pub(super) const NEWDATE: u8 = 14;
    pub(super) const VARCHAR: u8 = 15;
    pub(super) const BIT: u8 = 16;
    pub(super) const TIMESTAMP2: u8 = 17;
    pub(super) const DATETIME2: u8 = 18;
    pub(super) const TIME2: u8 = 19;
    pub(super) const TYPED_ARRAY: u8 = 20;
    pub(super) const BLOB_COMPRESSED: u8 = 140;
    pub(super) const VARCHAR_COMPRESSED: u8 = 141;
    pub(super) const VECTOR: u8 = 242;
    pub(super) const JSON: u8 = 245;
    pub(super) const NEWDECIMAL: u8 = 246;
    pub(super) const ENUM: u8 = 247;
    pub(super) const SET: u8 = 248;
    pub(super) const TINY_BLOB: u8 = 249;
    pub(super) const BLOB: u8 = 252;
    pub(super) const VAR_STRING: u8 = 253;
    pub(super) const STRING: u8 = 254;
    pub(super) const GEOMETRY: u8 = 255;
}

#[derive(Debug, Clone)]
struct Column {
    code: u8,
    /// As TABLE_MAP has it: first byte low.
    meta: u16,
    unsigned: bool,
    name: String,
}

/// What TABLE_MAP says of a table's columns.
#[derive(Debug, Clone)]
pub(super) struct Table {
    name: String,
    columns: Vec<Column>,
    /// Why rows of it cannot be read, if so.
    unreadable: Option<&'static str>,
}

/// The columns of a row that are in the log, in the table's order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Image(Vec<(String, Value)>);

impl Image {
    /// Names and values.
    pub fn columns(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }
}

impl Serialize for Image {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.columns())
    }
}

/// One changed row.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Row {
    /// Of deleted and updated rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Image>,
    /// Of inserted and updated rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Image>,
}

impl Table {
    /// Reads a TABLE_MAP from its column count on: `packed count | types | packed length, metadata | NULL bits | optional
    /// metadata`.
    pub(super) fn read(name: String, body: &[u8]) -> Result<Self, BodyError> {
        let mut cursor = Cursor::new(body);
        let count = cursor.packed()?;
        if count > COLUMN_LIMIT {
            return Err(BodyError::Rows(format!("a table of {count} columns")));
        }
        let types = cursor.take(count as usize)?;
        let mut table = Self { name, columns: Vec::with_capacity(types.len()), unreadable: None };
        if cursor.left() == 0 {
            table.columns.extend(types.iter().map(|&code| Column {
                code,
                meta: 0,
                unsigned: false,
                name: String::new(),
            }));
            table.unreadable = Some("5.1 betas do not log how long columns are");
            return Ok(table);
        }
        let meta_length = cursor.packed()?;
        let mut meta = Cursor::new(cursor.take(usize::try_from(meta_length).unwrap_or(usize::MAX))?);
        if cursor.left() > 0 {
            // Which columns can be NULL; 5.1 release candidates leave it out.
            cursor.take((count as usize).div_ceil(8))?;
        }
        for (index, &code) in types.iter().enumerate() {
            let width = match code {
                code::FLOAT | code::DOUBLE | code::TIMESTAMP2 | code::DATETIME2 | code::TIME2 => 1,
                code::JSON | code::GEOMETRY | code::VECTOR | code::BLOB_COMPRESSED => 1,
                code::TINY_BLOB..=code::BLOB => 1,
                code::VARCHAR | code::VAR_STRING | code::STRING | code::ENUM | code::SET => 2,
                code::BIT | code::NEWDECIMAL | code::VARCHAR_COMPRESSED => 2,
                code::TYPED_ARRAY => {
                    table.unreadable = Some("the table has a column of an array type");
                    0
                }
                _ => 0,
            };
            let meta = match width {
                0 => 0,
                1 => u16::from(meta.u8()?),
                _ => meta.u16()?,
            };
            table.columns.push(Column { code, meta, unsigned: false, name: format!("@{}", index + 1) });
        }
        if table.unreadable.is_none() {
            table.optional_metadata(&mut cursor)?;
        }
        Ok(table)
    }

    /// `u8 type | packed length | value` of MySQL 8.0 and MariaDB 10.5: signs of numbers, and names if all metadata are logged.
    fn optional_metadata(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Truncated> {
        const SIGNEDNESS: u8 = 1;
        const COLUMN_NAME: u8 = 4;
        while cursor.left() > 0 {
            let field = cursor.u8()?;
            let length = cursor.packed()?;
            let value = cursor.take(usize::try_from(length).unwrap_or(usize::MAX))?;
            match field {
                SIGNEDNESS => {
                    let numbers = self.columns.iter_mut().filter(|column| {
                        matches!(
                            column.code,
                            code::TINY..=code::DOUBLE | code::LONGLONG | code::INT24 | code::NEWDECIMAL
                        )
                    });
                    for (index, column) in numbers.enumerate() {
                        column.unsigned = value.get(index / 8).is_some_and(|byte| byte & (0x80 >> (index % 8)) != 0);
                    }
                }
                COLUMN_NAME => {
                    let mut names = Cursor::new(value);
                    for column in &mut self.columns {
                        let length = names.packed()?;
                        let name = names.take(usize::try_from(length).unwrap_or(usize::MAX))?;
                        column.name = String::from_utf8_lossy(name).into_owned();
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn columns(&self) -> usize {
        self.columns.len()
    }

    /// Reads a rows event from behind its flags: `[u16 length, extra] | packed columns | bits of the columns that are there,
    /// for updates twice | rows`. `trusted` says that a checksum covers the bytes.
    pub(super) fn rows(
        &self,
        event_type: EventType,
        body: &[u8],
        format: &FormatDescription,
        trusted: bool,
    ) -> Result<Vec<Row>, BodyError> {
        if event_type == EventType::PARTIAL_UPDATE_ROWS {
            return Err(BodyError::NotShown("they hold JSON differences".to_owned()));
        }
        if let Some(reason) = self.unreadable {
            return Err(BodyError::NotShown(reason.to_owned()));
        }
        let mut cursor = Cursor::new(body);
        // Version 2 has a post-header of 10 bytes: there are two bytes of length, which count themselves.
        if format.post_header_length(event_type) == Some(10) {
            let length = cursor.u16()?;
            cursor.take(usize::from(length).saturating_sub(2))?;
        }
        let count = cursor.packed()?;
        if count != self.columns.len() as u64 {
            return Err(BodyError::Rows(format!("{count} columns where the table has {}", self.columns.len())));
        }
        let bits = self.columns.len().div_ceil(8);
        let (has_before, has_after) = match event_type.0 {
            20 | 23 | 30 | 166 | 169 => (false, true),
            22 | 25 | 32 | 168 | 171 => (true, false),
            _ => (true, true),
        };
        let before = if has_before { Some(cursor.take(bits)?) } else { None };
        let after = if has_after { Some(cursor.take(bits)?) } else { None };
        let opened;
        let rest = if matches!(event_type.0, 166..=171) {
            opened = open_statement(cursor.rest())?;
            &opened
        } else {
            cursor.rest()
        };
        let mut cursor = Cursor::new(rest);
        let mut rows = Vec::new();
        while cursor.left() > 0 {
            let start = cursor.left();
            let mut row = Row::default();
            if let Some(present) = before {
                row.before = Some(self.image(&mut cursor, present, trusted)?);
            }
            if let Some(present) = after {
                row.after = Some(self.image(&mut cursor, present, trusted)?);
            }
            rows.push(row);
            if cursor.left() == start {
                return Err(BodyError::Rows("rows without columns".to_owned()));
            }
        }
        Ok(rows)
    }

    fn image(&self, cursor: &mut Cursor<'_>, present: &[u8], trusted: bool) -> Result<Image, BodyError> {
        let is_set = |bits: &[u8], index: usize| bits.get(index / 8).is_some_and(|byte| byte & (1 << (index % 8)) != 0);
        let columns = || self.columns.iter().enumerate().filter(|(index, _)| is_set(present, *index));
        let nulls = cursor.take(columns().count().div_ceil(8))?;
        let mut image = Vec::with_capacity(columns().count());
        for (place, (_, column)) in columns().enumerate() {
            let value = if is_set(nulls, place) { Value::Null } else { value(column, cursor, trusted)? };
            image.push((column.name.clone(), value));
        }
        Ok(Image(image))
    }
}

fn value(column: &Column, cursor: &mut Cursor<'_>, trusted: bool) -> Result<Value, BodyError> {
    let (mut kind, meta) = (column.code, column.meta);
    let [low, high] = meta.to_le_bytes();
    let mut string_length = usize::from(meta);
    if kind == code::STRING {
        // The first byte is the real type; two bits of it are the upper ones of a CHAR's length, inverted.
        string_length = usize::from(high) | usize::from((low & 0x30) ^ 0x30) << 4;
        kind = low | 0x30;
    }
    let signed = |value: i64| json!(value);
    Ok(match kind {
        code::TINY if column.unsigned => json!(cursor.u8()?),
        code::TINY => signed(i64::from(cursor.u8()? as i8)),
        code::SHORT if column.unsigned => json!(cursor.u16()?),
        code::SHORT => signed(i64::from(cursor.u16()? as i16)),
        code::INT24 if column.unsigned => json!(cursor.u24()?),
        code::INT24 => signed(i64::from((cursor.u24()? << 8) as i32 >> 8)),
        code::LONG if column.unsigned => json!(cursor.u32()?),
        code::LONG => signed(i64::from(cursor.u32()? as i32)),
        code::LONGLONG if column.unsigned => json!(cursor.u64()?),
        code::LONGLONG => signed(cursor.u64()? as i64),
        // By its shortest text, which is what the server shows; as a double it would have digits that nobody wrote.
        code::FLOAT => json!(f32::from_le_bytes(cursor.array()?).to_string().parse::<f64>().unwrap_or_default()),
        code::DOUBLE => json!(f64::from_le_bytes(cursor.array()?)),
        code::TIMESTAMP => json!(cursor.u32()?),
        code::YEAR => match cursor.u8()? {
            0 => json!(0),
            year => json!(1900 + u32::from(year)),
        },
        code::DATE | code::NEWDATE => {
            let date = cursor.u24()?;
            json!(format!("{:04}-{:02}-{:02}", date >> 9, date >> 5 & 15, date & 31))
        }
        code::TIME => {
            let time = (cursor.u24()? << 8) as i32 >> 8;
            let (sign, time) = (if time < 0 { "-" } else { "" }, time.unsigned_abs());
            json!(format!("{sign}{:02}:{:02}:{:02}", time / 10_000, time / 100 % 100, time % 100))
        }
        code::DATETIME => {
            let digits = cursor.u64()?;
            let (date, time) = (digits / 1_000_000, digits % 1_000_000);
            let (hour, minute, second) = (time / 10_000, time / 100 % 100, time % 100);
            let (year, month, day) = (date / 10_000, date / 100 % 100, date % 100);
            json!(format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}"))
        }
        code::TIMESTAMP2 => {
            let seconds = u32::from_be_bytes(cursor.array()?);
            json!(format!("{seconds}{}", fraction(cursor, low)?))
        }
        code::DATETIME2 => datetime(cursor, low)?,
        code::TIME2 => time(cursor, low)?,
        code::NEWDECIMAL => json!(decimal(cursor, low, high)?),
        code::BIT => json!(hex(cursor.take((usize::from(high) * 8 + usize::from(low)).div_ceil(8))?)),
        code::ENUM if high == 2 => json!(cursor.u16()?),
        code::ENUM => json!(cursor.u8()?),
        code::SET => {
            let bits = cursor.take(usize::from(high).min(8))?;
            json!(bits.iter().rev().fold(0u64, |number, &byte| number << 8 | u64::from(byte)))
        }
        code::VARCHAR | code::VAR_STRING | code::STRING => {
            let length = if string_length < 256 { usize::from(cursor.u8()?) } else { usize::from(cursor.u16()?) };
            text(cursor.take(length)?)
        }
        code::VARCHAR_COMPRESSED => {
            let length = if string_length < 256 { usize::from(cursor.u8()?) } else { usize::from(cursor.u16()?) };
            json!(hex(cursor.take(length)?))
        }
        code::GEOMETRY | code::VECTOR | code::BLOB_COMPRESSED => json!(hex(counted(cursor, low)?)),
        code::TINY_BLOB..=code::BLOB => text(counted(cursor, low)?),
        code::JSON => document(counted(cursor, low)?, trusted),
        other => return Err(BodyError::NotShown(format!("column {} is of the unknown type {other}", column.name))),
    })
}

/// Bytes after a length of so many bytes.
fn counted<'a>(cursor: &mut Cursor<'a>, width: u8) -> Result<&'a [u8], BodyError> {
    let length = match width {
        1 => u32::from(cursor.u8()?),
        2 => u32::from(cursor.u16()?),
        3 => cursor.u24()?,
        4 => cursor.u32()?,
        other => return Err(BodyError::Rows(format!("a length of {other} bytes"))),
    };
    Ok(cursor.take(length as usize)?)
}

fn text(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => json!(text),
        Err(_) => json!(hex(bytes)),
    }
}

/// MySQL's binary JSON as JSON; bytes where it cannot be read, or for the few types that JSON does not have. Only bytes
/// whose checksum was compared are as the server wrote them, and only those may be given to the library's reader.
fn document(bytes: &[u8], trusted: bool) -> Value {
    if bytes.is_empty() {
        return Value::Null;
    }
    if !trusted {
        return json!(hex(bytes));
    }
    let parsed = jsonb::Value::deserialize((), &mut ParseBuf(bytes)).ok();
    parsed.and_then(|value| Value::try_from(value).ok()).unwrap_or_else(|| json!(hex(bytes)))
}

/// The fraction of a second: hundredths, ten-thousandths or millionths in 1, 2 or 3 bytes, big endian.
fn fraction_parts(cursor: &mut Cursor<'_>, digits: u8) -> Result<(u32, usize, u32), BodyError> {
    let width = usize::from(digits.min(6)).div_ceil(2);
    let number = cursor.take(width)?.iter().fold(0u32, |number, &byte| number << 8 | u32::from(byte));
    Ok((number, width, 1 << (8 * width)))
}

fn fraction_text(number: u32, width: usize, digits: u8) -> String {
    if width == 0 {
        return String::new();
    }
    let all = format!("{number:0length$}", length = width * 2);
    format!(".{}", &all[..usize::from(digits.min(6)).min(all.len())])
}

fn fraction(cursor: &mut Cursor<'_>, digits: u8) -> Result<String, BodyError> {
    let (number, width, _) = fraction_parts(cursor, digits)?;
    Ok(fraction_text(number, width, digits))
}

/// 40 bits, big endian: sign, year × 13 + month in 17, day in 5, hour in 5, minute in 6, second in 6.
fn datetime(cursor: &mut Cursor<'_>, digits: u8) -> Result<Value, BodyError> {
    let [a, b, c, d, e] = cursor.array()?;
    let packed = u64::from_be_bytes([0, 0, 0, a & 0x7f, b, c, d, e]);
    let (date, time) = (packed >> 17, packed & 0x1_ffff);
    let (months, day) = (date >> 5, date & 31);
    let fraction = fraction(cursor, digits)?;
    Ok(json!(format!(
        "{:04}-{:02}-{day:02} {:02}:{:02}:{:02}{fraction}",
        months / 13,
        months % 13,
        time >> 12,
        time >> 6 & 63,
        time & 63
    )))
}

/// 24 bits and the fraction, big endian, as one number around the middle of its range: unused bit, hour in 10, minute and
/// second in 6 each.
fn time(cursor: &mut Cursor<'_>, digits: u8) -> Result<Value, BodyError> {
    let [a, b, c] = cursor.array()?;
    let whole = i64::from(u32::from_be_bytes([0, a, b, c])) - 0x80_0000;
    let (number, width, unit) = fraction_parts(cursor, digits)?;
    let packed = whole * i64::from(unit) + i64::from(number);
    let (sign, packed) = (if packed < 0 { "-" } else { "" }, packed.unsigned_abs());
    let (seconds, number) = (packed / u64::from(unit), (packed % u64::from(unit)) as u32);
    let fraction = fraction_text(number, width, digits);
    let (hours, minutes) = (seconds >> 12 & 0x3ff, seconds >> 6 & 63);
    Ok(json!(format!("{sign}{hours:02}:{minutes:02}:{:02}{fraction}", seconds & 63)))
}

/// Groups of nine digits in four bytes, the odd ones at both ends in fewer, big endian; the first bit inverted, and all bits
/// of negative numbers.
fn decimal(cursor: &mut Cursor<'_>, precision: u8, scale: u8) -> Result<String, BodyError> {
    const BYTES: [usize; 10] = [0, 1, 1, 2, 2, 3, 3, 4, 4, 4];
    let (precision, scale) = (usize::from(precision), usize::from(scale));
    let Some(whole) = precision.checked_sub(scale) else {
        return Err(BodyError::Rows(format!("DECIMAL({precision},{scale})")));
    };
    let length = whole / 9 * 4 + BYTES[whole % 9] + scale / 9 * 4 + BYTES[scale % 9];
    let mut bytes = cursor.take(length)?.to_vec();
    let Some(first) = bytes.first_mut() else { return Ok("0".to_owned()) };
    let negative = *first & 0x80 == 0;
    *first ^= 0x80;
    if negative {
        bytes.iter_mut().for_each(|byte| *byte = !*byte);
    }
    let mut digits = Cursor::new(&bytes);
    let mut group = |count: usize| -> Result<String, Truncated> {
        if count == 0 {
            return Ok(String::new());
        }
        let number = digits.take(BYTES[count])?.iter().fold(0u32, |number, &byte| number << 8 | u32::from(byte));
        Ok(format!("{number:0count$}"))
    };
    let mut before = group(whole % 9)?;
    for _ in 0..whole / 9 {
        before.push_str(&group(9)?);
    }
    let mut after = String::new();
    for _ in 0..scale / 9 {
        after.push_str(&group(9)?);
    }
    after.push_str(&group(scale % 9)?);
    let before = before.trim_start_matches('0');
    let (sign, before) = (if negative { "-" } else { "" }, if before.is_empty() { "0" } else { before });
    Ok(if after.is_empty() { format!("{sign}{before}") } else { format!("{sign}{before}.{after}") })
}

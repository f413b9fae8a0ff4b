//! The character set of the session that wrote a statement: how long a character is, and what a name means in UTF-8.
//!
//! Two things depend on it. The lexer must not take the second byte of a gbk, big5, sjis or gb18030 character for a
//! backslash or a quote, and names must be compared and mapped in UTF-8. Collation ids are those of
//! `INFORMATION_SCHEMA.COLLATIONS`, which both vendors share below 1024.

use encoding_rs::Encoding;

/// How a character set spells characters beyond ASCII.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Charset {
    /// utf8, utf8mb4, binary and ascii: names are the bytes themselves.
    Utf8,
    /// A set where every byte at or above 0x80 can only belong to a character beyond ASCII.
    Plain(&'static Encoding),
    /// A set whose trail bytes can be ASCII: lead bytes 0x81 to 0xFE pair with a trail byte.
    Pairs(Trail, &'static Encoding),
    /// A set that this build has no table for: only ASCII names can be read. With the byte beyond ASCII that is a space in it.
    AsciiOnly(Option<u8>),
}

/// Which bytes pair in a multi-byte set whose trail bytes reach into ASCII.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trail {
    /// big5: lead 0xA1 to 0xF9, trail 0x40 to 0x7E and 0xA1 to 0xFE.
    Big5,
    /// gbk: lead 0x81 to 0xFE, trail 0x40 to 0x7E and 0x80 to 0xFE.
    Gbk,
    /// gb18030: as gbk, and four bytes where the second and fourth are digits.
    Gb18030,
    /// sjis and cp932: lead 0x81 to 0x9F and 0xE0 to 0xFC, trail 0x40 to 0x7E and 0x80 to 0xFC.
    Sjis,
}

impl Charset {
    /// The set of a collation id as `Q_CHARSET_CODE` carries it; 0 and ids that nobody has assigned read as utf8mb4.
    pub(super) fn of_collation(collation: u16) -> Self {
        // MariaDB's NOPAD collations are the padded ones plus 1024; ids from 2048 on are UCA 14 over utf8 variants.
        let id = if (1024..2048).contains(&collation) { collation - 1024 } else { collation };
        match id {
            1 | 84 => Self::Pairs(Trail::Big5, encoding_rs::BIG5),
            13 | 88 | 95 | 96 => Self::Pairs(Trail::Sjis, encoding_rs::SHIFT_JIS),
            28 | 87 => Self::Pairs(Trail::Gbk, encoding_rs::GBK),
            248..=250 => Self::Pairs(Trail::Gb18030, encoding_rs::GB18030),
            24 | 86 => Self::Plain(encoding_rs::GBK),
            12 | 91 | 97 | 98 => Self::Plain(encoding_rs::EUC_JP),
            19 | 85 => Self::Plain(encoding_rs::EUC_KR),
            // MySQL's latin1 is Windows-1252.
            5 | 8 | 15 | 31 | 47 | 48 | 49 | 94 => Self::Plain(encoding_rs::WINDOWS_1252),
            2 | 9 | 21 | 27 | 77 => Self::Plain(encoding_rs::ISO_8859_2),
            7 | 74 => Self::Plain(encoding_rs::KOI8_R),
            22 | 75 => Self::Plain(encoding_rs::KOI8_U),
            14 | 23 | 50..=52 => Self::Plain(encoding_rs::WINDOWS_1251),
            16 | 71 => Self::Plain(encoding_rs::ISO_8859_8),
            18 | 89 => Self::Plain(encoding_rs::WINDOWS_874),
            20 | 41 | 42 | 79 => Self::Plain(encoding_rs::ISO_8859_13),
            25 | 70 => Self::Plain(encoding_rs::ISO_8859_7),
            26 | 34 | 44 | 66 | 99 => Self::Plain(encoding_rs::WINDOWS_1250),
            29 | 58 | 59 => Self::Plain(encoding_rs::WINDOWS_1257),
            30 | 78 => Self::Plain(encoding_rs::WINDOWS_1254),
            36 | 68 => Self::Plain(encoding_rs::IBM866),
            39 | 53 => Self::Plain(encoding_rs::MACINTOSH),
            57 | 67 => Self::Plain(encoding_rs::WINDOWS_1256),
            // dec8, armscii8, geostd8.
            3 | 69 | 32 | 64 | 92 | 93 => Self::AsciiOnly(Some(0xA0)),
            // keybcs2, cp852.
            37 | 73 | 40 | 81 => Self::AsciiOnly(Some(0xFF)),
            // cp850, hp8, swe7, macce.
            4 | 80 | 6 | 72 | 10 | 82 | 38 | 43 => Self::AsciiOnly(None),
            _ => Self::Utf8,
        }
    }

    /// The length of the character at the start of `bytes` where it is longer than a byte and reaches into ASCII;
    /// 1 for everything else. `bytes` must not be empty.
    pub(super) fn length(self, bytes: &[u8]) -> usize {
        let Self::Pairs(trail, _) = self else { return 1 };
        let (Some(&lead), Some(&second)) = (bytes.first(), bytes.get(1)) else { return 1 };
        let paired = match trail {
            Trail::Big5 => matches!(lead, 0xA1..=0xF9) && matches!(second, 0x40..=0x7E | 0xA1..=0xFE),
            Trail::Gbk => matches!(lead, 0x81..=0xFE) && matches!(second, 0x40..=0x7E | 0x80..=0xFE),
            Trail::Sjis => matches!(lead, 0x81..=0x9F | 0xE0..=0xFC) && matches!(second, 0x40..=0x7E | 0x80..=0xFC),
            Trail::Gb18030 => {
                if !matches!(lead, 0x81..=0xFE) {
                    false
                } else if second.is_ascii_digit() {
                    let four =
                        matches!(bytes.get(2), Some(0x81..=0xFE)) && bytes.get(3).is_some_and(u8::is_ascii_digit);
                    return if four { 4 } else { 1 };
                } else {
                    matches!(second, 0x40..=0x7E | 0x80..=0xFE)
                }
            }
        };
        if paired { 2 } else { 1 }
    }

    /// Whether trail bytes can look like ASCII, so that strings must be read character by character.
    pub(super) fn has_ascii_trails(self) -> bool {
        matches!(self, Self::Pairs(..))
    }

    /// Whether the byte is a space in this set: latin1 and some others count their unbreakable space among them. Asked of MySQL 9.7 and
    /// MariaDB 10.11.
    pub(super) fn is_space(self, byte: u8) -> bool {
        // latin1, latin2, hebrew, greek, cp1250, latin5, latin7.
        const SPACE_AT_A0: [&Encoding; 7] = [
            encoding_rs::WINDOWS_1252,
            encoding_rs::ISO_8859_2,
            encoding_rs::ISO_8859_8,
            encoding_rs::ISO_8859_7,
            encoding_rs::WINDOWS_1250,
            encoding_rs::WINDOWS_1254,
            encoding_rs::ISO_8859_13,
        ];
        match (byte, self) {
            (b' ' | 0x09..=0x0D, _) => true,
            (0xA0, Self::Plain(encoding)) => SPACE_AT_A0.contains(&encoding),
            (0xFF, Self::Plain(encoding)) => encoding == encoding_rs::IBM866,
            (0x80.., Self::AsciiOnly(space)) => space == Some(byte),
            _ => false,
        }
    }

    /// The bytes of a name as UTF-8; `None` where that is not possible without loss.
    pub(super) fn decode(self, bytes: &[u8]) -> Option<String> {
        if bytes.is_ascii() {
            return std::str::from_utf8(bytes).ok().map(str::to_owned);
        }
        match self {
            Self::Utf8 => std::str::from_utf8(bytes).ok().map(str::to_owned),
            Self::AsciiOnly(_) => None,
            Self::Plain(encoding) | Self::Pairs(_, encoding) => {
                let mut text = String::with_capacity(bytes.len());
                let mut rest = bytes;
                while !rest.is_empty() {
                    // The table pairs more bytes than the server does (big5's has leads below 0xA1 and above 0xF9), so it is given what
                    // the server takes for one character. Nothing pairs behind ASCII.
                    let ascii = rest.iter().take_while(|byte| byte.is_ascii()).count();
                    let length = match self {
                        _ if ascii > 0 => ascii,
                        Self::Pairs(..) => self.length(rest),
                        _ => rest.len(),
                    };
                    let (these, behind) = rest.split_at_checked(length)?;
                    text.push_str(&encoding.decode_without_bom_handling_and_without_replacement(these)?);
                    rest = behind;
                }
                // A table that differs from the server's shows itself when the way back gives other bytes.
                (self.encode(&text)?.as_slice() == bytes).then_some(text)
            }
        }
    }

    /// A name in this set; `None` where the set has no such character.
    pub(super) fn encode(self, name: &str) -> Option<Vec<u8>> {
        if name.is_ascii() {
            return Some(name.as_bytes().to_vec());
        }
        match self {
            Self::Utf8 => Some(name.as_bytes().to_vec()),
            Self::AsciiOnly(_) => None,
            Self::Plain(encoding) | Self::Pairs(_, encoding) => {
                let (bytes, _, lossy) = encoding.encode(name);
                (!lossy).then(|| bytes.into_owned())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trail_byte_that_looks_like_a_backslash_belongs_to_its_character() {
        assert_eq!(Charset::of_collation(28).length(b"\xbf\x5c'"), 2);
        assert_eq!(Charset::of_collation(13).length(b"\x83\x5c'"), 2);
        assert_eq!(Charset::of_collation(1).length(b"\xa5\x5c'"), 2);
        assert_eq!(Charset::of_collation(248).length(b"\x81\x30\x81\x30"), 4);
        assert_eq!(Charset::of_collation(45).length(b"\xbf\x5c'"), 1);
        assert_eq!(Charset::of_collation(28).length(b"\xbf'"), 1);
    }

    #[test]
    fn names_go_to_utf8_and_back_and_what_cannot_is_none() {
        let gbk = Charset::of_collation(28);
        let bytes = gbk.encode("订单").expect("gbk has both characters");
        assert_eq!(gbk.decode(&bytes).as_deref(), Some("订单"));
        assert_eq!(Charset::of_collation(8).decode(b"caf\xe9").as_deref(), Some("café"));
        assert_eq!(Charset::of_collation(8).encode("订单"), None);
        assert_eq!(Charset::of_collation(33).decode(b"\xff"), None);
        assert_eq!(Charset::of_collation(4).decode(b"\x84"), None);
        // To the server 0xFE is no lead: it reads a broken character, then 0xA141.
        assert_eq!(Charset::of_collation(1).decode(b"\xfe\xa1A"), None);
        assert_eq!(Charset::of_collation(13).decode(b"a\xb1\x83\x5cb").as_deref(), Some("aｱソb"));
        assert_eq!(Charset::of_collation(1024 + 28), gbk);
    }

    #[test]
    fn some_sets_have_a_space_beyond_ascii() {
        // One of each set: dec8, latin1, latin2, hebrew, greek, cp1250, latin5, latin7, armscii8, geostd8.
        for collation in [3, 8, 9, 16, 25, 26, 30, 41, 32, 92] {
            assert!(Charset::of_collation(collation).is_space(0xA0), "{collation}");
            assert!(!Charset::of_collation(collation).is_space(0xFF), "{collation}");
        }
        // cp866, cp852, keybcs2.
        for collation in [36, 40, 37] {
            assert!(Charset::of_collation(collation).is_space(0xFF), "{collation}");
            assert!(!Charset::of_collation(collation).is_space(0xA0), "{collation}");
        }
        // cp850, cp1251, cp1257, koi8r, utf8mb4, gbk.
        for collation in [4, 51, 59, 7, 45, 28] {
            assert!((0x80..=0xFF).all(|byte| !Charset::of_collation(collation).is_space(byte)), "{collation}");
        }
    }
}

//! The packets before the login: the server's greeting and our answer.

use super::ServerVersion;
use crate::wire::{Cursor, Truncated};

/// Capability bits (`CLIENT_…`) that matter to us.
pub(super) mod capability {
    pub(crate) const LONG_PASSWORD: u32 = 1;
    pub(crate) const LONG_FLAG: u32 = 1 << 2;
    pub(crate) const PROTOCOL_41: u32 = 1 << 9;
    pub(crate) const SSL: u32 = 1 << 11;
    pub(crate) const TRANSACTIONS: u32 = 1 << 13;
    pub(crate) const SECURE_CONNECTION: u32 = 1 << 15;
    pub(crate) const PLUGIN_AUTH: u32 = 1 << 19;
    pub(crate) const CONNECT_ATTRS: u32 = 1 << 20;
    pub(crate) const PLUGIN_AUTH_LENENC_CLIENT_DATA: u32 = 1 << 21;

    /// What we ask for where the server has it. Not CLIENT_DEPRECATE_EOF: result sets then have one shape everywhere. Always
    /// LONG_PASSWORD, which MariaDB reads as "not one of ours" and then expects no extended capabilities.
    pub(crate) const WANTED: u32 = LONG_FLAG
        | PROTOCOL_41
        | TRANSACTIONS
        | SECURE_CONNECTION
        | PLUGIN_AUTH
        | CONNECT_ATTRS
        | PLUGIN_AUTH_LENENC_CLIENT_DATA;
}

/// Length of the nonce of every plugin that matters before an auth switch.
pub(super) const NONCE_LENGTH: usize = 20;

/// `utf8mb4_general_ci`, known since 5.5.3, and `utf8_general_ci` for older servers.
const COLLATION_UTF8MB4: u8 = 45;
const COLLATION_UTF8: u8 = 33;

/// HandshakeV10: `u8 10 | version NUL | u32 thread id | 8 bytes nonce | 0 | u16 capabilities | u8 collation | u16 status |
/// u16 capabilities, upper half | u8 nonce length | 10 bytes | rest of the nonce NUL | plugin NUL`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Greeting {
    pub(super) version: ServerVersion,
    pub(super) thread_id: u32,
    pub(super) capabilities: u32,
    pub(super) nonce: [u8; NONCE_LENGTH],
    /// The plugin that the nonce is for; 5.1 and older name none.
    pub(super) plugin: Option<Vec<u8>>,
}

/// Why a greeting is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum GreetingError {
    #[error("greeting {0}")]
    Truncated(#[from] Truncated),
    #[error("protocol version {0} is not spoken any more; 10 is")]
    Protocol(u8),
    #[error("its version is `{0}`")]
    Version(String),
    #[error("the server does not know the login of MySQL 4.1 and later")]
    TooOld,
}

impl Greeting {
    pub(super) fn parse(payload: &[u8]) -> Result<Self, GreetingError> {
        let mut cursor = Cursor::new(payload);
        match cursor.u8()? {
            10 => {}
            other => return Err(GreetingError::Protocol(other)),
        }
        let text = String::from_utf8_lossy(cursor.until_nul()?).into_owned();
        let version = ServerVersion::parse(&text)
            .ok_or_else(|| GreetingError::Version(text.chars().filter(|c| !c.is_control()).take(60).collect()))?;
        let thread_id = cursor.u32()?;
        let mut nonce = [0; NONCE_LENGTH];
        nonce[..8].copy_from_slice(cursor.take(8)?);
        cursor.take(1)?;
        let mut capabilities = u32::from(cursor.u16()?);
        if cursor.left() > 0 {
            let (_collation, _status) = (cursor.u8()?, cursor.u16()?);
            capabilities |= u32::from(cursor.u16()?) << 16;
            let (_nonce_length, _reserved) = (cursor.u8()?, cursor.take(10)?);
        }
        const NEEDED: u32 = capability::PROTOCOL_41 | capability::SECURE_CONNECTION;
        if capabilities & NEEDED != NEEDED {
            return Err(GreetingError::TooOld);
        }
        nonce[8..].copy_from_slice(cursor.take(NONCE_LENGTH - 8)?);
        let plugin = if capabilities & capability::PLUGIN_AUTH != 0 {
            // The nonce ends with a NUL; some servers before 5.5.10 forget the one after the plugin's name.
            let _nul = cursor.u8()?;
            let name = cursor.rest();
            let length = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
            Some(name[..length].to_vec())
        } else {
            None
        };
        Ok(Self { version, thread_id, capabilities, nonce, plugin })
    }

    /// What both sides can do.
    pub(super) fn agreed(&self, secure: bool) -> u32 {
        let tls = if secure { capability::SSL } else { 0 };
        capability::LONG_PASSWORD | tls | capability::WANTED & self.capabilities
    }

    /// The first 32 bytes of every answer; alone they are the request for TLS:
    /// `u32 capabilities | u32 largest packet | u8 collation | 23 zeros`.
    pub(super) fn answer_head(&self, secure: bool) -> Vec<u8> {
        let mut head = self.agreed(secure).to_le_bytes().to_vec();
        head.extend_from_slice(&(1u32 << 30).to_le_bytes());
        head.push(if self.version.number >= 50503 { COLLATION_UTF8MB4 } else { COLLATION_UTF8 });
        head.resize(32, 0);
        head
    }

    /// HandshakeResponse41: the head, then `user NUL | proof, after its length | plugin NUL | attributes`.
    pub(super) fn answer(
        &self,
        secure: bool,
        user: &str,
        plugin: &str,
        proof: &[u8],
        attributes: &[(&str, String)],
    ) -> Vec<u8> {
        let agreed = self.agreed(secure);
        let mut out = self.answer_head(secure);
        out.extend_from_slice(user.as_bytes());
        out.push(0);
        // Every proof is shorter than 251 bytes, where a length-encoded integer is one byte as well.
        out.push(u8::try_from(proof.len()).unwrap_or(0));
        out.extend_from_slice(proof);
        if agreed & capability::PLUGIN_AUTH != 0 {
            out.extend_from_slice(plugin.as_bytes());
            out.push(0);
        }
        if agreed & capability::CONNECT_ATTRS != 0 {
            let mut packed = Vec::new();
            for text in attributes.iter().flat_map(|(name, value)| [*name, value.as_str()]) {
                push_packed(&mut packed, text.len() as u64);
                packed.extend_from_slice(text.as_bytes());
            }
            push_packed(&mut out, packed.len() as u64);
            out.extend_from_slice(&packed);
        }
        out
    }
}

/// Appends a length-encoded integer.
pub(super) fn push_packed(out: &mut Vec<u8>, value: u64) {
    let bytes = value.to_le_bytes();
    match value {
        0..=250 => out.push(bytes[0]),
        251..=0xffff => {
            out.push(0xfc);
            out.extend_from_slice(&bytes[..2]);
        }
        0x1_0000..=0xff_ffff => {
            out.push(0xfd);
            out.extend_from_slice(&bytes[..3]);
        }
        _ => {
            out.push(0xfe);
            out.extend_from_slice(&bytes);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A greeting as MySQL 5.5 and later write it.
    pub(crate) fn greeting(version: &str, capabilities: u32, nonce: &[u8; 20], plugin: &str) -> Vec<u8> {
        let mut out = vec![10];
        out.extend_from_slice(version.as_bytes());
        out.push(0);
        out.extend_from_slice(&77u32.to_le_bytes());
        out.extend_from_slice(&nonce[..8]);
        out.push(0);
        out.extend_from_slice(&(capabilities as u16).to_le_bytes());
        out.push(33);
        out.extend_from_slice(&2u16.to_le_bytes());
        out.extend_from_slice(&((capabilities >> 16) as u16).to_le_bytes());
        out.push(21);
        out.extend_from_slice(&[0; 10]);
        out.extend_from_slice(&nonce[8..]);
        out.push(0);
        out.extend_from_slice(plugin.as_bytes());
        out.push(0);
        out
    }

    #[test]
    fn a_greeting_is_read_and_every_cut_of_it_is_an_error_not_a_panic() {
        let whole = greeting("8.0.41", u32::MAX, b"abcdefghijklmnopqrst", "caching_sha2_password");
        let parsed = Greeting::parse(&whole).expect("whole");
        assert_eq!((parsed.thread_id, &parsed.nonce), (77, b"abcdefghijklmnopqrst"));
        assert_eq!(parsed.plugin.as_deref(), Some(&b"caching_sha2_password"[..]));
        for length in 0..whole.len() - "caching_sha2_password".len() - 1 {
            assert!(Greeting::parse(&whole[..length]).is_err(), "cut at {length}");
        }
    }

    #[test]
    fn a_greeting_of_5_1_names_no_plugin_and_4_0_is_refused() {
        let mut old = greeting("5.1.73-log", 0xf7ff, b"abcdefghijklmnopqrst", "");
        old.pop();
        assert_eq!(Greeting::parse(&old).map(|greeting| greeting.plugin), Ok(None));
        let older = greeting("4.0.30", 0x2c, b"abcdefghijklmnopqrst", "");
        assert_eq!(Greeting::parse(&older), Err(GreetingError::TooOld));
        assert_eq!(Greeting::parse(&[9, b'3', 0]), Err(GreetingError::Protocol(9)));
    }
}

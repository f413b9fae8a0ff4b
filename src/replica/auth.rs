//! Proofs of the password: what a client sends instead of it, checked by who knows it.
//!
//! Pure functions over a 20-byte challenge. The proxy knows the configured password, so that `caching_sha2_password` never
//! needs its full exchange (a password over TLS or RSA): the fast path always has an answer.

use sha1::Sha1;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Length of the challenge ("scramble", "salt") of all plugins here.
pub(crate) const CHALLENGE_LENGTH: usize = 20;

/// A challenge of a greeting or of an authentication switch.
pub(crate) type Challenge = [u8; CHALLENGE_LENGTH];

/// The plugins that the proxy can check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plugin {
    /// `mysql_native_password`: every client up to MySQL 9 builds without it, every MariaDB.
    Native,
    /// `caching_sha2_password`: MySQL 8.0 and later.
    CachingSha2,
}

impl Plugin {
    /// The name on the wire.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Native => "mysql_native_password",
            Self::CachingSha2 => "caching_sha2_password",
        }
    }

    /// The plugin to switch a client to that has answered with another one than was greeted.
    pub(crate) fn for_client(named: &[u8]) -> Self {
        match named {
            b"caching_sha2_password" | b"sha256_password" => Self::CachingSha2,
            _ => Self::Native,
        }
    }

    /// Whether `response` proves the password. An empty password is proved by an empty response (the clients' sha2 plugin
    /// sends one NUL for it). Comparisons take the same time wherever the difference is.
    pub(crate) fn proves(self, password: &[u8], challenge: &Challenge, response: &[u8]) -> bool {
        if password.is_empty() {
            return response.is_empty() || response == [0];
        }
        match self {
            Self::Native => bool::from(native_response(password, challenge).ct_eq(response)),
            Self::CachingSha2 => bool::from(sha2_response(password, challenge).ct_eq(response)),
        }
    }
}

/// A challenge of printable-safe bytes: neither NUL, which ends it on the wire, nor `$`, which servers leave out too.
pub(crate) fn new_challenge() -> Challenge {
    let mut challenge: Challenge = rand::random();
    for byte in &mut challenge {
        *byte &= 0x7f;
        if matches!(*byte, 0 | b'$') {
            *byte += 1;
        }
    }
    challenge
}

/// `SHA1(password) XOR SHA1(challenge, SHA1(SHA1(password)))`, 20 bytes.
pub(crate) fn native_response(password: &[u8], challenge: &Challenge) -> [u8; 20] {
    let once = Sha1::digest(password);
    let twice = Sha1::digest(once);
    let mask = Sha1::new().chain_update(challenge).chain_update(twice).finalize();
    let mut response = [0; 20];
    for (byte, (left, right)) in response.iter_mut().zip(once.iter().zip(mask.iter())) {
        *byte = left ^ right;
    }
    response
}

/// `SHA256(password) XOR SHA256(SHA256(SHA256(password)), challenge)`, 32 bytes.
pub(crate) fn sha2_response(password: &[u8], challenge: &Challenge) -> [u8; 32] {
    let once = Sha256::digest(password);
    let twice = Sha256::digest(once);
    let mask = Sha256::new().chain_update(twice).chain_update(challenge).finalize();
    let mut response = [0; 32];
    for (byte, (left, right)) in response.iter_mut().zip(once.iter().zip(mask.iter())) {
        *byte = left ^ right;
    }
    response
}

/// What MariaDB 11.4 and later puts into the last OK packet, so that a client can trust a self-signed certificate when it shares
/// the password: `01` and the hexadecimal SHA-256 of the password's native hash, the challenge and the certificate's SHA-256
/// (`make_ssl_info` in MariaDB's sql_acl.cc).
pub(crate) fn certificate_proof(password: &[u8], challenge: &Challenge, certificate: &[u8]) -> Vec<u8> {
    let hash = Sha1::digest(Sha1::digest(password));
    let proof =
        Sha256::new().chain_update(hash).chain_update(challenge).chain_update(Sha256::digest(certificate)).finalize();
    let mut text = vec![1];
    for byte in proof {
        text.extend_from_slice(format!("{byte:02X}").as_bytes());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHALLENGE: &Challenge = b"0123456789abcdefghij";

    #[test]
    fn the_client_side_of_mysql_common_agrees() {
        use mysql_common::auth::plugins::{
            caching_sha2_password::scramble_sha256, mysql_native_password::scramble_native,
        };
        for password in ["secret", "päßwörd", &"x".repeat(300)] {
            let password = password.as_bytes();
            assert_eq!(scramble_native(CHALLENGE, password), Some(native_response(password, CHALLENGE)));
            assert_eq!(scramble_sha256(CHALLENGE, password), Some(sha2_response(password, CHALLENGE)));
        }
    }

    #[test]
    fn only_the_right_response_to_the_right_challenge_proves_the_password() {
        for (plugin, right) in [
            (Plugin::Native, native_response(b"secret", CHALLENGE).to_vec()),
            (Plugin::CachingSha2, sha2_response(b"secret", CHALLENGE).to_vec()),
        ] {
            assert!(plugin.proves(b"secret", CHALLENGE, &right));
            assert!(!plugin.proves(b"Secret", CHALLENGE, &right));
            assert!(!plugin.proves(b"secret", b"another challenge!!!", &right));
            assert!(!plugin.proves(b"secret", CHALLENGE, &right[1..]));
            assert!(!plugin.proves(b"secret", CHALLENGE, &[]));
            assert!(!plugin.proves(b"secret", CHALLENGE, &[0]));
            assert!(!plugin.proves(b"", CHALLENGE, &right));
            assert!(plugin.proves(b"", CHALLENGE, &[]));
        }
    }

    #[test]
    fn challenges_differ_and_hold_no_byte_that_would_end_them() {
        let (one, other) = (new_challenge(), new_challenge());
        assert_ne!(one, other);
        assert!(one.iter().all(|&byte| byte != 0 && byte != b'$' && byte < 0x80));
    }
}

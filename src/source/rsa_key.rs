//! Sending a password under the server's RSA key, where there is no TLS.
//!
//! The arithmetic is mysql_common's; the key is read here, because its reader panics on damaged ones.

use mysql_common::crypto::{
    der,
    rsa::{GetRandom, Pkcs1OaepPadding, PublicKey},
};
use rustls::pki_types::{SubjectPublicKeyInfoDer, pem::PemObject};

use crate::wire::{Cursor, Truncated};

/// Bytes of a modulus that we compute with: 1024 to 8192 bits. Servers make 2048.
const MODULUS_LENGTHS: std::ops::RangeInclusive<usize> = 128..=1024;
/// Bytes of an exponent; servers use 65537.
const EXPONENT_LIMIT: usize = 8;

/// What OAEP with SHA-1 adds.
const PADDING_LENGTH: usize = 2 * 20 + 2;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum KeyError {
    #[error("the server's RSA key is no PEM public key")]
    Pem,
    #[error("the server's RSA key is damaged: {0}")]
    Truncated(#[from] Truncated),
    #[error("the server's RSA key is damaged or of an unusual kind")]
    Kind,
    #[error("the password is too long for the server's RSA key")]
    PasswordTooLong,
    #[error("no random numbers are to be had")]
    Random,
}

/// `(password NUL) XOR nonce`, repeated, padded by OAEP (5.7 and later take no other) and encrypted for the owner of `pem`.
pub(super) fn encrypt_password(password: &str, nonce: &[u8], pem: &[u8]) -> Result<Vec<u8>, KeyError> {
    let key = SubjectPublicKeyInfoDer::from_pem_slice(pem).map_err(|_| KeyError::Pem)?;
    let (modulus, exponent) = modulus_and_exponent(key.as_ref())?;
    let mut clear: Vec<u8> = password.bytes().chain([0]).collect();
    if clear.len() + PADDING_LENGTH > modulus.len() {
        return Err(KeyError::PasswordTooLong);
    }
    for (byte, mask) in clear.iter_mut().zip(nonce.iter().cycle()) {
        *byte ^= mask;
    }
    let integer = |bytes: &[u8]| {
        // As mysql_common's reader wants it: an INTEGER with a length in the two-byte form.
        let mut encoded = vec![0x02, 0x82];
        encoded.extend_from_slice(&(bytes.len() as u16).to_be_bytes());
        encoded.extend_from_slice(bytes);
        encoded
    };
    let (modulus, exponent) = (integer(modulus), integer(exponent));
    let (modulus, _) = der::parse_uint(&modulus).map_err(|_| KeyError::Kind)?;
    let (exponent, _) = der::parse_uint(&exponent).map_err(|_| KeyError::Kind)?;
    let key = PublicKey::new(modulus, exponent);
    key.encrypt_block(clear, Pkcs1OaepPadding::new(GetRandom)).map_err(|_| KeyError::Random)
}

/// `SEQUENCE { SEQUENCE { algorithm }, BIT STRING { SEQUENCE { INTEGER modulus, INTEGER exponent } } }`.
fn modulus_and_exponent(spki: &[u8]) -> Result<(&[u8], &[u8]), KeyError> {
    const INTEGER: u8 = 0x02;
    const BIT_STRING: u8 = 0x03;
    const SEQUENCE: u8 = 0x30;
    let mut outer = Cursor::new(element(&mut Cursor::new(spki), SEQUENCE)?);
    let _algorithm = element(&mut outer, SEQUENCE)?;
    let bits = element(&mut outer, BIT_STRING)?;
    let Some((0, bits)) = bits.split_first() else { return Err(KeyError::Kind) };
    let mut numbers = Cursor::new(element(&mut Cursor::new(bits), SEQUENCE)?);
    let strip = |number: &'_ [u8]| number.iter().take_while(|&&byte| byte == 0).count();
    let modulus = element(&mut numbers, INTEGER)?;
    let exponent = element(&mut numbers, INTEGER)?;
    let (modulus, exponent) = (&modulus[strip(modulus)..], &exponent[strip(exponent)..]);
    let odd = |number: &[u8]| number.last().is_some_and(|byte| byte & 1 == 1);
    if !MODULUS_LENGTHS.contains(&modulus.len()) || !(1..=EXPONENT_LIMIT).contains(&exponent.len()) {
        return Err(KeyError::Kind);
    }
    if odd(modulus) && odd(exponent) && exponent != [1] { Ok((modulus, exponent)) } else { Err(KeyError::Kind) }
}

/// The content of a DER element that has to have this tag.
fn element<'a>(cursor: &mut Cursor<'a>, tag: u8) -> Result<&'a [u8], KeyError> {
    if cursor.u8()? != tag {
        return Err(KeyError::Kind);
    }
    let length = match cursor.u8()? {
        short @ 0..=0x7f => usize::from(short),
        0x81 => usize::from(cursor.u8()?),
        0x82 => usize::from(u16::from_be_bytes(cursor.array()?)),
        _ => return Err(KeyError::Kind),
    };
    Ok(cursor.take(length)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with `openssl genrsa 2048 | openssl rsa -pubout`.
    const KEY: &str = include_str!("../../fixtures/source/rsa_public_key.pem");

    #[test]
    fn a_password_is_encrypted_to_the_length_of_the_key_and_differently_each_time() {
        let once = encrypt_password("secret", &[7; 20], KEY.as_bytes()).expect("a good key");
        let again = encrypt_password("secret", &[7; 20], KEY.as_bytes()).expect("a good key");
        assert_eq!(once.len(), 256);
        assert_ne!(once, again);
        let long = "x".repeat(300);
        let result = encrypt_password(&long, &[7; 20], KEY.as_bytes());
        assert_eq!(result, Err(KeyError::PasswordTooLong));
    }

    #[test]
    fn damaged_keys_are_errors_and_never_panic() {
        let der = SubjectPublicKeyInfoDer::from_pem_slice(KEY.as_bytes()).expect("a good key").as_ref().to_vec();
        for length in 0..der.len() {
            assert!(modulus_and_exponent(&der[..length]).is_err(), "cut at {length}");
        }
        for index in 0..der.len() {
            for value in [0, 0x7f, 0x80, 0x84, 0xff] {
                let mut damaged = der.clone();
                damaged[index] = value;
                let _either = modulus_and_exponent(&damaged);
            }
        }
        for text in ["", "-----BEGIN PUBLIC KEY-----", "-----BEGIN PUBLIC KEY-----\n!!\n-----END PUBLIC KEY-----\n"] {
            assert_eq!(encrypt_password("x", &[1; 20], text.as_bytes()), Err(KeyError::Pem));
        }
    }
}

//! How bytes are sealed: XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03), by RustCrypto.
//!
//! A nonce is 192 random bits: long enough to be drawn for each record, so that no count has to survive a crash, a restored
//! snapshot or a copied folder.

use std::fmt;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use zeroize::{Zeroize, Zeroizing};

/// A nonce's length in bytes.
pub(crate) const NONCE_BYTES: usize = 24;
/// What sealing adds, in bytes.
pub(crate) const TAG_BYTES: usize = 16;

/// It is no master key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected 64 hexadecimal digits; `openssl rand -hex 32` makes such a key")]
pub struct MasterKeyError;

/// The key that the tenants' keys are sealed with. It is in no file of the data folder. Forgotten when it is dropped.
#[derive(Clone)]
pub struct MasterKey(Key);

impl MasterKey {
    /// From 64 hexadecimal digits, blanks around them apart.
    ///
    /// # Errors
    /// [`MasterKeyError`]
    pub fn parse(text: &str) -> Result<MasterKey, MasterKeyError> {
        let digits = text.trim().as_bytes();
        let mut bytes = Zeroizing::new([0; 32]);
        if digits.len() != 2 * bytes.len() {
            return Err(MasterKeyError);
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let value = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
            let (high, low) = value(pair[0]).zip(value(pair[1])).ok_or(MasterKeyError)?;
            *byte = high << 4 | low;
        }
        Ok(MasterKey(Key(*bytes)))
    }

    pub(crate) fn key(&self) -> &Key {
        &self.0
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(..)")
    }
}

/// A key. Forgotten when it is dropped.
#[derive(Clone)]
pub(crate) struct Key([u8; 32]);

impl Key {
    pub(crate) const BYTES: usize = 32;

    pub(crate) fn new(bytes: [u8; Key::BYTES]) -> Key {
        Key(bytes)
    }

    /// The bytes that are sealed with another key.
    pub(crate) fn bytes(&self) -> &[u8; Key::BYTES] {
        &self.0
    }

    /// `plain`, sealed together with `about`, which stays in sight.
    pub(crate) fn seal(&self, nonce: &[u8; NONCE_BYTES], plain: &[u8], about: &[u8]) -> Vec<u8> {
        let sealed = self.cipher().encrypt(XNonce::from_slice(nonce), Payload { msg: plain, aad: about });
        sealed.expect("fails from 256 GiB on, and a record has 128 MiB at most")
    }

    /// What was sealed; `None` if it was by another key, or is not what it was.
    pub(crate) fn open(&self, nonce: &[u8; NONCE_BYTES], sealed: &[u8], about: &[u8]) -> Option<Vec<u8>> {
        self.cipher().decrypt(XNonce::from_slice(nonce), Payload { msg: sealed, aad: about }).ok()
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new((&self.0).into())
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_by_the_same_key_and_with_the_same_words_alone() {
        let (key, nonce) = (Key::new([1; 32]), [2; NONCE_BYTES]);
        let sealed = key.seal(&nonce, b"plain", b"about");
        assert_eq!(sealed.len(), 5 + TAG_BYTES);
        assert_eq!(key.open(&nonce, &sealed, b"about").as_deref(), Some(&b"plain"[..]));
        assert_eq!(key.open(&nonce, &sealed, b"other"), None);
        assert_eq!(key.open(&[3; NONCE_BYTES], &sealed, b"about"), None);
        assert_eq!(Key::new([4; 32]).open(&nonce, &sealed, b"about"), None);
    }

    #[test]
    fn a_master_key_is_64_hexadecimal_digits() {
        let text = format!(" {}\n", "0aF1".repeat(16));
        let key = MasterKey::parse(&text).unwrap();
        assert_eq!(key.key().bytes()[..4], [0x0a, 0xf1, 0x0a, 0xf1]);
        for wrong in ["", "0a", &"g".repeat(64), &"0".repeat(65), &"ä".repeat(32)] {
            assert!(matches!(MasterKey::parse(wrong), Err(MasterKeyError)), "{wrong}");
        }
        assert_eq!(format!("{key:?}"), "MasterKey(..)");
    }
}

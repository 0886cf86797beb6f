//! A text, or other bytes, as the log keeps them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{LedgerError, flat};

/// A text or other bytes, compressed as one LZ4 block, with their own length.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compressed {
    bytes: u32,
    #[serde(with = "flat::bytes")]
    block: Vec<u8>,
}

impl Compressed {
    /// The longest text, in bytes: what unpacking may allocate.
    pub const TEXT_BYTES_MAX: u32 = 64 << 20;

    /// Compresses `text`.
    ///
    /// # Errors
    /// [`LedgerError::TooLarge`] beyond [`Compressed::TEXT_BYTES_MAX`].
    pub fn pack(text: &str) -> Result<Compressed, LedgerError> {
        Compressed::pack_bytes(text.as_bytes())
    }

    /// Compresses bytes that are no text.
    ///
    /// # Errors
    /// [`LedgerError::TooLarge`] beyond [`Compressed::TEXT_BYTES_MAX`].
    pub fn pack_bytes(bytes: &[u8]) -> Result<Compressed, LedgerError> {
        match u32::try_from(bytes.len()) {
            Ok(length) if length <= Compressed::TEXT_BYTES_MAX => {
                Ok(Compressed { bytes: length, block: lz4_flex::block::compress(bytes) })
            }
            Ok(_) | Err(_) => Err(LedgerError::TooLarge {
                given: bytes.len() as u64,
                bytes_max: u64::from(Compressed::TEXT_BYTES_MAX),
            }),
        }
    }

    /// The text again.
    ///
    /// # Errors
    /// [`LedgerError::Text`]: the block gives another length than it states, more than is allowed, or no UTF-8.
    pub fn unpack(&self) -> Result<String, LedgerError> {
        String::from_utf8(self.unpack_bytes()?).map_err(|_| LedgerError::Text)
    }

    /// The bytes again.
    ///
    /// # Errors
    /// [`LedgerError::Text`]: the block gives another length than it states, or more than is allowed.
    pub fn unpack_bytes(&self) -> Result<Vec<u8>, LedgerError> {
        if self.bytes > Compressed::TEXT_BYTES_MAX {
            return Err(LedgerError::Text);
        }
        let length = self.bytes as usize;
        let bytes = lz4_flex::block::decompress(&self.block, length).map_err(|_| LedgerError::Text)?;
        if bytes.len() == length { Ok(bytes) } else { Err(LedgerError::Text) }
    }

    /// The length in bytes, uncompressed.
    pub fn bytes(&self) -> u32 {
        self.bytes
    }
}

impl fmt::Debug for Compressed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Compressed({} bytes)", self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_unpacks_to_itself_and_a_forged_length_is_refused() {
        let packed = Compressed::pack(&"Größe ".repeat(99)).unwrap();
        assert_eq!(packed.unpack().unwrap(), "Größe ".repeat(99));
        assert!(packed.block.len() < 100);
        for bytes in [0, packed.bytes - 1, packed.bytes + 1, u32::MAX] {
            let forged = Compressed { bytes, block: packed.block.clone() };
            assert!(matches!(forged.unpack(), Err(LedgerError::Text)), "{bytes}");
        }
    }
}

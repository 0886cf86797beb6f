//! A text as the log keeps it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{LedgerError, flat};

/// A text, compressed as one LZ4 block, with its own length.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compressed {
    text_bytes: u32,
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
        match u32::try_from(text.len()) {
            Ok(text_bytes) if text_bytes <= Compressed::TEXT_BYTES_MAX => {
                Ok(Compressed { text_bytes, block: lz4_flex::block::compress(text.as_bytes()) })
            }
            Ok(_) | Err(_) => Err(LedgerError::TooLarge {
                given: text.len() as u64,
                bytes_max: u64::from(Compressed::TEXT_BYTES_MAX),
            }),
        }
    }

    /// The text again.
    ///
    /// # Errors
    /// [`LedgerError::Text`]: the block gives another length than it states, more than is allowed, or no UTF-8.
    pub fn unpack(&self) -> Result<String, LedgerError> {
        if self.text_bytes > Compressed::TEXT_BYTES_MAX {
            return Err(LedgerError::Text);
        }
        let bytes =
            lz4_flex::block::decompress(&self.block, self.text_bytes as usize).map_err(|_| LedgerError::Text)?;
        if bytes.len() != self.text_bytes as usize {
            return Err(LedgerError::Text);
        }
        String::from_utf8(bytes).map_err(|_| LedgerError::Text)
    }

    /// The text's length in bytes, uncompressed.
    pub fn text_bytes(&self) -> u32 {
        self.text_bytes
    }
}

impl fmt::Debug for Compressed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Compressed({} bytes of text)", self.text_bytes)
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
        for text_bytes in [0, packed.text_bytes - 1, packed.text_bytes + 1, u32::MAX] {
            let forged = Compressed { text_bytes, block: packed.block.clone() };
            assert!(matches!(forged.unpack(), Err(LedgerError::Text)), "{text_bytes}");
        }
    }
}

//! What clients call things.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Empty or too long.
    #[error("has {given} bytes, expected 1 to {bytes_max}")]
    Length {
        /// Bytes given.
        given: usize,
        /// Bytes allowed.
        bytes_max: usize,
    },
    /// A character that is not allowed.
    #[error("has {found:?} at byte {byte}, expected {expected}")]
    Character {
        /// The character.
        found: char,
        /// Where it stands.
        byte: usize,
        /// What may stand there.
        expected: &'static str,
    },
}

fn check(
    text: &str,
    bytes_max: usize,
    expected: &'static str,
    allowed: impl Fn(char) -> bool,
) -> Result<(), NameError> {
    if text.is_empty() || text.len() > bytes_max {
        return Err(NameError::Length { given: text.len(), bytes_max });
    }
    match text.char_indices().find(|(_, found)| !allowed(*found)) {
        Some((byte, found)) => Err(NameError::Character { found, byte, expected }),
        None => Ok(()),
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $bytes_max:expr, $expected:expr, $allowed:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The longest name, in bytes.
            pub const BYTES_MAX: usize = $bytes_max;

            /// Checks a name.
            ///
            /// # Errors
            /// [`NameError`]: length or a character that is not allowed.
            pub fn new(text: &str) -> Result<$name, NameError> {
                check(text, $bytes_max, $expected, $allowed)?;
                Ok($name(text.into()))
            }

            /// The name as it was given.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<$name, NameError> {
                $name::new(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.as_ref().to_owned()
            }
        }
    };
}

fn plain(found: char) -> bool {
    found.is_ascii_lowercase() || found.is_ascii_digit() || matches!(found, '-' | '_' | '.')
}

name!(
    /// What a tenant is called: 1 to 64 of `a-z 0-9 - _ .`.
    TenantName, 64, "a-z, 0-9, '-', '_' or '.'", plain
);
name!(
    /// What a collection is called within its tenant: 1 to 64 of `a-z 0-9 - _ .`.
    CollectionName, 64, "a-z, 0-9, '-', '_' or '.'", plain
);
name!(
    /// The client's name of a document within its collection: 1 to 512 bytes of UTF-8 without control characters.
    DocumentId, 512, "no control character", |found: char| !found.is_control()
);
name!(
    /// A model's name, such as `sentence-transformers/all-MiniLM-L6-v2`: 1 to 256 bytes of printable ASCII.
    ModelId, 256, "a printable ASCII character", |found: char| found.is_ascii_graphic()
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_refused_with_the_place() {
        assert_eq!(TenantName::new("acme-1").unwrap().as_str(), "acme-1");
        assert_eq!(TenantName::new(""), Err(NameError::Length { given: 0, bytes_max: 64 }));
        let upper = TenantName::new("aB").unwrap_err();
        assert_eq!(upper.to_string(), "has 'B' at byte 1, expected a-z, 0-9, '-', '_' or '.'");
        assert!(DocumentId::new("Ordner/Größe.md").is_ok());
        assert!(DocumentId::new("a\0b").is_err());
        assert!(DocumentId::new(&"x".repeat(513)).is_err());
    }
}

//! A key that the configuration holds.

use std::fmt;

/// A key that is never printed: its `Debug` form says only that there is one.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text`, as the provider gave it.
    pub fn new(text: String) -> Secret {
        Secret(text)
    }

    /// The text, for whoever has to show it to somebody else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_not_printed() {
        assert_eq!(format!("{:?}", Some(Secret::new("sk-123".to_owned()))), "Some(Secret(..))");
    }
}

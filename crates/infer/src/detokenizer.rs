//! Tokens to text as they come: a token may end within a character, a piece of text does not.

/// Bytes that wait for the rest of their character.
#[derive(Debug, Default)]
pub(crate) struct Detokenizer {
    pending: Vec<u8>,
}

impl Detokenizer {
    /// Takes the next token's bytes and gives all text that is complete by now, with U+FFFD for bytes that are no text;
    /// maybe none.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> String {
        self.pending.extend_from_slice(bytes);
        let mut text = String::new();
        let mut taken = 0;
        for chunk in self.pending.utf8_chunks() {
            text.push_str(chunk.valid());
            taken += chunk.valid().len();
            let invalid = chunk.invalid();
            if taken + invalid.len() == self.pending.len() && may_go_on(invalid) {
                break;
            }
            if !invalid.is_empty() {
                text.push(char::REPLACEMENT_CHARACTER);
                taken += invalid.len();
            }
        }
        self.pending.drain(..taken);
        text
    }

    /// What is left, at the end.
    pub(crate) fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.pending)).into_owned()
    }
}

/// Whether these last bytes may be the start of a character.
fn may_go_on(invalid: &[u8]) -> bool {
    match std::str::from_utf8(invalid) {
        Ok(_) => false,
        Err(error) => error.error_len().is_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(bytes: &[u8], ends: &[usize]) -> Vec<String> {
        let mut detokenizer = Detokenizer::default();
        let mut ends: Vec<usize> = ends.iter().map(|end| end % (bytes.len() + 1)).chain([0, bytes.len()]).collect();
        ends.sort_unstable();
        let mut pieces: Vec<String> = ends.windows(2).map(|ends| detokenizer.push(&bytes[ends[0]..ends[1]])).collect();
        pieces.push(detokenizer.finish());
        pieces
    }

    proptest! {
        #[test]
        fn a_text_comes_whole_however_it_is_cut(text in "\\PC{0,40}", ends in prop::collection::vec(0usize..200, 0..30)) {
            let pieces = cut(text.as_bytes(), &ends);
            prop_assert_eq!(pieces.concat(), text.as_str());
            prop_assert_eq!(pieces.last().map(String::as_str), Some(""), "nothing waits that is complete");
        }

        #[test]
        fn what_is_no_text_is_replaced_alike_however_it_is_cut(
            bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(0xE2), Just(0x82), Just(0xF0)], 0..40),
            ends in prop::collection::vec(0usize..200, 0..30),
        ) {
            prop_assert_eq!(cut(&bytes, &ends).concat(), String::from_utf8_lossy(&bytes));
        }
    }
}

//! Text to words, as claims and sources are compared.

use unicode_segmentation::UnicodeSegmentation;

/// Longer words are compared by this many characters: a stemmer for every language, "refund" meets "refunded".
const STEM_CHARS: usize = 5;

/// The words of `text` in order, in lower case, without a plural's s, cut to five characters; words with digits stay whole.
/// One and two ASCII letters are left out: they say nothing about the subject.
pub(crate) fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    text.unicode_words().filter(|word| !is_particle(word)).map(stem)
}

fn is_particle(word: &str) -> bool {
    word.len() <= 2 && word.bytes().all(|byte| byte.is_ascii_alphabetic())
}

fn stem(word: &str) -> String {
    let lower = word.to_lowercase();
    if lower.chars().any(char::is_numeric) {
        return lower;
    }
    let singular = lower.strip_suffix('s').filter(|rest| rest.len() >= 3).unwrap_or(&lower);
    singular.chars().take(STEM_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_meet_across_endings_and_numbers_do_not() {
        let of = |text| words(text).collect::<Vec<_>>();
        assert_eq!(of("Refunded: 10000 of it"), ["refun", "10000"]);
        assert_eq!(of("größere Gebühren"), of("Größerer Gebührensatz"));
        assert_eq!(of("days"), of("day"));
        assert_ne!(of("100000"), of("1000001"));
    }
}

//! Where sentences start.
//!
//! Written for cutting, where a missed end costs little and a wrong one tears a sentence: an end needs a terminator, then
//! white space, then something that can begin a sentence. The sentence bounds of Unicode (UAX #29) are not used: they end
//! a sentence at every line break and abbreviation, and the implementation at hand is quadratic in runs of blanks.

/// Ends a sentence if white space follows.
const TERMINATORS: [char; 9] = ['.', '!', '?', '…', '؟', '۔', '։', '።', '।'];
/// Ends a sentence whatever follows.
const FULL_WIDTH_TERMINATORS: [char; 4] = ['。', '！', '？', '｡'];
/// May stand between a terminator and what follows: quotes, brackets and Markdown's emphasis.
const AROUND: [char; 21] =
    ['"', '\'', '(', ')', '[', ']', '{', '}', '*', '_', '`', '“', '”', '‘', '’', '«', '»', '」', '』', '）', '】'];

/// What ends with a full stop and does not end a sentence, in lower case and sorted. What may as well end one (`etc.`)
/// is not here.
const ABBREVIATIONS: [&str; 44] = [
    "abb", "al", "approx", "bzw", "cf", "ch", "co", "corp", "dept", "dr", "ed", "eds", "eq", "eqs", "fig", "figs",
    "gen", "gov", "inc", "jr", "lt", "ltd", "mme", "mr", "mrs", "ms", "mt", "nos", "nr", "op", "pp", "prof", "ref",
    "refs", "rev", "sec", "sect", "sen", "sr", "sra", "st", "tab", "vgl", "vs",
];

/// The end of a sentence, perhaps: a terminator was seen.
struct End {
    needs_blank: bool,
    /// The first byte behind the white space that has followed.
    next: Option<usize>,
    blank: bool,
}

/// The first byte of each sentence of `text` but the first, ascending. Linear in the text.
pub(crate) fn sentence_starts(text: &str) -> Vec<usize> {
    let mut starts = Vec::new();
    // Where the word before begins, and the end that waits for what follows.
    let mut word = 0;
    let mut end: Option<End> = None;
    for (byte, char) in text.char_indices() {
        let ends = TERMINATORS.contains(&char) || FULL_WIDTH_TERMINATORS.contains(&char);
        if let Some(found) = &mut end {
            if char.is_whitespace() {
                found.blank = true;
                continue;
            }
            if found.blank && found.next.is_none() {
                found.next = Some(byte);
            }
            if ends || AROUND.contains(&char) {
                continue;
            }
            if !char.is_lowercase() && (found.blank || !found.needs_blank) {
                starts.push(found.next.unwrap_or(byte));
            }
            end = None;
            word = byte;
        } else if char.is_whitespace() || AROUND.contains(&char) {
            word = byte + char.len_utf8();
        } else if ends && !(char == '.' && is_abbreviation(&text[word..byte])) {
            end = Some(End { needs_blank: TERMINATORS.contains(&char), next: None, blank: false });
        }
    }
    starts
}

/// Whether a word before a full stop is an abbreviation: a known one, or initials (`J`, `e.g`, `U.S`).
fn is_abbreviation(word: &str) -> bool {
    if word.is_empty() || word.len() > 12 {
        return false;
    }
    let are_initials = word.split('.').all(|part| {
        let mut chars = part.chars();
        chars.next().is_some_and(char::is_alphabetic) && chars.next().is_none()
    });
    are_initials || ABBREVIATIONS.binary_search(&word.to_lowercase().as_str()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(expected: &[&str]) {
        let text = expected.join(" ");
        let starts = sentence_starts(&text);
        let ends = starts.iter().copied().chain([text.len()]);
        let found: Vec<&str> = [0]
            .into_iter()
            .chain(starts.iter().copied())
            .zip(ends)
            .map(|(start, end)| text[start..end].trim())
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn sentences_end_where_a_reader_says_so() {
        assert!(ABBREVIATIONS.is_sorted());
        check(&["It works.", "Really?", "Yes!"]);
        check(&["See Fig. 3, e.g. Dr. Smith et al. 2003 (i.e. J. Smith) for 3.14.", "Next."]);
        check(&["He said \"Stop.\"", "She did (at last).", "**Bold.**", "(Or not.)", "End"]);
        check(&["It knows rows (tables etc.) *and* columns.", "\"Yes.\""]);
        check(&["Version 1.2.3 is out... and more.", "2019 was a year."]);
        check(&["Hard\nwrapped lines\nare one.", "Two."]);
    }

    #[test]
    fn full_width_terminators_need_no_blank() {
        assert_eq!(sentence_starts("你好。再见。"), ["你好。".len()]);
    }
}

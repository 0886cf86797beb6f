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

/// A text with a line above this many bytes is not wrapped by hand: each of its lines ends what it says.
const WRAPPED_LINE_BYTES_MAX: usize = 160;

/// The end of a sentence, perhaps: a terminator was seen.
struct End {
    needs_blank: bool,
    /// The first byte behind the white space that has followed.
    next: Option<usize>,
    blank: bool,
}

/// The first byte of each sentence of `text` but the first, ascending. Linear in the text.
///
/// Where nobody wrote a capital, a small letter begins a sentence too. Data on one line is cut between its records and at
/// the line breaks it spells out as `\n`.
pub(crate) fn sentence_starts(text: &str) -> Vec<usize> {
    let small_letters_begin = !text.contains(char::is_uppercase);
    let lines_end = !is_wrapped(text);
    let mut starts = Vec::new();
    // Where the word before begins, and the end that waits for what follows.
    let mut word = 0;
    let mut end: Option<End> = None;
    // Whether what comes next begins a sentence, whatever it is.
    let mut begins = false;
    let mut chars = text.char_indices();
    while let Some((byte, char)) = chars.next() {
        let (until, rest) = (&text[..byte], &text[byte..]);
        if rest.starts_with("\\n") && !until.ends_with('\\') {
            chars.next();
            (begins, end, word) = (true, None, byte + 2);
            continue;
        }
        if char == '\n' && (lines_end || (is_row(until.lines().next_back()) && is_row(rest.lines().nth(1)))) {
            (begins, end, word) = (true, None, byte + 1);
            continue;
        }
        begins |= char == '{' && until.ends_with("}, ");
        if begins && !char.is_whitespace() {
            starts.push(byte);
            (begins, end, word) = (false, None, byte);
        }
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
            if (small_letters_begin || !char.is_lowercase()) && (found.blank || !found.needs_blank) {
                starts.push(found.next.unwrap_or(byte));
            }
            end = None;
            word = byte;
        } else if char.is_whitespace() || AROUND.contains(&char) {
            word = byte + char.len_utf8();
        } else if ends
            && !(char == '.'
                && (is_abbreviation(&text[word..byte]) || is_number_of_item(word, &starts, &text[word..byte])))
        {
            end = Some(End { needs_blank: TERMINATORS.contains(&char), next: None, blank: false });
        }
    }
    starts
}

/// Whether the lines of a text may go on in the next: none is longer than one wraps by hand.
pub(crate) fn is_wrapped(text: &str) -> bool {
    text.lines().all(|line| line.len() <= WRAPPED_LINE_BYTES_MAX)
}

/// Whether a line is a row of cells.
fn is_row(line: Option<&str>) -> bool {
    line.is_some_and(|line| line.contains(" | "))
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

/// Whether a sentence began with this number: `1. Open the box.` is one sentence.
fn is_number_of_item(word: usize, starts: &[usize], number: &str) -> bool {
    word == starts.last().copied().unwrap_or(0)
        && (1..=3).contains(&number.len())
        && number.bytes().all(|byte| byte.is_ascii_digit())
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
    fn sentences_end_where_nobody_writes_as_a_book_does() {
        check(&["net sales grew by 3.5 % in the u.s. market.", "costs fell, e.g. for fuel.", "cash is king."]);
        check(&["[{'a': 'Is it?'},", "{'a': \"Yes.\\n", "1. First\\n", "2. Next\"}]"]);
        let long = "word ".repeat(40);
        assert_eq!(sentence_starts(&format!("= Title =\n {long}\n Next")), [11, 13 + long.len()]);
        assert_eq!(sentence_starts("A word\nWrapped by hand\n"), []);
        assert_eq!(sentence_starts("A year | 2016\nB year | 17\n"), [14]);
    }

    #[test]
    fn full_width_terminators_need_no_blank() {
        assert_eq!(sentence_starts("你好。再见。"), ["你好。".len()]);
    }
}

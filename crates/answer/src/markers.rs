//! The grammar of `[doc_1]` and of what models write in its place.
//!
//! ```text
//! marker = "[" list "]" | "【" list "】"         spaces (at most 2 in a row) between any two parts
//! list   = item *( ("," | ";") item )           at most 16 items
//! item   = [ "doc" [sep] ] number               "doc" in any case; sep: up to 3 of _ - \ space
//! number = 1 to 6 digits
//! ```
//! A marker with a "doc" is *named* and meant as a marker whatever it says. One without is *bare*: it is a marker only
//! where the reader of the text allows it, and never right before `(`, since `[1](url)` is a link. A named marker that
//! breaks off, as in `[doc_1: page 3]`, counts as far as its last whole item. So no marker is longer than 500 bytes.

use std::borrow::Cow;

const ITEMS_MAX: usize = 16;
const DIGITS_MAX: usize = 6;
const SPACES_MAX: usize = 2;
const SEPARATORS_MAX: usize = 3;

/// What stands at the start of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// No marker.
    Text,
    /// What follows decides.
    Incomplete,
    /// A marker.
    Marker(Marker),
}

/// A marker as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Marker {
    /// How many bytes it takes.
    pub(crate) bytes: usize,
    /// Its numbers as written; none if the text ends within the first.
    pub(crate) numbers: Vec<u32>,
    /// How it was written.
    pub(crate) form: Form,
}

/// How a marker was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// With "doc".
    Named,
    /// A number in square brackets.
    BareSquare,
    /// A number in lenticular brackets, which no code has.
    BareLenticular,
}

/// Whether more text may follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tail {
    /// It may.
    Open,
    /// The text is whole.
    End,
}

/// Whether `found` may start a marker.
pub(crate) fn is_opener(found: char) -> bool {
    matches!(found, '[' | '【')
}

/// The marker as clients see it.
pub(crate) fn canonical(number: u32) -> String {
    format!("[doc_{number}]")
}

/// Reads the start of `text`.
pub(crate) fn parse(text: &str, tail: Tail) -> Parsed {
    let (bare, close) = match text.chars().next() {
        Some('[') => (Form::BareSquare, ']'),
        Some('【') => (Form::BareLenticular, '】'),
        Some(_) => return Parsed::Text,
        None => return if tail == Tail::Open { Parsed::Incomplete } else { Parsed::Text },
    };
    let mut list = List { numbers: Vec::new(), form: bare, whole: 0 };
    let mut rest = Rest { text, at: close.len_utf8() };
    loop {
        rest.skip(is_space, SPACES_MAX);
        match rest.item() {
            Item::Broken => return list.broken(),
            Item::Cut { named } => return list.cut(text, tail, named),
            Item::Number { number, named } => list.add(number, named, rest.at),
        }
        rest.skip(is_space, SPACES_MAX);
        match rest.next() {
            None => return list.cut(text, tail, false),
            Some(',' | ';') if list.numbers.len() < ITEMS_MAX => {}
            Some(found) if found == close => break,
            Some(_) => return list.broken(),
        }
    }
    match (list.form, rest.peek()) {
        (Form::BareSquare | Form::BareLenticular, None) if tail == Tail::Open => Parsed::Incomplete,
        (Form::BareSquare | Form::BareLenticular, Some('(')) => Parsed::Text,
        (form, _) => Parsed::Marker(Marker { bytes: rest.at, numbers: list.numbers, form }),
    }
}

/// `text` with round brackets in place of those of its markers, byte for byte of equal length: what stands in a source
/// is not a marker of ours.
pub(crate) fn neutral(text: &str) -> Cow<'_, str> {
    let mut out = String::new();
    let mut before = Before::default();
    let mut marker_end = 0;
    for (at, found) in text.char_indices() {
        if at >= marker_end
            && is_opener(found)
            && let Parsed::Marker(marker) = parse(&text[at..], Tail::End)
            && before.allows(marker.form)
        {
            marker_end = at + marker.bytes;
            out.push_str(&text[out.len()..at]);
            let round = |found| match found {
                '[' => '(',
                ']' => ')',
                '【' => '（',
                '】' => '）',
                other => other,
            };
            out.extend(text[at..marker_end].chars().map(round));
        }
        before.advance(found);
    }
    if out.is_empty() {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[out.len()..]);
    Cow::Owned(out)
}

/// What stands before a place in a text, as far as it says whether a bare number there is a marker: in code it is not,
/// nor right after an identifier, as in `array[0]`.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Before {
    last: Option<char>,
    /// Backticks up to here.
    run: usize,
    /// Backticks that opened the code which this place is in; 0 outside. Three and more run over lines.
    open: usize,
}

impl Before {
    /// Moves on behind `found`.
    pub(crate) fn advance(&mut self, found: char) {
        if found == '`' {
            self.run += 1;
        } else {
            self.open = self.open_here();
            self.run = 0;
            if found == '\n' && self.open < 3 {
                self.open = 0;
            }
        }
        self.last = Some(found);
    }

    /// Whether a marker of this form may start here.
    pub(crate) fn allows(&self, form: Form) -> bool {
        let identifier = |found: char| found.is_ascii_alphanumeric() || found == '_';
        match form {
            Form::Named => true,
            Form::BareLenticular => self.open_here() == 0,
            Form::BareSquare => self.open_here() == 0 && !self.last.is_some_and(identifier),
        }
    }

    fn open_here(&self) -> usize {
        match (self.run, self.open) {
            (0, open) => open,
            (run, 0) => run,
            (run, open) if run == open || open >= 3 && run > open => 0,
            (_, open) => open,
        }
    }
}

struct List {
    numbers: Vec<u32>,
    form: Form,
    /// The bytes up to the end of the last item.
    whole: usize,
}

impl List {
    fn add(&mut self, number: u32, named: bool, end: usize) {
        self.numbers.push(number);
        self.whole = end;
        if named {
            self.form = Form::Named;
        }
    }

    fn broken(self) -> Parsed {
        match self.form {
            Form::Named => Parsed::Marker(Marker { bytes: self.whole, numbers: self.numbers, form: Form::Named }),
            Form::BareSquare | Form::BareLenticular => Parsed::Text,
        }
    }

    fn cut(self, text: &str, tail: Tail, named: bool) -> Parsed {
        match tail {
            Tail::Open => Parsed::Incomplete,
            Tail::End if named || self.form == Form::Named => {
                Parsed::Marker(Marker { bytes: text.len(), numbers: self.numbers, form: Form::Named })
            }
            Tail::End => Parsed::Text,
        }
    }
}

enum Item {
    Number {
        number: u32,
        named: bool,
    },
    /// The text ends within it.
    Cut {
        named: bool,
    },
    Broken,
}

struct Rest<'a> {
    text: &'a str,
    at: usize,
}

impl Rest<'_> {
    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let found = self.peek()?;
        self.at += found.len_utf8();
        Some(found)
    }

    /// Skips at most `max` characters that are `wanted`.
    fn skip(&mut self, wanted: impl Fn(char) -> bool, max: usize) {
        for _ in 0..max {
            match self.peek() {
                Some(found) if wanted(found) => self.at += found.len_utf8(),
                Some(_) | None => return,
            }
        }
    }

    fn item(&mut self) -> Item {
        let named = self.peek().is_some_and(|found| found.eq_ignore_ascii_case(&'d'));
        if named {
            for expected in ['d', 'o', 'c'] {
                match self.next() {
                    None => return Item::Cut { named },
                    Some(found) if found.eq_ignore_ascii_case(&expected) => {}
                    Some(_) => return Item::Broken,
                }
            }
            self.skip(|found| is_space(found) || matches!(found, '_' | '-' | '\\'), SEPARATORS_MAX);
        }
        let start = self.at;
        self.skip(|found| found.is_ascii_digit(), DIGITS_MAX);
        match self.peek() {
            None => Item::Cut { named },
            // Longer than any source's number: it names none, and must not pass for a marker either.
            Some(found) if named && found.is_ascii_digit() => Item::Number { number: u32::MAX, named },
            Some(found) if found.is_alphanumeric() || found == '_' => Item::Broken,
            Some(_) => match self.text[start..self.at].parse() {
                Ok(number) => Item::Number { number, named },
                Err(_) => Item::Broken,
            },
        }
    }
}

fn is_space(found: char) -> bool {
    matches!(found, ' ' | '\u{a0}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<(usize, &[u32], Form)>) {
        let marker = expected.map(|(bytes, numbers, form)| Marker { bytes, numbers: numbers.to_vec(), form });
        assert_eq!(parse(text, Tail::End), marker.map_or(Parsed::Text, Parsed::Marker), "{text}");
    }

    #[test]
    fn what_models_write_is_read() {
        use Form::{BareLenticular, BareSquare, Named};
        check("[doc_3].", Some((7, &[3], Named)));
        check("[Doc 3][doc_4]", Some((7, &[3], Named)));
        check("[ DOC-03 ; doc4,5 ]", Some((19, &[3, 4, 5], Named)));
        check("[doc\\_1]", Some((8, &[1], Named)));
        check("[doc_1](x)", Some((7, &[1], Named)));
        check("[doc_1: page 3]", Some((6, &[1], Named)));
        check("【doc_1】", Some((11, &[1], Named)));
        check("【1】", Some((7, &[1], BareLenticular)));
        check("[1, 2]", Some((6, &[1, 2], BareSquare)));
        check("[doc_0000001]", Some((11, &[u32::MAX], Named)));
        check("[doc_1, do", Some((10, &[1], Named)));
        check("[doc_1", Some((6, &[], Named)));
        for text in
            ["[1](url)", "[link](url)", "[x]", "[ ]", "[]", "[1", "[1a]", "[doc_1a]", "[document]", "[^1]", "[1】", "x"]
        {
            check(text, None);
        }
    }

    #[test]
    fn the_longest_marker_is_within_its_bound() {
        let item = "\u{a0}\u{a0}doc\u{a0}\u{a0}\u{a0}123456\u{a0}\u{a0}";
        let beyond = format!("[doc{}", " ".repeat(SEPARATORS_MAX + 1));
        assert_eq!(parse(&beyond, Tail::Open), Parsed::Text);
        let longest = format!("【{}】", [item; ITEMS_MAX].join(","));
        let Parsed::Marker(marker) = parse(&longest, Tail::End) else { panic!("a marker") };
        assert_eq!((marker.bytes, marker.numbers.len()), (longest.len(), ITEMS_MAX));
        assert!(longest.len() <= 500);
    }

    #[test]
    fn markers_of_a_source_are_neutral_and_keep_their_place() {
        let text = "It is so.[1] 【2】 [doc_1][x] a[link](u) a[0] `[1] ` [2]\n```\n[3]\n[doc_4]\n```\n[5]";
        let expected = "It is so.(1) （2） (doc_1)[x] a[link](u) a[0] `[1] ` (2)\n```\n[3]\n(doc_4)\n```\n(5)";
        assert_eq!(neutral(text), expected);
        assert_eq!(expected.len(), text.len());
        assert!(matches!(neutral("plain [x]"), Cow::Borrowed(_)));
    }
}

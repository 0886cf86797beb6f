//! What a tenant alone knows to be private: its patterns and its names.

use std::fmt;
use std::sync::Arc;

use regex::{Regex, RegexBuilder};

use super::view::View;
use super::{Finding, Kind, PatternConfig, RedactError};
use crate::phrases::Phrases;

const PATTERNS_MAX: usize = 64;
const EXPRESSION_BYTES_MAX: usize = 1_024;
const LABEL_BYTES_MAX: usize = 32;
/// What a compiled expression may take.
const COMPILED_BYTES_MAX: usize = 1 << 20;
/// An expression is tried on pieces of a line: each search is linear in its piece, but there may be as many searches as
/// matches, and each may have to look to the end of the piece. So the piece is bounded.
const PIECE_BYTES: usize = 1_024;
/// What two pieces share: matches of up to this length are found wherever they stand.
const SHARED_BYTES: usize = 256;

const NAMES_MAX: usize = 10_000;
const NAME_BYTES: std::ops::RangeInclusive<usize> = 3..=128;

/// A tenant's patterns, compiled.
pub(super) struct Patterns(Vec<(Arc<str>, Regex)>);

impl fmt::Debug for Patterns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(label, _)| label)).finish()
    }
}

impl Patterns {
    pub(super) fn new(patterns: &[PatternConfig]) -> Result<Patterns, RedactError> {
        if patterns.len() > PATTERNS_MAX {
            return Err(RedactError::TooMany { field: "patterns", given: patterns.len(), count_max: PATTERNS_MAX });
        }
        let mut compiled = Vec::with_capacity(patterns.len());
        for (index, PatternConfig { label, expression }) in patterns.iter().enumerate() {
            check_label(label).map_err(|problem| RedactError::Label { index, problem })?;
            let regex = compile(expression).map_err(|problem| RedactError::Expression { index, problem })?;
            compiled.push((Arc::from(label.as_str()), regex));
        }
        Ok(Patterns(compiled))
    }

    pub(super) fn find(&self, view: &View<'_>, found: &mut Vec<Finding>) {
        if self.0.is_empty() {
            return;
        }
        let mut line_start = 0;
        for line in view.text.split_inclusive('\n') {
            let text = line.trim_end_matches(['\n', '\r']);
            for (label, regex) in &self.0 {
                find_in_line(text, regex, |start, end| {
                    found.push(Finding {
                        kind: Kind::Pattern(Arc::clone(label)),
                        span: line_start + start..line_start + end,
                    });
                });
            }
            line_start += line.len();
        }
    }
}

pub(crate) fn find_in_line(line: &str, regex: &Regex, mut push: impl FnMut(usize, usize)) {
    let mut start = 0;
    loop {
        let mut end = line.len().min(start + PIECE_BYTES);
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        // One character before the piece is seen by `\b` and `^`, though it is not searched; the rest of the line is not given,
        // for some of the engines behind `find_at` take time for all they are given.
        let seen = line[..start].char_indices().next_back().map_or(0, |(at, _)| at);
        let piece = &line[seen..end];
        let mut at = start - seen;
        while let Some(matched) = regex.find_at(piece, at) {
            if matched.is_empty() {
                match piece[matched.end()..].chars().next() {
                    Some(c) => at = matched.end() + c.len_utf8(),
                    None => break,
                }
            } else {
                push(seen + matched.start(), seen + matched.end());
                at = matched.end();
            }
        }
        if end == line.len() {
            return;
        }
        start = end - SHARED_BYTES;
        while !line.is_char_boundary(start) {
            start -= 1;
        }
    }
}

fn check_label(label: &str) -> Result<(), &'static str> {
    let allowed = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    let starts_well = label.starts_with(|c: char| c.is_ascii_uppercase());
    if !(1..=LABEL_BYTES_MAX).contains(&label.len()) || !label.bytes().all(allowed) || !starts_well {
        return Err("expected 1 to 32 of A-Z, 0-9 and _, with a letter in front");
    }
    let taken = Kind::BUILT_IN.iter().chain([&Kind::Name]).any(|kind| kind.label() == label);
    if taken { Err("is the label of a built-in kind, expected one of your own") } else { Ok(()) }
}

pub(crate) fn compile(expression: &str) -> Result<Regex, String> {
    if !(1..=EXPRESSION_BYTES_MAX).contains(&expression.len()) {
        return Err(format!("has {} bytes, expected 1 to {EXPRESSION_BYTES_MAX}", expression.len()));
    }
    let built = RegexBuilder::new(expression).size_limit(COMPILED_BYTES_MAX).dfa_size_limit(COMPILED_BYTES_MAX).build();
    let regex = built.map_err(|error| {
        if let regex::Error::CompiledTooBig(bytes) = error {
            return format!("takes more than {bytes} bytes when compiled, expected smaller repetitions");
        }
        // The last line says what is wrong; those before draw where.
        error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
    })?;
    if regex.is_match("") {
        return Err("matches the empty text, expected that it needs at least one character".to_owned());
    }
    Ok(regex)
}

/// A tenant's names.
pub(super) struct Names(Phrases<()>);

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Names({})", self.0.count())
    }
}

impl Names {
    pub(super) fn new(names: &[String]) -> Result<Names, RedactError> {
        if names.len() > NAMES_MAX {
            return Err(RedactError::TooMany { field: "names", given: names.len(), count_max: NAMES_MAX });
        }
        let mut phrases = Phrases::new();
        for (index, name) in names.iter().enumerate() {
            if !NAME_BYTES.contains(&name.len()) {
                return Err(RedactError::Name { index, problem: "expected 3 to 128 bytes" });
            }
            phrases.add(name, ()).map_err(|problem| RedactError::Name { index, problem })?;
        }
        Ok(Names(phrases))
    }

    pub(super) fn find(&self, view: &View<'_>, found: &mut Vec<Finding>) {
        // One word alone has to be written as a name is: `may` is none.
        let counts = |first: &str, words: usize| words > 1 || !first.starts_with(char::is_lowercase);
        self.0.find(view.text, counts, |span, ()| found.push(Finding { kind: Kind::Name, span }));
    }
}

//! YAML to blocks: saphyr-parser's events, whose marks count characters. Aliases are not expanded.
//!
//! An entry begins where the one before ends: a comment above it, its dash and its anchor are its own.

use std::ops::Range;

use saphyr_parser::{Event, Marker, Parser, ScanError};

use crate::entries::{DEPTH_MAX, Entries, Key};
use crate::json;
use crate::length::trim;
use crate::named::first_byte;
use crate::outline::{Block, Body, Outline, Shape};
use crate::parse::{Limits, ParseError};

/// Work is stopped, if at all, between so many events.
const STOP_EVERY: u32 = 4096;
/// A stream has at most this many bytes: the parser reads a few megabytes a second.
const BYTES_MAX: usize = 8 << 20;
/// And this many of [`INDICATORS`]: the parser holds every token of a bracket until it ends, half a kilobyte for each.
const INDICATORS_MAX: usize = 500_000;
const INDICATORS: [char; 6] = ['[', ']', '{', '}', ',', ':'];
/// The parser's own limit to brackets in brackets.
const BRACKETS_MAX: usize = 255;

/// Reads a stream of documents. A pointer into one of several begins with its number, from 0.
pub(crate) fn read(text: &str, limits: &Limits<'_>) -> Result<Outline, ParseError> {
    let first = first_byte(text);
    // JSON is YAML, and is read faster as what it is.
    if text[first..].starts_with(['{', '['])
        && let Ok(outline) = json::read(text, limits)
    {
        return Ok(outline);
    }
    if text.len() > BYTES_MAX {
        return Err(ParseError::TooLarge { what: "bytes of YAML", limit: BYTES_MAX, byte: BYTES_MAX });
    }
    if let Some((byte, _)) = text.match_indices(INDICATORS).nth(INDICATORS_MAX) {
        let what = "brackets, commas and colons of YAML";
        return Err(ParseError::TooLarge { what, limit: INDICATORS_MAX, byte });
    }
    let mut marks = Marks::new(text, first);
    let mut reader = Reader { text, entries: Entries::new(text), open: Vec::new(), end: first, document: first };
    let mut documents = 0;
    let mut events = 0u32;
    for event in Parser::new_from_str(&text[first..]) {
        events += 1;
        if events.is_multiple_of(STOP_EVERY) && (limits.stop)() {
            return Err(ParseError::Stopped);
        }
        let (event, span) = event.map_err(|error| malformed(&error, &mut marks))?;
        let bytes = marks.byte(span.start)..marks.byte(span.end);
        match event {
            Event::DocumentStart(_) => documents += 1,
            Event::Alias(_) => reader.scalar(bytes, None),
            Event::Scalar(value, ..) => reader.scalar(bytes, Some(&value)),
            Event::SequenceStart(..) => reader.begin(bytes.start, false)?,
            Event::MappingStart(..) => reader.begin(bytes.start, true)?,
            Event::SequenceEnd | Event::MappingEnd => reader.end(bytes),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
    }
    let mut outline = reader.entries.outline(limits, documents <= 1)?;
    let comments = trim(text, first..text.len());
    if outline.blocks.is_empty() && !comments.is_empty() {
        outline.blocks.push(Block::Body(Body::leaf(comments, Shape::Paragraph)));
    }
    Ok(outline)
}

fn malformed(error: &ScanError, marks: &mut Marks<'_>) -> ParseError {
    let byte = marks.byte(*error.marker());
    if error.info() == "recursion limit exceeded" {
        return ParseError::TooDeep { limit: BRACKETS_MAX, byte };
    }
    // In a quote it names the document's own character.
    let problem = error.info().split(": `").next().unwrap_or_default().to_owned();
    ParseError::Malformed { format: "YAML", byte, problem }
}

struct Reader<'t> {
    text: &'t str,
    entries: Entries<'t>,
    open: Vec<Open>,
    /// Where the last value or key ends.
    end: usize,
    /// Where the last document ends.
    document: usize,
}

/// A collection whose end has not come.
struct Open {
    state: State,
    /// Where its next entry may begin.
    floor: usize,
}

/// What comes next in a collection.
enum State {
    Element,
    Key,
    /// The value of a key; `None` for one that is no text.
    Value(Option<String>),
    /// Something within a key that is a collection.
    InKey,
}

impl Reader<'_> {
    fn scalar(&mut self, bytes: Range<usize>, value: Option<&str>) {
        // The mark behind a block of text is the next thing's.
        let bytes = trim(self.text, bytes.start..bytes.end.max(bytes.start));
        self.end = self.end.max(bytes.end);
        match self.open.last_mut().map(|open| &mut open.state) {
            Some(state @ State::Key) => *state = State::Value(value.map(str::to_owned)),
            Some(State::InKey) => {}
            Some(State::Element | State::Value(_)) | None => {
                let start = self.start(bytes.start);
                let entry = trim(self.text, start..self.end.max(start));
                if !entry.is_empty() {
                    self.enter(|entries, key| entries.scalar(entry, key));
                }
                self.close();
            }
        }
    }

    fn begin(&mut self, start: usize, is_mapping: bool) -> Result<(), ParseError> {
        if self.open.len() == DEPTH_MAX {
            return Err(ParseError::TooDeep { limit: DEPTH_MAX, byte: start });
        }
        let state = match self.open.last_mut().map(|open| &mut open.state) {
            Some(State::Key | State::InKey) => State::InKey,
            Some(State::Element | State::Value(_)) | None => {
                let entry = self.start(start);
                self.enter(|entries, key| entries.begin(entry, key));
                if is_mapping { State::Key } else { State::Element }
            }
        };
        self.end = self.end.max(start);
        self.open.push(Open { state, floor: start });
        Ok(())
    }

    fn end(&mut self, bytes: Range<usize>) {
        // The mark of a collection that no bracket ends is the next thing's.
        if self.text[bytes.clone()].starts_with([']', '}']) {
            self.end = self.end.max(bytes.end);
        }
        let Some(Open { state, .. }) = self.open.pop() else { return };
        match (state, self.open.last_mut().map(|open| &mut open.state)) {
            (State::InKey, Some(State::InKey)) => {}
            (State::InKey, Some(outer)) => *outer = State::Value(None),
            (State::InKey, None) => {}
            (State::Element | State::Key | State::Value(_), _) => {
                self.entries.end(self.end);
                self.close();
            }
        }
    }

    /// Where the entry starts whose value starts here: behind the one before, and the bracket or comma there.
    fn start(&self, value: usize) -> usize {
        let floor = self.open.last().map_or(self.document, |open| open.floor);
        let between = self.text.get(floor..value).unwrap_or_default();
        let own_line = match between.split_once('\n') {
            // A comment on the line where the entry before ends is that one's.
            Some((line, _)) if floor > 0 && line.trim_start_matches([',', ' ', '\t']).starts_with('#') => line.len(),
            Some(_) | None => 0,
        };
        let rest = between[own_line..].trim_start_matches(|char: char| char.is_whitespace() || "[{,".contains(char));
        value.max(floor) - rest.len()
    }

    fn enter(&mut self, write: impl FnOnce(&mut Entries<'_>, Key<'_>)) {
        let key = match self.open.last().map(|open| &open.state) {
            Some(State::Value(Some(key))) => Key::Text(key),
            Some(State::Value(None)) => Key::Other,
            Some(State::Element | State::Key | State::InKey) | None => Key::Next,
        };
        write(&mut self.entries, key);
    }

    /// An entry has ended.
    fn close(&mut self) {
        match self.open.last_mut() {
            Some(open) => {
                open.floor = self.end;
                if matches!(open.state, State::Value(_)) {
                    open.state = State::Key;
                }
            }
            None => self.document = self.end,
        }
    }
}

/// Bytes by the number of characters before them.
struct Marks<'t> {
    text: &'t str,
    /// The byte of every 256th character.
    bytes: Vec<usize>,
    /// The last one asked for: the next mostly follows it.
    last: (usize, usize),
}

const STEP: usize = 256;

impl<'t> Marks<'t> {
    /// Counts from the byte `first` on.
    fn new(text: &'t str, first: usize) -> Marks<'t> {
        let bytes = text[first..].char_indices().step_by(STEP).map(|(byte, _)| first + byte).collect();
        Marks { text, bytes, last: (0, first) }
    }

    fn byte(&mut self, mark: Marker) -> usize {
        let index = mark.index();
        let step = index / STEP;
        let (from, byte) = match self.bytes.get(step) {
            _ if self.last.0 <= index && index - self.last.0 < STEP => self.last,
            Some(&byte) => (step * STEP, byte),
            None => return self.text.len(),
        };
        let rest = &self.text[byte..];
        let byte = byte + rest.char_indices().nth(index - from).map_or(rest.len(), |(byte, _)| byte);
        self.last = (index, byte);
        byte
    }
}

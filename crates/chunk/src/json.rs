//! JSON and JSON Lines to blocks: tokens by json-event-parser, their bytes by what it consumes.

use json_event_parser::{JsonEvent, LowLevelJsonParser};

use crate::entries::{DEPTH_MAX, Entries, Key};
use crate::named::first_byte;
use crate::outline::Outline;
use crate::parse::{Limits, ParseError};

/// Work is stopped, if at all, between so many tokens.
const STOP_EVERY: u32 = 4096;

/// Reads a text that is one value.
pub(crate) fn read(text: &str, limits: &Limits<'_>) -> Result<Outline, ParseError> {
    let mut reader = Reader { text, limits, entries: Entries::new(text), tokens: 0, format: "JSON" };
    reader.value(first_byte(text), text.len())?;
    reader.entries.outline(limits, true)
}

/// Reads a text of one value a line. A pointer into it begins with the line's number, from 0.
pub(crate) fn read_lines(text: &str, limits: &Limits<'_>) -> Result<Outline, ParseError> {
    let mut reader = Reader { text, limits, entries: Entries::new(text), tokens: 0, format: "JSON Lines" };
    let mut start = 0;
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let end = start + line.len();
        let first = if start == 0 { first_byte(line) } else { start };
        if !text[first..end].trim().is_empty() {
            reader.entries.number(number);
            let rest = text[first..end].trim_ascii_start();
            let value = rest.trim_ascii_end();
            if is_count(value) {
                let start = end - rest.len();
                reader.entries.scalar(start..start + value.len(), Key::Next);
            } else {
                reader.value(first, end)?;
            }
        }
        start = end;
    }
    reader.entries.outline(limits, false)
}

/// Whether a line is a number that needs no parser: a file may have millions of them.
fn is_count(value: &str) -> bool {
    (1..=15).contains(&value.len())
        && value.bytes().all(|byte| byte.is_ascii_digit())
        && (value.len() == 1 || !value.starts_with('0'))
}

struct Reader<'t, 'l> {
    text: &'t str,
    limits: &'l Limits<'l>,
    entries: Entries<'t>,
    tokens: u32,
    format: &'static str,
}

impl Reader<'_, '_> {
    /// Reads one value and nothing after it.
    fn value(&mut self, start: usize, end: usize) -> Result<(), ParseError> {
        let bytes = &self.text.as_bytes()[..end];
        let mut parser = LowLevelJsonParser::new().with_max_stack_size(2 * DEPTH_MAX);
        let mut key: Option<(usize, String)> = None;
        let mut next = start;
        loop {
            self.tokens += 1;
            if self.tokens.is_multiple_of(STOP_EVERY) && (self.limits.stop)() {
                return Err(ParseError::Stopped);
            }
            let rest = &bytes[next..];
            let before = rest.iter().take_while(|byte| b" \t\r\n,:".contains(byte)).count();
            let (token, result) = (next + before, parser.parse_next(rest, true));
            next += result.consumed_bytes;
            let event = match result.event {
                Some(Ok(event)) => event,
                Some(Err(error)) => {
                    let byte = start + usize::try_from(error.location().start.offset).unwrap_or(usize::MAX);
                    return Err(self.malformed(byte.min(end), error.message()));
                }
                None => return Err(self.malformed(end, "it ends too early")),
            };
            let own_key = key.take();
            match event {
                JsonEvent::ObjectKey(name) => key = Some((token, name.into_owned())),
                JsonEvent::StartArray | JsonEvent::StartObject => {
                    if self.entries.depth() == DEPTH_MAX {
                        return Err(ParseError::TooDeep { limit: DEPTH_MAX, byte: token });
                    }
                    let (start, key) = keyed(token, &own_key);
                    self.entries.begin(start, key);
                }
                JsonEvent::EndArray | JsonEvent::EndObject => self.entries.end(next),
                JsonEvent::String(_) | JsonEvent::Number(_) | JsonEvent::Boolean(_) | JsonEvent::Null => {
                    let (start, key) = keyed(token, &own_key);
                    self.entries.scalar(start..next, key);
                }
                JsonEvent::Eof => return Ok(()),
            }
        }
    }

    fn malformed(&self, byte: usize, message: &str) -> ParseError {
        // What stands behind a colon is the document's.
        let problem = message.split(':').next().unwrap_or_default().to_owned();
        ParseError::Malformed { format: self.format, byte, problem }
    }
}

/// Where an entry starts, and its key.
fn keyed(value: usize, key: &Option<(usize, String)>) -> (usize, Key<'_>) {
    key.as_ref().map_or((value, Key::Next), |(start, key)| (*start, Key::Text(key)))
}

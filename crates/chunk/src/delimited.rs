//! Tables in text, CSV (RFC 4180 and what passes for it) and TSV, to one table whose rows are the file's records.

use std::ops::Range;

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

use crate::length::trim;
use crate::outline::{Block, Body, Node, Outline, Shape};
use crate::parse::{Limits, ParseError};

/// How much of a file its delimiter is looked for in.
const SNIFFED_BYTES: usize = 1 << 16;
const SNIFFED_RECORDS: usize = 100;
/// Of two delimiters that cut all records alike, the first one: a comma is often in numbers and words.
const DELIMITERS: [u8; 4] = *b"\t;|,";
/// A quotation mark that is never closed is taken for a character so often; then every line is a row.
const REPAIRS_MAX: usize = 8;
/// The caller is asked whether to stop after this many records.
const RECORDS_PER_CHECK: usize = 4096;

/// Reads a whole file; without a `delimiter`, its first line (`sep=;`) or its look tells.
pub(crate) fn read(text: &str, delimiter: Option<u8>, limits: &Limits<'_>) -> Result<Outline, ParseError> {
    let start = text.len() - text.trim_start_matches('\u{feff}').len();
    let named = delimiter.is_none().then(|| named_delimiter(&text[start..])).flatten();
    let (named, skipped) = named.map_or((None, 0), |(delimiter, bytes)| (Some(delimiter), bytes));
    let bytes = trim(text, start + skipped..text.len());
    if bytes.is_empty() {
        return Ok(Outline::default());
    }
    let delimiter = delimiter.or(named).unwrap_or_else(|| sniffed(&text[bytes.clone()]));
    let mut nodes = vec![Node { start: bytes.start, depth: 0, shape: Shape::Table }];
    let mut header = None;
    let mut next = bytes.start;
    for repairs in 0.. {
        let mut records = Records::new(&text.as_bytes()[..bytes.end], next, delimiter);
        let broken = loop {
            if nodes.len().is_multiple_of(RECORDS_PER_CHECK) && (limits.stop)() {
                return Err(ParseError::Stopped);
            }
            let Some(record) = records.next() else { break None };
            let row = record.start..record.start + text[record.clone()].trim_end().len();
            if row.end == bytes.end && ends_in_quotes(&text[row.clone()]) {
                break Some(row);
            }
            if !row.is_empty() {
                if nodes.len() == 1 && !records.are_numbers() {
                    header = Some(row.clone());
                }
                nodes.push(Node { start: row.start, depth: 1, shape: Shape::Row });
            }
        };
        let Some(broken) = broken else { break };
        // All the rest of the file is one record: its first line is a row, and reading goes on after it.
        let lines = text[broken.clone()].split_inclusive('\n').scan(broken.start, |next, line| {
            let start = *next;
            *next += line.len();
            Some((start, line))
        });
        let lines_taken = if repairs < REPAIRS_MAX { 1 } else { usize::MAX };
        next = bytes.end;
        for (n, (start, line)) in lines.enumerate() {
            if n == lines_taken {
                next = start;
                break;
            }
            if !line.trim().is_empty() {
                nodes.push(Node { start, depth: 1, shape: Shape::Row });
            }
        }
        if next == bytes.end {
            break;
        }
    }
    let context = header.filter(|_| nodes.len() > 2);
    Ok(Outline { blocks: vec![Block::Body(Body { bytes, nodes, context })], ..Outline::default() })
}

/// What spreadsheets write before a table: `sep=;`. With the bytes of that line.
fn named_delimiter(text: &str) -> Option<(u8, usize)> {
    let rest = text.strip_prefix("sep=")?;
    let delimiter = *rest.as_bytes().first().filter(|byte| byte.is_ascii() && !matches!(byte, b'\n' | b'\r' | b'"'))?;
    let line = rest[1..].split('\n').next().unwrap_or_default();
    line.trim().is_empty().then_some((delimiter, "sep=".len() + 1 + line.len()))
}

/// The delimiter that cuts most records into the same number of fields, of at least two.
fn sniffed(text: &str) -> u8 {
    let head = &text[..text.floor_char_boundary(SNIFFED_BYTES)];
    let head = if head.len() < text.len() { head.rfind('\n').map_or(head, |line| &head[..line]) } else { head };
    let mut best = (0, b',');
    for delimiter in DELIMITERS {
        let mut records = Records::new(head.as_bytes(), 0, delimiter);
        let mut counts: Vec<usize> = Vec::new();
        while counts.len() < SNIFFED_RECORDS && records.next().is_some() {
            counts.push(records.fields);
        }
        counts.sort_unstable();
        let runs = counts.chunk_by(|a, b| a == b).filter(|run| run[0] > 1);
        let alike = runs.map(<[usize]>::len).max().unwrap_or(0);
        if alike > best.0 {
            best = (alike, delimiter);
        }
    }
    best.1
}

/// Whether a record reaches over lines with a quotation mark that is never closed.
fn ends_in_quotes(record: &str) -> bool {
    record.contains('\n') && record.bytes().filter(|&byte| byte == b'"').count() % 2 == 1
}

/// The records of a text, one after the other. Of a record's fields only the start is kept, however long they are.
struct Records<'t> {
    text: &'t [u8],
    next: usize,
    reader: Reader,
    fields: usize,
    /// The first fields of the record, without quotation marks, and where they end.
    words: Vec<u8>,
    ends: [usize; 64],
    known: usize,
}

impl<'t> Records<'t> {
    fn new(text: &'t [u8], start: usize, delimiter: u8) -> Records<'t> {
        let reader = ReaderBuilder::new().delimiter(delimiter).build();
        Records { text, next: start, reader, fields: 0, words: vec![0; 4096], ends: [0; 64], known: 0 }
    }

    /// The next record, without line breaks before it.
    fn next(&mut self) -> Option<Range<usize>> {
        while self.text.get(self.next).is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
            self.next += 1;
        }
        let start = self.next;
        (self.fields, self.known) = (0, 0);
        let (mut words, mut has_words) = (0, true);
        loop {
            // What does not fit is written over what is not needed.
            let out = if has_words { words } else { 0 };
            let ends = if has_words { self.known } else { 0 };
            let (result, read, written, ended) =
                self.reader.read_record(&self.text[self.next..], &mut self.words[out..], &mut self.ends[ends..]);
            self.next += read;
            self.fields += ended;
            if has_words {
                words += written;
                self.known += ended;
            }
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => has_words = false,
                ReadRecordResult::Record => return Some(start..self.next),
                ReadRecordResult::End => return (start < self.next).then_some(start..self.next),
            }
        }
    }

    /// Whether all fields of the record that have words are numbers.
    fn are_numbers(&self) -> bool {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let fields = starts.zip(&self.ends[..self.known]).map(|(start, &end)| self.words.get(start..end));
        fields.flatten().all(|field| {
            let field = field.trim_ascii();
            field.is_empty() || std::str::from_utf8(field).is_ok_and(|field| field.parse::<f64>().is_ok())
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, context: Option<&str>, rows: &[&str]) {
        let outline = read(text, None, &Limits::NONE).unwrap();
        assert_eq!(outline.fits(text), Ok(()));
        let [Block::Body(body)] = &outline.blocks[..] else { panic!("one table: {outline:?}") };
        let ends = body.nodes[2..].iter().map(|node| node.start).chain([body.bytes.end]);
        let found: Vec<&str> =
            body.nodes[1..].iter().zip(ends).map(|(node, end)| text[node.start..end].trim_end()).collect();
        assert_eq!(found, rows, "{text:?}");
        assert_eq!(body.context.clone().map(|context| &text[context]), context, "{text:?}");
    }

    #[test]
    fn records_are_rows_and_the_first_one_heads_them() {
        check("a,b\n1,2\n3,4\n", Some("a,b"), &["a,b", "1,2", "3,4"]);
        check("\u{feff}a,b\r\n\r\n1,\"x\r\ny\"\r\n2", Some("a,b"), &["a,b", "1,\"x\r\ny\"", "2"]);
        check("a\n", None, &["a"]);
        check("1,2\n3,4", None, &["1,2", "3,4"]);
        // A field that is empty is no blank.
        check("a\tb\n\tc\n", Some("a\tb"), &["a\tb", "\tc"]);
    }

    #[test]
    fn the_delimiter_is_the_one_that_cuts_records_alike() {
        for (text, expected) in [
            ("a,b\n1,2", b','),
            ("a;b\n1,5;2,5\n3;4", b';'),
            ("a|b\nx, y|z", b'|'),
            ("a\tb\n1\t2", b'\t'),
            ("\"a;b\",c\n\"d;e\",f", b','),
            ("one\ntwo", b','),
        ] {
            assert_eq!(sniffed(text), expected, "{text:?}");
        }
        check("sep=;\na;b\nc;d", Some("a;b"), &["a;b", "c;d"]);
    }

    #[test]
    fn an_open_quotation_loses_no_row() {
        check("a,b\n1,\"x\n2,y\n3,z\n", Some("a,b"), &["a,b", "1,\"x", "2,y", "3,z"]);
        check("a,b\n1,\"x\n2,\"p\nq\"\n3,z", Some("a,b"), &["a,b", "1,\"x\n2,\"p", "q\"", "3,z"]);
        check("a,b\n5\" pipe,2\n", Some("a,b"), &["a,b", "5\" pipe,2"]);
    }

    #[test]
    fn a_huge_field_is_a_row_as_any_other() {
        let field = "x,".repeat(1 << 20);
        let text = format!("a,b\n\"{field}\",2\n{}\n3,4", "y,".repeat(100_000));
        let outline = read(&text, None, &Limits::NONE).unwrap();
        let [Block::Body(body)] = &outline.blocks[..] else { panic!("one table") };
        assert_eq!(body.nodes.len(), 5);
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "(\u{feff})?[a-c\",;|\\t\\r\\n é]{0,60}") {
            for delimiter in [None, Some(b'\t')] {
                let outline = read(&text, delimiter, &Limits::NONE).unwrap();
                prop_assert_eq!(outline.fits(&text), Ok(()));
                prop_assert_eq!(outline.blocks.is_empty(), text.trim_matches(|c: char| c == '\u{feff}' || c.is_whitespace()).is_empty());
            }
        }
    }
}

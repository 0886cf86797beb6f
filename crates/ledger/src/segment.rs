//! A walk over one segment's records, which steps over what is damaged.

use std::io;
use std::sync::Arc;

use ibid_runtime::DiskFile;

use crate::LedgerError;
use crate::frame::{self, FolderId, RecordHeader, SegmentHeader};

/// One file of the log, as far as it is durable.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    pub(crate) number: u32,
    /// `None` if it is damaged.
    pub(crate) first: Option<First>,
    pub(crate) file: Arc<dyn DiskFile>,
    /// The byte after the last durable record.
    pub(crate) end: u64,
}

/// What a segment's header says of its place in the log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct First {
    pub(crate) sequence: u64,
    pub(crate) previous_checksum: u32,
}

/// Whether a walk reads bodies, which costs time, or trusts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bodies {
    Verify,
    Skip,
}

/// One step of a walk.
pub(crate) enum Step<'a> {
    /// A whole record.
    Record {
        header: RecordHeader,
        header_checksum: u32,
        offset: u64,
        /// Empty where bodies are skipped.
        body: &'a [u8],
    },
    /// Something that is no record: `sequence` is the first one lost, `offset` where the damage starts.
    Damaged { sequence: u64, offset: u64 },
}

/// A walk over a segment, from its first record on.
pub(crate) struct Walk<'a> {
    window: Window<'a>,
    folder: FolderId,
    bodies: Bodies,
    offset: u64,
    expected: u64,
    durable: u64,
}

impl<'a> Walk<'a> {
    /// `expected` is the sequence that the segment should start with, or any lower one.
    pub(crate) fn new(segment: &'a Segment, folder: FolderId, expected: u64, bodies: Bodies) -> Walk<'a> {
        let ahead_bytes = match bodies {
            Bodies::Verify => 1 << 20,
            Bodies::Skip => 4 << 10,
        };
        let window = Window { file: &*segment.file, end: segment.end, ahead_bytes, start: 0, bytes: Vec::new() };
        Walk { window, folder, bodies, offset: SegmentHeader::BYTES as u64, expected, durable: 0 }
    }

    /// The sequence that the next record should have.
    pub(crate) fn expected(&self) -> u64 {
        self.expected
    }

    /// The highest sequence that a header seen so far calls durable, whole or not what follows it; 0 before the first.
    pub(crate) fn durable(&self) -> u64 {
        self.durable
    }

    /// The next step; `None` at the segment's end.
    ///
    /// # Errors
    /// The file cannot be read, or holds a record of a later format.
    pub(crate) fn next(&mut self) -> Result<Option<Step<'_>>, LedgerError> {
        if self.offset >= self.window.end {
            return Ok(None);
        }
        let Some((header, header_checksum)) = self.header_at(self.offset)? else {
            return self.step_over().map(Some);
        };
        let (offset, sequence) = (self.offset, header.sequence);
        self.durable = self.durable.max(header.durable);
        if sequence > self.expected {
            let lost = std::mem::replace(&mut self.expected, sequence);
            return Ok(Some(Step::Damaged { sequence: lost, offset }));
        }
        self.offset = (offset + header.record_bytes()).min(self.window.end);
        self.expected = sequence.saturating_add(1);
        let body_offset = offset + RecordHeader::BYTES as u64;
        let whole = match self.bodies {
            Bodies::Skip => (body_offset + u64::from(header.body_bytes) <= self.window.end).then_some(&[][..]),
            Bodies::Verify => {
                let body = self.window.get(body_offset, header.body_bytes as usize)?;
                body.filter(|body| header.fits(body))
            }
        };
        Ok(Some(match whole {
            Some(body) => Step::Record { header, header_checksum, offset, body },
            None => Step::Damaged { sequence, offset },
        }))
    }

    /// Looks for the next whole header behind a damaged one.
    fn step_over(&mut self) -> Result<Step<'_>, LedgerError> {
        let (offset, lost) = (self.offset, self.expected);
        self.offset += 1;
        while self.offset < self.window.end {
            if let Some((header, _)) = self.header_at(self.offset)? {
                self.expected = header.sequence;
                break;
            }
            self.offset += 1;
        }
        Ok(Step::Damaged { sequence: lost, offset })
    }

    fn header_at(&mut self, offset: u64) -> Result<Option<(RecordHeader, u32)>, LedgerError> {
        let Some(bytes) = self.window.get(offset, RecordHeader::BYTES)? else { return Ok(None) };
        let header = RecordHeader::decode(bytes, self.folder)?.filter(|header| header.sequence >= self.expected);
        Ok(header.map(|header| (header, frame::checksum_at(bytes))))
    }
}

/// A piece of a file in memory that moves along with the walk.
struct Window<'a> {
    file: &'a dyn DiskFile,
    end: u64,
    ahead_bytes: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl Window<'_> {
    /// `len` bytes at `offset`; `None` if the file ends before.
    fn get(&mut self, offset: u64, len: usize) -> Result<Option<&[u8]>, LedgerError> {
        let until = offset + len as u64;
        if until > self.end {
            return Ok(None);
        }
        if offset < self.start || until > self.start + self.bytes.len() as u64 {
            let take = (len as u64).max(self.ahead_bytes).min(self.end - offset);
            let take =
                usize::try_from(take).map_err(|wide| LedgerError::read("read the log")(io::Error::other(wide)))?;
            self.bytes.resize(take, 0);
            self.start = offset;
            self.file.read_at(offset, &mut self.bytes).map_err(LedgerError::read("read the log"))?;
        }
        let from = usize::try_from(offset - self.start).expect("inside the window, which is in memory");
        Ok(self.bytes.get(from..from + len))
    }
}

//! One file of the log, and a walk over its records which steps over what is damaged.

use std::io;
use std::sync::Arc;

use ibid_runtime::DiskFile;

use crate::contents::{Contents, Place};
use crate::frame::{self, BODY_BYTES_MAX, CompactedFrom, FolderId, RecordHeader, SegmentHeader};
use crate::log::Damaged;
use crate::{LedgerError, Sequence};

/// One file of the log, as far as it is durable.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    pub(crate) number: u32,
    /// `None` if it is damaged.
    pub(crate) first: Option<First>,
    pub(crate) file: Arc<dyn DiskFile>,
    /// The byte after the last durable record.
    pub(crate) end: u64,
    /// Where its records are.
    pub(crate) contents: Arc<Contents>,
    /// Nothing is added any more: its table of contents stands behind its last record.
    pub(crate) sealed: bool,
    /// What was damaged when the log was opened, in it and just before it.
    pub(crate) damaged: Arc<[Damaged]>,
}

/// What a segment's header says of its place in the log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct First {
    pub(crate) sequence: Sequence,
    pub(crate) previous_checksum: u32,
    pub(crate) compacted: Option<CompactedFrom>,
}

impl From<&SegmentHeader> for First {
    fn from(header: &SegmentHeader) -> First {
        First {
            sequence: header.first_sequence,
            previous_checksum: header.previous_checksum,
            compacted: header.compacted,
        }
    }
}

impl Segment {
    /// The highest number of a segment that it stands for.
    pub(crate) fn last_number(&self) -> u32 {
        self.first.and_then(|first| first.compacted).map_or(self.number, |from| from.segment)
    }

    /// Whether a record of that length may stand there.
    pub(crate) fn holds(&self, place: &Place) -> bool {
        let fits = RecordHeader::BYTES..=RecordHeader::BYTES + BODY_BYTES_MAX as usize;
        fits.contains(&(place.bytes as usize)) && place.end() <= self.end
    }

    /// The sequence after the last one that it stands for.
    pub(crate) fn next_sequence(&self) -> Sequence {
        let compacted = self.first.and_then(|first| first.compacted);
        let last = compacted.map(|from| from.sequence).max(self.contents.last().map(|place| place.sequence));
        last.map_or(self.contents.first(), Sequence::next)
    }
}

/// Whether a walk reads bodies, which costs time, or trusts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bodies {
    Verify,
    Skip,
}

/// One step of a walk.
pub(crate) enum Step {
    /// A whole record.
    Record { header: RecordHeader, header_checksum: u32, offset: u64 },
    /// Something that is no record: `sequence` is the first one lost, `offset` where the damage starts.
    Damaged { sequence: Sequence, offset: u64 },
}

/// A walk over a segment, from its first record on, where no table tells where they are.
pub(crate) struct Walk<'a> {
    window: Window<'a>,
    folder: FolderId,
    bodies: Bodies,
    /// Sequences may be left out: the segment was compacted.
    sparse: bool,
    offset: u64,
    expected: Sequence,
    durable: Sequence,
}

impl<'a> Walk<'a> {
    /// `expected` is the sequence that the segment should start with, or any lower one.
    pub(crate) fn new(segment: &'a Segment, folder: FolderId, expected: Sequence, bodies: Bodies) -> Walk<'a> {
        let ahead_bytes = match bodies {
            Bodies::Verify => 1 << 20,
            Bodies::Skip => 4 << 10,
        };
        let window = Window::new(&*segment.file, segment.end, ahead_bytes);
        let sparse = segment.first.is_some_and(|first| first.compacted.is_some());
        let offset = SegmentHeader::BYTES as u64;
        Walk { window, folder, bodies, sparse, offset, expected, durable: Sequence(0) }
    }

    /// The sequence that the next record should have.
    pub(crate) fn expected(&self) -> Sequence {
        self.expected
    }

    /// The highest sequence that a header seen so far calls durable, whole or not what follows it; 0 before the first.
    pub(crate) fn durable(&self) -> Sequence {
        self.durable
    }

    /// Where the records end, once the walk has.
    pub(crate) fn end(&self) -> u64 {
        self.offset
    }

    /// How many bytes from `from` on are more than room.
    pub(crate) fn content_from(&mut self, from: u64) -> Result<u64, LedgerError> {
        Ok(self.window.content_end(from)?.map_or(0, |end| end - from))
    }

    /// The next step; `None` at the segment's end, or where nothing but room follows.
    ///
    /// # Errors
    /// The file cannot be read, or holds a record of another format.
    pub(crate) fn next(&mut self) -> Result<Option<Step>, LedgerError> {
        if self.offset >= self.window.end {
            return Ok(None);
        }
        let Some((header, header_checksum)) = self.header_at(self.offset)? else {
            if self.window.is_room_from(self.offset)? {
                return Ok(None);
            }
            return self.step_over().map(Some);
        };
        let (offset, sequence) = (self.offset, header.sequence);
        self.durable = self.durable.max(header.durable);
        if sequence > self.expected && !self.sparse {
            let lost = std::mem::replace(&mut self.expected, sequence);
            return Ok(Some(Step::Damaged { sequence: lost, offset }));
        }
        self.offset = (offset + header.record_bytes()).min(self.window.end);
        self.expected = sequence.next();
        let body_offset = offset + RecordHeader::BYTES as u64;
        let whole = match self.bodies {
            Bodies::Skip => body_offset + u64::from(header.body_bytes) <= self.window.end,
            Bodies::Verify => {
                let body = self.window.get(body_offset, header.body_bytes as usize)?;
                body.is_some_and(|body| header.fits(body))
            }
        };
        Ok(Some(match whole {
            true => Step::Record { header, header_checksum, offset },
            false => Step::Damaged { sequence, offset },
        }))
    }

    /// Looks for the next whole header behind a damaged one.
    fn step_over(&mut self) -> Result<Step, LedgerError> {
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

/// A piece of a file in memory that moves along with whoever reads it from front to back.
pub(crate) struct Window<'a> {
    file: &'a dyn DiskFile,
    end: u64,
    ahead_bytes: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl<'a> Window<'a> {
    /// Of `file` up to `end`; reads at least `ahead_bytes` at a time.
    pub(crate) fn new(file: &'a dyn DiskFile, end: u64, ahead_bytes: u64) -> Window<'a> {
        Window { file, end, ahead_bytes, start: 0, bytes: Vec::new() }
    }

    /// The byte after the last one from `from` on that is not zero; `None` if all are: room for records to come.
    pub(crate) fn content_end(&mut self, from: u64) -> Result<Option<u64>, LedgerError> {
        let (mut at, mut end) = (from, None);
        while at < self.end {
            let len = (self.end - at).min(64 << 10);
            let bytes = self.get(at, len as usize)?.unwrap_or_default();
            end = bytes.iter().rposition(|byte| *byte != 0).map(|last| at + last as u64 + 1).or(end);
            at += len;
        }
        Ok(end)
    }

    /// Whether nothing but room is left from `from` on.
    pub(crate) fn is_room_from(&mut self, from: u64) -> Result<bool, LedgerError> {
        let mut at = from;
        while at < self.end {
            let len = (self.end - at).min(64 << 10);
            if self.get(at, len as usize)?.is_none_or(|bytes| bytes.iter().any(|byte| *byte != 0)) {
                return Ok(false);
            }
            at += len;
        }
        Ok(true)
    }

    /// `len` bytes at `offset`; `None` if the file ends before.
    pub(crate) fn get(&mut self, offset: u64, len: usize) -> Result<Option<&[u8]>, LedgerError> {
        let until = offset.saturating_add(len as u64);
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

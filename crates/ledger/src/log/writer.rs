//! The one writer: a group of records in one piece, then one sync.

use std::io;
use std::sync::Arc;

use ibid_runtime::DiskFile;

use super::tail::Tail;
use super::{Log, segment_path};
use crate::contents::{Contents, Place};
use crate::frame::{Body, RecordHeader, SegmentHeader};
use crate::segment::{First, Segment};
use crate::{LedgerError, Sequence};

/// What the ledger has done since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Records made durable.
    pub records: u64,
    /// Groups of records, each written in one piece and synced once.
    pub groups: u64,
    /// Their bytes in the log, headers included.
    pub bytes: u64,
    /// Calls of `fdatasync`.
    pub syncs: u64,
    /// Segments that became full.
    pub sealed: u64,
}

/// How long the log's files are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    /// A segment is not made longer, unless one group alone is.
    pub(crate) segment_bytes_max: u64,
    /// Room that is made in advance.
    pub(crate) room_bytes: u64,
}

/// Why a group was not made durable.
#[derive(Debug, Clone)]
pub(crate) enum WriteError {
    /// The disk is full; nothing of the group is left, and the writer may go on.
    Full,
    /// Nobody knows what is on the disk; the writer must not go on.
    Broken(Arc<io::Error>),
}

impl From<WriteError> for LedgerError {
    fn from(error: WriteError) -> LedgerError {
        match error {
            WriteError::Full => LedgerError::Full,
            WriteError::Broken(source) => LedgerError::Write { source },
        }
    }
}

/// Appends to the log's last segment, and starts a new one when it is long enough.
#[derive(Debug)]
pub(crate) struct Writer {
    log: Arc<Log>,
    segment_bytes_max: u64,
    /// How many zeros are written behind a group once there is no room for the next: what overwrites them changes no length,
    /// and its sync has no metadata to wait for.
    room_bytes: u64,
    file: Arc<dyn DiskFile>,
    end: u64,
    /// Zeros behind the end.
    room: u64,
    /// Its table of contents is written: what comes next goes into another one.
    sealed: bool,
    sequence: Sequence,
    checksum: u32,
    stats: Stats,
}

impl Writer {
    /// A writer that goes on at the log's `tail`, or makes the first segment. On a full disk a folder opens all the same.
    ///
    /// # Errors
    /// [`LedgerError::Write`], [`LedgerError::Full`]: the segment cannot be made.
    pub(super) fn new(log: Arc<Log>, sizes: Sizes, tail: &Tail) -> Result<Writer, LedgerError> {
        let (sequence, checksum) = (tail.sequence, tail.checksum);
        let last = log.segments().pop();
        let last = match last {
            Some(last) => last,
            None => start_segment(&log, None, sequence, checksum)?,
        };
        let Segment { file, end, sealed, .. } = last;
        // Offsets in a table of contents are 32 bits wide.
        let segment_bytes_max = sizes.segment_bytes_max.min(1 << 30);
        let room_bytes = sizes.room_bytes;
        let stats = Stats::default();
        Ok(Writer { log, segment_bytes_max, room_bytes, file, end, room: 0, sealed, sequence, checksum, stats })
    }

    /// The highest sequence used: the last durable record's.
    pub(crate) fn sequence(&self) -> Sequence {
        self.sequence
    }

    /// What it has done so far.
    pub(crate) fn stats(&self) -> Stats {
        self.stats
    }

    /// Writes `group` in one piece and syncs it. Either all of it is durable, or it failed as a whole. Returns the first
    /// one's sequence; the others follow.
    ///
    /// # Errors
    /// [`WriteError`]
    pub(crate) fn write(&mut self, group: &[&Body]) -> Result<Sequence, WriteError> {
        let group_bytes = group.iter().map(|body| RecordHeader::BYTES + body.bytes().len()).sum();
        let begun = self.end > SegmentHeader::BYTES as u64;
        if self.sealed || (begun && self.end + group_bytes as u64 > self.segment_bytes_max) {
            self.roll()?;
        }
        let first = self.sequence.next();
        let mut piece = Vec::with_capacity(group_bytes);
        let mut places = Vec::with_capacity(group.len());
        let mut checksum = self.checksum;
        for (sequence, body) in (first.0..).map(Sequence).zip(group) {
            let header = body.header(sequence, self.sequence);
            places.push(Place::of(&header, self.end + piece.len() as u64));
            let (header, header_checksum) = header.encode(self.log.folder);
            checksum = header_checksum;
            piece.extend_from_slice(&header);
            piece.extend_from_slice(body.bytes());
        }
        self.append(&mut piece)?;
        self.stats.groups += 1;
        self.stats.records += group.len() as u64;
        self.stats.bytes += group_bytes as u64;
        self.end += group_bytes as u64;
        self.sequence = Sequence(self.sequence.0 + group.len() as u64);
        self.checksum = checksum;
        self.log.publish(&places);
        Ok(first)
    }

    /// Writes `piece` behind everything there is and syncs it, with some room behind it if there is none left.
    fn append(&mut self, piece: &mut Vec<u8>) -> Result<(), WriteError> {
        let bytes = piece.len() as u64;
        // Not with a segment's first group: all that is in the file then may be lost, and must not look like more.
        let begun = self.end > SegmentHeader::BYTES as u64;
        if bytes > self.room && begun {
            let room = self.room_bytes.min(self.segment_bytes_max.saturating_sub(self.end + bytes));
            piece.resize(piece.len() + room as usize, 0);
        }
        let mut written = self.file.write_at(self.end, piece);
        if written.as_ref().is_err_and(is_full) && piece.len() as u64 > bytes {
            // There may be enough for the group alone.
            piece.truncate(bytes as usize);
            written = self.file.truncate(self.end).and_then(|()| self.file.write_at(self.end, piece));
        }
        if written.as_ref().is_err_and(is_full) {
            return Err(self.take_back());
        }
        written.and_then(|()| self.sync()).map_err(broken)?;
        self.room = self.room.saturating_sub(bytes).max(piece.len() as u64 - bytes);
        Ok(())
    }

    /// Removes what a write left that found the disk full: synced, so that it does not come back after a power cut.
    fn take_back(&mut self) -> WriteError {
        self.room = 0;
        match self.file.truncate(self.end).and_then(|()| self.sync()) {
            Ok(()) => WriteError::Full,
            Err(error) => broken(error),
        }
    }

    /// Writes `table` as the file's last bytes and syncs it.
    fn finish(&mut self, table: &[u8]) -> Result<(), WriteError> {
        self.room = 0;
        let written = self.file.truncate(self.end).and_then(|()| self.file.write_at(self.end, table));
        if written.as_ref().is_err_and(is_full) {
            return Err(self.take_back());
        }
        written.and_then(|()| self.sync()).map_err(broken)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.stats.syncs += 1;
        if planted!(AckBeforeSync) { Ok(()) } else { self.file.sync() }
    }

    /// Starts another segment, unless nothing is in the last one.
    ///
    /// # Errors
    /// [`WriteError`]
    pub(crate) fn seal(&mut self) -> Result<(), WriteError> {
        let begun = self.end > SegmentHeader::BYTES as u64;
        if begun || self.sealed { self.roll() } else { Ok(()) }
    }

    /// Seals the segment with its table of contents, and starts the next. The last group of the old one is durable, so all
    /// of it is.
    fn roll(&mut self) -> Result<(), WriteError> {
        let last = self.log.segments().pop();
        if !self.sealed {
            let table = last.as_ref().map(|last| last.contents.encode(self.end)).unwrap_or_default();
            self.finish(&table)?;
            self.sealed = true;
        }
        let segment = start_segment(&self.log, last.as_ref(), self.sequence, self.checksum)?;
        (self.file, self.end, self.room, self.sealed) = (segment.file, segment.end, 0, false);
        self.stats.sealed += 1;
        Ok(())
    }
}

fn is_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::StorageFull
}

fn broken(error: io::Error) -> WriteError {
    WriteError::Broken(Arc::new(error))
}

/// Makes a segment behind `last` whose name is durable; its header becomes so with the first group.
fn start_segment(log: &Log, last: Option<&Segment>, sequence: Sequence, checksum: u32) -> Result<Segment, WriteError> {
    let header = SegmentHeader {
        segment: last.map_or(0, Segment::last_number) + 1,
        first_sequence: sequence.next(),
        secret: log.secret.0,
        previous_checksum: checksum,
        compacted: None,
    };
    let path = segment_path(&log.dir, header.segment);
    let file = match log.disk.create(&path) {
        Err(full) if full.kind() == io::ErrorKind::StorageFull => return Err(WriteError::Full),
        made => made.map_err(broken)?,
    };
    match file.write_at(0, &header.encode()) {
        Err(full) if full.kind() == io::ErrorKind::StorageFull => {
            log.disk.remove(&path).map_err(broken)?;
            return Err(WriteError::Full);
        }
        written => written.map_err(broken)?,
    }
    if !planted!(LostDirSync) {
        log.disk.sync_dir(&log.dir).map_err(broken)?;
    }
    let segment = Segment {
        number: header.segment,
        first: Some(First::from(&header)),
        file: Arc::from(file),
        end: SegmentHeader::BYTES as u64,
        contents: Arc::new(Contents::new(header.first_sequence)),
        sealed: false,
        damaged: Arc::new([]),
    };
    log.add_segment(segment.clone());
    Ok(segment)
}

//! The one writer: a group of records in one piece, then one sync.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ibid_runtime::{Disk, DiskFile};

use super::tail::Tail;
use super::{Log, segment_path};
use crate::frame::{Body, FolderId, RecordHeader, SegmentHeader};
use crate::segment::{First, Segment};
use crate::{Committed, LedgerError};

/// What the ledger has done since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Records made durable.
    pub records: u64,
    /// Groups of records, each written in one piece and synced once.
    pub groups: u64,
    /// Calls of `fdatasync`.
    pub syncs: u64,
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
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    log: Arc<Log>,
    secret: [u8; 32],
    segment_bytes_max: u64,
    number: u32,
    file: Arc<dyn DiskFile>,
    end: u64,
    sequence: u64,
    checksum: u32,
    stats: Stats,
}

impl Writer {
    /// A writer that goes on at the log's `tail`, or starts its first segment.
    ///
    /// # Errors
    /// [`LedgerError::Write`], [`LedgerError::Full`]: the first segment cannot be made.
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        log: Arc<Log>,
        secret: [u8; 32],
        segment_bytes_max: u64,
        tail: &Tail,
    ) -> Result<Writer, LedgerError> {
        let (sequence, checksum) = (tail.sequence, tail.checksum);
        let last = log.segments().last().cloned();
        let last = match last {
            Some(last) => last,
            None => {
                let header = SegmentHeader { segment: 1, first_sequence: 1, secret, previous_checksum: 0 };
                start_segment(&*disk, &dir, &log, &header)?
            }
        };
        let Segment { number, file, end, .. } = last;
        Ok(Writer {
            disk,
            dir,
            log,
            secret,
            segment_bytes_max,
            number,
            file,
            end,
            sequence,
            checksum,
            stats: Stats::default(),
        })
    }

    /// The highest sequence used: the last durable record's.
    pub(crate) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// What it has done so far.
    pub(crate) fn stats(&self) -> Stats {
        self.stats
    }

    /// Writes `group` in one piece and syncs it. Either all of it is durable, or it failed as a whole.
    ///
    /// # Errors
    /// [`WriteError`]
    pub(crate) fn write(&mut self, group: &[&Body]) -> Result<Vec<Committed>, WriteError> {
        let group_bytes = group.iter().map(|body| RecordHeader::BYTES + body.bytes().len()).sum();
        let begun = self.end > SegmentHeader::BYTES as u64;
        if begun && self.end + group_bytes as u64 > self.segment_bytes_max {
            self.roll()?;
        }
        let folder = FolderId::of(&self.secret);
        let mut piece = Vec::with_capacity(group_bytes);
        let mut committed = Vec::with_capacity(group.len());
        let mut checksum = self.checksum;
        for (sequence, body) in (self.sequence + 1..).zip(group) {
            let header = body.header(sequence, self.sequence);
            let position = header.position(self.number, self.end + piece.len() as u64);
            committed.push(Committed { sequence, position });
            let (header, header_checksum) = header.encode(folder);
            checksum = header_checksum;
            piece.extend_from_slice(&header);
            piece.extend_from_slice(body.bytes());
        }
        match self.file.write_at(self.end, &piece) {
            Err(full) if full.kind() == io::ErrorKind::StorageFull => return Err(self.take_back()),
            written => written.map_err(broken)?,
        }
        self.sync().map_err(broken)?;
        self.stats.groups += 1;
        self.stats.records += group.len() as u64;
        self.end += piece.len() as u64;
        self.sequence += group.len() as u64;
        self.checksum = checksum;
        self.log.publish(self.end);
        Ok(committed)
    }

    /// Removes what a write left that found the disk full: synced, so that it does not come back after a power cut.
    fn take_back(&mut self) -> WriteError {
        match self.file.truncate(self.end).and_then(|()| self.sync()) {
            Ok(()) => WriteError::Full,
            Err(error) => broken(error),
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        self.stats.syncs += 1;
        if planted!(AckBeforeSync) { Ok(()) } else { self.file.sync() }
    }

    /// Starts the next segment. The last group of the old one is durable, so all of it is.
    fn roll(&mut self) -> Result<(), WriteError> {
        let header = SegmentHeader {
            segment: self.number + 1,
            first_sequence: self.sequence + 1,
            secret: self.secret,
            previous_checksum: self.checksum,
        };
        let segment = start_segment(&*self.disk, &self.dir, &self.log, &header)?;
        (self.number, self.file, self.end) = (segment.number, segment.file, segment.end);
        Ok(())
    }
}

fn broken(error: io::Error) -> WriteError {
    WriteError::Broken(Arc::new(error))
}

/// Makes a segment whose name is durable; its header becomes so with the first group.
fn start_segment(disk: &dyn Disk, dir: &Path, log: &Log, header: &SegmentHeader) -> Result<Segment, WriteError> {
    let path = segment_path(dir, header.segment);
    let file = match disk.create(&path) {
        Err(full) if full.kind() == io::ErrorKind::StorageFull => return Err(WriteError::Full),
        made => made.map_err(broken)?,
    };
    match file.write_at(0, &header.encode()) {
        Err(full) if full.kind() == io::ErrorKind::StorageFull => {
            disk.remove(&path).map_err(broken)?;
            return Err(WriteError::Full);
        }
        written => written.map_err(broken)?,
    }
    if !planted!(LostDirSync) {
        disk.sync_dir(dir).map_err(broken)?;
    }
    let first = First { sequence: header.first_sequence, previous_checksum: header.previous_checksum };
    let end = SegmentHeader::BYTES as u64;
    let segment = Segment { number: header.segment, first: Some(first), file: Arc::from(file), end };
    log.add_segment(segment.clone());
    Ok(segment)
}

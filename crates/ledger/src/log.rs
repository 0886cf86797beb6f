//! The log: segments in order, `log/<20 digits>.log`. Opening, reading, scanning; `log/writer.rs` appends.
//!
//! What may be cut from the end. A group of records is written in one piece and synced before the next one is written,
//! and every record says which sequence was durable when it was written. So a record that a later one calls durable was
//! synced: if it is damaged, it is reported and stepped over. A damaged record that no later one calls durable belongs
//! to the last group: its sync never ended, nobody was told that it is kept, and the log is cut there. Only where the
//! last group was synced and then damaged, with no group after it, is the cut too much; closing the ledger writes a
//! last record, which leaves no such group.

mod tail;
mod writer;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use ibid_runtime::{Disk, DiskFile};

use crate::frame::{self, BODY_BYTES_MAX, FolderId, RecordHeader, SegmentHeader};
use crate::segment::{Bodies, First, Segment, Step, Walk};
use crate::{LedgerError, Position, Record};

pub use writer::Stats;
pub(crate) use writer::{WriteError, Writer};

/// A piece of the log that cannot be read. The rest is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damaged {
    /// The first record that is lost or in doubt.
    pub sequence: u64,
    /// The segment's number.
    pub segment: u32,
    /// Where in the segment, in bytes.
    pub offset: u64,
}

/// The log as readers see it: what is durable.
#[derive(Debug)]
pub(crate) struct Log {
    folder: FolderId,
    segments: RwLock<Vec<Segment>>,
}

/// What opening the log found.
pub(crate) struct Opened {
    pub(crate) log: Arc<Log>,
    pub(crate) writer: Writer,
    pub(crate) secret: [u8; 32],
    pub(crate) torn_bytes: u64,
    /// The last record, if it says that the index was whole.
    pub(crate) checkpoint: Option<Position>,
}

/// A record that a scan came by.
pub(crate) struct Seen<'a> {
    pub(crate) header: RecordHeader,
    pub(crate) position: Position,
    /// Empty where bodies are skipped.
    pub(crate) body: &'a [u8],
}

impl Seen<'_> {
    /// The record, reported as one that cannot be read.
    pub(crate) fn damaged(&self) -> Damaged {
        Damaged { sequence: self.header.sequence, segment: self.position.segment, offset: self.position.offset }
    }
}

impl Log {
    /// Opens the log in `dir`, or makes one with the secret that `fresh` draws. Torn writes are cut from its end; what is
    /// left is durable when this returns.
    ///
    /// # Errors
    /// The disk; [`LedgerError::Newer`]; [`LedgerError::NoSecret`].
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        segment_bytes_max: u64,
        fresh: impl FnOnce() -> [u8; 32],
    ) -> Result<Opened, LedgerError> {
        disk.create_dir_all(&dir).map_err(LedgerError::read("make the log's folder"))?;
        let (mut segments, secret) = open_segments(&*disk, &dir)?;
        let secret = match secret {
            Some(secret) => secret,
            None if never_acknowledged(&segments) => fresh(),
            None => return Err(LedgerError::NoSecret),
        };
        let folder = FolderId::of(&secret);
        let tail = tail::settle(&*disk, &dir, &mut segments, folder)?;
        let torn_bytes = tail.torn_bytes;
        let checkpoint = tail.checkpoint;
        let log = Arc::new(Log { folder, segments: RwLock::new(segments) });
        let writer = Writer::new(disk, dir, Arc::clone(&log), secret, segment_bytes_max, &tail)?;
        Ok(Opened { log, writer, secret, torn_bytes, checkpoint })
    }

    /// The record at `position`, with its sequence.
    ///
    /// # Errors
    /// [`LedgerError::Corrupt`] for anything but a whole record that ends there; [`LedgerError::Read`].
    pub(crate) fn read(&self, position: Position) -> Result<(u64, Record), LedgerError> {
        let corrupt = || LedgerError::Corrupt { segment: position.segment, offset: position.offset };
        let file = self.file_of(position).ok_or_else(corrupt)?;
        let mut bytes = vec![0; position.bytes as usize];
        file.read_at(position.offset, &mut bytes).map_err(LedgerError::read("read a record"))?;
        let header = RecordHeader::decode(&bytes, self.folder)?.ok_or_else(corrupt)?;
        let body = &bytes[RecordHeader::BYTES..];
        let record = if header.fits(body) { Record::decode(body) } else { None };
        Ok((header.sequence, record.ok_or_else(corrupt)?))
    }

    fn file_of(&self, position: Position) -> Option<Arc<dyn DiskFile>> {
        let fits = RecordHeader::BYTES..=RecordHeader::BYTES + BODY_BYTES_MAX as usize;
        if !fits.contains(&(position.bytes as usize)) {
            return None;
        }
        let segments = self.segments();
        let index = segments.binary_search_by_key(&position.segment, |segment| segment.number).ok()?;
        let end = position.offset.checked_add(u64::from(position.bytes))?;
        (end <= segments[index].end).then(|| Arc::clone(&segments[index].file))
    }

    /// Shows `visit` every whole record from `from` on, in order, until it breaks off; returns what was damaged on the
    /// way. Records appended after the call may be left out.
    ///
    /// # Errors
    /// The disk, [`LedgerError::Newer`], or what `visit` fails with.
    pub(crate) fn scan(
        &self,
        from: u64,
        bodies: Bodies,
        visit: &mut dyn FnMut(Seen<'_>) -> Result<ControlFlow<()>, LedgerError>,
    ) -> Result<Vec<Damaged>, LedgerError> {
        let segments = self.segments().clone();
        let starts_before = |segment: &Segment| segment.first.is_some_and(|first| first.sequence <= from);
        let start = segments.iter().rposition(starts_before).unwrap_or(0);
        let mut damaged = Vec::new();
        let mut seam = Seam::before(segments.get(start).filter(|_| start > 0));
        'segments: for segment in segments.get(start..).unwrap_or_default() {
            seam.join(segment, &mut damaged);
            let mut walk = Walk::new(segment, self.folder, seam.expected, bodies);
            while let Some(step) = walk.next()? {
                match step {
                    Step::Damaged { sequence, offset } => {
                        damaged.push(Damaged { sequence, segment: segment.number, offset });
                        seam.checksum = None;
                    }
                    Step::Record { header, header_checksum, offset, body } => {
                        seam.checksum = Some(header_checksum);
                        let position = header.position(segment.number, offset);
                        if header.sequence >= from && visit(Seen { header, position, body })?.is_break() {
                            break 'segments;
                        }
                    }
                }
            }
            (seam.number, seam.end, seam.expected) = (segment.number, segment.end, walk.expected());
        }
        damaged.retain(|damaged| damaged.sequence >= from);
        Ok(damaged)
    }

    fn segments(&self) -> std::sync::RwLockReadGuard<'_, Vec<Segment>> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn add_segment(&self, segment: Segment) {
        self.segments.write().unwrap_or_else(PoisonError::into_inner).push(segment);
    }

    /// Lets readers see the last segment up to `end`.
    fn publish(&self, end: u64) {
        if let Some(last) = self.segments.write().unwrap_or_else(PoisonError::into_inner).last_mut() {
            last.end = end;
        }
    }
}

/// Where one segment should join the next.
struct Seam {
    number: u32,
    end: u64,
    expected: u64,
    /// The last record's header checksum; `None` if it is not known.
    checksum: Option<u32>,
}

impl Seam {
    /// The seam in front of `segment`, or of the log's start.
    fn before(segment: Option<&Segment>) -> Seam {
        let first = segment.and_then(|segment| segment.first);
        let number = segment.map_or(0, |segment| segment.number - 1);
        Seam { number, end: 0, expected: first.map_or(1, |first| first.sequence), checksum: None }
    }

    /// Reports what is missing between the seam and `segment`, and moves on to its first record.
    fn join(&mut self, segment: &Segment, damaged: &mut Vec<Damaged>) {
        match segment.first {
            None => damaged.push(Damaged { sequence: self.expected, segment: segment.number, offset: 0 }),
            Some(first) if first.sequence > self.expected => {
                let (number, offset) =
                    if segment.number == self.number + 1 { (self.number, self.end) } else { (self.number + 1, 0) };
                damaged.push(Damaged { sequence: self.expected, segment: number, offset });
                self.expected = first.sequence;
            }
            // Another history was put in place of what stood here.
            Some(first) if self.checksum.is_some_and(|checksum| checksum != first.previous_checksum) => {
                damaged.push(Damaged { sequence: self.expected, segment: segment.number, offset: 0 });
            }
            Some(_) => {}
        }
    }
}

fn segment_path(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("{number:020}.log"))
}

fn segment_number(name: &Path) -> Option<u32> {
    let digits = name.to_str()?.strip_suffix(".log")?;
    (digits.len() == 20).then(|| digits.parse().ok())?
}

/// The segments there are, in order, up to their last byte, and the folder's secret if one of them has it.
fn open_segments(disk: &dyn Disk, dir: &Path) -> Result<(Vec<Segment>, Option<[u8; 32]>), LedgerError> {
    let names = disk.list(dir).map_err(LedgerError::read("list the log's folder"))?;
    let mut segments = Vec::new();
    let (mut secret, mut spare_secret) = (None, None);
    for number in names.iter().filter_map(|name| segment_number(name)) {
        let file = disk.open(&segment_path(dir, number)).map_err(LedgerError::read("open a segment"))?;
        let end = file.len().map_err(LedgerError::read("open a segment"))?;
        let header = segment_header(&*file, end)?.filter(|header| header.segment == number);
        let first = header
            .as_ref()
            .map(|header| First { sequence: header.first_sequence, previous_checksum: header.previous_checksum });
        secret = secret.or(header.map(|header| header.secret));
        if first.is_none() {
            spare_secret = spare_secret.or(first_record_secret(&*file, end)?);
        }
        segments.push(Segment { number, first, file: Arc::from(file), end });
    }
    Ok((segments, secret.or(spare_secret)))
}

fn segment_header(file: &dyn DiskFile, end: u64) -> Result<Option<SegmentHeader>, LedgerError> {
    let mut bytes = [0; SegmentHeader::BYTES];
    if end < bytes.len() as u64 {
        return Ok(None);
    }
    file.read_at(0, &mut bytes).map_err(LedgerError::read("read a segment's header"))?;
    SegmentHeader::decode(&bytes)
}

/// The most that a folder's first group takes: one `FolderCreated`.
const FIRST_GROUP_BYTES_MAX: u64 = (SegmentHeader::BYTES + RecordHeader::BYTES + 64) as u64;

fn first_record_secret(file: &dyn DiskFile, end: u64) -> Result<Option<[u8; 32]>, LedgerError> {
    let start = SegmentHeader::BYTES as u64;
    let bytes = end.min(FIRST_GROUP_BYTES_MAX).saturating_sub(start);
    if bytes == 0 {
        return Ok(None);
    }
    let mut bytes = vec![0; usize::try_from(bytes).expect("at most the first group")];
    file.read_at(start, &mut bytes).map_err(LedgerError::read("read the first record"))?;
    Ok(frame::secret_of_first_record(&bytes))
}

/// Whether a log without any secret is one whose making was cut off: its first group is all there is.
fn never_acknowledged(segments: &[Segment]) -> bool {
    match segments {
        [] => true,
        [only] => only.number == 1 && only.end <= FIRST_GROUP_BYTES_MAX,
        [_, _, ..] => false,
    }
}

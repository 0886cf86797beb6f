//! Opening the log: its files put in order, and where each record stands.

use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use ibid_runtime::{Disk, DiskFile};

use super::tail;
use super::{Damaged, Log, Secret, Sizes, State, Writer, segment_number, segment_path};
use crate::contents::{Contents, Place};
use crate::frame::{self, FolderId, RecordHeader, SegmentHeader};
use crate::keys::TenantKeys;
use crate::segment::{Bodies, First, Segment, Step, Walk};
use crate::{LedgerError, Sequence};

/// What opening the log found.
pub(crate) struct Opened {
    pub(crate) log: Arc<Log>,
    pub(crate) writer: Writer,
    pub(crate) torn_bytes: u64,
    /// The last record, if it says that the index was whole.
    pub(crate) checkpoint: Option<Sequence>,
}

impl Log {
    /// Opens the log in `dir`, or makes one with the secret that `fresh` draws. Torn writes are cut from its end; what is
    /// left is durable when this returns.
    ///
    /// # Errors
    /// The disk; [`LedgerError::Newer`]; [`LedgerError::Older`]; [`LedgerError::NoSecret`].
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        sizes: Sizes,
        keys: Arc<TenantKeys>,
        fresh: impl FnOnce() -> [u8; 32],
    ) -> Result<Opened, LedgerError> {
        disk.create_dir_all(&dir).map_err(LedgerError::read("make the log's folder"))?;
        let (mut files, secret) = open_files(&*disk, &dir)?;
        let secret = match secret {
            Some(secret) => secret,
            None if never_acknowledged(&files) => fresh(),
            None => return Err(LedgerError::NoSecret),
        };
        remove_compacted(&*disk, &dir, &mut files)?;
        let folder = FolderId::of(&secret);
        let mut seam = Seam::default();
        let mut segments = files.into_iter().map(|file| seam.join(file, folder)).collect::<Result<Vec<_>, _>>()?;
        let tail = tail::settle(&*disk, &dir, &mut segments, folder)?;
        let state = RwLock::new(State { segments, replaced: Vec::new() });
        let log = Arc::new(Log { disk, dir, folder, secret: Secret(secret), keys, state });
        let writer = Writer::new(Arc::clone(&log), sizes, &tail)?;
        Ok(Opened { log, writer, torn_bytes: tail.torn_bytes, checkpoint: tail.checkpoint })
    }
}

/// A segment's file, before its records are known.
struct SegmentFile {
    number: u32,
    first: Option<First>,
    file: Arc<dyn DiskFile>,
    /// Its length.
    bytes: u64,
}

/// The files there are, in order, and the folder's secret if one of them has it. Compacting that was cut off is swept up.
fn open_files(disk: &dyn Disk, dir: &Path) -> Result<(Vec<SegmentFile>, Option<[u8; 32]>), LedgerError> {
    let names = disk.list(dir).map_err(LedgerError::read("list the log's folder"))?;
    let mut files = Vec::new();
    let (mut secret, mut spare_secret) = (None, None);
    for name in names {
        if name.extension().is_some_and(|extension| extension == "new") {
            disk.remove(&dir.join(&name)).map_err(LedgerError::read("remove what compacting left"))?;
            continue;
        }
        let Some(number) = segment_number(&name) else { continue };
        let file = disk.open(&segment_path(dir, number)).map_err(LedgerError::read("open a segment"))?;
        let bytes = file.len().map_err(LedgerError::read("open a segment"))?;
        let own = |header: &SegmentHeader| header.segment == number;
        let header = twice(|| Ok(segment_header(&*file, bytes)?.filter(own)))?;
        let first = header.as_ref().map(First::from);
        secret = secret.or(header.map(|header| header.secret));
        if first.is_none() {
            spare_secret = spare_secret.or(twice(|| first_record_secret(&*file, bytes))?);
        }
        files.push(SegmentFile { number, first, file: Arc::from(file), bytes });
    }
    Ok((files, secret.or(spare_secret)))
}

/// What does not read well is read once more: a bit may have changed on its way from the disk.
fn twice<T>(read: impl Fn() -> Result<Option<T>, LedgerError>) -> Result<Option<T>, LedgerError> {
    match read()? {
        Some(found) => Ok(Some(found)),
        None => read(),
    }
}

fn segment_header(file: &dyn DiskFile, len: u64) -> Result<Option<SegmentHeader>, LedgerError> {
    let mut bytes = [0; SegmentHeader::BYTES];
    if len < bytes.len() as u64 {
        return Ok(None);
    }
    file.read_at(0, &mut bytes).map_err(LedgerError::read("read a segment's header"))?;
    SegmentHeader::decode(&bytes)
}

/// The most that a folder's first group takes: one `FolderCreated`.
const FIRST_GROUP_BYTES_MAX: u64 = (SegmentHeader::BYTES + RecordHeader::BYTES + 64) as u64;

fn first_record_secret(file: &dyn DiskFile, len: u64) -> Result<Option<[u8; 32]>, LedgerError> {
    let start = SegmentHeader::BYTES as u64;
    let bytes = len.min(FIRST_GROUP_BYTES_MAX).saturating_sub(start);
    if bytes == 0 {
        return Ok(None);
    }
    let mut bytes = vec![0; usize::try_from(bytes).expect("at most the first group")];
    file.read_at(start, &mut bytes).map_err(LedgerError::read("read the first record"))?;
    Ok(frame::secret_of_first_record(&bytes))
}

/// Whether a log without any secret is one whose making was cut off: its first group is all there is.
fn never_acknowledged(files: &[SegmentFile]) -> bool {
    match files {
        [] => true,
        [only] => only.number == 1 && only.bytes <= FIRST_GROUP_BYTES_MAX,
        [_, _, ..] => false,
    }
}

/// Removes the segments that a compacted one stands for: it was whole and durable before they were to go.
fn remove_compacted(disk: &dyn Disk, dir: &Path, files: &mut Vec<SegmentFile>) -> Result<(), LedgerError> {
    let mut covered = 0;
    let mut gone = Vec::new();
    files.retain(|file| {
        let leftover = file.number <= covered;
        if leftover {
            gone.push(file.number);
        }
        let compacted = file.first.and_then(|first| first.compacted).filter(|_| !leftover);
        covered = compacted.map_or(covered, |from| covered.max(from.segment));
        !leftover
    });
    for number in gone {
        disk.remove(&segment_path(dir, number)).map_err(LedgerError::read("remove a compacted segment"))?;
    }
    Ok(())
}

/// Where one segment should join the next.
struct Seam {
    /// The last segment before.
    number: u32,
    /// Where its records end.
    end: u64,
    /// The sequence that should come next.
    expected: Sequence,
    /// The last record's header checksum; `None` if it is not known.
    checksum: Option<u32>,
}

impl Default for Seam {
    fn default() -> Seam {
        Seam { number: 0, end: 0, expected: Sequence(1), checksum: None }
    }
}

impl Seam {
    /// Finds the records of the next segment, and what is missing before it or damaged in it; moves on to its end.
    fn join(&mut self, found: SegmentFile, folder: FolderId) -> Result<Segment, LedgerError> {
        let SegmentFile { number, first, file, bytes } = found;
        let mut damaged: Vec<Damaged> = self.missing(number, first).into_iter().collect();
        if let Some(first) = first {
            self.expected = self.expected.max(first.sequence);
        }
        let contents = Arc::new(Contents::new(self.expected));
        let mut segment = Segment { number, first, file, end: bytes, contents, sealed: false, damaged: Arc::new([]) };
        match twice(|| table(&segment))? {
            Some((contents, end)) => {
                (segment.contents, segment.end, segment.sealed) = (Arc::new(contents), end, true);
                self.expected = segment.next_sequence();
                self.checksum = last_checksum(&segment, folder)?;
            }
            None => {
                let walked = walk(&segment, folder, self.expected)?;
                damaged.extend(walked.damaged);
                segment.contents = Arc::new(walked.contents);
                self.expected = walked.expected.max(segment.next_sequence());
                self.checksum = walked.checksum;
            }
        }
        let compacted = first.and_then(|first| first.compacted);
        (self.number, self.end) = (compacted.map_or(number, |from| from.segment), segment.end);
        self.checksum = compacted.map(|from| from.checksum).or(self.checksum);
        segment.damaged = damaged.into();
        Ok(segment)
    }

    /// What is missing between the seam and a segment.
    fn missing(&self, number: u32, first: Option<First>) -> Option<Damaged> {
        let here = Damaged { sequence: self.expected, segment: number, offset: 0 };
        match first {
            None => Some(here),
            Some(first) if first.sequence > self.expected => {
                let adjacent = number == self.number + 1;
                let (segment, offset) = if adjacent { (self.number, self.end) } else { (self.number + 1, 0) };
                Some(Damaged { segment, offset, ..here })
            }
            // Another history was put in place of what stood here.
            Some(first) => self.checksum.filter(|checksum| *checksum != first.previous_checksum).map(|_| here),
        }
    }
}

/// The byte after the last one of `file`, `bytes` long, that is not zero: room is left out, also some that was cut off and came
/// back with a power cut.
fn written_end(file: &dyn DiskFile, bytes: u64) -> Result<u64, LedgerError> {
    let mut end = bytes;
    while end > 0 {
        let mut piece = vec![0; end.min(16 << 10) as usize];
        let start = end - piece.len() as u64;
        file.read_at(start, &mut piece).map_err(LedgerError::read("look for a segment's end"))?;
        if let Some(last) = piece.iter().rposition(|byte| *byte != 0) {
            return Ok(start + last as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// The table of contents behind the segment's records, and where it starts; `None` if there is none, or not a whole one.
fn table(segment: &Segment) -> Result<Option<(Contents, u64)>, LedgerError> {
    let read = LedgerError::read("read a segment's table of contents");
    let end = written_end(&*segment.file, segment.end)?;
    let Some(tail_at) = end.checked_sub(Contents::TAIL_BYTES) else { return Ok(None) };
    let mut tail = [0; Contents::TAIL_BYTES as usize];
    segment.file.read_at(tail_at, &mut tail).map_err(read)?;
    let start = Contents::length(&tail).and_then(|length| end.checked_sub(length));
    let Some(start) = start.filter(|start| *start >= SegmentHeader::BYTES as u64) else { return Ok(None) };
    let mut bytes = vec![0; usize::try_from(end - start).unwrap_or(0)];
    segment.file.read_at(start, &mut bytes).map_err(LedgerError::read("read a segment's table of contents"))?;
    let contents = Contents::decode(&bytes, start);
    Ok(contents
        .filter(|contents| segment.first.is_none_or(|first| first.sequence == contents.first()))
        .map(|it| (it, start)))
}

/// The header checksum of the segment's last record; `None` if that is damaged.
fn last_checksum(segment: &Segment, folder: FolderId) -> Result<Option<u32>, LedgerError> {
    let Some(last) = segment.contents.last() else {
        return Ok(segment.first.map(|first| first.previous_checksum));
    };
    let mut bytes = [0; RecordHeader::BYTES];
    segment.file.read_at(last.offset, &mut bytes).map_err(LedgerError::read("read a record's header"))?;
    let header = RecordHeader::decode(&bytes, folder)?.filter(|header| header.sequence == last.sequence);
    Ok(header.map(|_| frame::checksum_at(&bytes)))
}

/// What a walk over a segment without a table found.
struct Walked {
    contents: Contents,
    damaged: Vec<Damaged>,
    expected: Sequence,
    checksum: Option<u32>,
}

fn walk(segment: &Segment, folder: FolderId, expected: Sequence) -> Result<Walked, LedgerError> {
    let mut contents = Contents::new(expected);
    let mut damaged = Vec::new();
    let mut checksum = segment.first.map(|first| first.previous_checksum);
    let mut walk = Walk::new(segment, folder, expected, Bodies::Skip);
    while let Some(step) = walk.next()? {
        match step {
            Step::Damaged { sequence, offset } => {
                damaged.push(Damaged { sequence, segment: segment.number, offset });
                checksum = None;
            }
            Step::Record { header, header_checksum, offset } => {
                contents.push(Place::of(&header, offset));
                checksum = Some(header_checksum);
            }
        }
    }
    Ok(Walked { contents, damaged, expected: walk.expected(), checksum })
}

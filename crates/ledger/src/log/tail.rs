//! The log's end, after whatever ended the last process.

use std::cmp::Reverse;
use std::io;
use std::path::Path;
use std::sync::Arc;

use ibid_runtime::{Disk, DiskFile};

use super::{Damaged, segment_path};
use crate::contents::{Contents, Place};
use crate::frame::FolderId;
use crate::segment::{Bodies, Segment, Step, Walk};
use crate::{LedgerError, RecordKind, Sequence};

/// Where the log goes on.
pub(super) struct Tail {
    /// The highest sequence used.
    pub(super) sequence: Sequence,
    /// The header checksum of the last record; 0 before the first.
    pub(super) checksum: u32,
    /// Bytes of unacknowledged writes that were cut.
    pub(super) torn_bytes: u64,
    /// The last record, if it is an [`RecordKind::IndexCheckpoint`].
    pub(super) checkpoint: Option<Sequence>,
}

/// How often the log's end is read before it counts as read.
const END_READS: usize = 4;

/// What one reading of the last segment found.
struct Reading {
    tail: Tail,
    /// The highest sequence that a record calls durable; 0 if there is none.
    durable: Sequence,
    /// What is behind it was never acknowledged.
    cut: u64,
    /// From here up to the cut no record calls another one durable.
    unproved: u64,
    contents: Contents,
    damaged: Vec<Damaged>,
}

/// Cuts unacknowledged writes off the last of `segments` and makes the rest durable. Segments in which nothing was ever
/// acknowledged are removed.
///
/// # Errors
/// The disk; [`LedgerError::Newer`]; [`LedgerError::Older`].
pub(super) fn settle(
    disk: &dyn Disk,
    dir: &Path,
    segments: &mut Vec<Segment>,
    folder: FolderId,
) -> Result<Tail, LedgerError> {
    let mut torn_bytes = 0;
    while let Some((last, before)) = segments.split_last_mut() {
        let expected = before.last().map_or(Sequence(1), Segment::next_sequence);
        let expected = last.first.map_or(expected, |first| first.sequence);
        let reading = read_end(last, folder, expected)?;
        if last.first.is_none() && reading.durable < expected && !last.sealed {
            // Not even its header was synced.
            torn_bytes += last.end;
            disk.remove(&segment_path(dir, last.number)).map_err(LedgerError::read("remove a torn segment"))?;
            segments.pop();
            continue;
        }
        let mut tail = keep(last, reading)?;
        tail.torn_bytes += torn_bytes;
        disk.sync_dir(dir).map_err(LedgerError::read("sync the log's folder"))?;
        return Ok(tail);
    }
    disk.sync_dir(dir).map_err(LedgerError::read("sync the log's folder"))?;
    Ok(Tail { sequence: Sequence(0), checksum: 0, torn_bytes, checkpoint: None })
}

/// Reads the last segment, once more if not all of it is whole: a bit may have changed on its way from the disk, and nothing is
/// cut, or held to be damaged, that one of two readings has whole.
fn read_end(last: &Segment, folder: FolderId, expected: Sequence) -> Result<Reading, LedgerError> {
    let first = survey(last, folder, expected)?;
    if first.tail.torn_bytes == 0 && first.damaged.is_empty() {
        return Ok(first);
    }
    let second = survey(last, folder, expected)?;
    let whole = |reading: &Reading| (reading.contents.len(), Reverse(reading.tail.torn_bytes));
    Ok(if whole(&second) > whole(&first) { second } else { first })
}

/// The highest sequence that a record of `segment` calls durable; 0 if there is none. All of a sealed one is.
fn highest_durable(segment: &Segment, folder: FolderId, expected: Sequence) -> Result<Sequence, LedgerError> {
    let mut walk = Walk::new(segment, folder, expected, Bodies::Skip);
    while walk.next()?.is_some() {}
    let sealed = segment.contents.last().filter(|_| segment.sealed);
    Ok(walk.durable().max(sealed.map_or(Sequence(0), |last| last.sequence)))
}

fn survey(last: &Segment, folder: FolderId, expected: Sequence) -> Result<Reading, LedgerError> {
    let durable = highest_durable(last, folder, expected)?;
    let compacted = last.first.and_then(|first| first.compacted);
    let mut tail = Tail {
        sequence: Sequence(expected.0.saturating_sub(1)),
        checksum: last.first.map_or(0, |first| first.previous_checksum),
        torn_bytes: 0,
        checkpoint: None,
    };
    // The segment's header was synced with its first group.
    let (mut cut, mut unproved) = (None, (durable < expected).then_some(0));
    let mut contents = Contents::new(expected);
    // What is missing before the segment; what is damaged in it is told anew, now that bodies are read.
    let before = last.damaged.iter().filter(|damaged| damaged.segment != last.number || damaged.offset == 0);
    let mut damaged: Vec<Damaged> = before.copied().collect();
    let mut walk = Walk::new(last, folder, expected, Bodies::Verify);
    while let Some(step) = walk.next()? {
        match step {
            Step::Damaged { sequence, offset } if sequence > durable => {
                cut = Some(offset);
                break;
            }
            Step::Damaged { sequence, offset } => {
                damaged.push(Damaged { sequence, segment: last.number, offset });
                tail.checkpoint = None;
            }
            Step::Record { header, header_checksum, offset } => {
                if header.sequence > durable {
                    unproved = unproved.or(Some(offset));
                }
                contents.push(Place::of(&header, offset));
                tail.sequence = header.sequence;
                tail.checksum = header_checksum;
                let place = Place::of(&header, offset);
                tail.checkpoint = place.is(RecordKind::IndexCheckpoint).then_some(header.sequence);
            }
        }
    }
    tail.sequence = tail.sequence.max(durable);
    if let Some(from) = compacted {
        (tail.sequence, tail.checksum) = (tail.sequence.max(from.sequence), from.checksum);
    }
    let cut = cut.unwrap_or(walk.end());
    tail.torn_bytes = walk.content_from(cut)?;
    Ok(Reading { tail, durable, cut, unproved: unproved.unwrap_or(cut), contents, damaged })
}

/// Makes `last` what `reading` says of it, on the disk too.
fn keep(last: &mut Segment, reading: Reading) -> Result<Tail, LedgerError> {
    let failed = LedgerError::read("secure the log's end");
    if last.sealed {
        // Its records were durable before its table was written.
        last.file.len().and_then(|len| secure(last, len, last.end)).map_err(failed)?;
        return Ok(reading.tail);
    }
    secure(last, reading.cut, reading.unproved).map_err(failed)?;
    last.end = reading.cut;
    last.damaged = reading.damaged.into();
    last.contents = Arc::new(reading.contents);
    Ok(reading.tail)
}

/// Cuts `segment` at `cut` and makes the rest durable. What was read from `unproved` on is written once more: after a
/// failed sync the system may hold pages that it believes written and that never were.
fn secure(segment: &Segment, cut: u64, unproved: u64) -> io::Result<()> {
    if cut < segment.end {
        segment.file.truncate(cut)?;
    }
    let len = usize::try_from(cut - unproved).map_err(io::Error::other)?;
    let bytes = read_alike(&*segment.file, unproved, len)?;
    segment.file.write_at(unproved, &bytes)?;
    segment.file.sync()
}

/// Bytes that two readings in a row gave: they are written back.
fn read_alike(file: &dyn DiskFile, offset: u64, len: usize) -> io::Result<Vec<u8>> {
    let (mut bytes, mut again) = (vec![0; len], vec![0; len]);
    file.read_at(offset, &mut bytes)?;
    for _ in 1..END_READS {
        file.read_at(offset, &mut again)?;
        if bytes == again {
            return Ok(bytes);
        }
        std::mem::swap(&mut bytes, &mut again);
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "the disk reads the same bytes differently each time"))
}

//! The log's end, after whatever ended the last process.

use std::path::Path;
use std::sync::Arc;

use ibid_runtime::Disk;

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
        let durable = highest_durable(last, folder, expected)?;
        if last.first.is_none() && durable < expected && !last.sealed {
            // Not even its header was synced.
            torn_bytes += last.end;
            disk.remove(&segment_path(dir, last.number)).map_err(LedgerError::read("remove a torn segment"))?;
            segments.pop();
            continue;
        }
        let mut tail = survey(last, folder, expected, durable)?;
        tail.torn_bytes += torn_bytes;
        disk.sync_dir(dir).map_err(LedgerError::read("sync the log's folder"))?;
        return Ok(tail);
    }
    disk.sync_dir(dir).map_err(LedgerError::read("sync the log's folder"))?;
    Ok(Tail { sequence: Sequence(0), checksum: 0, torn_bytes, checkpoint: None })
}

/// The highest sequence that a record of `segment` calls durable; 0 if there is none. All of a sealed one is.
fn highest_durable(segment: &Segment, folder: FolderId, expected: Sequence) -> Result<Sequence, LedgerError> {
    let mut walk = Walk::new(segment, folder, expected, Bodies::Skip);
    while walk.next()?.is_some() {}
    let sealed = segment.contents.last().filter(|_| segment.sealed);
    Ok(walk.durable().max(sealed.map_or(Sequence(0), |last| last.sequence)))
}

fn survey(last: &mut Segment, folder: FolderId, expected: Sequence, durable: Sequence) -> Result<Tail, LedgerError> {
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
    if last.sealed {
        // Its records were durable before its table was written.
        let end = last.file.len().and_then(|len| secure(last, len, last.end));
        end.map_err(LedgerError::read("secure the log's end"))?;
        return Ok(tail);
    }
    secure(last, cut, unproved.unwrap_or(cut)).map_err(LedgerError::read("secure the log's end"))?;
    last.end = cut;
    last.damaged = damaged.into();
    last.contents = Arc::new(contents);
    Ok(tail)
}

/// Cuts `segment` at `cut` and makes the rest durable. What was read from `unproved` on is written once more: after a
/// failed sync the system may hold pages that it believes written and that never were.
fn secure(segment: &Segment, cut: u64, unproved: u64) -> std::io::Result<()> {
    if cut < segment.end {
        segment.file.truncate(cut)?;
    }
    let len = usize::try_from(cut - unproved).map_err(std::io::Error::other)?;
    let mut bytes = vec![0; len];
    segment.file.read_at(unproved, &mut bytes)?;
    segment.file.write_at(unproved, &bytes)?;
    segment.file.sync()
}

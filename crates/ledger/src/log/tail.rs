//! The log's end, after whatever ended the last process.

use std::path::Path;

use ibid_runtime::Disk;

use super::segment_path;
use crate::frame::FolderId;
use crate::segment::{Bodies, Segment, Step, Walk};
use crate::{LedgerError, Position, RecordKind};

/// Where the log goes on.
pub(super) struct Tail {
    /// The highest sequence used.
    pub(super) sequence: u64,
    /// The header checksum of the last record; 0 before the first.
    pub(super) checksum: u32,
    /// Bytes of unacknowledged writes that were cut.
    pub(super) torn_bytes: u64,
    /// The last record, if it is an [`RecordKind::IndexCheckpoint`].
    pub(super) checkpoint: Option<Position>,
}

/// Cuts unacknowledged writes off the last of `segments` and makes the rest durable. Segments in which nothing was ever
/// acknowledged are removed.
///
/// # Errors
/// The disk; [`LedgerError::Newer`].
pub(super) fn settle(
    disk: &dyn Disk,
    dir: &Path,
    segments: &mut Vec<Segment>,
    folder: FolderId,
) -> Result<Tail, LedgerError> {
    let mut torn_bytes = 0;
    while let Some((last, before)) = segments.split_last_mut() {
        let expected = match (last.first, before.last()) {
            (Some(first), _) => first.sequence,
            (None, Some(before)) => walk_to_end(before, folder)?,
            (None, None) => 1,
        };
        let durable = highest_durable(last, folder, expected)?;
        if last.first.is_none() && durable < expected {
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
    Ok(Tail { sequence: 0, checksum: 0, torn_bytes, checkpoint: None })
}

/// The highest sequence that a record of `segment` calls durable; 0 if there is none.
fn highest_durable(segment: &Segment, folder: FolderId, expected: u64) -> Result<u64, LedgerError> {
    let mut walk = Walk::new(segment, folder, expected, Bodies::Skip);
    while walk.next()?.is_some() {}
    Ok(walk.durable())
}

/// The sequence after the last record of `segment`.
fn walk_to_end(segment: &Segment, folder: FolderId) -> Result<u64, LedgerError> {
    let expected = segment.first.map_or(1, |first| first.sequence);
    let mut walk = Walk::new(segment, folder, expected, Bodies::Skip);
    while walk.next()?.is_some() {}
    Ok(walk.expected())
}

fn survey(last: &mut Segment, folder: FolderId, expected: u64, durable: u64) -> Result<Tail, LedgerError> {
    let mut tail = Tail {
        sequence: expected.saturating_sub(1),
        checksum: last.first.map_or(0, |first| first.previous_checksum),
        torn_bytes: 0,
        checkpoint: None,
    };
    // The segment's header was synced with its first group.
    let (mut cut, mut unproved) = (last.end, (durable < expected).then_some(0));
    let mut walk = Walk::new(last, folder, expected, Bodies::Verify);
    while let Some(step) = walk.next()? {
        match step {
            Step::Damaged { sequence, offset } if sequence > durable => {
                cut = offset;
                break;
            }
            Step::Damaged { .. } => tail.checkpoint = None,
            Step::Record { header, header_checksum, offset, .. } => {
                if header.sequence > durable {
                    unproved = unproved.or(Some(offset));
                }
                let position = header.position(last.number, offset);
                tail.sequence = header.sequence;
                tail.checksum = header_checksum;
                tail.checkpoint = header.is(RecordKind::IndexCheckpoint).then_some(position);
            }
        }
    }
    tail.sequence = tail.sequence.max(durable);
    tail.torn_bytes = last.end - cut;
    secure(last, cut, unproved.unwrap_or(cut)).map_err(LedgerError::read("secure the log's end"))?;
    last.end = cut;
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

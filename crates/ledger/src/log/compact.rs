//! Leaving out of the log what is of no use any more.
//!
//! Sealed segments that stand side by side are written anew, as one, without the records that nothing needs; what stays
//! keeps its sequence. The new file takes the first one's name in one step, and its header says which ones it stands for:
//! whatever ends the process, opening the log finds either all of the old ones or the new one.
//!
//! Writers do not wait for it. A reader that learned of a record just before may read it until the next call.

use std::io;
use std::sync::Arc;

use ibid_runtime::{Ctx, DiskFile};
use roaring::RoaringTreemap;

use super::{Found, Log, segment_path};
use crate::contents::{Contents, Place};
use crate::frame::{self, Body, CompactedFrom, RecordHeader, SegmentHeader};
use crate::keys::State as KeyState;
use crate::segment::{First, Segment, Window};
use crate::{LedgerError, RecordKind, Sequence};

/// Bytes written in one go.
const PIECE_BYTES: usize = 1 << 20;
/// A segment that would be shorter than one in so many of a full one is small: as many of them side by side become one.
const SMALL_SHARE: usize = 4;

/// Which records are of use.
#[derive(Debug, Default)]
pub(crate) struct Needed {
    /// As they are.
    pub(crate) whole: RoaringTreemap,
    /// For what [`crate::Record::remainder`] keeps of them.
    pub(crate) remainder: RoaringTreemap,
    /// Nothing is known of later ones.
    pub(crate) up_to: Sequence,
}

/// What compacting did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Compacted {
    /// Segments written anew.
    pub segments: u32,
    /// Their bytes before.
    pub bytes_before: u64,
    /// And after.
    pub bytes_after: u64,
    /// Records left out.
    pub records_dropped: u64,
}

/// What becomes of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Kept,
    Shortened,
    Dropped,
}

impl Needed {
    fn fate(&self, place: &Place) -> Fate {
        let sequence = place.sequence.0;
        let short = [RecordKind::PartitionMarked, RecordKind::PutRemembered].iter().any(|kind| place.is(*kind));
        if self.whole.contains(sequence) {
            Fate::Kept
        } else if self.remainder.contains(sequence) {
            if short { Fate::Kept } else { Fate::Shortened }
        } else {
            Fate::Dropped
        }
    }

    /// Bytes of the records that stay as they are, and of the others.
    fn weigh(&self, segment: &Segment) -> (u64, u64) {
        segment.contents.places().fold((0, 0), |(kept, gone), place| match self.fate(&place) {
            Fate::Kept => (kept + u64::from(place.bytes), gone),
            Fate::Shortened | Fate::Dropped => (kept, gone + u64::from(place.bytes)),
        })
    }
}

impl Log {
    /// Leaves out what is not `needed` of the sealed segments of which more than `dead_percent` is not. Damaged segments stay
    /// as they are.
    ///
    /// # Errors
    /// [`LedgerError::Full`], [`LedgerError::Stopped`], or the disk failed: the log holds what it held.
    pub(crate) fn compact(
        &self,
        ctx: &Ctx,
        needed: &Needed,
        dead_percent: u64,
        segment_bytes_max: u64,
    ) -> Result<Compacted, LedgerError> {
        self.release();
        let segments = self.segments();
        let mut done = Compacted::default();
        for run in due(&segments, needed, dead_percent, segment_bytes_max) {
            self.rewrite(ctx, run, needed, &mut done)?;
        }
        Ok(done)
    }

    /// Closes the files that were compacted last.
    pub(crate) fn release(&self) {
        let replaced = std::mem::take(&mut self.state_mut().replaced);
        drop(replaced);
    }

    /// Puts one segment in the place of `run`.
    fn rewrite(&self, ctx: &Ctx, run: &[Segment], needed: &Needed, done: &mut Compacted) -> Result<(), LedgerError> {
        let (Some(first), Some(last)) = (run.first(), run.last()) else { return Ok(()) };
        let Some(header) = self.header_for(first, last)? else { return Ok(()) };
        let fresh = segment_path(&self.dir, first.number).with_extension("new");
        let file = self.disk.create(&fresh).map_err(failed)?;
        let copied = self.copy(ctx, run, needed, &header, &*file);
        let (contents, end, dropped) = match copied {
            Ok(Some(copied)) => copied,
            // A record is damaged: the segments stay as they are, for as long as somebody may mend them.
            Ok(None) => return self.disk.remove(&fresh).map_err(failed),
            Err(error) => {
                // What cannot be removed now is when the log is opened.
                let _ = self.disk.remove(&fresh);
                return Err(error);
            }
        };
        self.disk.rename(&fresh, &segment_path(&self.dir, first.number)).map_err(failed)?;
        let durable = self.disk.sync_dir(&self.dir);
        let bytes_before: u64 = run.iter().map(|segment| segment.end).sum();
        let segment = Segment {
            number: first.number,
            first: Some(First::from(&header)),
            file: Arc::from(file),
            end,
            contents: Arc::new(contents),
            sealed: true,
            damaged: Arc::new([]),
        };
        {
            let mut state = self.state_mut();
            let Some(at) = state.segments.iter().position(|one| one.number == first.number) else { return Ok(()) };
            let old: Vec<Segment> = state.segments.splice(at..at + run.len(), [segment]).collect();
            state.replaced.extend(old);
        }
        // As long as the new name may be lost, the old ones are needed.
        durable.map_err(failed)?;
        for segment in &run[1..] {
            self.disk.remove(&segment_path(&self.dir, segment.number)).map_err(failed)?;
        }
        done.segments += run.len() as u32;
        done.bytes_before += bytes_before;
        done.bytes_after += end;
        done.records_dropped += dropped;
        Ok(())
    }

    /// The header of the segment that stands for all from `first` to `last`. `None` if one of them is damaged.
    fn header_for(&self, first: &Segment, last: &Segment) -> Result<Option<SegmentHeader>, LedgerError> {
        let (Some(start), Some(end)) = (first.first, last.first) else { return Ok(None) };
        let checksum = match (end.compacted, last.contents.last()) {
            (Some(from), _) => from.checksum,
            (None, None) => end.previous_checksum,
            (None, Some(place)) => {
                let mut bytes = [0; RecordHeader::BYTES];
                last.file.read_at(place.offset, &mut bytes).map_err(LedgerError::read("read a record's header"))?;
                let header = RecordHeader::decode(&bytes, self.folder)?;
                if header.is_none_or(|header| header.sequence != place.sequence) {
                    return Ok(None);
                }
                frame::checksum_at(&bytes)
            }
        };
        let sequence = Sequence(last.next_sequence().0.saturating_sub(1));
        let compacted = Some(CompactedFrom { segment: last.last_number(), sequence, checksum });
        Ok(Some(SegmentHeader {
            segment: first.number,
            first_sequence: start.sequence,
            secret: self.secret.0,
            previous_checksum: start.previous_checksum,
            compacted,
        }))
    }

    /// Writes what is needed of `run` into `file` and syncs it: where it stands, the byte after it, and how many records were
    /// left out. `None` if a record is damaged.
    fn copy(
        &self,
        ctx: &Ctx,
        run: &[Segment],
        needed: &Needed,
        header: &SegmentHeader,
        file: &dyn DiskFile,
    ) -> Result<Option<(Contents, u64, u64)>, LedgerError> {
        let mut contents = Contents::new(header.first_sequence);
        let mut piece = header.encode().to_vec();
        let (mut written, mut dropped) = (0, 0);
        for segment in run {
            let mut window = Window::new(&*segment.file, segment.end, PIECE_BYTES as u64);
            for place in segment.contents.places() {
                ctx.check().map_err(LedgerError::Stopped)?;
                let fate = needed.fate(&place);
                let offset = written + piece.len() as u64;
                let Some(bytes) = window.get(place.offset, place.bytes as usize)? else { return Ok(None) };
                match self.copied(&place, fate, bytes)? {
                    None => return Ok(None),
                    Some(Copied::Dropped) => dropped += 1,
                    Some(Copied::AsItIs) => {
                        contents.push(Place { offset, ..place });
                        piece.extend_from_slice(bytes);
                    }
                    Some(Copied::Anew(header, body)) => {
                        contents.push(Place::of(&header, offset));
                        piece.extend_from_slice(&header.encode(self.folder).0);
                        piece.extend_from_slice(body.bytes());
                    }
                }
                if piece.len() >= PIECE_BYTES {
                    file.write_at(written, &piece).map_err(failed)?;
                    written += piece.len() as u64;
                    piece.clear();
                }
            }
        }
        let end = written + piece.len() as u64;
        piece.extend(contents.encode(end));
        file.write_at(written, &piece).and_then(|()| file.sync()).map_err(failed)?;
        Ok(Some((contents, end, dropped)))
    }

    /// What the new segment has of the record in `bytes`. `None` if it is damaged.
    fn copied(&self, place: &Place, fate: Fate, bytes: &[u8]) -> Result<Option<Copied>, LedgerError> {
        let Some((was, _)) = self.whole(place.sequence, bytes)? else { return Ok(None) };
        let key = was.seal.map(|seal| self.keys.state(seal.tenant));
        match (key, fate) {
            // Whoever has its tenant's key may put that back.
            (Some(None | Some(KeyState::Damaged)), _) => return Ok(None),
            (Some(Some(KeyState::Destroyed)), _) | (_, Fate::Dropped) => return Ok(Some(Copied::Dropped)),
            (Some(Some(KeyState::Here(_))), Fate::Kept) => return Ok(Some(Copied::AsItIs)),
            (None, Fate::Kept) if !self.keys.is_on() => return Ok(Some(Copied::AsItIs)),
            (_, Fate::Kept | Fate::Shortened) => {}
        }
        let Found::Record(record) = self.record_in(place.sequence, bytes)? else { return Ok(None) };
        // What was written before there was a key is sealed now.
        let record = if fate == Fate::Kept { Some(record) } else { record.remainder() };
        let Some(body) = record.map(|record| self.body(&record)).transpose()? else { return Ok(None) };
        Ok(Some(Copied::Anew(body.header(place.sequence, was.durable), body)))
    }
}

/// What becomes of a record in the new segment.
enum Copied {
    AsItIs,
    Anew(RecordHeader, Body),
    Dropped,
}

/// The runs of segments to be written anew: each has one of which much is not needed, or consists of several small ones.
fn due<'a>(segments: &'a [Segment], needed: &Needed, dead_percent: u64, segment_bytes_max: u64) -> Vec<&'a [Segment]> {
    let mut runs = Vec::new();
    let (mut start, mut kept_bytes, mut much_is_dead) = (0, 0, false);
    let mut end_run = |from: usize, to: usize, much_is_dead: bool| {
        if much_is_dead || to - from >= SMALL_SHARE {
            runs.push(&segments[from..to]);
        }
    };
    for (at, segment) in segments.iter().enumerate() {
        let whole = segment.sealed && segment.damaged.is_empty() && segment.first.is_some();
        let (kept, gone) = needed.weigh(segment);
        let is_dead = gone > 0 && gone * 100 > (kept + gone) * dead_percent;
        let eligible = whole
            && segment.next_sequence() <= needed.up_to.next()
            && (is_dead || kept < segment_bytes_max / SMALL_SHARE as u64);
        if !eligible || kept_bytes + kept > segment_bytes_max {
            end_run(start, at, much_is_dead);
            (start, kept_bytes, much_is_dead) = (at, 0, false);
        }
        if eligible {
            kept_bytes += kept;
            much_is_dead |= is_dead;
        } else {
            start = at + 1;
        }
    }
    end_run(start, segments.len(), much_is_dead);
    runs
}

fn failed(error: io::Error) -> LedgerError {
    if error.kind() == io::ErrorKind::StorageFull {
        return LedgerError::Full;
    }
    LedgerError::read("compact the log")(error)
}

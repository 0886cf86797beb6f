//! The log: segments in order, `log/<20 digits>.log`. Reading and scanning; `log/open.rs` opens, `log/writer.rs` appends,
//! `log/compact.rs` leaves out what is of no use any more.
//!
//! Behind the last segment's records there may be zeros: room that was made in advance. A segment that is full has none.
//!
//! What may be cut from the end. A group of records is written in one piece and synced before the next one is written,
//! and every record says which sequence was durable when it was written. So a record that a later one calls durable was
//! synced: if it is damaged, it is reported and stepped over. A damaged record that no later one calls durable belongs
//! to the last group: its sync never ended, nobody was told that it is kept, and the log is cut there. Only where the
//! last group was synced and then damaged, with no group after it, is the cut too much; closing the ledger writes a
//! last record, which leaves no such group.

mod compact;
mod open;
mod tail;
mod writer;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use ibid_runtime::{Disk, DiskFile};

use crate::contents::Place;
use crate::frame::{Body, FolderId, RecordHeader, Seal};
use crate::keys::{State as KeyState, TenantKeys};
use crate::segment::{Segment, Window};
use crate::{LedgerError, Record, RecordKind, Sequence};

pub use compact::Compacted;
pub(crate) use compact::Needed;
pub(crate) use open::Opened;
pub use writer::Stats;
pub(crate) use writer::{Sizes, WriteError, Writer};

/// How often a record that does not fit its checksum is read before it counts as damaged.
const RECORD_READS: usize = 2;

/// A piece of the log that cannot be read. The rest is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damaged {
    /// The first record that is lost or in doubt.
    pub sequence: Sequence,
    /// The segment's number.
    pub segment: u32,
    /// Where in the segment, in bytes.
    pub offset: u64,
}

/// The log as readers see it: what is durable.
#[derive(Debug)]
pub(crate) struct Log {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    folder: FolderId,
    secret: Secret,
    keys: Arc<TenantKeys>,
    state: RwLock<State>,
}

/// What a folder's internal keys are derived with.
pub(crate) struct Secret(pub(crate) [u8; 32]);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[derive(Debug)]
struct State {
    /// In order of their records.
    segments: Vec<Segment>,
    /// What was compacted last, as it was before: who learned of a record just before may still read it.
    replaced: Vec<Segment>,
}

/// What stands at a record's place.
pub(crate) enum Found {
    Record(Record),
    /// It is not what was written, or its tenant's key is lost.
    Damaged,
    /// Its tenant's key was destroyed: nobody reads it any more.
    Shredded,
}

impl Log {
    pub(crate) fn secret(&self) -> &[u8; 32] {
        &self.secret.0
    }

    pub(crate) fn folder(&self) -> FolderId {
        self.folder
    }

    /// The record of this sequence.
    ///
    /// # Errors
    /// [`LedgerError::Corrupt`] if it is damaged, or no use any more; [`LedgerError::Read`].
    pub(crate) fn read(&self, sequence: Sequence) -> Result<Record, LedgerError> {
        let corrupt = || LedgerError::Corrupt { sequence };
        let (file, place) = self.find(sequence).ok_or_else(corrupt)?;
        match self.look(&*file, place)? {
            Found::Record(record) => Ok(record),
            Found::Damaged | Found::Shredded => Err(corrupt()),
        }
    }

    /// What stands at `place`. What is damaged is read once more: a bit may have changed on its way from the disk.
    fn look(&self, file: &dyn DiskFile, place: Place) -> Result<Found, LedgerError> {
        let mut bytes = vec![0; place.bytes as usize];
        for _ in 0..RECORD_READS {
            file.read_at(place.offset, &mut bytes).map_err(LedgerError::read("read a record"))?;
            let found = self.record_in(place.sequence, &bytes)?;
            if !matches!(found, Found::Damaged) {
                return Ok(found);
            }
        }
        Ok(Found::Damaged)
    }

    /// The header and body in `bytes`, if they are the whole record of that sequence. The body may be sealed.
    ///
    /// # Errors
    /// [`LedgerError::Newer`], [`LedgerError::Older`].
    pub(crate) fn whole<'a>(
        &self,
        sequence: Sequence,
        bytes: &'a [u8],
    ) -> Result<Option<(RecordHeader, &'a [u8])>, LedgerError> {
        let Some(header) = RecordHeader::decode(bytes, self.folder)? else { return Ok(None) };
        let body = &bytes[RecordHeader::BYTES..];
        Ok((header.sequence == sequence && header.fits(body)).then_some((header, body)))
    }

    /// The record in `bytes`, if they are all of the one of that sequence.
    ///
    /// # Errors
    /// [`LedgerError::Newer`], [`LedgerError::Older`].
    pub(crate) fn record_in(&self, sequence: Sequence, bytes: &[u8]) -> Result<Found, LedgerError> {
        let Some((header, body)) = self.whole(sequence, bytes)? else { return Ok(Found::Damaged) };
        let key = match header.seal.and_then(|Seal { tenant, .. }| self.keys.state(tenant)) {
            Some(KeyState::Destroyed) => return Ok(Found::Shredded),
            Some(KeyState::Here(key)) => Some(key),
            Some(KeyState::Damaged) | None => None,
        };
        let body = header.open(self.folder, key.as_deref(), body);
        Ok(body.and_then(|body| Record::decode(&body)).map_or(Found::Damaged, Found::Record))
    }

    fn find(&self, sequence: Sequence) -> Option<(Arc<dyn DiskFile>, Place)> {
        let state = self.state();
        let after = state.segments.partition_point(|segment| segment.contents.first() <= sequence);
        let likely = after.checked_sub(1).map(|at| &state.segments[at]);
        // In a compacted segment a record may be a shorter one by now.
        let mut segments = state.replaced.iter().chain(likely);
        let found = segments.find_map(|segment| segment.contents.find(sequence).map(|place| (segment, place)));
        found.filter(|(segment, place)| segment.holds(place)).map(|(segment, place)| (Arc::clone(&segment.file), place))
    }

    /// Shows `visit` every record from `from` on that can be read, in order, until it breaks off; returns what was damaged on
    /// the way. What was encrypted for a tenant whose key is destroyed is left out. Records appended after the call may be left out.
    ///
    /// # Errors
    /// The disk, [`LedgerError::Newer`], or what `visit` fails with.
    pub(crate) fn scan(
        &self,
        from: Sequence,
        visit: &mut dyn FnMut(Sequence, Record) -> Result<ControlFlow<()>, LedgerError>,
    ) -> Result<Vec<Damaged>, LedgerError> {
        let segments = self.segments();
        let mut damaged = Vec::new();
        'segments: for segment in segments.iter().filter(|segment| segment.next_sequence() > from) {
            damaged.extend(segment.damaged.iter().filter(|damaged| damaged.sequence >= from));
            let mut window = Window::new(&*segment.file, segment.end, 1 << 20);
            for place in segment.contents.places_from(from) {
                let Place { sequence, offset, bytes, .. } = place;
                let bytes = window.get(offset, bytes as usize)?;
                let mut found = bytes.map_or(Ok(Found::Damaged), |bytes| self.record_in(sequence, bytes))?;
                if matches!(found, Found::Damaged) && segment.holds(&place) {
                    found = self.look(&*segment.file, place)?;
                }
                match found {
                    Found::Damaged => damaged.push(Damaged { sequence, segment: segment.number, offset }),
                    Found::Shredded => {}
                    Found::Record(record) => {
                        if visit(sequence, record)?.is_break() {
                            break 'segments;
                        }
                    }
                }
            }
        }
        damaged.sort_by_key(|damaged| damaged.sequence);
        Ok(damaged)
    }

    /// The last checkpoints of the index, the newest first, at most `count`.
    pub(crate) fn last_checkpoints(&self, count: usize) -> Vec<Sequence> {
        let segments = self.segments();
        let places = segments.iter().rev().flat_map(|segment| segment.contents.places().rev());
        let checkpoints = places.filter(|place| place.is(RecordKind::IndexCheckpoint));
        checkpoints.take(count).map(|place| place.sequence).collect()
    }

    /// The last record's sequence; 0 before the first.
    pub(crate) fn last_sequence(&self) -> Sequence {
        self.state().segments.last().map_or(Sequence(0), |last| Sequence(last.next_sequence().0 - 1))
    }

    /// How many records there are, damaged ones too where their place is known.
    pub(crate) fn records(&self) -> u64 {
        self.state().segments.iter().map(|segment| segment.contents.len() as u64).sum()
    }

    /// What was damaged when the log was opened. Bodies were not read then.
    pub(crate) fn damaged(&self) -> Vec<Damaged> {
        self.state().segments.iter().flat_map(|segment| segment.damaged.iter().copied()).collect()
    }

    /// How many files that were compacted away are open still.
    pub(crate) fn replaced(&self) -> u64 {
        self.state().replaced.len() as u64
    }

    /// The keys that its records are sealed with.
    pub(crate) fn keys(&self) -> &TenantKeys {
        &self.keys
    }

    /// The body of `record` as it is to be written.
    ///
    /// # Errors
    /// [`LedgerError::TooLarge`], or its tenant's key cannot be made.
    pub(crate) fn body(&self, record: &Record) -> Result<Body, LedgerError> {
        Body::sealed(record, &self.keys, self.folder)
    }

    /// The segments as they are now.
    pub(crate) fn segments(&self) -> Vec<Segment> {
        self.state().segments.clone()
    }

    fn state(&self) -> std::sync::RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn state_mut(&self) -> std::sync::RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything before it is sealed.
    fn add_segment(&self, segment: Segment) {
        let mut state = self.state_mut();
        if let Some(last) = state.segments.last_mut() {
            last.sealed = true;
        }
        state.segments.push(segment);
    }

    /// Lets readers see `records` at the end of the last segment.
    fn publish(&self, records: &[Place]) {
        if let Some(last) = self.state_mut().segments.last_mut() {
            let contents = Arc::make_mut(&mut last.contents);
            records.iter().for_each(|place| contents.push(*place));
            last.end = records.last().map_or(last.end, Place::end);
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

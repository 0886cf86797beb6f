//! Where a segment's records are: its table of contents.
//!
//! A segment that is full gets it as a last piece, so that opening a folder reads no record of it. It can be told again from
//! the records of a segment as it was written; of a compacted one it alone says which records were left out.
//!
//! ```text
//!  0  8  magic "ibidtoc\n"
//!  8  8  the first record's sequence, were it there
//! 16  8  bytes before this table
//! 24  4  entries
//! 28 13  each: 4 sequence less the first, 4 offset, 4 length in bytes, 1 kind
//! ..  4  CRC-32 of all before
//! ..  8  length of the table
//! ..  8  magic "\ncotdibi"
//! ```

use crate::frame::{RecordHeader, SegmentHeader};
use crate::{RecordKind, Sequence};

const MAGIC: &[u8; 8] = b"ibidtoc\n";
const END_MAGIC: &[u8; 8] = b"\ncotdibi";
const HEADER_BYTES: usize = 28;
const ENTRY_BYTES: usize = 13;
/// Checksum, length and magic at the table's end.
const END_BYTES: usize = 20;

/// A record's place in its segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) sequence: Sequence,
    pub(crate) offset: u64,
    /// Header included.
    pub(crate) bytes: u32,
    pub(crate) kind: u8,
}

impl Place {
    /// Where the record stands whose `header` is at `offset`.
    pub(crate) fn of(header: &RecordHeader, offset: u64) -> Place {
        // Bodies are far shorter than what saturates; a header that claims otherwise is found out when it is read.
        let bytes = u32::try_from(header.record_bytes()).unwrap_or(u32::MAX);
        Place { sequence: header.sequence, offset, bytes, kind: header.kind }
    }

    pub(crate) fn is(&self, kind: RecordKind) -> bool {
        self.kind == kind as u8
    }

    /// Whether its kind is one that holds bytes which a tenant gave. Keys are left out: most that are not encrypted are
    /// operators', and of a tenant's they hold a label and a hash.
    pub(crate) fn may_be_a_tenants(&self) -> bool {
        [
            RecordKind::TenantCreated,
            RecordKind::CollectionCreated,
            RecordKind::CollectionUpdated,
            RecordKind::CollectionEmbedding,
            RecordKind::DocumentPut,
            RecordKind::DocumentChunked,
            RecordKind::DocumentEmbedded,
            RecordKind::VectorsGiven,
        ]
        .iter()
        .any(|kind| self.is(*kind))
    }

    /// The byte after it.
    pub(crate) fn end(&self) -> u64 {
        self.offset + u64::from(self.bytes)
    }
}

/// Records in ascending order of sequence and offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Contents {
    first: Sequence,
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    ordinal: u32,
    offset: u32,
    bytes: u32,
    kind: u8,
}

impl Contents {
    /// No records yet; `first` is the lowest sequence that one may have.
    pub(crate) fn new(first: Sequence) -> Contents {
        Contents { first, entries: Vec::new() }
    }

    /// Adds the next record.
    pub(crate) fn push(&mut self, place: Place) {
        let ordinal = u32::try_from(place.sequence.0.saturating_sub(self.first.0)).unwrap_or(u32::MAX);
        let offset = u32::try_from(place.offset).unwrap_or(u32::MAX);
        self.entries.push(Entry { ordinal, offset, bytes: place.bytes, kind: place.kind });
    }

    pub(crate) fn first(&self) -> Sequence {
        self.first
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn places(&self) -> impl DoubleEndedIterator<Item = Place> {
        self.entries.iter().map(|entry| self.place(entry))
    }

    /// Those from `sequence` on.
    pub(crate) fn places_from(&self, sequence: Sequence) -> impl Iterator<Item = Place> {
        let start = self.entries.partition_point(|entry| self.sequence(entry) < sequence);
        self.entries[start..].iter().map(|entry| self.place(entry))
    }

    pub(crate) fn last(&self) -> Option<Place> {
        self.entries.last().map(|entry| self.place(entry))
    }

    pub(crate) fn find(&self, sequence: Sequence) -> Option<Place> {
        let at = self.entries.binary_search_by_key(&sequence, |entry| self.sequence(entry)).ok()?;
        Some(self.place(&self.entries[at]))
    }

    fn sequence(&self, entry: &Entry) -> Sequence {
        Sequence(self.first.0 + u64::from(entry.ordinal))
    }

    fn place(&self, entry: &Entry) -> Place {
        let Entry { offset, bytes, kind, .. } = *entry;
        Place { sequence: self.sequence(entry), offset: u64::from(offset), bytes, kind }
    }

    /// The table as it is written after the segment's last record, which ends at `end`.
    pub(crate) fn encode(&self, end: u64) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + ENTRY_BYTES * self.entries.len() + END_BYTES);
        bytes.extend(MAGIC);
        bytes.extend(self.first.0.to_le_bytes());
        bytes.extend(end.to_le_bytes());
        let count = u32::try_from(self.entries.len()).expect("ordinals are 32 bits wide");
        bytes.extend(count.to_le_bytes());
        for entry in &self.entries {
            for number in [entry.ordinal, entry.offset, entry.bytes] {
                bytes.extend(number.to_le_bytes());
            }
            bytes.push(entry.kind);
        }
        bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        let length = (bytes.len() + 16) as u64;
        bytes.extend(length.to_le_bytes());
        bytes.extend(END_MAGIC);
        bytes
    }

    /// How long the table is of which `tail` is the end; `None` if there is none.
    pub(crate) fn length(tail: &[u8; 16]) -> Option<u64> {
        let (length, magic) = tail.split_at(8);
        (magic == END_MAGIC).then(|| u64::from_le_bytes(length.try_into().expect("eight bytes")))
    }

    /// Bytes of a file that say how long its table is, at its end.
    pub(crate) const TAIL_BYTES: u64 = 16;

    /// The table in `bytes`, which stand at `end` of the segment. `None` if they are no whole table, or that of other
    /// records.
    pub(crate) fn decode(bytes: &[u8], end: u64) -> Option<Contents> {
        let body = bytes.len().checked_sub(END_BYTES).filter(|body| *body >= HEADER_BYTES)?;
        let (covered, rest) = bytes.split_at(body);
        if !covered.starts_with(MAGIC) || crc32fast::hash(covered).to_le_bytes() != rest[..4] {
            return None;
        }
        let u64_at =
            |at: usize| covered.get(at..at + 8).map(|eight| u64::from_le_bytes(eight.try_into().expect("eight")));
        let u32_at = |at: usize| covered.get(at..at + 4).map(|four| u32::from_le_bytes(four.try_into().expect("four")));
        let (first, before, count) = (Sequence(u64_at(8)?), u64_at(16)?, u32_at(24)? as usize);
        if before != end || covered.len() != HEADER_BYTES + count.checked_mul(ENTRY_BYTES)? {
            return None;
        }
        let mut contents = Contents { first, entries: Vec::with_capacity(count) };
        let (mut sequence, mut offset) = (first.0, SegmentHeader::BYTES as u64);
        for at in (0..count).map(|entry| HEADER_BYTES + entry * ENTRY_BYTES) {
            let entry = Entry {
                ordinal: u32_at(at)?,
                offset: u32_at(at + 4)?,
                bytes: u32_at(at + 8)?,
                kind: *covered.get(at + 12)?,
            };
            let place = contents.place(&entry);
            if place.sequence.0 < sequence || place.offset < offset || place.end() > end {
                return None;
            }
            (sequence, offset) = (place.sequence.0 + 1, place.end());
            contents.entries.push(entry);
        }
        Some(contents)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn contents() -> impl Strategy<Value = Contents> {
        let record = (1..9u64, 0..40u64, 1..500u32, 0..14u8);
        (1..u64::MAX / 2, prop::collection::vec(record, 0..40)).prop_map(|(first, records)| {
            let mut contents = Contents::new(Sequence(first));
            let (mut sequence, mut offset) = (first - 1, SegmentHeader::BYTES as u64);
            for (gap, damaged, bytes, kind) in records {
                (sequence, offset) = (sequence + gap, offset + damaged);
                let place = Place { sequence: Sequence(sequence), offset, bytes, kind };
                contents.push(place);
                offset = place.end();
            }
            contents
        })
    }

    proptest! {
        #[test]
        fn a_table_is_read_as_it_was_written_or_not_at_all(contents in contents(), bit in any::<prop::sample::Index>()) {
            let end = contents.last().map_or(SegmentHeader::BYTES as u64, |last| last.end());
            let mut bytes = contents.encode(end);
            let tail = bytes.last_chunk().unwrap();
            prop_assert_eq!(Contents::length(tail), Some(bytes.len() as u64));
            prop_assert_eq!(Contents::decode(&bytes, end), Some(contents.clone()));
            prop_assert_eq!(Contents::decode(&bytes, end + 1), None, "elsewhere");
            for place in contents.places() {
                prop_assert_eq!(contents.find(place.sequence), Some(place));
                prop_assert_eq!(contents.places_from(place.sequence).next(), Some(place));
            }
            let bit = bit.index((bytes.len() - 16) * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(Contents::decode(&bytes, end), None);
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(Contents::decode(&bytes, 64), None);
        }
    }
}

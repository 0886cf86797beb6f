//! The bytes around a body. Numbers are little-endian, checksums are CRC-32 (IEEE).
//!
//! ```text
//! segment header, 64 bytes                     record header, 76 bytes, followed by the body
//!  0  8  magic "ibidlog\n"                      0  4  magic "\xb1IR\n"
//!  8  4  format                                 4  2  format
//! 12  4  segment number, from 1                 6  1  kind
//! 16  8  its first record's sequence            7  1  0
//! 24 32  the folder's secret                    8  8  folder id
//! 56  4  header checksum of the record before  16  8  sequence, from 1, no gaps
//! 60  4  checksum of 0..60                     24  8  last sequence known durable when this was written
//!                                              32  8  tenant key id: 0, not encrypted
//!                                              40 24  nonce: zeros
//!                                              64  4  body length
//!                                              68  4  body checksum
//!                                              72  4  checksum of 0..72
//! ```
//!
//! Header and body are checksummed apart, so that a reader steps over a damaged body. Over a damaged header it looks for
//! the next one byte by byte, through bodies that clients filled: the folder id, which no client knows, is what they
//! cannot forge. Every segment carries a copy of the secret, because without it no name leads to its key.

use crate::{LedgerError, Position, Record, RecordKind};

/// The newest format, of segments and of records. Since 2 there are records of a collection's models.
pub(crate) const FORMAT: u16 = 2;
/// The longest body, in bytes.
pub(crate) const BODY_BYTES_MAX: u32 = 128 << 20;

const SEGMENT_MAGIC: &[u8; 8] = b"ibidlog\n";
const RECORD_MAGIC: &[u8; 4] = b"\xb1IR\n";

/// Says whose records are whose: from the folder's secret, which it does not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FolderId(u64);

impl FolderId {
    pub(crate) fn of(secret: &[u8; 32]) -> FolderId {
        FolderId(u64_at(&blake3::derive_key("ibid 2026 log folder id v1", secret), 0))
    }
}

/// How a segment starts.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) segment: u32,
    pub(crate) first_sequence: u64,
    pub(crate) secret: [u8; 32],
    pub(crate) previous_checksum: u32,
}

impl SegmentHeader {
    pub(crate) const BYTES: usize = 64;

    pub(crate) fn encode(&self) -> [u8; SegmentHeader::BYTES] {
        let mut bytes = [0; SegmentHeader::BYTES];
        bytes[..8].copy_from_slice(SEGMENT_MAGIC);
        bytes[8..12].copy_from_slice(&u32::from(FORMAT).to_le_bytes());
        bytes[12..16].copy_from_slice(&self.segment.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.first_sequence.to_le_bytes());
        bytes[24..56].copy_from_slice(&self.secret);
        bytes[56..60].copy_from_slice(&self.previous_checksum.to_le_bytes());
        let checksum = crc32fast::hash(&bytes[..60]);
        bytes[60..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// `None` if this is no whole header.
    ///
    /// # Errors
    /// [`LedgerError::Newer`]
    pub(crate) fn decode(bytes: &[u8; SegmentHeader::BYTES]) -> Result<Option<SegmentHeader>, LedgerError> {
        if &bytes[..8] != SEGMENT_MAGIC || crc32fast::hash(&bytes[..60]) != u32_at(bytes, 60) {
            return Ok(None);
        }
        supported(u32_at(bytes, 8))?;
        let mut secret = [0; 32];
        secret.copy_from_slice(&bytes[24..56]);
        Ok(Some(SegmentHeader {
            segment: u32_at(bytes, 12),
            first_sequence: u64_at(bytes, 16),
            secret,
            previous_checksum: u32_at(bytes, 56),
        }))
    }
}

/// How a record starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecordHeader {
    pub(crate) kind: u8,
    pub(crate) sequence: u64,
    pub(crate) durable: u64,
    pub(crate) body_bytes: u32,
    pub(crate) body_checksum: u32,
}

impl RecordHeader {
    pub(crate) const BYTES: usize = 76;

    /// The header's bytes and its own checksum.
    pub(crate) fn encode(&self, folder: FolderId) -> ([u8; RecordHeader::BYTES], u32) {
        let mut bytes = [0; RecordHeader::BYTES];
        bytes[..4].copy_from_slice(RECORD_MAGIC);
        bytes[4..6].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[6] = self.kind;
        bytes[8..16].copy_from_slice(&folder.0.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.durable.to_le_bytes());
        bytes[64..68].copy_from_slice(&self.body_bytes.to_le_bytes());
        bytes[68..72].copy_from_slice(&self.body_checksum.to_le_bytes());
        let checksum = crc32fast::hash(&bytes[..72]);
        bytes[72..].copy_from_slice(&checksum.to_le_bytes());
        (bytes, checksum)
    }

    /// `None` if `bytes` do not start with a whole header of this folder.
    ///
    /// # Errors
    /// [`LedgerError::Newer`]
    pub(crate) fn decode(bytes: &[u8], folder: FolderId) -> Result<Option<RecordHeader>, LedgerError> {
        if bytes.len() < RecordHeader::BYTES || !bytes.starts_with(RECORD_MAGIC) || folder_at(bytes) != folder {
            return Ok(None);
        }
        if crc32fast::hash(&bytes[..72]) != checksum_at(bytes) {
            return Ok(None);
        }
        supported(u32::from(u16::from_le_bytes([bytes[4], bytes[5]])))?;
        Ok(Some(RecordHeader {
            kind: bytes[6],
            sequence: u64_at(bytes, 16),
            durable: u64_at(bytes, 24),
            body_bytes: u32_at(bytes, 64),
            body_checksum: u32_at(bytes, 68),
        }))
    }

    /// The record's length, header included.
    pub(crate) fn record_bytes(&self) -> u64 {
        RecordHeader::BYTES as u64 + u64::from(self.body_bytes)
    }

    /// Where the record stands whose header is at `offset` of `segment`.
    pub(crate) fn position(&self, segment: u32, offset: u64) -> Position {
        // Bodies are far shorter than what saturates; a header that claims otherwise is found out when it is read.
        let bytes = u32::try_from(self.record_bytes()).unwrap_or(u32::MAX);
        Position { segment, offset, bytes }
    }

    pub(crate) fn is(&self, kind: RecordKind) -> bool {
        self.kind == kind as u8
    }

    /// Whether `body` is the one this header was written for.
    pub(crate) fn fits(&self, body: &[u8]) -> bool {
        body.len() == self.body_bytes as usize
            && body.first() == Some(&self.kind)
            && crc32fast::hash(body) == self.body_checksum
    }
}

/// A record's body, ready for its header.
#[derive(Debug)]
pub(crate) struct Body {
    bytes: Vec<u8>,
    checksum: u32,
}

impl Body {
    /// The body of `record`.
    ///
    /// # Errors
    /// [`LedgerError::TooLarge`]
    pub(crate) fn of(record: &Record) -> Result<Body, LedgerError> {
        let bytes = record.encode();
        if bytes.len() > BODY_BYTES_MAX as usize {
            return Err(LedgerError::TooLarge { given: bytes.len() as u64, bytes_max: u64::from(BODY_BYTES_MAX) });
        }
        Ok(Body { checksum: crc32fast::hash(&bytes), bytes })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The header that goes in front of it.
    pub(crate) fn header(&self, sequence: u64, durable: u64) -> RecordHeader {
        let kind = self.bytes[0];
        let body_bytes = u32::try_from(self.bytes.len()).expect("checked when it was made");
        RecordHeader { kind, sequence, durable, body_bytes, body_checksum: self.checksum }
    }
}

/// The checksum that a whole header's `bytes` end with.
pub(crate) fn checksum_at(bytes: &[u8]) -> u32 {
    u32_at(bytes, 72)
}

/// The secret in the first record of a folder's first segment, whose header is lost.
pub(crate) fn secret_of_first_record(bytes: &[u8]) -> Option<[u8; 32]> {
    if bytes.len() < RecordHeader::BYTES {
        return None;
    }
    let folder = folder_at(bytes);
    let header = RecordHeader::decode(bytes, folder).ok()??;
    let body = bytes[RecordHeader::BYTES..].get(..header.body_bytes as usize)?;
    match header.fits(body).then(|| Record::decode(body))?? {
        Record::FolderCreated { secret, .. } => (FolderId::of(&secret) == folder).then_some(secret),
        Record::TenantCreated { .. }
        | Record::TenantDeleted { .. }
        | Record::KeyCreated { .. }
        | Record::KeyRevoked { .. }
        | Record::CollectionCreated { .. }
        | Record::CollectionUpdated { .. }
        | Record::CollectionDeleted { .. }
        | Record::DocumentPut { .. }
        | Record::DocumentChunked { .. }
        | Record::DocumentEmbedded { .. }
        | Record::DocumentDeleted { .. }
        | Record::IndexCheckpoint { .. }
        | Record::CollectionEmbedding { .. } => None,
    }
}

fn folder_at(bytes: &[u8]) -> FolderId {
    FolderId(u64_at(bytes, 8))
}

fn supported(format: u32) -> Result<(), LedgerError> {
    let supported = u32::from(FORMAT);
    if format > supported { Err(LedgerError::Newer { found: format, supported }) } else { Ok(()) }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_with_any_bit_flipped_is_no_header() {
        let folder = FolderId::of(&[7; 32]);
        let header = RecordHeader { kind: 8, sequence: 9, durable: 5, body_bytes: 100, body_checksum: 3 };
        let (bytes, checksum) = header.encode(folder);
        assert_eq!(RecordHeader::decode(&bytes, folder).unwrap(), Some(header));
        assert_eq!(checksum, checksum_at(&bytes));
        assert_eq!(RecordHeader::decode(&bytes, FolderId::of(&[8; 32])).unwrap(), None, "another folder's");

        let segment = SegmentHeader { segment: 3, first_sequence: 9, secret: [7; 32], previous_checksum: 5 };
        let segment_bytes = segment.encode();
        assert!(SegmentHeader::decode(&segment_bytes).unwrap() == Some(segment));
        for bit in 0..RecordHeader::BYTES * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(RecordHeader::decode(&flipped, folder).unwrap(), None, "bit {bit}");
        }
        for bit in 0..SegmentHeader::BYTES * 8 {
            let mut flipped = segment_bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::decode(&flipped).unwrap().is_none(), "bit {bit}");
        }
    }

    #[test]
    fn a_later_format_is_named_and_not_taken_for_damage() {
        let folder = FolderId::of(&[7; 32]);
        let header = RecordHeader { kind: 8, sequence: 9, durable: 5, body_bytes: 100, body_checksum: 3 };
        let mut bytes = header.encode(folder).0;
        bytes[4] = 3;
        let checksum = crc32fast::hash(&bytes[..72]);
        bytes[72..].copy_from_slice(&checksum.to_le_bytes());
        let newer = RecordHeader::decode(&bytes, folder);
        assert!(matches!(newer, Err(LedgerError::Newer { found: 3, supported: 2 })));
    }
}

//! The bytes around a body. Numbers are little-endian, checksums are CRC-32 (IEEE).
//!
//! ```text
//! segment header, 80 bytes                     record header, 76 bytes, followed by the body
//!  0  8  magic "ibidlog\n"                      0  4  magic "\xb1IR\n"
//!  8  4  format                                 4  2  format
//! 12  4  segment number, from 1                 6  1  kind
//! 16  8  its first record's sequence            7  1  0
//! 24 32  the folder's secret                    8  8  folder id
//! 56  4  header checksum of the record before  16  8  sequence, from 1, no gaps
//! 60  4  compacted: the last segment it is     24  8  last sequence known durable when this was written
//!        made of, by number; else 0            32  8  the tenant whose key the body is sealed with; 0: it is not
//! 64  8  and that one's last sequence          40 24  nonce; zeros
//! 72  4  and that record's header checksum     64  4  body length
//! 76  4  checksum of 0..76                     68  4  body checksum
//!                                              72  4  checksum of 0..72
//! ```
//!
//! Header and body are checksummed apart, so that a reader steps over a damaged body. Over a damaged header it looks for
//! the next one byte by byte, through bodies that clients filled: the folder id, which no client knows, is what they
//! cannot forge. The body's checksum is of the bytes as they stand there: a sealed body is found damaged by whoever has no key
//! to it. It is sealed together with its kind, the folder's id and the tenant. Every segment carries a copy of the secret, because without it no name leads to its key.

use std::borrow::Cow;

use ibid_core::TenantKey;

use crate::cipher::{Key, NONCE_BYTES, TAG_BYTES};
use crate::keys::TenantKeys;
use crate::{LedgerError, Record, Sequence};

/// The newest format, of segments and of records.
pub(crate) const FORMAT: u16 = 6;
/// The oldest format that is read. Those before were never released.
const FORMAT_OLDEST: u16 = 6;
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
    pub(crate) first_sequence: Sequence,
    pub(crate) secret: [u8; 32],
    pub(crate) previous_checksum: u32,
    /// `None` for a segment as it was written.
    pub(crate) compacted: Option<CompactedFrom>,
}

/// What a compacted segment stands for: everything from its own number and first sequence up to here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CompactedFrom {
    /// The last segment's number.
    pub(crate) segment: u32,
    /// Its last record's sequence.
    pub(crate) sequence: Sequence,
    /// That record's header checksum: what the next segment names as the one before it.
    pub(crate) checksum: u32,
}

impl SegmentHeader {
    pub(crate) const BYTES: usize = 80;

    pub(crate) fn encode(&self) -> [u8; SegmentHeader::BYTES] {
        let mut bytes = [0; SegmentHeader::BYTES];
        bytes[..8].copy_from_slice(SEGMENT_MAGIC);
        bytes[8..12].copy_from_slice(&u32::from(FORMAT).to_le_bytes());
        bytes[12..16].copy_from_slice(&self.segment.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.first_sequence.0.to_le_bytes());
        bytes[24..56].copy_from_slice(&self.secret);
        bytes[56..60].copy_from_slice(&self.previous_checksum.to_le_bytes());
        if let Some(from) = self.compacted {
            bytes[60..64].copy_from_slice(&from.segment.to_le_bytes());
            bytes[64..72].copy_from_slice(&from.sequence.0.to_le_bytes());
            bytes[72..76].copy_from_slice(&from.checksum.to_le_bytes());
        }
        let checksum = crc32fast::hash(&bytes[..76]);
        bytes[76..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// `None` if this is no whole header.
    ///
    /// # Errors
    /// [`LedgerError::Newer`], [`LedgerError::Older`].
    pub(crate) fn decode(bytes: &[u8; SegmentHeader::BYTES]) -> Result<Option<SegmentHeader>, LedgerError> {
        if &bytes[..8] != SEGMENT_MAGIC {
            return Ok(None);
        }
        // Before format 3 the checksum stood where a compacted segment's origin stands now.
        let earlier = crc32fast::hash(&bytes[..60]) == u32_at(bytes, 60);
        if !earlier && crc32fast::hash(&bytes[..76]) != u32_at(bytes, 76) {
            return Ok(None);
        }
        supported(u32_at(bytes, 8))?;
        let mut secret = [0; 32];
        secret.copy_from_slice(&bytes[24..56]);
        let (segment, sequence, checksum) = (u32_at(bytes, 60), Sequence(u64_at(bytes, 64)), u32_at(bytes, 72));
        Ok(Some(SegmentHeader {
            segment: u32_at(bytes, 12),
            first_sequence: Sequence(u64_at(bytes, 16)),
            secret,
            previous_checksum: u32_at(bytes, 56),
            compacted: (segment > 0).then_some(CompactedFrom { segment, sequence, checksum }),
        }))
    }
}

/// How a record starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecordHeader {
    pub(crate) kind: u8,
    pub(crate) sequence: Sequence,
    pub(crate) durable: Sequence,
    pub(crate) seal: Option<Seal>,
    pub(crate) body_bytes: u32,
    pub(crate) body_checksum: u32,
}

/// How a body is sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seal {
    /// With whose key.
    pub(crate) tenant: TenantKey,
    pub(crate) nonce: [u8; NONCE_BYTES],
}

/// What stays in sight of a sealed body and cannot be another's.
fn about(kind: u8, folder: FolderId, tenant: TenantKey) -> [u8; 17] {
    let mut bytes = [kind; 17];
    bytes[1..9].copy_from_slice(&folder.0.to_le_bytes());
    bytes[9..].copy_from_slice(&tenant.0.to_le_bytes());
    bytes
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
        bytes[16..24].copy_from_slice(&self.sequence.0.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.durable.0.to_le_bytes());
        if let Some(Seal { tenant, nonce }) = &self.seal {
            bytes[32..40].copy_from_slice(&tenant.0.to_le_bytes());
            bytes[40..64].copy_from_slice(nonce);
        }
        bytes[64..68].copy_from_slice(&self.body_bytes.to_le_bytes());
        bytes[68..72].copy_from_slice(&self.body_checksum.to_le_bytes());
        let checksum = crc32fast::hash(&bytes[..72]);
        bytes[72..].copy_from_slice(&checksum.to_le_bytes());
        (bytes, checksum)
    }

    /// `None` if `bytes` do not start with a whole header of this folder.
    ///
    /// # Errors
    /// [`LedgerError::Newer`], [`LedgerError::Older`].
    pub(crate) fn decode(bytes: &[u8], folder: FolderId) -> Result<Option<RecordHeader>, LedgerError> {
        if bytes.len() < RecordHeader::BYTES || !bytes.starts_with(RECORD_MAGIC) || folder_at(bytes) != folder {
            return Ok(None);
        }
        if crc32fast::hash(&bytes[..72]) != checksum_at(bytes) {
            return Ok(None);
        }
        supported(u32::from(u16::from_le_bytes([bytes[4], bytes[5]])))?;
        let mut nonce = [0; NONCE_BYTES];
        nonce.copy_from_slice(&bytes[40..64]);
        let tenant = TenantKey(u64_at(bytes, 32));
        Ok(Some(RecordHeader {
            kind: bytes[6],
            sequence: Sequence(u64_at(bytes, 16)),
            durable: Sequence(u64_at(bytes, 24)),
            seal: (tenant.0 != 0).then_some(Seal { tenant, nonce }),
            body_bytes: u32_at(bytes, 64),
            body_checksum: u32_at(bytes, 68),
        }))
    }

    /// The record's length, header included.
    pub(crate) fn record_bytes(&self) -> u64 {
        RecordHeader::BYTES as u64 + u64::from(self.body_bytes)
    }

    /// Whether `body` is the one this header was written for.
    pub(crate) fn fits(&self, body: &[u8]) -> bool {
        body.len() == self.body_bytes as usize
            && (self.seal.is_some() || body.first() == Some(&self.kind))
            && crc32fast::hash(body) == self.body_checksum
    }

    /// The body that was sealed with `key`; `None` if it was not.
    pub(crate) fn open<'a>(&self, folder: FolderId, key: Option<&Key>, body: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        let Some(Seal { tenant, nonce }) = &self.seal else { return Some(Cow::Borrowed(body)) };
        key?.open(nonce, body, &about(self.kind, folder, *tenant)).map(Cow::Owned)
    }
}

/// A record's body, ready for its header.
#[derive(Debug)]
pub(crate) struct Body {
    kind: u8,
    seal: Option<Seal>,
    bytes: Vec<u8>,
    checksum: u32,
}

impl Body {
    /// The body of `record`, as it is.
    ///
    /// # Errors
    /// [`LedgerError::TooLarge`]
    pub(crate) fn of(record: &Record) -> Result<Body, LedgerError> {
        Ok(Body::new(record.kind() as u8, None, encoded(record)?))
    }

    /// The body of `record`, sealed with its tenant's key if it holds bytes of a tenant's and they are to be.
    ///
    /// # Errors
    /// [`LedgerError::TooLarge`], or the tenant's key cannot be made.
    pub(crate) fn sealed(record: &Record, keys: &TenantKeys, folder: FolderId) -> Result<Body, LedgerError> {
        let Some((tenant, key)) = keys.for_sealing(record)? else { return Body::of(record) };
        let (kind, nonce) = (record.kind() as u8, keys.nonce());
        let sealed = key.seal(&nonce, &encoded(record)?, &about(kind, folder, tenant));
        Ok(Body::new(kind, Some(Seal { tenant, nonce }), sealed))
    }

    fn new(kind: u8, seal: Option<Seal>, bytes: Vec<u8>) -> Body {
        Body { kind, seal, checksum: crc32fast::hash(&bytes), bytes }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The header that goes in front of it.
    pub(crate) fn header(&self, sequence: Sequence, durable: Sequence) -> RecordHeader {
        let body_bytes = u32::try_from(self.bytes.len()).expect("checked when it was made");
        RecordHeader { kind: self.kind, sequence, durable, seal: self.seal, body_bytes, body_checksum: self.checksum }
    }
}

fn encoded(record: &Record) -> Result<Vec<u8>, LedgerError> {
    let bytes = record.encode();
    // A tag may still come behind it.
    if bytes.len() > BODY_BYTES_MAX as usize - TAG_BYTES {
        return Err(LedgerError::TooLarge { given: bytes.len() as u64, bytes_max: u64::from(BODY_BYTES_MAX) });
    }
    Ok(bytes)
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
    let record = header.fits(body).then(|| Record::decode(body))??;
    let Record::FolderCreated { secret, .. } = record else { return None };
    (FolderId::of(&secret) == folder).then_some(secret)
}

fn folder_at(bytes: &[u8]) -> FolderId {
    FolderId(u64_at(bytes, 8))
}

fn supported(format: u32) -> Result<(), LedgerError> {
    let (oldest, newest) = (u32::from(FORMAT_OLDEST), u32::from(FORMAT));
    if format > newest {
        Err(LedgerError::Newer { found: format, supported: newest })
    } else if format < oldest {
        Err(LedgerError::Older { found: format, supported: oldest })
    } else {
        Ok(())
    }
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

    const SEAL: Seal = Seal { tenant: TenantKey(11), nonce: [12; NONCE_BYTES] };

    #[test]
    fn a_header_with_any_bit_flipped_is_no_header() {
        let folder = FolderId::of(&[7; 32]);
        let header = RecordHeader {
            kind: 8,
            sequence: Sequence(9),
            durable: Sequence(5),
            seal: Some(SEAL),
            body_bytes: 100,
            body_checksum: 3,
        };
        let (bytes, checksum) = header.encode(folder);
        assert_eq!(RecordHeader::decode(&bytes, folder).unwrap(), Some(header));
        assert_eq!(checksum, checksum_at(&bytes));
        assert_eq!(RecordHeader::decode(&bytes, FolderId::of(&[8; 32])).unwrap(), None, "another folder's");

        let compacted = Some(CompactedFrom { segment: 4, sequence: Sequence(20), checksum: 6 });
        let segment = |compacted| SegmentHeader {
            segment: 3,
            first_sequence: Sequence(9),
            secret: [7; 32],
            previous_checksum: 5,
            compacted,
        };
        assert!(SegmentHeader::decode(&segment(None).encode()).unwrap() == Some(segment(None)));
        let segment_bytes = segment(compacted).encode();
        assert!(SegmentHeader::decode(&segment_bytes).unwrap() == Some(segment(compacted)));
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
    fn another_format_is_named_and_not_taken_for_damage() {
        let folder = FolderId::of(&[7; 32]);
        let header = RecordHeader {
            kind: 8,
            sequence: Sequence(9),
            durable: Sequence(5),
            seal: Some(SEAL),
            body_bytes: 100,
            body_checksum: 3,
        };
        let mut bytes = header.encode(folder).0;
        bytes[4] = 7;
        let checksum = crc32fast::hash(&bytes[..72]);
        bytes[72..].copy_from_slice(&checksum.to_le_bytes());
        let newer = RecordHeader::decode(&bytes, folder);
        assert!(matches!(newer, Err(LedgerError::Newer { found: 7, supported: 6 })));

        let mut earlier = [0; SegmentHeader::BYTES];
        earlier[..8].copy_from_slice(SEGMENT_MAGIC);
        earlier[8] = 2;
        let checksum = crc32fast::hash(&earlier[..60]);
        earlier[60..64].copy_from_slice(&checksum.to_le_bytes());
        assert!(matches!(SegmentHeader::decode(&earlier), Err(LedgerError::Older { found: 2, supported: 6 })));
    }
}

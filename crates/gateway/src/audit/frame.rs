//! The bytes of a chain's files, and its hashes.
//!
//! ```text
//! segment   0  8  magic "ibidaud\n"        frame   0  4  magic "iaud"
//!           8  4  format version                   4  1  kind: 1 entry, 2 erasure, 3 retention
//!          12  8  tenant                           5  3  zeros
//!          20  8  first sequence                   8  8  sequence
//!          28 32  link before it                  16  8  sequence known to be synced when this was written
//!          60  8  mark, random                    24 32  commitment
//!          68  4  CRC-32 of all before            56 32  link
//!          72  .. frames                          88  4  body's length
//!                                                 92  4  body's CRC-32, before it was erased
//! body      0  .. sealed: salt (32), content      96  4  CRC-32 of the segment's mark and all before
//!                 or zeros, once erased          100  .. body
//! ```
//! Numbers are little-endian. The body's checksum covers the salt too, so that it says nothing of erased content. Nobody who
//! writes content knows the mark, so that no content can pass for a frame where damage is read around.

use ibid_core::TenantKey;

use super::AuditError;

const SEGMENT_MAGIC: &[u8; 8] = b"ibidaud\n";
const FRAME_MAGIC: &[u8; 4] = b"iaud";
const FORMAT: u32 = 1;
pub(super) const SALT_BYTES: usize = 32;
/// The longest body: content, salt, and what a cipher adds.
pub(super) const BODY_BYTES_MAX: usize = super::entry::CONTENT_BYTES_MAX + SALT_BYTES + 1_024;

pub(super) type Hash = [u8; 32];

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Entry,
    /// Which entries' content was erased.
    Erasure,
    /// Up to where the chain was dropped.
    Retention,
}

impl Kind {
    fn byte(self) -> u8 {
        match self {
            Kind::Entry => 1,
            Kind::Erasure => 2,
            Kind::Retention => 3,
        }
    }

    fn of(byte: u8) -> Option<Kind> {
        match byte {
            1 => Some(Kind::Entry),
            2 => Some(Kind::Erasure),
            3 => Some(Kind::Retention),
            _ => None,
        }
    }
}

/// The link before a tenant's first entry.
pub(super) fn genesis(tenant: TenantKey) -> Hash {
    blake3::derive_key("ibid 2026 audit genesis v1", &tenant.0.to_le_bytes())
}

/// What a frame is committed to by.
pub(super) fn commitment(kind: Kind, salt: &[u8], content: &[u8]) -> Hash {
    let mut hasher = blake3::Hasher::new_derive_key("ibid 2026 audit commitment v1");
    hasher.update(salt).update(&[kind.byte()]).update(content);
    *hasher.finalize().as_bytes()
}

/// How a frame hangs on the one before.
pub(super) fn link(before: &Hash, commitment: &Hash, sequence: u64) -> Hash {
    let mut hasher = blake3::Hasher::new_derive_key("ibid 2026 audit link v1");
    hasher.update(before).update(commitment).update(&sequence.to_le_bytes());
    *hasher.finalize().as_bytes()
}

/// The start of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) tenant: TenantKey,
    pub(super) first: u64,
    pub(super) before: Hash,
    pub(super) mark: u64,
}

impl SegmentHeader {
    pub(super) const BYTES: usize = 72;

    pub(super) fn encode(&self) -> [u8; SegmentHeader::BYTES] {
        let mut bytes = [0; SegmentHeader::BYTES];
        bytes[..8].copy_from_slice(SEGMENT_MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.tenant.0.to_le_bytes());
        bytes[20..28].copy_from_slice(&self.first.to_le_bytes());
        bytes[28..60].copy_from_slice(&self.before);
        bytes[60..68].copy_from_slice(&self.mark.to_le_bytes());
        let checksum = crc32fast::hash(&bytes[..68]);
        bytes[68..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// # Errors
    /// [`AuditError::Corrupt`]
    pub(super) fn decode(bytes: &[u8]) -> Result<SegmentHeader, AuditError> {
        let corrupt = |problem| AuditError::Corrupt { problem };
        let bytes = bytes.get(..SegmentHeader::BYTES).ok_or(corrupt("no whole header"))?;
        if &bytes[..8] != SEGMENT_MAGIC || crc32fast::hash(&bytes[..68]) != number_32(bytes, 68) {
            return Err(corrupt("a damaged header"));
        }
        if number_32(bytes, 8) != FORMAT {
            return Err(corrupt("another format version"));
        }
        let before = bytes[28..60].try_into().expect("32 bytes");
        let (tenant, first, mark) = (TenantKey(number_64(bytes, 12)), number_64(bytes, 20), number_64(bytes, 60));
        Ok(SegmentHeader { tenant, first, before, mark })
    }
}

/// What stands before a frame's body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FrameHeader {
    pub(super) kind: Kind,
    pub(super) sequence: u64,
    pub(super) durable: u64,
    pub(super) commitment: Hash,
    pub(super) link: Hash,
    pub(super) body_bytes: u32,
    pub(super) body_checksum: u32,
}

impl FrameHeader {
    pub(super) const BYTES: usize = 100;

    pub(super) fn encode(&self, mark: u64) -> [u8; FrameHeader::BYTES] {
        let mut bytes = [0; FrameHeader::BYTES];
        bytes[..4].copy_from_slice(FRAME_MAGIC);
        bytes[4] = self.kind.byte();
        bytes[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.durable.to_le_bytes());
        bytes[24..56].copy_from_slice(&self.commitment);
        bytes[56..88].copy_from_slice(&self.link);
        bytes[88..92].copy_from_slice(&self.body_bytes.to_le_bytes());
        bytes[92..96].copy_from_slice(&self.body_checksum.to_le_bytes());
        let checksum = checksum(mark, &bytes[..96]);
        bytes[96..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// `None` if no whole header stands there.
    pub(super) fn decode(bytes: &[u8], mark: u64) -> Option<FrameHeader> {
        let bytes = bytes.get(..FrameHeader::BYTES)?;
        if &bytes[..4] != FRAME_MAGIC || checksum(mark, &bytes[..96]) != number_32(bytes, 96) {
            return None;
        }
        let header = FrameHeader {
            kind: Kind::of(bytes[4])?,
            sequence: number_64(bytes, 8),
            durable: number_64(bytes, 16),
            commitment: bytes[24..56].try_into().expect("32 bytes"),
            link: bytes[56..88].try_into().expect("32 bytes"),
            body_bytes: number_32(bytes, 88),
            body_checksum: number_32(bytes, 92),
        };
        (header.body_bytes as usize <= BODY_BYTES_MAX).then_some(header)
    }
}

/// What stands at a place of a segment.
#[derive(Debug)]
pub(super) enum Piece<'a> {
    /// A frame: where its body starts, and its body as it is now.
    Frame { header: FrameHeader, body_at: usize, body: &'a [u8] },
    /// Bytes that are no frame, up to the next header or the end.
    Damage,
}

fn checksum(mark: u64, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&mark.to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

/// The frames of a segment's `bytes`, around damage.
pub(super) fn pieces(bytes: &[u8], mark: u64) -> impl Iterator<Item = Piece<'_>> {
    let mut at = SegmentHeader::BYTES;
    std::iter::from_fn(move || {
        if at >= bytes.len() {
            return None;
        }
        let header = FrameHeader::decode(&bytes[at..], mark);
        if let Some(header) = header {
            let body_at = at + FrameHeader::BYTES;
            if let Some(body) = bytes.get(body_at..body_at + header.body_bytes as usize) {
                at = body_at + body.len();
                return Some(Piece::Frame { header, body_at, body });
            }
        }
        at = next_header(bytes, mark, at + 1);
        Some(Piece::Damage)
    })
}

/// The first place from `from` on where a header stands whose body is there; the end if there is none.
fn next_header(bytes: &[u8], mark: u64, from: usize) -> usize {
    let candidates = (from..bytes.len()).filter(|at| bytes[*at..].starts_with(FRAME_MAGIC));
    let whole = |at: &usize| {
        FrameHeader::decode(&bytes[*at..], mark)
            .is_some_and(|header| at + FrameHeader::BYTES + header.body_bytes as usize <= bytes.len())
    };
    candidates.into_iter().find(whole).unwrap_or(bytes.len())
}

/// What a body is sealed together with: it opens in its own place alone.
pub(super) fn about(tenant: TenantKey, kind: Kind, sequence: u64) -> Vec<u8> {
    [b"ibid 2026 audit v1".as_slice(), &tenant.0.to_le_bytes(), &[kind.byte()], &sequence.to_le_bytes()].concat()
}

fn number_32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn number_64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

//! What a snapshot consists of.
//!
//! ```text
//! {"snapshot": {"format": 1, "id": "1764000000000-42", "created_ms": 1764000000000, "last_sequence": 42,
//!               "folder": "16 hex digits", "damaged_records": 0,
//!               "files": [{"segment": 1, "bytes": 300000, "blocks": ["64 hex digits", "64 hex digits"]}]},
//!  "blake3": "64 hex digits: of the value of `snapshot`, as compact JSON"}
//! ```

use std::fmt;
use std::num::NonZeroU32;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{BLOCK_BYTES, SnapshotError};
use crate::Sequence;

pub(super) const FORMAT: u32 = 2;

/// The BLAKE3 hash of a block's bytes, under which it is kept.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct BlockHash(blake3::Hash);

impl BlockHash {
    pub(super) fn of(bytes: &[u8]) -> BlockHash {
        BlockHash(blake3::hash(bytes))
    }

    /// From 64 hex digits.
    pub(super) fn parse(hex: &str) -> Option<BlockHash> {
        blake3::Hash::from_hex(hex).ok().map(BlockHash)
    }
}

impl fmt::Display for BlockHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_hex())
    }
}

impl fmt::Debug for BlockHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for BlockHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for BlockHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<BlockHash, D::Error> {
        let hex = String::deserialize(deserializer)?;
        BlockHash::parse(&hex).ok_or_else(|| de::Error::custom("64 hex digits were expected"))
    }
}

/// A snapshot's name: when it was made and the log's last sequence. Later ones are greater.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotId {
    created_ms: u64,
    last_sequence: u64,
}

impl SnapshotId {
    pub(super) fn new(created_ms: u64, last_sequence: Sequence) -> SnapshotId {
        SnapshotId { created_ms, last_sequence: last_sequence.0 }
    }

    /// From a text; `None` if no snapshot is called so.
    pub fn parse(text: &str) -> Option<SnapshotId> {
        let (created_ms, last_sequence) = text.split_once('-')?;
        let id = SnapshotId { created_ms: created_ms.parse().ok()?, last_sequence: last_sequence.parse().ok()? };
        (id.to_string() == text).then_some(id)
    }

    /// When it was made, milliseconds since the Unix epoch.
    pub fn created_ms(&self) -> u64 {
        self.created_ms
    }
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:013}-{}", self.created_ms, self.last_sequence)
    }
}

impl Serialize for SnapshotId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SnapshotId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<SnapshotId, D::Error> {
        let text = String::deserialize(deserializer)?;
        SnapshotId::parse(&text).ok_or_else(|| de::Error::custom("a snapshot's id was expected"))
    }
}

/// What a snapshot consists of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub(super) format: u32,
    /// Its name.
    pub id: SnapshotId,
    /// When it was made, by the clock of whoever made it, and later than any before it.
    pub created_ms: u64,
    /// The last record's sequence.
    pub last_sequence: u64,
    /// Says which data folder it is of. A restored folder is the same one.
    pub folder: String,
    /// Records that failed their checksum while they were copied: they were damaged in the log.
    pub damaged_records: u64,
    /// Records with a tenant's bytes that are not encrypted, keys apart; `None`: nobody counted them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plain_records: Option<u64>,
    /// The log's files, in order.
    pub files: Vec<SnapshotFile>,
}

/// A file of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotFile {
    /// Its number, which is its name. Nothing else of a manifest becomes a path.
    pub segment: u32,
    /// Its length.
    pub bytes: u64,
    /// Its content, in blocks.
    pub blocks: Vec<BlockHash>,
}

impl SnapshotFile {
    /// Its name in a data folder.
    pub(super) fn name(&self) -> String {
        format!("log/{:020}.log", self.segment)
    }

    pub(super) fn offset_of(&self, ordinal: usize) -> u64 {
        ordinal as u64 * BLOCK_BYTES as u64
    }

    fn is_sound(&self) -> bool {
        NonZeroU32::new(self.segment).is_some() && self.bytes.div_ceil(BLOCK_BYTES as u64) == self.blocks.len() as u64
    }
}

/// A manifest as it is written, or the part of it that is the same in every format.
#[derive(Serialize, Deserialize)]
struct Sealed<M> {
    snapshot: M,
    blake3: BlockHash,
}

#[derive(Deserialize)]
struct AnyFormat {
    format: u32,
}

impl Manifest {
    /// Bytes of all of its files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let sealed = Sealed { snapshot: self, blake3: self.checksum() };
        serde_json::to_vec(&sealed).expect("texts and numbers are JSON")
    }

    /// The manifest that `bytes` were written for.
    pub(super) fn decode(id: &SnapshotId, bytes: &[u8]) -> Result<Manifest, SnapshotError> {
        let damaged = || SnapshotError::Manifest { id: id.clone() };
        let any: Sealed<AnyFormat> = serde_json::from_slice(bytes).map_err(|_| damaged())?;
        if any.snapshot.format > FORMAT {
            return Err(SnapshotError::Newer { found: any.snapshot.format, supported: FORMAT });
        }
        let Sealed { snapshot, blake3 } = serde_json::from_slice::<Sealed<Manifest>>(bytes).map_err(|_| damaged())?;
        let ascending = snapshot.files.is_sorted_by(|one, next| one.segment < next.segment);
        let sound = ascending && snapshot.files.iter().all(SnapshotFile::is_sound);
        if blake3 == snapshot.checksum() && snapshot.id == *id && sound { Ok(snapshot) } else { Err(damaged()) }
    }

    fn checksum(&self) -> BlockHash {
        BlockHash::of(&serde_json::to_vec(self).expect("texts and numbers are JSON"))
    }
}

/// Says which folder has this secret, without telling it.
pub(super) fn folder(secret: &[u8; 32]) -> String {
    let derived = blake3::derive_key("ibid 2026 snapshot folder v1", secret);
    blake3::Hash::from_bytes(derived).to_hex()[..16].to_owned()
}

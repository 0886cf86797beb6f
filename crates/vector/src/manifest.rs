//! The one file that says which segments there are, and what is alive in them.
//!
//! ```text
//!  0 magic "IBIDVMAN"   8 format version u32   12 CRC-32 of the body   16 body: postcard of `Manifest`
//! ```

use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};

const MAGIC: &[u8; 8] = b"IBIDVMAN";
const VERSION: u32 = 1;

/// The content of an index's folder.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// Components of each vector.
    pub(crate) dimension: u32,
    /// What the owner said is applied.
    pub(crate) checkpoint: u64,
    /// Segments that are written once.
    pub(crate) sealed: Vec<Entry>,
    /// What was fresh, as a segment that is written anew each time.
    pub(crate) fresh: Option<Entry>,
}

/// A segment's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SegmentFile {
    /// Its name, as a number.
    pub(crate) number: u64,
    /// [`crate::format::checksum`] of it.
    pub(crate) checksum: u32,
}

/// A segment's file, and what is alive in it.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) file: SegmentFile,
    /// Live labels, in roaring's portable form.
    live: Vec<u8>,
}

impl Entry {
    pub(crate) fn new(file: SegmentFile, live: &RoaringBitmap) -> Entry {
        let mut bytes = Vec::with_capacity(live.serialized_size());
        live.serialize_into(&mut bytes).expect("a vector grows as needed");
        Entry { file, live: bytes }
    }

    /// The live labels; `None` if the bytes are no bitmap.
    pub(crate) fn live(&self) -> Option<RoaringBitmap> {
        RoaringBitmap::deserialize_from(&*self.live).ok()
    }
}

impl SegmentFile {
    /// The file's name.
    pub(crate) fn name(&self) -> String {
        format!("{:016x}.vectors", self.number)
    }

    /// The number in a file's name; `None` if it is none of ours.
    pub(crate) fn number_in(name: &str) -> Option<u64> {
        let digits = name.split('.').next()?;
        u64::from_str_radix(digits, 16).ok()
    }
}

pub(crate) fn encode(manifest: &Manifest) -> Vec<u8> {
    let body = postcard::to_stdvec(manifest).expect("numbers and lists always serialise");
    let mut file = Vec::with_capacity(16 + body.len());
    file.extend_from_slice(MAGIC);
    file.extend_from_slice(&VERSION.to_le_bytes());
    file.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
    file.extend_from_slice(&body);
    file
}

/// The manifest in a file.
///
/// # Errors
/// What is wrong with the file, in words that follow its name.
pub(crate) fn decode(file: &[u8]) -> Result<Manifest, &'static str> {
    let rest = file.strip_prefix(MAGIC).ok_or("is no manifest")?;
    let (version, rest) = rest.split_first_chunk().ok_or("is too short")?;
    if u32::from_le_bytes(*version) != VERSION {
        return Err("has a format of another version");
    }
    let (checksum, body) = rest.split_first_chunk().ok_or("is too short")?;
    if crc32fast::hash(body) != u32::from_le_bytes(*checksum) {
        return Err("fails its checksum");
    }
    postcard::from_bytes(body).map_err(|_| "cannot be read")
}

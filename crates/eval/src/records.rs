//! The file below a cache: records of one size, appended, each with its checksum.
//!
//! ```text
//! header:  "ibideval" | version u32 | floats in a value u32
//! record:  key 32 bytes | value f32 x floats | CRC-32 of key and value
//! ```
//! Numbers are little endian. Nothing is synced: what a power cut takes is computed again. A record that fails its
//! checksum is passed over, and what stands after the last good one is cut when the file is opened. A file that starts
//! otherwise is begun anew. Two processes must not use one file at a time.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::io;
use std::path::Path;

use ibid_runtime::{Disk, DiskFile};

/// What a value is stored under: a hash of all that the value depends on.
pub(crate) type Key = [u8; 32];

const MAGIC: &[u8; 8] = b"ibideval";
const VERSION: u32 = 1;
const CHECKSUM_BYTES: usize = 4;
const FLOAT_BYTES: usize = 4;

/// Values of one length by key, in memory and in a file.
pub(crate) struct Records {
    file: Box<dyn DiskFile>,
    /// Where the next record goes, in bytes.
    end: u64,
    /// Floats in a value.
    width: usize,
    /// Where a key's value stands in `values`, counted in values.
    ordinals: HashMap<Key, usize>,
    values: Vec<f32>,
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records")
            .field("values", &self.ordinals.len())
            .field("width", &self.width)
            .finish_non_exhaustive()
    }
}

impl Records {
    /// Opens or makes `path`, whose values have `width` floats, and reads all of it.
    pub(crate) fn open(disk: &dyn Disk, path: &Path, width: usize) -> io::Result<Records> {
        let file = if disk.exists(path) { disk.open(path)? } else { disk.create(path)? };
        let bytes = disk.read(path)?;
        let header = header(width)?;
        let end = header.len() as u64;
        let mut records = Records { file, end, width, ordinals: HashMap::new(), values: Vec::new() };
        let Some(body) = bytes.strip_prefix(&header) else {
            records.file.truncate(0)?;
            records.file.write_at(0, &header)?;
            return Ok(records);
        };
        let record_bytes = size_of::<Key>() + width * FLOAT_BYTES + CHECKSUM_BYTES;
        let mut position = end;
        for record in body.chunks_exact(record_bytes) {
            position += record_bytes as u64;
            if let Some((key, value)) = decode(record) {
                records.remember(key, value);
                records.end = position;
            }
        }
        records.file.truncate(records.end)?;
        Ok(records)
    }

    /// The value stored under `key`.
    pub(crate) fn get(&self, key: &Key) -> Option<&[f32]> {
        let ordinal = self.ordinals.get(key)?;
        Some(&self.values[ordinal * self.width..(ordinal + 1) * self.width])
    }

    /// Stores values of `width` floats under keys that have none yet; others keep theirs. After an error they are known
    /// until the process ends, and the file has some of them or none.
    pub(crate) fn insert<'a>(&mut self, fresh: impl Iterator<Item = (Key, &'a [f32])>) -> io::Result<()> {
        let mut bytes = Vec::new();
        for (key, value) in fresh {
            if self.remember(key, value.iter().copied()) {
                encode(key, value, &mut bytes);
            }
        }
        self.file.write_at(self.end, &bytes)?;
        self.end += bytes.len() as u64;
        Ok(())
    }

    /// Whether `key` is new.
    fn remember(&mut self, key: Key, value: impl Iterator<Item = f32>) -> bool {
        let ordinal = self.ordinals.len();
        match self.ordinals.entry(key) {
            Entry::Occupied(_) => false,
            Entry::Vacant(place) => {
                place.insert(ordinal);
                self.values.extend(value);
                debug_assert_eq!(self.values.len(), (ordinal + 1) * self.width, "values have one length");
                true
            }
        }
    }
}

fn header(width: usize) -> io::Result<[u8; 16]> {
    let width = u32::try_from(width).map_err(io::Error::other)?;
    let mut header = [0; 16];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header[12..].copy_from_slice(&width.to_le_bytes());
    Ok(header)
}

fn encode(key: Key, value: &[f32], out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&key);
    out.extend(value.iter().flat_map(|float| float.to_le_bytes()));
    let checksum = crc32fast::hash(&out[start..]);
    out.extend_from_slice(&checksum.to_le_bytes());
}

/// `None` if the record fails its checksum.
fn decode(record: &[u8]) -> Option<(Key, impl Iterator<Item = f32>)> {
    let (content, checksum) = record.split_last_chunk::<CHECKSUM_BYTES>()?;
    let (key, value) = content.split_first_chunk::<{ size_of::<Key>() }>()?;
    let (floats, _) = value.as_chunks::<FLOAT_BYTES>();
    let whole = crc32fast::hash(content) == u32::from_le_bytes(*checksum);
    whole.then(|| (*key, floats.iter().map(|bytes| f32::from_le_bytes(*bytes))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ibid_runtime::MemoryDisk;
    use proptest::prelude::*;

    const WIDTH: usize = 3;
    const RECORD_BYTES: usize = 32 + 4 * WIDTH + 4;

    fn value(key: u8) -> [f32; WIDTH] {
        [f32::from(key), -0.5, f32::from(key) / 3.0]
    }

    fn open(disk: &MemoryDisk) -> Records {
        Records::open(disk, Path::new("cache"), WIDTH).unwrap()
    }

    fn write(records: &mut Records, keys: std::ops::Range<u8>) {
        let values: Vec<_> = keys.map(|key| ([key; 32], value(key))).collect();
        records.insert(values.iter().map(|(key, value)| (*key, &value[..]))).unwrap();
    }

    #[test]
    fn another_length_of_values_begins_anew() {
        let disk = MemoryDisk::new();
        write(&mut open(&disk), 0..4);
        let other = Records::open(&disk, Path::new("cache"), WIDTH + 1).unwrap();
        assert!(other.get(&[0; 32]).is_none());
        assert_eq!(disk.read(Path::new("cache")).unwrap().len(), 16);
    }

    proptest! {
        /// Whatever happens to the file, a value is right or gone, and the file takes new ones.
        #[test]
        fn a_torn_or_damaged_file_loses_only_what_was_hit(
            keys in 0u8..12,
            left in 0usize..700,
            flip in proptest::option::of(0usize..700),
        ) {
            let disk = MemoryDisk::new();
            let path = Path::new("cache");
            write(&mut open(&disk), 0..keys);
            let whole = 16 + usize::from(keys) * RECORD_BYTES;
            let left = left.min(whole);
            disk.open(path).unwrap().truncate(left as u64).unwrap();
            let flip = flip.filter(|offset| disk.flip(path, *offset).is_ok());

            let mut torn = open(&disk);
            for key in 0..keys {
                let bytes = 16 + usize::from(key) * RECORD_BYTES..16 + (usize::from(key) + 1) * RECORD_BYTES;
                let survives = bytes.end <= left && flip.is_none_or(|offset| offset >= 16 && !bytes.contains(&offset));
                prop_assert_eq!(torn.get(&[key; 32]).map(<[f32]>::to_vec), survives.then(|| value(key).to_vec()));
            }
            write(&mut torn, 0..keys + 1);
            let healed = open(&disk);
            for key in 0..=keys {
                prop_assert_eq!(healed.get(&[key; 32]), Some(&value(key)[..]));
            }
        }
    }
}

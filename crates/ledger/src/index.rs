//! The index over the log: a small ordered map, and what lies in it.
//!
//! ```text
//! key                                                     value
//! 's'                                                     the last record applied: Sequence
//! 'c' sequence                                            a catalog record, by whose it is: Owner
//! 'd' tenant(8) collection(8) document(16)                Head
//! 'm' tenant(8) collection(8)                             PartitionMark
//! 'i' tenant(8) collection(8) idempotency(16)             EarlierPut
//! 'x' tenant(8) [collection(8)]                           deleted by that record: Sequence; their keys are never used again
//! ```
//!
//! Keys sort by tenant, then collection, so that a deletion is the removal of a prefix. Values are in postcard form.
//! No name and no text is in here: keyed hashes and sequences alone, so that erasure need not look here.

mod apply;
mod layered;
mod memory;
mod needed;
mod sled;

use std::collections::BTreeMap;
use std::time::Duration;

use ibid_core::{DocumentKey, PartitionKey, TenantKey};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub(crate) use apply::apply;
pub(crate) use layered::{Frozen, LayeredIndex};
pub(crate) use memory::MemoryIndex;
pub(crate) use needed::needed;
pub(crate) use sled::SledIndex;

use crate::Sequence;

/// What went wrong in an index. It is thrown away and rebuilt, whatever it was.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum IndexError {
    /// It said so, or panicked, or holds what nobody wrote.
    #[error("{0}")]
    Failed(String),
    /// It did not open in time, and may still be at it.
    #[error("sled did not open within {at_most:?}")]
    Late { at_most: Duration },
}

/// Entries to put (`Some`) and to delete (`None`).
pub(crate) type Changes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// An ordered map of bytes.
pub(crate) trait Index: Send + Sync + std::fmt::Debug {
    /// The value of `key`.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError>;
    /// Makes all `changes`, or none.
    fn apply(&self, changes: &Changes) -> Result<(), IndexError>;
    /// Shows `visit` the entries whose key starts with `prefix`, in order.
    fn scan_prefix(&self, prefix: &[u8], visit: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), IndexError>;
    /// Writes out what it holds in memory, as far as it ever does.
    fn flush(&self) -> Result<(), IndexError>;
}

/// What values look like. A store with values of another form has another digest, and is filled anew.
const FORM: &str = "ibid index 4";

/// What an index holds, in short: the sum of its entries' hashes, so that it follows a change without all being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Digest {
    pub(crate) entries: u64,
    sums: [u64; 4],
}

impl Digest {
    /// From its parts, as a record keeps them.
    pub(crate) fn of(entries: u64, hash: [u8; 32]) -> Digest {
        let sum = |at: usize| u64::from_le_bytes(hash[8 * at..8 * at + 8].try_into().expect("eight bytes"));
        Digest { entries, sums: [sum(0), sum(1), sum(2), sum(3)] }
    }

    pub(crate) fn hash(&self) -> [u8; 32] {
        let mut hash = [0; 32];
        for (bytes, sum) in hash.chunks_exact_mut(8).zip(self.sums) {
            bytes.copy_from_slice(&sum.to_le_bytes());
        }
        hash
    }

    pub(crate) fn add(&mut self, key: &[u8], value: &[u8]) {
        self.entries = self.entries.wrapping_add(1);
        for (sum, part) in self.sums.iter_mut().zip(Digest::parts(key, value)) {
            *sum = sum.wrapping_add(part);
        }
    }

    pub(crate) fn remove(&mut self, key: &[u8], value: &[u8]) {
        self.entries = self.entries.wrapping_sub(1);
        for (sum, part) in self.sums.iter_mut().zip(Digest::parts(key, value)) {
            *sum = sum.wrapping_sub(part);
        }
    }

    /// The BLAKE3 hash of an entry, key and value each with its length, in four numbers.
    fn parts(key: &[u8], value: &[u8]) -> [u64; 4] {
        let mut hasher = blake3::Hasher::new_derive_key(FORM);
        for part in [key, value] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Digest::of(0, *hasher.finalize().as_bytes()).sums
    }
}

/// The digest of all of `index`.
pub(crate) fn digest(index: &dyn Index) -> Result<Digest, IndexError> {
    let mut digest = Digest::default();
    index.scan_prefix(&[], &mut |key, value| digest.add(key, value))?;
    Ok(digest)
}

/// An entry's value, read.
pub(crate) fn get<T: DeserializeOwned>(index: &dyn Index, key: &[u8]) -> Result<Option<T>, IndexError> {
    index.get(key)?.map(|value| decode(&value)).transpose()
}

/// The entries under `prefix`, with the rest of their keys.
pub(crate) fn scan<T: DeserializeOwned>(index: &dyn Index, prefix: &[u8]) -> Result<Vec<(Vec<u8>, T)>, IndexError> {
    let mut entries = Vec::new();
    index.scan_prefix(prefix, &mut |key, value| {
        entries.push((key[prefix.len()..].to_vec(), decode(value)));
    })?;
    entries.into_iter().map(|(key, value)| Ok((key, value?))).collect()
}

/// Whose a catalog record is: gone with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Owner {
    Folder,
    Tenant(TenantKey),
    Collection(PartitionKey),
}

/// The catalog's records, in order.
pub(crate) fn catalog(index: &dyn Index) -> Result<Vec<Sequence>, IndexError> {
    let entries = scan::<Owner>(index, key::CATALOG)?;
    entries.into_iter().map(|(rest, _)| key::sequence(&rest)).collect()
}

fn decode<T: DeserializeOwned>(value: &[u8]) -> Result<T, IndexError> {
    postcard::from_bytes(value).map_err(|error| IndexError::Failed(format!("a value does not read: {error}")))
}

/// Changes on their way into an index, which reads see already.
pub(crate) struct Overlay<'a> {
    index: &'a dyn Index,
    changes: Changes,
}

impl<'a> Overlay<'a> {
    pub(crate) fn new(index: &'a dyn Index) -> Overlay<'a> {
        Overlay { index, changes: Changes::new() }
    }

    /// How many entries are about to change.
    pub(crate) fn len(&self) -> usize {
        self.changes.len()
    }

    /// Applies what was gathered.
    pub(crate) fn commit(self) -> Result<(), IndexError> {
        if self.changes.is_empty() { Ok(()) } else { self.index.apply(&self.changes) }
    }

    fn get<T: DeserializeOwned>(&self, key: &[u8]) -> Result<Option<T>, IndexError> {
        match self.changes.get(key) {
            Some(change) => change.as_deref().map(decode).transpose(),
            None => get(self.index, key),
        }
    }

    fn has(&self, key: &[u8]) -> Result<bool, IndexError> {
        match self.changes.get(key) {
            Some(change) => Ok(change.is_some()),
            None => Ok(self.index.get(key)?.is_some()),
        }
    }

    fn put<T: Serialize>(&mut self, key: Vec<u8>, value: &T) {
        let value = postcard::to_stdvec(value).expect("every value has a postcard form");
        self.changes.insert(key, Some(value));
    }

    /// Deletes those under `prefix` whose value `is_gone`.
    fn delete_where<T: DeserializeOwned>(
        &mut self,
        prefix: &[u8],
        is_gone: impl Fn(&T) -> bool,
    ) -> Result<(), IndexError> {
        for key in self.keys(prefix)? {
            if self.get::<T>(&key)?.is_some_and(|value| is_gone(&value)) {
                self.changes.insert(key, None);
            }
        }
        Ok(())
    }

    fn delete_prefix(&mut self, prefix: &[u8]) -> Result<(), IndexError> {
        let gone = self.keys(prefix)?;
        self.changes.extend(gone.into_iter().map(|key| (key, None)));
        Ok(())
    }

    /// Changes every value whose key starts with `prefix`.
    fn change_prefix<T: DeserializeOwned + Serialize>(
        &mut self,
        prefix: &[u8],
        change: impl Fn(&mut T),
    ) -> Result<(), IndexError> {
        for key in self.keys(prefix)? {
            if let Some(mut value) = self.get(&key)? {
                change(&mut value);
                self.put(key, &value);
            }
        }
        Ok(())
    }

    /// The keys that start with `prefix`, those too that are about to be deleted.
    fn keys(&self, prefix: &[u8]) -> Result<Vec<Vec<u8>>, IndexError> {
        let mut keys: Vec<Vec<u8>> = self.changes.keys().filter(|key| key.starts_with(prefix)).cloned().collect();
        self.index.scan_prefix(prefix, &mut |key, _| keys.push(key.to_vec()))?;
        Ok(keys)
    }
}

/// Where entries are.
pub(crate) mod key {
    use super::{DocumentKey, IndexError, PartitionKey, Sequence, TenantKey};

    pub(crate) const APPLIED: &[u8] = b"s";
    pub(crate) const CATALOG: &[u8] = b"c";
    /// What a tenant or partition owns, by first byte.
    pub(crate) const OWNED: [u8; 3] = *b"dmi";

    /// What was deleted.
    pub(crate) const DELETED: &[u8] = b"x";

    pub(crate) fn catalog(sequence: Sequence) -> Vec<u8> {
        [CATALOG, &sequence.0.to_be_bytes()].concat()
    }

    /// The sequence that a key ends with.
    pub(crate) fn sequence(rest: &[u8]) -> Result<Sequence, IndexError> {
        let bytes = rest.try_into().map_err(|_| IndexError::Failed("a key of another length".to_owned()))?;
        Ok(Sequence(u64::from_be_bytes(bytes)))
    }

    pub(crate) fn heads(partition: PartitionKey) -> Vec<u8> {
        [b"d".as_slice(), &partition.to_bytes()].concat()
    }

    pub(crate) fn head(partition: PartitionKey, document: DocumentKey) -> Vec<u8> {
        [b"d".as_slice(), &partition.to_bytes(), &document.0].concat()
    }

    pub(crate) fn mark(partition: PartitionKey) -> Vec<u8> {
        [b"m".as_slice(), &partition.to_bytes()].concat()
    }

    pub(crate) fn idempotency(partition: PartitionKey, hash: &[u8; 16]) -> Vec<u8> {
        [b"i".as_slice(), &partition.to_bytes(), hash].concat()
    }

    pub(crate) fn deleted_partition(partition: PartitionKey) -> Vec<u8> {
        [b"x".as_slice(), &partition.to_bytes()].concat()
    }

    pub(crate) fn deleted_tenant(tenant: TenantKey) -> Vec<u8> {
        [b"x".as_slice(), &tenant.0.to_be_bytes()].concat()
    }
}

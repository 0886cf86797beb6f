//! What is stored for a name.
//!
//! Internal keys are hashes keyed with the folder's secret: they are never reused (a recreated tenant is another
//! incarnation, so another key), tell nothing about names, and do not depend on what other tenants do.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{CollectionName, DocumentId, TenantName};

/// A tenant as the store knows it. A name, not a right: see [`crate::TenantId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TenantKey(pub u64);

/// A collection as the store knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CollectionKey(pub u64);

/// One tenant's one collection: the unit that owns indexes and statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PartitionKey {
    /// Whose it is.
    pub tenant: TenantKey,
    /// Which of theirs.
    pub collection: CollectionKey,
}

impl PartitionKey {
    /// 16 bytes which sort by tenant, then collection.
    pub fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.tenant.0.to_be_bytes());
        bytes[8..].copy_from_slice(&self.collection.0.to_be_bytes());
        bytes
    }
}

impl fmt::Display for PartitionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:016x}", self.tenant.0, self.collection.0)
    }
}

/// A document as the store knows it: a keyed hash of partition and client's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DocumentKey(pub [u8; 16]);

/// Counts the versions of one document, from 1. Never reused, also not after a delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Revision(pub u64);

/// Counts the accepted writes of one partition, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
pub struct Generation(pub u64);

/// The number of a chunk's version within its partition: what the indexes store. Assigned once, kept in the ledger.
pub type Label = u32;

/// A chunk's identity: 128 bits of BLAKE3 over partition, document, content and occurrence, so that edits elsewhere in
/// the document leave it alone and equal texts in two places do not collide.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ChunkId([u8; 16]);

impl ChunkId {
    /// The id of the `occurrence`-th (from 0) chunk of `document` that reads `content`.
    pub fn of(partition: PartitionKey, document: DocumentKey, content: &str, occurrence: u32) -> ChunkId {
        let mut hasher = blake3::Hasher::new_derive_key("ibid 2026 chunk id v1");
        hasher.update(&partition.to_bytes());
        hasher.update(&document.0);
        hasher.update(&occurrence.to_le_bytes());
        hasher.update(content.as_bytes());
        ChunkId(half(&hasher))
    }

    /// The id's bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Reads 32 hexadecimal digits, as [`fmt::Display`] writes them. `None` for anything else.
    pub fn parse(text: &str) -> Option<ChunkId> {
        let digits = text.as_bytes();
        if digits.len() != 32 {
            return None;
        }
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).ok()?;
            *byte = u8::from_str_radix(pair, 16).ok()?;
        }
        Some(ChunkId(bytes))
    }
}

impl fmt::Display for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChunkId({self})")
    }
}

fn half(hasher: &blake3::Hasher) -> [u8; 16] {
    let mut out = [0; 16];
    hasher.finalize_xof().fill(&mut out);
    out
}

/// Makes internal keys from names with the folder's secret.
#[derive(Clone)]
pub struct KeyDeriver {
    secret: [u8; 32],
}

impl fmt::Debug for KeyDeriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyDeriver(..)")
    }
}

impl KeyDeriver {
    /// Keys for the folder with this secret.
    pub fn new(secret: [u8; 32]) -> KeyDeriver {
        KeyDeriver { secret }
    }

    fn hasher(&self, kind: &str, parts: &[&[u8]]) -> blake3::Hasher {
        let mut hasher = blake3::Hasher::new_keyed(&self.secret);
        hasher.update(kind.as_bytes());
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        hasher
    }

    fn number(&self, kind: &str, parts: &[&[u8]]) -> u64 {
        let bytes = half(&self.hasher(kind, parts));
        u64::from_le_bytes(bytes[..8].try_into().expect("eight of sixteen bytes"))
    }

    /// The tenant of this name and incarnation, a number that no tenant of this name had before.
    pub fn tenant(&self, name: &TenantName, incarnation: u64) -> TenantKey {
        TenantKey(self.number("tenant", &[name.as_str().as_bytes(), &incarnation.to_le_bytes()]))
    }

    /// The collection of this name and incarnation in `tenant`.
    pub fn collection(&self, tenant: TenantKey, name: &CollectionName, incarnation: u64) -> CollectionKey {
        let parts = [&tenant.0.to_le_bytes()[..], name.as_str().as_bytes(), &incarnation.to_le_bytes()];
        CollectionKey(self.number("collection", &parts))
    }

    /// The document called `id` in `partition`.
    pub fn document(&self, partition: PartitionKey, id: &DocumentId) -> DocumentKey {
        DocumentKey(half(&self.hasher("document", &[&partition.to_bytes(), id.as_str().as_bytes()])))
    }

    /// The address of `content` within `tenant`: equal bytes of two tenants have different addresses.
    pub fn content(&self, tenant: TenantKey, content: &[u8]) -> [u8; 32] {
        *self.hasher("content", &[&tenant.0.to_le_bytes(), content]).finalize().as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recreated_tenant_is_another_and_equal_content_has_no_common_address() {
        let keys = KeyDeriver::new([7; 32]);
        let name = TenantName::new("acme").unwrap();
        let (first, second) = (keys.tenant(&name, 0), keys.tenant(&name, 1));
        assert_ne!(first, second);
        assert_ne!(keys.content(first, b"same"), keys.content(second, b"same"));
        assert_ne!(KeyDeriver::new([8; 32]).tenant(&name, 0), first);
    }

    #[test]
    fn a_chunk_id_survives_its_text_form() {
        let partition = PartitionKey { tenant: TenantKey(1), collection: CollectionKey(2) };
        let id = ChunkId::of(partition, DocumentKey([3; 16]), "text", 0);
        assert_eq!(ChunkId::parse(&id.to_string()), Some(id));
        assert_ne!(ChunkId::of(partition, DocumentKey([3; 16]), "text", 1), id);
        assert_eq!(ChunkId::parse("zz"), None);
    }
}

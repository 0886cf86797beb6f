//! Tenants, collections and keys in memory: the ledger's catalog records, applied in order.

use std::collections::{BTreeMap, HashMap};

use ibid_core::{CollectionName, CollectionSettings, Keyring, PartitionKey, TenantKey, TenantName};
use ibid_ledger::{Embedding, Record};

/// A tenant and its collections.
#[derive(Debug)]
pub(crate) struct TenantEntry {
    pub(crate) key: TenantKey,
    pub(crate) created_ms: u64,
    pub(crate) collections: BTreeMap<CollectionName, CollectionEntry>,
}

/// A collection's record.
#[derive(Debug, Clone)]
pub(crate) struct CollectionEntry {
    pub(crate) key: PartitionKey,
    pub(crate) settings: CollectionSettings,
    pub(crate) created_ms: u64,
    /// The models of its vectors, once they were changed.
    pub(crate) embedding: Option<Embedding>,
}

/// Everything above the documents.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    pub(crate) keyring: Keyring,
    pub(crate) tenants: BTreeMap<TenantName, TenantEntry>,
    by_key: HashMap<TenantKey, TenantName>,
}

impl Catalog {
    pub(crate) fn tenant_by_key(&self, key: TenantKey) -> Option<(&TenantName, &TenantEntry)> {
        self.by_key.get(&key).and_then(|name| self.tenants.get_key_value(name))
    }

    pub(crate) fn collection(&self, tenant: TenantKey, name: &CollectionName) -> Option<&CollectionEntry> {
        self.tenant_by_key(tenant).and_then(|(_, tenant)| tenant.collections.get(name))
    }

    /// Applies a record. Those that are not the catalog's change nothing.
    pub(crate) fn apply(&mut self, record: &Record) {
        match record {
            Record::TenantCreated { tenant, name, created_ms } => {
                self.keyring.add_tenant(*tenant, name.clone());
                self.by_key.insert(*tenant, name.clone());
                let entry = TenantEntry { key: *tenant, created_ms: *created_ms, collections: BTreeMap::new() };
                self.tenants.insert(name.clone(), entry);
            }
            Record::TenantDeleted { tenant, .. } => {
                self.keyring.remove_tenant(*tenant);
                if let Some(name) = self.by_key.remove(tenant) {
                    self.tenants.remove(&name);
                }
            }
            Record::KeyCreated { key } => self.keyring.add_key(key.clone()),
            Record::KeyRevoked { id, .. } => {
                self.keyring.revoke(*id);
            }
            Record::CollectionCreated { partition, name, settings, created_ms } => {
                let Some(tenant) = self.tenant_mut(partition.tenant) else { return };
                let entry = CollectionEntry {
                    key: *partition,
                    settings: settings.clone(),
                    created_ms: *created_ms,
                    embedding: None,
                };
                tenant.collections.insert(name.clone(), entry);
            }
            Record::CollectionUpdated { partition, settings } => {
                if let Some(entry) = self.collection_mut(*partition) {
                    entry.settings = settings.clone();
                }
            }
            Record::CollectionEmbedding { partition, embedding } => {
                if let Some(entry) = self.collection_mut(*partition) {
                    entry.settings.embedder = embedding.serving.id.clone();
                    entry.embedding = Some(embedding.clone());
                }
            }
            Record::CollectionDeleted { partition, .. } => {
                let Some(tenant) = self.tenant_mut(partition.tenant) else { return };
                tenant.collections.retain(|_, entry| entry.key != *partition);
            }
            Record::FolderCreated { .. }
            | Record::DocumentPut { .. }
            | Record::DocumentChunked { .. }
            | Record::DocumentEmbedded { .. }
            | Record::DocumentDeleted { .. }
            | Record::PartitionMarked { .. }
            | Record::PutRemembered { .. }
            | Record::VectorsGiven { .. }
            | Record::IndexCheckpoint { .. } => {}
        }
    }

    fn collection_mut(&mut self, key: PartitionKey) -> Option<&mut CollectionEntry> {
        self.tenant_mut(key.tenant)?.collections.values_mut().find(|entry| entry.key == key)
    }

    fn tenant_mut(&mut self, key: TenantKey) -> Option<&mut TenantEntry> {
        self.by_key.get(&key).and_then(|name| self.tenants.get_mut(name))
    }
}

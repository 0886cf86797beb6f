//! A data folder examined: every record of the log is read, every index is compared with it.
//!
//! Opening a collection mends its indexes. What the log has lost nobody can mend: it is named, as far as a name is left.

use std::collections::HashMap;

use ibid_core::{CollectionName, DocumentId, DocumentKey, Operator, PartitionKey, TenantName};
use ibid_ledger::{Damaged, Record, RecordKind, Sequence};
use ibid_runtime::Ctx;

use crate::engine::Engine;
use crate::error::EngineError;
use crate::invariants::{ReadLog, Violation, records_of};
use crate::recover::Mended;

/// What was found.
#[derive(Debug, Default)]
pub struct Fsck {
    /// Records of the log that are whole.
    pub records: u64,
    /// Where the log is damaged.
    pub damaged: Vec<DamagedRecord>,
    /// Indexes that were not what the log says, and were made so.
    pub mended: Vec<MendedView>,
    /// Collections with documents that cannot be read.
    pub collections: Vec<DamagedCollection>,
    /// Collections that cannot be opened.
    pub unopened: Vec<Unopened>,
    /// What does not hold, after all was mended that can be.
    pub violations: Vec<Violation>,
}

/// A damaged place of the log.
#[derive(Debug, Clone)]
pub struct DamagedRecord {
    /// Where, and the first record that may be lost there.
    pub place: Damaged,
    /// Whether a record is lost. If none is, it was a file's header or table of contents.
    pub lost: bool,
    /// What kind of record, if that can still be told.
    pub kind: Option<RecordKind>,
    /// Whose.
    pub tenant: Option<TenantName>,
    /// Its collection.
    pub collection: Option<CollectionName>,
    /// Its document.
    pub document: Option<DocumentId>,
}

/// An index that was mended.
#[derive(Debug, Clone)]
pub struct MendedView {
    /// Whose.
    pub tenant: TenantName,
    /// Of which collection.
    pub collection: CollectionName,
    /// What was wrong.
    pub mended: Mended,
}

/// A collection some of whose documents cannot be read.
#[derive(Debug, Clone)]
pub struct DamagedCollection {
    /// Whose.
    pub tenant: TenantName,
    /// Its name.
    pub name: CollectionName,
    /// How many documents. By its id, such a one answers that it is damaged.
    pub documents: u64,
}

/// A collection that cannot be opened.
#[derive(Debug)]
pub struct Unopened {
    /// Whose.
    pub tenant: TenantName,
    /// Its name.
    pub name: CollectionName,
    /// Why.
    pub error: EngineError,
}

impl Fsck {
    /// Whether nothing is lost and all that is derived follows from the log: from the start, or now that it is mended.
    pub fn is_sound(&self) -> bool {
        let lost = self.damaged.iter().any(|damaged| damaged.lost);
        !lost && self.collections.is_empty() && self.unopened.is_empty() && self.violations.is_empty()
    }
}

/// Which document a record is of.
type Owners = HashMap<Sequence, (PartitionKey, DocumentKey)>;

impl Engine {
    /// Opens every collection, waits until its documents are complete, reads all of the log, and compares. To be asked while
    /// nobody writes.
    ///
    /// # Errors
    /// [`EngineError`]: the log cannot be read, the caller's time is over, or documents move no more.
    pub async fn fsck(&self, ctx: &Ctx, _by: &Operator) -> Result<Fsck, EngineError> {
        let shared = &self.shared;
        let mut found = Fsck::default();
        let mut opened = Vec::new();
        for (tenant, name, entry) in self.collections() {
            ctx.check()?;
            match shared.open_partition(&name, entry.clone()).await {
                Ok(state) => opened.push((tenant, name, entry, state)),
                Err(error @ (EngineError::Stopped(_) | EngineError::Closing)) => return Err(error),
                Err(error) => found.unopened.push(Unopened { tenant, name, error }),
            }
        }
        let mut owners = Owners::new();
        for (tenant, name, entry, state) in &opened {
            state.settled(ctx, |_| {}).await?;
            let mended = state.mended.iter().map(|mended| MendedView {
                tenant: tenant.clone(),
                collection: name.clone(),
                mended: *mended,
            });
            found.mended.extend(mended);
            let documents = state.documents().damaged() as u64;
            if documents > 0 {
                found.collections.push(DamagedCollection { tenant: tenant.clone(), name: name.clone(), documents });
            }
            for (document, head) in shared.ledger.heads(entry.key).map_err(EngineError::of_ledger)? {
                owners.extend(records_of(&head).map(|record| (record, (entry.key, document))));
            }
        }
        let mut log = ReadLog::of(ctx, &shared.ledger)?;
        found.records = log.records.len();
        for place in log.damaged.clone() {
            found.damaged.push(self.describe(place, &log, &owners)?);
        }
        for (_, name, entry, state) in &opened {
            ctx.check()?;
            log.compare(shared, name, entry, state)?;
        }
        found.violations = log.compare_deleted(shared)?;
        Ok(found)
    }

    /// Names what stood at a damaged place, as far as the index, the records beside it and its own bytes tell.
    fn describe(&self, place: Damaged, log: &ReadLog, owners: &Owners) -> Result<DamagedRecord, EngineError> {
        let shared = &self.shared;
        let lost = !log.records.contains(place.sequence.0);
        let mut described = DamagedRecord { place, lost, kind: None, tenant: None, collection: None, document: None };
        if !lost {
            return Ok(described);
        }
        let remains = shared.ledger.remains(&place).map_err(EngineError::of_ledger)?;
        described.kind = remains.kind;
        let mut owner = owners.get(&place.sequence).copied();
        if let Some((partition, document)) = owner {
            described.document = log.id_of(partition, document).cloned();
        }
        if let Some(Record::DocumentPut { partition, document, put }) = remains.doubtful
            // Its key is a hash of partition and id by the folder's secret: what gives it is what was written.
            && shared.keys.document(partition, &put.id) == document
        {
            owner = Some((partition, document));
            described.document = Some(put.id);
        }
        if let Some((partition, _)) = owner {
            self.catalog(|catalog| {
                let Some((name, tenant)) = catalog.tenant_by_key(partition.tenant) else { return };
                let mut collections = tenant.collections.iter();
                described.tenant = Some(name.clone());
                described.collection =
                    collections.find(|(_, entry)| entry.key == partition).map(|(name, _)| name.clone());
            });
        }
        Ok(described)
    }
}

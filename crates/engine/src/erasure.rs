//! Whether something deleted is gone: every place that may hold its bytes is looked at, and those that still do are named.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use futures::channel::oneshot;
use ibid_core::{CollectionKey, CollectionName, DocumentId, DocumentKey, Identity, PartitionKey, TenantKey};
use ibid_ledger::Whose;
use ibid_ledger::snapshot::{self as snapshots, SnapshotStore};
use ibid_runtime::{Ctx, start_thread};

use crate::compact::READERS_LEAVE;
use crate::engine::{Engine, Shared};
use crate::error::{EngineError, Invalid};
use crate::partition::{Partition, State};

/// Something that was deleted, by a name that outlives it: of a deleted tenant or collection nothing else does. It tells
/// nothing of what it stood for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Erased(Whose);

/// A place that may hold bytes of something deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErasurePlace {
    /// The log's files.
    Log,
    /// The files of the index of words.
    Words,
    /// The files of the index of vectors.
    Vectors,
    /// Snapshots in the target that is configured.
    Snapshots,
}

/// What was found in one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErasureCheck {
    /// Where.
    pub place: ErasurePlace,
    /// What still holds its bytes: records of the log, indexes, snapshots.
    pub found: u64,
    /// Something there may hold them, and nobody can tell: damaged records, chunks that were removed from an index and whose
    /// room was not given back yet, files that somebody still reads.
    pub unclear: bool,
    /// By when it will be gone, milliseconds since the Unix epoch; `None`: it is gone, or stays until an operator acts.
    pub until_ms: Option<u64>,
}

impl ErasureCheck {
    /// Whether nothing is left there.
    pub fn is_clear(&self) -> bool {
        self.found == 0 && !self.unclear
    }
}

/// How far the erasure of something deleted is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erasure {
    /// What.
    pub erased: Erased,
    /// When it was deleted, milliseconds since the Unix epoch.
    pub deleted_ms: u64,
    /// The tenant's own key was destroyed: whatever was encrypted with it cannot be read by anybody.
    pub key_destroyed: bool,
    /// Every place.
    pub checks: Vec<ErasureCheck>,
}

impl Erasure {
    /// Whether nothing is left anywhere.
    pub fn is_done(&self) -> bool {
        self.checks.iter().all(ErasureCheck::is_clear)
    }
}

impl Erased {
    pub(crate) fn tenant(tenant: TenantKey) -> Erased {
        Erased(Whose::Tenant(tenant))
    }

    pub(crate) fn collection(partition: PartitionKey) -> Erased {
        Erased(Whose::Collection(partition))
    }

    pub(crate) fn document(partition: PartitionKey, document: DocumentKey) -> Erased {
        Erased(Whose::Document(partition, document))
    }

    fn owner(&self) -> TenantKey {
        match self.0 {
            Whose::Tenant(tenant) => tenant,
            Whose::Collection(partition) | Whose::Document(partition, _) => partition.tenant,
        }
    }
}

impl fmt::Display for Erased {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Whose::Tenant(tenant) => write!(f, "t-{:016x}", tenant.0),
            Whose::Collection(partition) => write!(f, "c-{partition}"),
            Whose::Document(partition, document) => {
                write!(f, "d-{partition}-{:032x}", u128::from_be_bytes(document.0))
            }
        }
    }
}

impl FromStr for Erased {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Erased, Invalid> {
        let wrong = || Invalid::new("erasure_id", "is none that a deletion was answered with");
        let mut parts = text.split('-');
        let kind = parts.next();
        let mut number = || {
            let digits = parts.next().filter(|digits| digits.len() == 16 || digits.len() == 32)?;
            u128::from_str_radix(digits, 16).ok()
        };
        let mut small = || number().and_then(|number| u64::try_from(number).ok());
        let erased = match kind {
            Some("t") => small().map(|tenant| Erased::tenant(TenantKey(tenant))),
            Some(kind @ ("c" | "d")) => small().zip(small()).and_then(|(tenant, collection)| {
                let partition = PartitionKey { tenant: TenantKey(tenant), collection: CollectionKey(collection) };
                match kind {
                    "c" => Some(Erased::collection(partition)),
                    _ => number().map(|key| Erased::document(partition, DocumentKey(key.to_be_bytes()))),
                }
            }),
            Some(_) | None => None,
        };
        // One text for each, and nothing behind it.
        erased.filter(|erased| erased.to_string() == text).ok_or_else(wrong)
    }
}

impl Partition {
    /// The name for the erasure of one of its documents.
    pub fn erased(&self, document: &DocumentId) -> Erased {
        Erased::document(self.state.key, self.state.shared.keys.document(self.state.key, document))
    }
}

impl Engine {
    /// The name for the erasure of a document of the caller's: what its deletion was answered with.
    ///
    /// # Errors
    /// [`EngineError::NotFound`]: there is no such collection.
    pub fn erased_document(
        &self,
        by: &Identity,
        collection: &CollectionName,
        document: &DocumentId,
    ) -> Result<Erased, EngineError> {
        let missing = || EngineError::NotFound { kind: "collection", name: collection.to_string() };
        let Identity::Tenant(tenant) = by else { return Err(missing()) };
        let entry = self.shared.catalog().collection(tenant.key(), collection).cloned().ok_or_else(missing)?;
        Ok(Erased::document(entry.key, self.shared.keys.document(entry.key, document)))
    }

    /// Looks whether something deleted is gone from the log, the indexes and the snapshots. Reads all of the log.
    ///
    /// # Errors
    /// [`EngineError::NotFound`]: it was not deleted, never was there, or is another tenant's; [`EngineError::Snapshot`]: the
    /// snapshots' target cannot be asked; or the ledger cannot be read.
    pub async fn verify_erasure(&self, ctx: &Ctx, by: &Identity, erased: Erased) -> Result<Erasure, EngineError> {
        let missing = || EngineError::NotFound { kind: "erasure", name: erased.to_string() };
        if let Identity::Tenant(tenant) = by
            && tenant.key() != erased.owner()
        {
            return Err(missing());
        }
        let deleted_ms =
            self.shared.ledger.deleted_ms(&erased.0).map_err(EngineError::of_ledger)?.ok_or_else(missing)?;
        let (done, looked) = oneshot::channel();
        let (shared, own) = (Arc::clone(&self.shared), ctx.clone());
        // It reads files, and the target may be far away.
        start_thread("verify erasure", move || drop(done.send(look(&shared, &own, erased, deleted_ms))))
            .map_err(|source| EngineError::Io { doing: "start a thread", source })?;
        looked.await.map_err(|_| EngineError::Closing)?
    }
}

fn look(shared: &Shared, ctx: &Ctx, erased: Erased, deleted_ms: u64) -> Result<Erasure, EngineError> {
    let key_destroyed = matches!(erased.0, Whose::Tenant(tenant) if shared.ledger.is_key_destroyed(tenant));
    // Before anything is looked at: what compaction takes away meanwhile is found, and not due any more.
    let due_ms = shared.compaction.due_in(shared.parts.clock.monotonic()).map(|wait| after(shared, wait));
    let mut checks = vec![log(shared, ctx, erased, due_ms)?];
    checks.extend(indexes(shared, erased, due_ms)?);
    if let Some(store) = &shared.parts.snapshots {
        checks.push(copies(ctx, &**store, erased, deleted_ms).map_err(EngineError::of_snapshot)?);
    }
    Ok(Erasure { erased, deleted_ms, key_destroyed, checks })
}

fn after(shared: &Shared, wait: Duration) -> u64 {
    shared.parts.clock.unix_ms().saturating_add(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX))
}

fn log(shared: &Shared, ctx: &Ctx, erased: Erased, due_ms: Option<u64>) -> Result<ErasureCheck, EngineError> {
    let held = shared.ledger.holding(ctx, &erased.0).map_err(EngineError::of_ledger)?;
    let until_ms = match (held.found, held.files_open) {
        (0, 0) => None,
        (0, _) => Some(after(shared, READERS_LEAVE)),
        (_, _) => due_ms,
    };
    let unclear = held.damaged > 0 || held.files_open > 0;
    Ok(ErasureCheck { place: ErasurePlace::Log, found: held.found, unclear, until_ms })
}

fn indexes(shared: &Shared, erased: Erased, due_ms: Option<u64>) -> Result<[ErasureCheck; 2], EngineError> {
    let check = |place, found, unclear| {
        let until_ms = due_ms.filter(|_| found > 0 || unclear);
        ErasureCheck { place, found, unclear, until_ms }
    };
    let both = |words: (u64, bool), vectors: (u64, bool)| {
        [check(ErasurePlace::Words, words.0, words.1), check(ErasurePlace::Vectors, vectors.0, vectors.1)]
    };
    let partition = match erased.0 {
        Whose::Document(partition, _) => partition,
        // The indexes of a deleted collection go as a whole.
        Whose::Tenant(_) | Whose::Collection(_) => {
            let left = folders_of(shared, erased)?;
            return Ok(both((left, false), (left, false)));
        }
    };
    let Whose::Document(_, document) = erased.0 else { return Ok(both((0, false), (0, false))) };
    let open = shared.open_partitions().into_iter().find(|state| state.key == partition);
    let Some(state) = open else {
        // A deleted collection's, or one that does not open: then its folder tells.
        let left = folders_of(shared, Erased::collection(partition))?;
        return Ok(both((0, left > 0), (0, left > 0)));
    };
    let served = u64::from(is_known(&state, document));
    let words = state.reading().lexical.snapshot().removed() > 0;
    let vectors = state.lanes().all().any(|(_, lane)| lane.vector.snapshot().removed() > 0);
    Ok(both((served, words), (served, vectors)))
}

/// Whether the deletion has not come to the indexes yet.
fn is_known(state: &State, document: DocumentKey) -> bool {
    state.documents().entry(&document).is_some()
}

/// How many folders of indexes there are of what was deleted.
fn folders_of(shared: &Shared, erased: Erased) -> Result<u64, EngineError> {
    let owner = match erased.0 {
        Whose::Tenant(tenant) => format!("{:016x}-", tenant.0),
        Whose::Collection(partition) | Whose::Document(partition, _) => partition.to_string(),
    };
    let names = match shared.parts.disk.list(&shared.config.folder.join("partitions")) {
        Err(missing) if missing.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        listed => listed.map_err(|source| EngineError::Io { doing: "list the indexes", source })?,
    };
    Ok(names.iter().filter(|name| name.to_string_lossy().starts_with(&owner)).count() as u64)
}

/// Snapshots that were made before, unless what they hold of it cannot be read any more.
fn copies(
    ctx: &Ctx,
    store: &dyn SnapshotStore,
    erased: Erased,
    deleted_ms: u64,
) -> Result<ErasureCheck, snapshots::SnapshotError> {
    let shredded = match erased.0 {
        Whose::Tenant(tenant) => snapshots::is_key_destroyed(store, tenant)?,
        Whose::Collection(_) | Whose::Document(..) => false,
    };
    let mut found = 0;
    for id in snapshots::list(store)?.iter().filter(|id| id.created_ms() <= deleted_ms) {
        ctx.check()?;
        let encrypted = shredded && snapshots::read(store, Some(id)).is_ok_and(|it| it.plain_records == Some(0));
        found += u64::from(!encrypted);
    }
    Ok(ErasureCheck { place: ErasurePlace::Snapshots, found, unclear: false, until_ms: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_erasure_is_read_as_it_is_written() {
        let partition = PartitionKey { tenant: TenantKey(7), collection: CollectionKey(u64::MAX) };
        for erased in [
            Erased::tenant(TenantKey(u64::MAX)),
            Erased::collection(partition),
            Erased::document(partition, DocumentKey([0xab; 16])),
        ] {
            let text = erased.to_string();
            assert_eq!(text.parse(), Ok(erased));
            assert!(format!("{text}-").parse::<Erased>().is_err());
            assert!(text[..text.len() - 1].parse::<Erased>().is_err());
        }
        for wrong in
            ["", "t", "t-", "x-0000000000000007", "t-+000000000000007", "c-0000000000000007", "t-000000000000000G"]
        {
            assert!(wrong.parse::<Erased>().is_err(), "{wrong}");
        }
    }
}

//! The thread that applies commits in ledger order, whoever still waits for them.
//!
//! A write that is on its way into the ledger cannot be called back: its caller may leave, the change is applied all the
//! same, here.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, mpsc};

use futures::channel::oneshot;
use ibid_core::{DocumentId, DocumentKey, Generation, PartitionKey, Revision};
use ibid_ledger::{Pending, Record, Sequence};
use ibid_runtime::start_thread;
use tokio::sync::OwnedMutexGuard;

use crate::documents::{Entry, Meta, Version};
use crate::engine::Shared;
use crate::error::EngineError;
use crate::partition::State;
use crate::shred;
use crate::stages::CutWork;
use crate::write::Claim;

/// A write in the ledger's queue, and what to do once it is durable.
pub(crate) struct Accepted {
    pub(crate) pending: Pending,
    pub(crate) commit: Commit,
}

type Done = oneshot::Sender<Result<(), EngineError>>;

/// What a write changes once it is durable. `done` hears how it went.
pub(crate) enum Commit {
    /// Tenants, keys, collections.
    Catalog { record: Box<Record>, _turn: OwnedMutexGuard<()>, done: Done },
    /// A document's new version.
    Put {
        partition: Arc<State>,
        key: DocumentKey,
        id: DocumentId,
        revision: Revision,
        generation: Generation,
        meta: Arc<Meta>,
        claim: Option<Claim>,
        done: Done,
    },
    /// A document's end. `done` hears of it when no new question finds the document.
    Delete { partition: Arc<State>, key: DocumentKey, revision: Revision, done: Done },
}

/// Applies writes until the engine closes.
pub(crate) fn run(shared: &Arc<Shared>, accepted: mpsc::Receiver<Accepted>) {
    for Accepted { pending, commit } in accepted {
        let committed = pending.wait().map_err(EngineError::of_ledger);
        apply(shared, committed, commit);
    }
}

/// The partitions that a change of the catalog ends.
fn ended_by(shared: &Shared, record: &Record) -> Vec<PartitionKey> {
    if let Record::CollectionDeleted { partition, .. } = record {
        return vec![*partition];
    }
    let Record::TenantDeleted { tenant, .. } = record else { return Vec::new() };
    let catalog = shared.catalog();
    let collections = catalog.tenant_by_key(*tenant).map(|(_, tenant)| tenant.collections.values());
    collections.into_iter().flatten().map(|entry| entry.key).collect()
}

fn apply(shared: &Arc<Shared>, committed: Result<Sequence, EngineError>, commit: Commit) {
    match commit {
        Commit::Catalog { record, _turn, done } => {
            if let (Ok(_), Record::TenantDeleted { tenant, deleted_ms }) = (&committed, &*record) {
                shred::destroy_key(shared, *tenant, *deleted_ms);
            }
            let ended = committed.as_ref().map_or_else(|_| Vec::new(), |_| ended_by(shared, &record));
            let applied = committed.map(|_| {
                shared.keep_copy(&record);
                shared.catalog.write().unwrap_or_else(PoisonError::into_inner).apply(&record);
            });
            if ended.is_empty() {
                return tell(done, applied);
            }
            shared.erase_soon();
            // Removing indexes takes its time, and is done whoever still waits for it.
            let own = Arc::clone(shared);
            let started = start_thread("discard", move || {
                let discarded = ended.into_iter().map(|partition| own.discard(partition)).collect::<Vec<_>>();
                tell(done, discarded.into_iter().collect());
            });
            if let Err(error) = started {
                tracing::error!(%error, "a deleted collection's indexes stay until the next start");
            }
        }
        Commit::Put { partition, key, id, revision, generation, meta, claim, done } => {
            let applied = committed.map(|put| {
                let version = Version::durable(revision, generation, put, meta);
                put_version(&partition, key, id, version);
                partition.lock(&partition.to_cut).push_back(CutWork::Cut { key, revision });
                shared.waiting.fetch_add(1, Ordering::Relaxed);
                shared.cutting.push(&partition);
            });
            // From now on the ledger's index knows the key, or the write failed and may be repeated.
            drop(claim);
            tell(done, applied);
            partition.announce();
        }
        Commit::Delete { partition, key, revision, done } => match committed {
            Err(error) => {
                if let Some(entry) = partition.documents_mut().entry_mut(&key) {
                    entry.deleting = entry.deleting.saturating_sub(1);
                }
                partition.announce();
                tell(done, Err(error));
            }
            Ok(_) => {
                shared.erase_soon();
                partition.lock(&partition.to_cut).push_back(CutWork::Delete { key, revision, done });
                shared.cutting.push(&partition);
            }
        },
    }
}

/// The version that is served stays in sight until the new one is complete.
fn put_version(partition: &State, key: DocumentKey, id: DocumentId, version: Version) {
    let mut documents = partition.documents_mut();
    let Some(entry) = documents.entry_mut(&key) else {
        documents.insert(key, Entry::new(id, version));
        return;
    };
    let old = std::mem::replace(&mut entry.current, version);
    if entry.previous.is_none() && old.cut.is_some() {
        entry.previous = Some(old);
    }
}

/// Whoever asked may have left: then nobody needs to know.
pub(crate) fn tell(done: Done, result: Result<(), EngineError>) {
    let _ = done.send(result);
}

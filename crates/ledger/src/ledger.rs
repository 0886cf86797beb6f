//! The ledger: append, read, and ask the index.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use ibid_core::{DocumentKey, PartitionKey, TenantKey};
use ibid_runtime::{Clock, Ctx, Disk, Random};
use roaring::RoaringTreemap;

use crate::batch::Queue;
use crate::checkpoint::{self, Checkpoints};
use crate::commit::{Committer, Follower};
use crate::frame::Body;
use crate::index::{self, Index, IndexError, Overlay, Owner, key};
use crate::keys::{self, TenantKeys};
use crate::log::{Log, Opened, Sizes};
use crate::replay::{self, Kept, SledPlace};
use crate::snapshot::{self, SnapshotError, SnapshotStore};
use crate::{
    Compacted, Damaged, EarlierPut, Head, IndexKind, IndexState, LedgerError, MasterKey, PartitionMark, Pending,
    Record, Sequence, Stats, Whose,
};

/// Limits, and the key.
#[derive(Debug, Clone)]
pub struct Config {
    /// A segment is not made longer than this, in bytes, unless one group alone is.
    pub segment_bytes_max: u64,
    /// Zeros that are written in advance, in bytes: a group that overwrites them is synced faster than one that makes the file
    /// longer.
    pub room_bytes: u64,
    /// Bytes of records that may wait or be in writing; what goes beyond is refused, unless nothing waits. In memory they
    /// take up about three times as much: as values, as bytes, and as the piece being written.
    pub queue_bytes_max: u64,
    /// How long sled may take to open before the index is kept in memory instead.
    pub index_open_max: Duration,
    /// Memory for sled's cache, in bytes.
    pub index_cache_bytes: u64,
    /// Entries of the index that may have changed since its last checkpoint: what a kill costs to replay.
    pub index_changes_max: usize,
    /// What seals the tenants' keys. With it, whatever is written of a tenant's is encrypted from then on; a folder that was
    /// opened with it once opens with no other, and not without.
    pub master_key: Option<MasterKey>,
}

/// What opening found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The folder was new.
    pub created: bool,
    /// Records in the log.
    pub records: u64,
    /// Bytes of unacknowledged writes that were cut from the log's end.
    pub torn_bytes: u64,
    /// What is lost. Where sled was found whole, bodies were not read: those are verified when they are.
    pub damaged: Vec<Damaged>,
    /// The index was filled from the log: always in memory; in sled, when it did not match.
    pub index_rebuilt: bool,
}

/// What the log still holds of somebody's bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Holding {
    /// Records read.
    pub scanned: u64,
    /// Those that hold such bytes.
    pub found: u64,
    /// Records that cannot be read: whose they are is not known.
    pub damaged: u64,
    /// Files that were compacted away and are open still, for who reads them: the disk keeps their bytes until then.
    pub files_open: u64,
}

/// The durable truth: records in order, and the index over them. One at a time may be open on a folder: see
/// [`crate::lock_folder`].
#[derive(Debug)]
pub struct Ledger {
    log: Arc<Log>,
    queue: Arc<Queue>,
    kept: Arc<RwLock<Kept>>,
    stats: Arc<Mutex<Stats>>,
    segment_bytes_max: u64,
    thread: Mutex<Option<JoinHandle<Result<(), LedgerError>>>>,
    index_thread: Mutex<Option<JoinHandle<()>>>,
}

impl Ledger {
    /// Opens the ledger in `folder`, or makes one: the log in `log/`, the index in `index/`. Torn writes are cut, damage
    /// is reported and stepped over, and what is then served is durable.
    ///
    /// # Errors
    /// The disk; [`LedgerError::Newer`]; [`LedgerError::NoSecret`]; [`LedgerError::Unfinished`];
    /// [`LedgerError::MasterKeyMissing`] and [`LedgerError::MasterKeyWrong`], which leave the folder as it is.
    pub fn open(
        disk: Arc<dyn Disk>,
        folder: &Path,
        config: Config,
        kind: IndexKind,
        clock: &dyn Clock,
        random: Arc<dyn Random>,
    ) -> Result<(Ledger, Report), LedgerError> {
        if snapshot::is_unfinished(&*disk, folder) {
            return Err(LedgerError::Unfinished);
        }
        // Before anything is written: without the right master key the folder stays as it is.
        let keys = folder.join(keys::FOLDER);
        let keys = TenantKeys::open(Arc::clone(&disk), keys, config.master_key.clone(), Arc::clone(&random))?;
        let sizes = Sizes { segment_bytes_max: config.segment_bytes_max, room_bytes: config.room_bytes };
        let mut opened = Log::open(Arc::clone(&disk), folder.join("log"), sizes, Arc::new(keys), || {
            let mut secret = [0; 32];
            random.fill(b"folder", &mut secret);
            secret
        })?;
        let created = opened.writer.sequence() == Sequence(0);
        if created {
            let first = Record::FolderCreated { secret: *opened.log.secret(), created_ms: clock.unix_ms() };
            opened.writer.write(&[&Body::of(&first)?])?;
        }
        let place = SledPlace {
            disk: &*disk,
            path: folder.join("index"),
            cache_bytes: config.index_cache_bytes,
            open_max: config.index_open_max,
        };
        let (kept, index_rebuilt, mut walked) = replay::settle(&opened, kind, &place)?;
        let agreed = agree_on_keys(&mut opened, &kept, clock.unix_ms())?;
        if agreed.keys_destroyed && !walked.damaged.is_empty() {
            // A key whose destruction was cut off passed for a damaged one, and so did what it had sealed.
            walked.damaged = opened.log.scan(Sequence(1), &mut |_, _| Ok(ControlFlow::Continue(())))?;
        }
        if let Some(layered) = kept.layered.as_ref().filter(|_| index_rebuilt) {
            // From here on a kill costs a replay of what follows.
            let frozen = layered.freeze().map_err(replay::failed)?;
            opened.writer.write(&[&Body::of(&checkpoint::record(&frozen))?])?;
        }
        let report = Report {
            created,
            records: walked.records,
            torn_bytes: opened.torn_bytes,
            damaged: walked.damaged,
            index_rebuilt,
        };
        // An index that was filled anew need not be what that checkpoint vouches for: records may have been damaged since.
        let vouched = opened.checkpoint.is_some() && !index_rebuilt && !agreed.records_written;
        let checkpoint = vouched.then(|| opened.writer.sequence());
        let queue = Arc::new(Queue::new(config.queue_bytes_max));
        let kept = Arc::new(RwLock::new(kept));
        let stats = Arc::new(Mutex::new(opened.writer.stats()));
        let (checkpoints, index_thread) = Checkpoints::start(config.index_changes_max, &kept, &queue)?;
        let (own, stats_of) = (Arc::clone(&queue), Arc::clone(&stats));
        let committer = Committer { writer: opened.writer, queue: own, stats: stats_of, checkpoint };
        let (log, own, kept_of) = (Arc::clone(&opened.log), Arc::clone(&queue), Arc::clone(&kept));
        let follower = Follower { log, queue: own, kept: kept_of, checkpoints };
        let thread = std::thread::Builder::new().name("ledger".to_owned()).spawn(move || committer.run(follower));
        let thread = thread.map_err(|source| LedgerError::Thread { source: Arc::new(source) })?;
        let (thread, index_thread) = (Mutex::new(Some(thread)), Mutex::new(index_thread));
        Ok((
            Ledger {
                log: opened.log,
                queue,
                kept,
                stats,
                segment_bytes_max: config.segment_bytes_max,
                thread,
                index_thread,
            },
            report,
        ))
    }

    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    /// What the folder's internal keys are derived with.
    pub fn secret(&self) -> &[u8; 32] {
        self.log.secret()
    }

    /// Appends `record`: durable and indexed once the answer is there. Records are ordered as they are appended. The record
    /// is written whether or not anybody waits for the answer.
    ///
    /// # Errors
    /// The answer is [`LedgerError::TooLarge`], [`LedgerError::Overloaded`] (try later), [`LedgerError::Full`] (nothing was
    /// kept), [`LedgerError::Write`] (open the ledger again to learn whether the record is there),
    /// [`LedgerError::Poisoned`] or [`LedgerError::Closed`].
    pub fn append(&self, record: Record) -> Pending {
        let body = self.log.body(&record);
        self.queue.push(record, body)
    }

    /// The record of that sequence, its checksums verified.
    ///
    /// # Errors
    /// [`LedgerError::Corrupt`], also for one that was compacted away; [`LedgerError::Read`].
    pub fn read(&self, sequence: Sequence) -> Result<Record, LedgerError> {
        self.log.read(sequence)
    }

    /// Shows `visit` every record from `from` on, in order, until it breaks off. Returns what is damaged on the way: those
    /// records are left out. Records appended after the call may be left out too.
    ///
    /// # Errors
    /// [`LedgerError::Read`], [`LedgerError::Newer`].
    pub fn scan(
        &self,
        from: Sequence,
        visit: &mut dyn FnMut(Sequence, Record) -> ControlFlow<()>,
    ) -> Result<Vec<Damaged>, LedgerError> {
        self.log.scan(from, &mut |sequence, record| Ok(visit(sequence, record)))
    }

    /// Ends the last segment, so that all of the log may be compacted.
    ///
    /// # Errors
    /// [`LedgerError::Full`], [`LedgerError::Write`], [`LedgerError::Poisoned`], [`LedgerError::Closed`].
    pub fn seal(&self) -> Result<(), LedgerError> {
        futures::executor::block_on(self.queue.seal()).unwrap_or(Err(LedgerError::Closed))
    }

    /// Closes the files that were compacted last: from here on nobody reads a record of theirs that is gone.
    pub fn release(&self) {
        self.log.release();
    }

    /// Leaves out of the log what nothing needs any more, of each full segment of which more than `dead_percent` is not
    /// needed, and erases it so from the disk. Not needed are idempotency keys of puts before `remembered_from_ms`, nor versions
    /// whose place was taken before `retained_from_ms`, both in milliseconds since the Unix epoch. `in_use` are records that
    /// somebody may still ask for though the index names them no more. A reader that learned of a record before the call may
    /// read it until the next one, or [`Ledger::release`]. Writers do not wait.
    ///
    /// # Errors
    /// [`LedgerError::Full`], [`LedgerError::Stopped`], [`LedgerError::Index`], or the disk failed: what was not compacted
    /// stays as it is.
    pub fn compact(
        &self,
        ctx: &Ctx,
        dead_percent: u64,
        remembered_from_ms: u64,
        retained_from_ms: u64,
        in_use: &RoaringTreemap,
    ) -> Result<Compacted, LedgerError> {
        let mut needed = self.indexed(|index| index::needed(index, remembered_from_ms, retained_from_ms))?;
        needed.whole |= in_use;
        needed.whole.extend(replay::checkpoints(&self.log).into_iter().map(|sequence| sequence.0));
        self.log.compact(ctx, &needed, dead_percent, self.segment_bytes_max)
    }

    /// Copies the log as it is now into `store`, but for what is there already. Writers do not wait. One at a time.
    ///
    /// # Errors
    /// [`SnapshotError`]: there is no such snapshot then, and the next one goes on with what was copied.
    pub fn snapshot(
        &self,
        ctx: &Ctx,
        store: &dyn SnapshotStore,
        now_ms: u64,
    ) -> Result<snapshot::Created, SnapshotError> {
        snapshot::create(ctx, &self.log, store, now_ms)
    }

    /// Destroys a deleted tenant's key: nobody reads what was encrypted with it any more, in the log and in no snapshot of
    /// it, once [`Ledger::update_keys`] has told the snapshots' target too. Nothing happens if it never had one.
    ///
    /// # Errors
    /// The disk; it is tried again when the ledger is opened.
    pub fn destroy_key(&self, tenant: TenantKey, now_ms: u64) -> Result<(), LedgerError> {
        self.log.keys().destroy(tenant, now_ms)
    }

    /// Whether what is written of tenants is encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.log.keys().is_on()
    }

    /// Whether a tenant had a key and it is destroyed.
    pub fn is_key_destroyed(&self, tenant: TenantKey) -> bool {
        self.log.keys().is_destroyed(tenant)
    }

    /// Brings the tenants' keys in `store` up to date: what was destroyed here is destroyed there.
    ///
    /// # Errors
    /// The store, or the disk.
    pub fn update_keys(&self, store: &dyn SnapshotStore) -> Result<(), SnapshotError> {
        snapshot::update_keys(self.log.keys(), store)
    }

    /// Reads all of the log and counts the records that hold bytes of `whose`, and those of which nobody can tell because
    /// they are damaged. What was encrypted with a destroyed key counts as gone.
    ///
    /// # Errors
    /// [`LedgerError::Stopped`], [`LedgerError::Read`], [`LedgerError::Newer`].
    pub fn holding(&self, ctx: &Ctx, whose: &Whose) -> Result<Holding, LedgerError> {
        let mut holding = Holding { files_open: self.log.replaced(), ..Holding::default() };
        let damaged = self.log.scan(Sequence(1), &mut |_, record| {
            ctx.check().map_err(LedgerError::Stopped)?;
            holding.scanned += 1;
            holding.found += u64::from(record.holds_bytes_of(whose));
            Ok(ControlFlow::Continue(()))
        })?;
        holding.damaged = damaged.len() as u64;
        Ok(holding)
    }

    /// When a tenant, collection or document was deleted, in milliseconds since the Unix epoch; `None` if it is there, or
    /// never was.
    ///
    /// # Errors
    /// [`LedgerError::Index`], [`LedgerError::Read`], [`LedgerError::Corrupt`].
    pub fn deleted_ms(&self, whose: &Whose) -> Result<Option<u64>, LedgerError> {
        let partition = match whose {
            Whose::Tenant(_) => None,
            Whose::Collection(partition) | Whose::Document(partition, _) => Some(*partition),
        };
        let tenant = match whose {
            Whose::Tenant(tenant) => *tenant,
            Whose::Collection(partition) | Whose::Document(partition, _) => partition.tenant,
        };
        let deletion = self.indexed(|index| {
            if let Some(deletion) = index::get::<Sequence>(index, &key::deleted_tenant(tenant))? {
                return Ok(Some(deletion));
            }
            let Some(partition) = partition else { return Ok(None) };
            if let Some(deletion) = index::get::<Sequence>(index, &key::deleted_partition(partition))? {
                return Ok(Some(deletion));
            }
            let Whose::Document(_, document) = whose else { return Ok(None) };
            let head = index::get::<Head>(index, &key::head(partition, *document))?;
            Ok(head.filter(|head| head.current.is_tombstone()).and_then(|head| head.current.deleted))
        })?;
        let Some(deletion) = deletion else { return Ok(None) };
        if let Record::TenantDeleted { deleted_ms, .. }
        | Record::CollectionDeleted { deleted_ms, .. }
        | Record::DocumentDeleted { deleted_ms, .. } = self.log.read(deletion)?
        {
            return Ok(Some(deleted_ms));
        }
        Err(LedgerError::Corrupt { sequence: deletion })
    }

    /// The records that say which tenants, keys and collections there are, in order; [`Record::FolderCreated`] is the first.
    /// A damaged one is left out, and logged: the rest is served.
    ///
    /// # Errors
    /// [`LedgerError::Index`], [`LedgerError::Read`].
    pub fn catalog(&self) -> Result<Vec<Record>, LedgerError> {
        let sequences = self.indexed(index::catalog)?;
        let mut records = Vec::with_capacity(sequences.len());
        for sequence in sequences {
            match self.log.read(sequence) {
                Ok(record) => records.push(record),
                Err(error @ LedgerError::Corrupt { .. }) => tracing::error!(%error, "a catalog record is lost"),
                Err(other) => return Err(other),
            }
        }
        Ok(records)
    }

    /// Whether there is, or ever was, a tenant of this key.
    ///
    /// # Errors
    /// [`LedgerError::Index`]
    pub fn has_tenant(&self, tenant: TenantKey) -> Result<bool, LedgerError> {
        self.indexed(|index| {
            let there = index::scan::<Owner>(index, key::CATALOG)?;
            let there = there.iter().any(|(_, owner)| *owner == Owner::Tenant(tenant));
            Ok(there || index.get(&key::deleted_tenant(tenant))?.is_some())
        })
    }

    /// Whether there is, or ever was, a collection of this key.
    ///
    /// # Errors
    /// [`LedgerError::Index`]
    pub fn has_partition(&self, partition: PartitionKey) -> Result<bool, LedgerError> {
        self.indexed(|index| {
            let there = index::scan::<Owner>(index, key::CATALOG)?;
            let there = there.iter().any(|(_, owner)| *owner == Owner::Collection(partition));
            Ok(there || index.get(&key::deleted_partition(partition))?.is_some())
        })
    }

    /// The documents of a partition, deleted ones too, by key.
    ///
    /// # Errors
    /// [`LedgerError::Index`]
    pub fn heads(&self, partition: PartitionKey) -> Result<Vec<(DocumentKey, Head)>, LedgerError> {
        self.indexed(|index| {
            let entries = index::scan::<Head>(index, &key::heads(partition))?;
            entries.into_iter().map(|(rest, head)| Ok((document_key(&rest)?, head))).collect()
        })
    }

    /// One document; `None` if there never was one.
    ///
    /// # Errors
    /// [`LedgerError::Index`]
    pub fn head(&self, partition: PartitionKey, document: DocumentKey) -> Result<Option<Head>, LedgerError> {
        self.indexed(|index| index::get(index, &key::head(partition, document)))
    }

    /// What the partition has used up; zeros before its first write, and after its deletion.
    ///
    /// # Errors
    /// [`LedgerError::Index`]
    pub fn mark(&self, partition: PartitionKey) -> Result<PartitionMark, LedgerError> {
        Ok(self.indexed(|index| index::get(index, &key::mark(partition)))?.unwrap_or_default())
    }

    /// The write that an idempotency key stands for in this partition; `None` if it was never used.
    ///
    /// # Errors
    /// [`LedgerError::Index`]
    pub fn idempotent(&self, partition: PartitionKey, hash: [u8; 16]) -> Result<Option<EarlierPut>, LedgerError> {
        self.indexed(|index| index::get(index, &key::idempotency(partition, &hash)))
    }

    /// How the index is doing.
    pub fn index_state(&self) -> IndexState {
        self.kept.read().unwrap_or_else(PoisonError::into_inner).state.clone()
    }

    /// What the ledger has done since it was opened.
    pub fn stats(&self) -> Stats {
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what waits, then a last record that vouches for the index. Nothing is accepted afterwards; reading goes on.
    /// Dropping the ledger closes it too.
    ///
    /// # Errors
    /// The last record could not be written; the others were answered for on their own.
    pub fn close(&self) -> Result<(), LedgerError> {
        self.queue.close();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A thread that panicked has lost the log's end from sight.
        let closed = thread.map_or(Ok(()), |thread| thread.join().unwrap_or(Err(LedgerError::Poisoned)));
        let index_thread = self.index_thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Nobody asks it any more.
        index_thread.map(JoinHandle::join);
        closed
    }

    /// Asks the index. One that fails is replaced, and answers again once that is done.
    fn indexed<T>(&self, ask: impl FnOnce(&dyn Index) -> Result<T, IndexError>) -> Result<T, LedgerError> {
        let index = self.kept.read().unwrap_or_else(PoisonError::into_inner).index.clone();
        let answer = match index {
            Some(index) => ask(&*index),
            None => Err(IndexError::Failed("the index is not there".to_owned())),
        };
        answer.map_err(|error| {
            self.queue.reindex(error.to_string());
            replay::failed(error)
        })
    }
}

/// What it took to make log and keys agree.
#[derive(Default)]
struct Agreed {
    keys_destroyed: bool,
    records_written: bool,
}

/// Of a deleted tenant no key is left; of a tenant whose key was destroyed, which a snapshot may bring back, nothing is.
fn agree_on_keys(opened: &mut Opened, kept: &Kept, now_ms: u64) -> Result<Agreed, LedgerError> {
    let mut agreed = Agreed::default();
    let Some(index) = &kept.index else { return Ok(agreed) };
    let (here, destroyed) = opened.log.keys().tenants();
    let is_deleted = |tenant: &TenantKey| Ok(index.get(&key::deleted_tenant(*tenant))?.is_some());
    for tenant in here {
        if is_deleted(&tenant).map_err(replay::failed)? {
            opened.log.keys().destroy(tenant, now_ms)?;
            agreed.keys_destroyed = true;
        }
    }
    for tenant in destroyed {
        if is_deleted(&tenant).map_err(replay::failed)? {
            continue;
        }
        let record = Record::TenantDeleted { tenant, deleted_ms: now_ms };
        let sequence = opened.writer.write(&[&Body::of(&record)?])?;
        let mut view = Overlay::new(&**index);
        index::apply(&mut view, sequence, &record).and_then(|()| view.commit()).map_err(replay::failed)?;
        agreed.records_written = true;
    }
    Ok(agreed)
}

impl Drop for Ledger {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::warn!(%error, "the ledger did not close");
        }
    }
}

fn document_key(rest: &[u8]) -> Result<DocumentKey, IndexError> {
    let bytes = rest.try_into().map_err(|_| IndexError::Failed("a key of another length".to_owned()))?;
    Ok(DocumentKey(bytes))
}

#[cfg(test)]
mod tests;

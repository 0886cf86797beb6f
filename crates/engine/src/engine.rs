//! Open, close; from a right to a partition.

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, mpsc};
use std::thread::JoinHandle;

use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::Shared as SharedFuture;
use ibid_core::{AuthError, CollectionName, Credential, DocumentKey, Identity, KeyDeriver, PartitionKey, TenantId};
use ibid_ledger::{FolderLock, IndexKind, Ledger, Pending, Record, Report, lock_folder};
use ibid_runtime::{Ctx, Priority, start_thread};

use crate::backup::Backup;
use crate::catalog::{Catalog, CollectionEntry};
use crate::compact::Compaction;
use crate::config::{Config, Parts, Views};
use crate::error::EngineError;
use crate::intake::{Accepted, Commit};
use crate::partition::{Partition, State};
use crate::shred::{self, Shredding};
use crate::stages::Line;
use crate::{compact, intake, recover, stages};

/// What opening found.
#[derive(Debug, Clone)]
pub struct Opened {
    /// The ledger's report: whether the folder is new, what was torn or damaged.
    pub ledger: Report,
}

/// All tenants of one data folder. Closing happens on drop, or by [`Engine::close`].
pub struct Engine {
    pub(crate) shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Let go when the engine is closed.
    lock: Mutex<Option<FolderLock>>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

/// What handles, intake and stages share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) parts: Parts,
    pub(crate) ledger: Ledger,
    pub(crate) keys: KeyDeriver,
    pub(crate) catalog: RwLock<Catalog>,
    /// Held by whoever changes the catalog, until the change is applied.
    pub(crate) changing: Arc<tokio::sync::Mutex<()>>,
    partitions: Mutex<HashMap<PartitionKey, Slot>>,
    /// `None` once the engine closes.
    intake: Mutex<Option<mpsc::Sender<Accepted>>>,
    pub(crate) cutting: Line,
    pub(crate) embedding: Line,
    pub(crate) compaction: Compaction,
    pub(crate) backup: Backup,
    pub(crate) shredding: Shredding,
    /// Documents that wait to be cut.
    pub(crate) waiting: AtomicUsize,
    /// The background's context: stopped when the engine closes.
    pub(crate) background: Ctx,
    /// The ledger takes no more writes until it is opened again.
    pub(crate) read_only: AtomicBool,
}

type OpeningResult = Result<Arc<State>, Arc<EngineError>>;

/// What everybody hears who waits for a partition that does not open.
fn not_opened(error: &EngineError) -> EngineError {
    if let EngineError::OtherModel { collection, holds, has } = error {
        let (collection, holds, has) = (collection.clone(), holds.clone(), has.clone());
        return EngineError::OtherModel { collection, holds, has };
    }
    EngineError::Damaged(error.to_string())
}

enum Slot {
    Open(Arc<State>),
    Opening(SharedFuture<oneshot::Receiver<OpeningResult>>),
}

impl Engine {
    /// Opens a data folder, or makes one. Blocks while the ledger is read; partitions open when they are first used, and in
    /// the background, where unfinished documents go on.
    ///
    /// # Errors
    /// [`EngineError`]: the folder is in use, damaged beyond reading, left by a restore that was cut off, or cannot be written.
    pub fn open(config: Config, parts: Parts) -> Result<(Engine, Opened), EngineError> {
        parts
            .disk
            .create_dir_all(&config.folder)
            .map_err(|source| EngineError::Io { doing: "make the data folder", source })?;
        let lock = match parts.views {
            Views::Folder => Some(lock_folder(&config.folder).map_err(EngineError::of_ledger)?),
            Views::Memory => None,
        };
        let ledger_config = ibid_ledger::Config {
            segment_bytes_max: config.log_segment_bytes,
            room_bytes: config.log_room_bytes,
            queue_bytes_max: config.queue_bytes_max,
            index_open_max: config.index_open_timeout,
            index_cache_bytes: 64 << 20,
            index_changes_max: 16_384,
            master_key: config.master_key.clone(),
        };
        let kind = match parts.views {
            Views::Folder => IndexKind::Sled,
            Views::Memory => IndexKind::Memory,
        };
        let disk = Arc::clone(&parts.disk);
        let (clock, random) = (Arc::clone(&parts.clock), Arc::clone(&parts.random));
        let (ledger, report) =
            Ledger::open(disk, &config.folder, ledger_config, kind, &*clock, random).map_err(EngineError::of_ledger)?;
        let mut catalog = Catalog::default();
        for record in ledger.catalog().map_err(EngineError::of_ledger)? {
            catalog.apply(&record);
        }
        let (sender, receiver) = mpsc::channel();
        let shared = Arc::new(Shared {
            keys: KeyDeriver::new(*ledger.secret()),
            ledger,
            catalog: RwLock::new(catalog),
            changing: Arc::default(),
            partitions: Mutex::default(),
            intake: Mutex::new(Some(sender)),
            cutting: Line::default(),
            embedding: Line::default(),
            compaction: Compaction::default(),
            backup: Backup::default(),
            shredding: Shredding::default(),
            waiting: AtomicUsize::new(0),
            background: Ctx::new(clock, Priority::Ingest, None),
            read_only: AtomicBool::new(false),
            config,
            parts,
        });
        shared.sweep();
        let threads = start_threads(&shared, receiver)
            .map_err(|source| EngineError::Io { doing: "start the engine's threads", source })?;
        Ok((Engine { shared, threads: Mutex::new(threads), lock: Mutex::new(lock) }, Opened { ledger: report }))
    }

    /// Whom a credential belongs to.
    ///
    /// # Errors
    /// [`AuthError`].
    pub fn authenticate(&self, shown: &Credential) -> Result<Identity, AuthError> {
        self.shared.catalog().keyring.authenticate(shown, self.shared.parts.clock.unix_ms())
    }

    /// A tenant's collection, opened if need be.
    ///
    /// # Errors
    /// [`EngineError::NotFound`]; or it cannot be opened.
    pub async fn partition(
        &self,
        ctx: &Ctx,
        tenant: &TenantId,
        name: &CollectionName,
    ) -> Result<Partition, EngineError> {
        let entry = self.shared.catalog().collection(tenant.key(), name).cloned();
        let missing = || EngineError::NotFound { kind: "collection", name: name.to_string() };
        let entry = entry.ok_or_else(missing)?;
        let state = self.shared.open_partition(name, entry).await?;
        ctx.check()?;
        Ok(Partition { state, tenant: tenant.clone() })
    }

    /// Stops the background, saves the indexes and closes the ledger. Nothing acknowledged is lost without it; opening
    /// again is faster with it.
    pub fn close(&self) {
        self.shared.background.stop();
        self.shared.cutting.close();
        self.shared.embedding.close();
        self.shared.compaction.close();
        self.shared.backup.close();
        self.shared.shredding.close();
        *lock(&self.shared.intake) = None;
        let threads: Vec<JoinHandle<()>> = lock(&self.threads).drain(..).collect();
        if threads.is_empty() {
            return;
        }
        for thread in threads {
            // A thread that panicked has said so; the ledger has what was acknowledged.
            let _ = thread.join();
        }
        let slots: Vec<Slot> = lock(&self.shared.partitions).drain().map(|(_, slot)| slot).collect();
        for slot in slots {
            if let Slot::Open(state) = slot {
                // Whoever waits for one of these hears that the engine closes.
                state.lock(&state.to_cut).clear();
                state.lock(&state.to_change).clear();
                state.announce();
                state.save();
            }
        }
        if let Err(error) = self.shared.ledger.close() {
            tracing::warn!(%error, "the ledger did not close cleanly; its index is rebuilt at the next start");
        }
        *lock(&self.lock) = None;
    }

    /// How many syncs the ledger has made, and for how many records.
    pub fn ledger_stats(&self) -> ibid_ledger::Stats {
        self.shared.ledger.stats()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.close();
    }
}

fn start_threads(shared: &Arc<Shared>, receiver: mpsc::Receiver<Accepted>) -> std::io::Result<Vec<JoinHandle<()>>> {
    let (intake_shared, cut_shared) = (Arc::clone(shared), Arc::clone(shared));
    let (embed_shared, resume_shared) = (Arc::clone(shared), Arc::clone(shared));
    let (compact_shared, shred_shared) = (Arc::clone(shared), Arc::clone(shared));
    Ok(vec![
        start_thread("intake", move || intake::run(&intake_shared, receiver))?,
        start_thread("cut", move || stages::run_cutting(&cut_shared))?,
        start_thread("embed", move || stages::run_embedding(&embed_shared))?,
        start_thread("resume", move || resume(&resume_shared))?,
        start_thread("compact", move || compact::run(&compact_shared))?,
        start_thread("shred", move || shred::run(&shred_shared))?,
    ])
}

/// Opens every partition once, so that documents which were on their way when the server stopped go on.
fn resume(shared: &Arc<Shared>) {
    let collections: Vec<(CollectionName, CollectionEntry)> = {
        let catalog = shared.catalog();
        let all = catalog.tenants.values().flat_map(|tenant| &tenant.collections);
        all.map(|(name, entry)| (name.clone(), entry.clone())).collect()
    };
    for (name, entry) in collections {
        if shared.background.check().is_err() {
            return;
        }
        let key = entry.key;
        if let Err(error) = futures::executor::block_on(shared.open_partition(&name, entry)) {
            tracing::error!(partition = %key, %error, "a collection cannot be opened");
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn catalog(&self) -> RwLockReadGuard<'_, Catalog> {
        self.catalog.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a write that is on its way into the ledger to the intake.
    pub(crate) fn intake(&self, pending: Pending, commit: Commit) -> Result<(), EngineError> {
        let intake = lock(&self.intake);
        let sender = intake.as_ref().ok_or(EngineError::Closing)?;
        sender.send(Accepted { pending, commit }).map_err(|_| EngineError::Closing)
    }

    /// Writes a change of the catalog a second time: by its only record a tenant would lose all it has to one bad byte. Made is
    /// the change without it, too.
    pub(crate) fn keep_copy(&self, record: &Record) {
        // An embedding thread changes models beside others' changes: a copy might come after a later one.
        if !matches!(record, Record::CollectionEmbedding { .. }) {
            drop(self.ledger.append(record.clone()));
        }
    }

    /// The partitions that are open now.
    pub(crate) fn open_partitions(&self) -> Vec<Arc<State>> {
        let open = |slot: &Slot| if let Slot::Open(state) = slot { Some(Arc::clone(state)) } else { None };
        lock(&self.partitions).values().filter_map(open).collect()
    }

    /// Something was deleted.
    pub(crate) fn erase_soon(&self) {
        self.compaction.erase_by(self.parts.clock.monotonic() + self.config.erase_within);
    }

    pub(crate) fn is_in_catalog(&self, key: PartitionKey) -> bool {
        let catalog = self.catalog();
        let tenant = catalog.tenant_by_key(key.tenant);
        tenant.is_some_and(|(_, tenant)| tenant.collections.values().any(|entry| entry.key == key))
    }

    /// Whether documents still move from stage to stage.
    pub(crate) fn goes_on(&self) -> Result<(), EngineError> {
        if self.read_only.load(Ordering::Acquire) {
            return Err(EngineError::ReadOnly);
        }
        self.background.check().map_err(|_| EngineError::Closing)
    }

    /// Removes the indexes of partitions that the catalog does not name: a deletion was cut off.
    fn sweep(&self) {
        let folder = self.config.folder.join("partitions");
        let Ok(names) = self.parts.disk.list(&folder) else { return };
        let known: HashSet<PathBuf> = {
            let catalog = self.catalog();
            let entries = catalog.tenants.values().flat_map(|tenant| tenant.collections.values());
            entries.map(|entry| PathBuf::from(entry.key.to_string())).collect()
        };
        for name in names.into_iter().filter(|name| !known.contains(name)) {
            if let Err(error) = self.parts.disk.remove_dir_all(&folder.join(&name)) {
                tracing::warn!(%error, "the indexes of a deleted collection cannot be removed");
            }
        }
    }

    /// Refuses more documents while too many wait.
    pub(crate) fn room_for_one_more(&self) -> Result<(), EngineError> {
        let waiting = self.waiting.load(Ordering::Relaxed);
        if waiting < self.config.pending_documents_max {
            return Ok(());
        }
        Err(EngineError::Overloaded(format!("{waiting} documents wait to be indexed")))
    }

    pub(crate) fn idempotency_hash(&self, partition: PartitionKey, document: DocumentKey, key: &str) -> [u8; 16] {
        let mut bytes = partition.to_bytes().to_vec();
        bytes.extend(document.0);
        bytes.extend(key.as_bytes());
        let hash = self.keys.content(partition.tenant, &bytes);
        hash[..16].try_into().expect("sixteen of thirty-two bytes")
    }

    /// Where a partition's indexes live.
    pub(crate) fn partition_folder(&self, key: PartitionKey) -> PathBuf {
        self.config.folder.join("partitions").join(key.to_string())
    }

    pub(crate) async fn open_partition(
        self: &Arc<Shared>,
        name: &CollectionName,
        entry: CollectionEntry,
    ) -> Result<Arc<State>, EngineError> {
        let key = entry.key;
        let opening = {
            let mut partitions = lock(&self.partitions);
            match partitions.get(&key) {
                Some(Slot::Open(state)) => return Ok(Arc::clone(state)),
                Some(Slot::Opening(opening)) => opening.clone(),
                None => {
                    let (done, opened) = oneshot::channel();
                    let (shared, name) = (Arc::clone(self), name.clone());
                    start_thread("open", move || {
                        // Whoever asked may have left: the partition is open for the next one.
                        let _ = done.send(shared.open_now(&name, entry));
                    })
                    .map_err(|source| EngineError::Io { doing: "start a thread", source })?;
                    let opening = opened.shared();
                    partitions.insert(key, Slot::Opening(opening.clone()));
                    opening
                }
            }
        };
        match opening.await {
            Ok(Ok(state)) => Ok(state),
            Ok(Err(error)) => Err(not_opened(&error)),
            Err(oneshot::Canceled) => Err(EngineError::Closing),
        }
    }

    fn open_now(self: &Arc<Shared>, name: &CollectionName, entry: CollectionEntry) -> OpeningResult {
        let key = entry.key;
        let opened = catch_unwind(AssertUnwindSafe(|| recover::open(self, name, &entry)))
            .unwrap_or_else(|_| Err(EngineError::Damaged("it makes the engine panic".to_owned())));
        let mut partitions = lock(&self.partitions);
        match opened {
            Ok(state) if partitions.contains_key(&key) && self.is_in_catalog(key) => {
                let state = Arc::new(state);
                // Before anybody can work on it: what is taken off the count was put on it.
                self.waiting.fetch_add(state.lock(&state.to_cut).len(), Ordering::Relaxed);
                partitions.insert(key, Slot::Open(Arc::clone(&state)));
                drop(partitions);
                stages::enqueue(&state);
                Ok(state)
            }
            // It was deleted meanwhile.
            Ok(state) => {
                partitions.remove(&key);
                drop((partitions, state));
                if let Err(error) = self.parts.disk.remove_dir_all(&self.partition_folder(key)) {
                    tracing::warn!(partition = %key, %error, "a deleted collection's indexes stay until the next start");
                }
                Err(Arc::new(EngineError::Damaged("the collection was deleted".to_owned())))
            }
            Err(error) => {
                partitions.remove(&key);
                tracing::error!(partition = %key, error = &error as &dyn std::error::Error, "open a collection");
                Err(Arc::new(error))
            }
        }
    }

    /// Forgets a deleted partition and removes its indexes.
    pub(crate) fn discard(&self, key: PartitionKey) -> Result<(), EngineError> {
        let slot = lock(&self.partitions).remove(&key);
        if let Some(Slot::Open(state)) = slot {
            state.end();
        }
        let removed = self.parts.disk.remove_dir_all(&self.partition_folder(key));
        removed.map_err(|source| EngineError::Io { doing: "remove a deleted collection's indexes", source })
    }
}

//! The load: writers and an operator that go on until the server is gone.
//!
//! Before a write is sent the model says that it may have happened, and once it is acknowledged that it has.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ibid_runtime::{Random, SeededRandom};
use tokio::task::JoinSet;
use tonic::{Code, Status};

use super::clients::{self, Clients};
use super::model::{DOCUMENTS, Fate, Model, TENANTS};
use super::revision::Revision;
use crate::cli::session::Session;
use crate::proto::Stage;

const WRITERS: usize = 12;
/// Of a hundred writes to a document that is there.
const DELETES_PERCENT: u64 = 20;
/// Of a hundred puts: how far they wait.
const LEXICAL_PERCENT: u64 = 25;
const VECTOR_PERCENT: u64 = 25;
/// How long the server lives under load, at random up to this.
const LOAD_MS_MAX: u64 = 700;
/// How long the operator waits before each of its own changes, at random up to this.
const OPERATOR_MS_MAX: u64 = 750;

/// Numbers drawn from a seed.
pub(super) struct Draws(SeededRandom);

impl Draws {
    /// What is drawn for the load that ends with kill number `kill`.
    pub(super) fn new(seed: u64, kill: u64) -> Draws {
        Draws(SeededRandom::new(seed ^ kill.rotate_left(32)))
    }

    /// A number below `end`.
    pub(super) fn below(&self, end: u64) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(b"torture", &mut bytes);
        u64::from_le_bytes(bytes) % end
    }

    fn index(&self, end: usize) -> usize {
        self.below(end as u64) as usize
    }
}

/// What writers and operator share.
struct Load {
    clients: Clients,
    draws: Draws,
    model: Mutex<Model>,
    /// Sessions of the tenants that can be written to, by number.
    open: Mutex<BTreeMap<usize, Arc<Session>>>,
    killed: AtomicBool,
    refused: Mutex<Vec<String>>,
}

/// A write that was told to the model.
struct Write {
    session: Arc<Session>,
    tenant: usize,
    /// How often the tenant had been dropped when the write began.
    dropped: u64,
    document: usize,
    title: String,
    /// What is to be there; `None`: nothing.
    state: Option<u64>,
    wait_for: Stage,
}

/// Writes until `kill` has killed the server, at a moment that is drawn or when `stop` ends. What the server logged as errors,
/// and the refusals that nothing explains.
pub(super) async fn run(
    clients: Clients,
    draws: Draws,
    model: &mut Model,
    stop: impl Future<Output = ()>,
    kill: impl FnOnce() -> anyhow::Result<Vec<String>>,
) -> anyhow::Result<Vec<String>> {
    let known = std::mem::replace(model, Model::new(0));
    let load = Load {
        clients,
        draws,
        model: Mutex::new(known),
        open: Mutex::default(),
        killed: AtomicBool::new(false),
        refused: Mutex::default(),
    };
    for tenant in 0..TENANTS {
        load.open_tenant(tenant).await?;
    }
    let load = Arc::new(load);
    let mut tasks = JoinSet::new();
    for _ in 0..WRITERS {
        tasks.spawn(write(Arc::clone(&load)));
    }
    tasks.spawn(operate(Arc::clone(&load)));
    let moment = Duration::from_micros(load.draws.below(LOAD_MS_MAX * 1_000));
    tokio::select! {
        () = tokio::time::sleep(moment) => {}
        () = stop => {}
    }
    load.killed.store(true, Ordering::SeqCst);
    let mut errors = kill()?;
    while let Some(ended) = tasks.join_next().await {
        ended?;
    }
    let Some(load) = Arc::into_inner(load) else { anyhow::bail!("a writer is left") };
    errors.append(&mut load.refused.into_inner().unwrap_or_else(PoisonError::into_inner));
    *model = load.model.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(errors)
}

/// Puts, replaces and deletes documents, one after the other.
async fn write(load: Arc<Load>) {
    while !load.is_over() {
        let Some(write) = load.begin() else {
            tokio::time::sleep(Duration::from_millis(1)).await;
            continue;
        };
        let Write { session, document, title, wait_for, .. } = &write;
        let outcome = match write.state {
            Some(number) => {
                let revision = Revision::of(title, number);
                clients::put(session, *document, &revision, *wait_for, load.clients.dimension).await
            }
            None => clients::delete(session, *document).await,
        };
        load.end(&write, outcome);
    }
}

/// Changes what only an operator may change, now and then.
async fn operate(load: Arc<Load>) {
    loop {
        tokio::time::sleep(Duration::from_millis(load.draws.below(OPERATOR_MS_MAX))).await;
        if load.is_over() {
            return;
        }
        let done = match load.draws.below(8) {
            0..3 => load.clients.compact().await,
            3..5 => load.snapshot(load.draws.below(4) == 0).await,
            _ => load.recreate_tenant(load.draws.index(TENANTS)).await,
        };
        if let Err(status) = done {
            load.refused("the operator", &status);
        }
    }
}

impl Load {
    fn is_over(&self) -> bool {
        self.killed.load(Ordering::SeqCst) || !lock(&self.refused).is_empty()
    }

    fn model(&self) -> MutexGuard<'_, Model> {
        lock(&self.model)
    }

    /// A refusal that the kill does not explain.
    fn refused(&self, what: &str, status: &Status) {
        if !self.killed.load(Ordering::SeqCst) {
            lock(&self.refused).push(format!("{what} was refused: {status}"));
        }
    }

    /// Draws a write and tells the model of it. `None` if what was drawn is being changed.
    fn begin(&self) -> Option<Write> {
        let (tenant, document) = (self.draws.index(TENANTS), self.draws.index(DOCUMENTS));
        let session = lock(&self.open).get(&tenant).cloned()?;
        let mut model = self.model();
        let fate = model.tenants[tenant].documents[document].fate;
        if fate.sent.is_some() || model.tenants[tenant].there.sent.is_some() {
            return None;
        }
        let deletes = fate.acked.is_some() && self.draws.below(100) < DELETES_PERCENT;
        let state = (!deletes).then(|| model.next_revision());
        let wait_for = match self.draws.below(100) {
            percent if percent < LEXICAL_PERCENT => Stage::Lexical,
            percent if percent < LEXICAL_PERCENT + VECTOR_PERCENT => Stage::Vector,
            _ => Stage::Durable,
        };
        let owner = &mut model.tenants[tenant];
        owner.documents[document].fate.sent = Some(state);
        owner.documents[document].written = true;
        let (dropped, title) = (owner.dropped, owner.title(document));
        Some(Write { session, tenant, dropped, document, title, state, wait_for })
    }

    fn end(&self, write: &Write, outcome: Result<Stage, Status>) {
        let mut model = self.model();
        let tenant = &mut model.tenants[write.tenant];
        if tenant.dropped != write.dropped {
            // What became of it went with its tenant.
            return;
        }
        let is_dropping = tenant.there.sent.is_some();
        let document = &mut tenant.documents[write.document];
        match outcome {
            Ok(stage) => {
                document.acked(write.state, stage);
                model.counts.acked += 1;
            }
            // Overload: it never began.
            Err(status) if status.code() == Code::ResourceExhausted => document.fate.sent = None,
            Err(_) if is_dropping => {}
            Err(status) => self.refused(&write.title, &status),
        }
    }

    /// Makes a tenant with its collections ready to be written to.
    async fn open_tenant(&self, number: usize) -> anyhow::Result<()> {
        let (name, there) = {
            let mut model = self.model();
            let tenant = &mut model.tenants[number];
            let there = tenant.there.acked;
            tenant.there.sent = (!there).then_some(true);
            (tenant.name.clone(), there)
        };
        if !there {
            self.clients.create_tenant(&name).await?;
        }
        self.model().tenants[number].there = Fate::new(true);
        let session = self.clients.tenant(&name).await?;
        clients::create_collections(&session).await?;
        lock(&self.open).insert(number, Arc::new(session));
        Ok(())
    }

    async fn snapshot(&self, prune: bool) -> Result<(), Status> {
        self.clients.snapshot(prune).await?;
        self.model().counts.snapshots += u64::from(!prune);
        Ok(())
    }

    /// Drops a tenant amid its writes, and creates one of the same name.
    async fn recreate_tenant(&self, number: usize) -> Result<(), Status> {
        lock(&self.open).remove(&number);
        let name = {
            let mut model = self.model();
            let tenant = &mut model.tenants[number];
            tenant.there.sent = Some(false);
            tenant.name.clone()
        };
        self.clients.delete_tenant(&name).await?;
        {
            let mut model = self.model();
            model.tenants[number].gone();
            model.counts.tenants_dropped += 1;
        }
        // An error of several kinds: here only what the server says counts.
        self.open_tenant(number).await.map_err(|error| match error.downcast::<Status>() {
            Ok(status) => status,
            Err(error) => Status::unknown(error.to_string()),
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

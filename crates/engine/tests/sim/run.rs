//! A plan against a real engine, and what it must hold after each step.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use ibid_core::{Generation, TenantId};
use ibid_engine::snapshots::{self, FolderStore, Manifest, SnapshotError};
use ibid_engine::{
    Candidate, Config, Engine, EngineError, Invariant, MasterKey, Models, Partition, Parts, Snapshot, Stage, Views,
};
use ibid_runtime::{Ctx, Fault, ManualClock, MemoryDisk, Pool, Priority, SeededRandom};

use crate::model::{Document, Failure, Model, Observed, Write};
use crate::names::{collection_name, document_id, number_of, operator, request, settings, tenant_name};
use crate::plan::{self, CONTENTS, Op, Place, Putting, TENANTS};
use crate::search::Searched;
use crate::words::{Mood, Words};

const FOLDER: &str = "data";
const RETAINED_FOR_GOOD: Duration = Duration::from_millis(plan::RETAINED_FOR_GOOD as u64);
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// How long somebody who waits sleeps between two looks.
const LOOK: Duration = Duration::from_micros(20);
/// Looks after which time is moved on, for whatever waits for that.
const LOOKS_PATIENT: u32 = 200;
/// Looks after which nothing will come any more.
const LOOKS_MAX: u32 = 20_000;
/// Starts that planned failures may spoil.
const STARTS_MAX: usize = 20;

/// Runs the plan; the index of the step that failed, with what it violated.
pub(crate) fn run(plan: &[Op]) -> Result<(), (usize, Failure)> {
    let mut run = Run::new();
    let done = run.start().map_err(|failure| (0, failure));
    let done = done.and_then(|()| {
        plan.iter().enumerate().try_for_each(|(at, op)| run.step(*op).map_err(|failure| (at, failure)))?;
        run.end().map_err(|failure| (plan.len(), failure))
    });
    run.stop();
    done
}

/// An engine on its way through a plan.
struct Run {
    disk: MemoryDisk,
    clock: Arc<ManualClock>,
    words: Arc<Words>,
    pool: Pool,
    /// `None` while the machine is off.
    engine: Option<Engine>,
    /// Everything that was acknowledged, or seen.
    model: Model,
    /// A write that failed half way: it may have been kept.
    unknown: Option<Write>,
    /// What is written from the next start on is encrypted.
    encrypted: bool,
    /// How long replaced versions are kept, from the next start on.
    retain: Duration,
    /// Reads showed damage once: it may be that not everything is kept that should be.
    was_blurred: bool,
    /// Nothing is written until the next start.
    read_only: bool,
    /// Failures were planned: writes may fail.
    faulty: bool,
    /// Reads may show damage, and documents may have been left out for it until the next start.
    blurred: bool,
    /// Little room is left on the disk.
    full: bool,
    /// The embedder does not answer.
    stalled: bool,
    /// The background waits for time to move on.
    held_up: bool,
    /// Every document is at its last stage.
    at_rest: bool,
    /// Draws what the next power cut leaves.
    cut_seed: u64,
}

/// How an operation ended that was not refused.
type Outcome<T> = Result<T, EngineError>;

impl Run {
    fn new() -> Run {
        Run {
            disk: MemoryDisk::new(),
            clock: Arc::new(ManualClock::at(1_700_000_000_000)),
            words: Words::new("words", "1", 32),
            pool: Pool::new(1, 64).unwrap(),
            engine: None,
            model: Model::default(),
            unknown: None,
            encrypted: false,
            retain: Duration::ZERO,
            was_blurred: false,
            read_only: false,
            faulty: false,
            blurred: false,
            full: false,
            stalled: false,
            held_up: false,
            at_rest: false,
            cut_seed: 0,
        }
    }

    fn engine(&self) -> &Engine {
        self.engine.as_ref().expect("the machine is on between two steps")
    }

    fn ctx(&self) -> Ctx {
        Ctx::new(self.clock.clone(), Priority::Query, None)
    }

    /// Waits for `future`; time moves on if it takes long, for what is tried again after a pause.
    fn wait<T>(&self, future: impl Future<Output = T>) -> Result<T, Failure> {
        let mut future = pin!(future);
        for look in 1..LOOKS_MAX {
            if let Some(done) = future.as_mut().now_or_never() {
                return Ok(done);
            }
            if look % LOOKS_PATIENT == 0 {
                self.clock.advance(RETRY_PAUSE);
            }
            std::thread::sleep(LOOK);
        }
        Err(Failure::new(Invariant::GoesOn, "an operation does not end"))
    }

    // Starts and ends.

    fn start(&mut self) -> Result<(), Failure> {
        if std::mem::take(&mut self.blurred) {
            // A start that reads the log's last group wrong takes it for one that was never acknowledged: see the ledger's
            // `log.rs`. So reads show no damage while it starts.
            self.disk.forget_faults();
        }
        for _ in 0..STARTS_MAX {
            let config = Config {
                folder: PathBuf::from(FOLDER),
                document_bytes_max: 1 << 20,
                pending_documents_max: 1_000,
                graph_from: 1_000,
                index_open_timeout: Duration::from_secs(5),
                // A few records, so that segments end often.
                log_segment_bytes: 6_000,
                log_room_bytes: 1_000,
                queue_bytes_max: 1 << 24,
                retry_pause: RETRY_PAUSE,
                // When a plan says so.
                erase_within: Duration::from_hours(24),
                retain: self.retain,
                past_chunks_max: 10_000,
                master_key: self.encrypted.then(master_key),
            };
            let parts = Parts {
                disk: Arc::new(self.disk.clone()),
                clock: self.clock.clone(),
                random: Arc::new(SeededRandom::new(1)),
                pool: self.pool.clone(),
                models: Models::only(self.words.clone()),
                views: Views::Memory,
                snapshots: None,
            };
            let planned = self.disk.planned();
            let (refusals, refused) = (self.disk.refusals(), self.words.refused());
            match Engine::open(config, parts) {
                Ok((engine, opened)) => {
                    self.engine = Some(engine);
                    if !opened.ledger.damaged.is_empty() {
                        let what = format!("the log is damaged: {:?}", opened.ledger.damaged);
                        return Err(Failure::new(Invariant::AckedSurvives, what));
                    }
                    self.read_only = false;
                    self.faulty = self.disk.planned() > 0;
                    self.held_up = false;
                    self.at_rest = false;
                    self.look()?;
                    if !self.disk.is_off() {
                        // It would have been seen.
                        self.unknown = None;
                    }
                    return self.settle_and_search(refusals, refused);
                }
                Err(_) if self.disk.is_off() => self.disk.power_cut_with(&SeededRandom::new(self.cut_seed)),
                Err(_) if self.disk.planned() < planned => {}
                Err(error) => {
                    return Err(Failure::new(Invariant::GoesOn, format!("the folder does not open: {error:?}")));
                }
            }
        }
        Err(Failure::new(Invariant::GoesOn, "the folder does not open"))
    }

    /// The process ends, without a word.
    fn stop(&mut self) {
        self.disk.switch_off();
        self.engine = None;
    }

    fn power_cut(&mut self, seed: u64) -> Result<(), Failure> {
        self.stop();
        self.disk.power_cut_with(&SeededRandom::new(seed));
        self.check_snapshots()?;
        self.start()
    }

    /// Whatever the plan left behind is repaired: then all is as it should be, after another start too.
    fn end(&mut self) -> Result<(), Failure> {
        self.step(Op::MakeRoom)?;
        self.step(Op::Resume)?;
        self.disk.forget_faults();
        self.power_cut(0)?;
        self.step(Op::Check)?;
        self.step(Op::Reopen)?;
        self.step(Op::Check)
    }

    // Steps.

    fn step(&mut self, op: Op) -> Result<(), Failure> {
        let (refusals, refused) = (self.disk.refusals(), self.words.refused());
        let mut own_refusals = 0;
        match op {
            Op::CreateTenant(tenant) => own_refusals += self.create_tenant(tenant)?,
            Op::DropTenant(tenant) => own_refusals += self.drop_tenant(tenant)?,
            Op::CreateCollection(place) => own_refusals += self.create_collection(place)?,
            Op::DeleteCollection(place) => own_refusals += self.delete_collection(place)?,
            Op::Put(put, stage) => own_refusals += self.put(put, stage)?,
            Op::Delete(place, document) => own_refusals += self.delete(place, document)?,
            Op::Search(place) => self.search(place)?,
            Op::Past(place, pick) => self.search_past(place, pick)?,
            Op::Check => self.check()?,
            Op::Compact => own_refusals += self.compact()?,
            Op::Snapshot => own_refusals += self.snapshot()?,
            Op::Stall => {
                self.words.behave(Mood::Waits);
                self.stalled = true;
            }
            Op::Resume => {
                self.words.behave(Mood::Works);
                self.stalled = false;
                self.time_moves_on();
            }
            Op::Fill(room) => {
                self.disk.set_capacity(Some(self.disk.used() + u64::from(room)));
                self.full = true;
            }
            Op::MakeRoom => {
                self.disk.set_capacity(None);
                self.full = false;
                self.time_moves_on();
            }
            Op::Fail(fault) => {
                self.disk.inject(fault);
                self.faulty = true;
                // A document that the background read wrong is left out until the next start, and nobody is told.
                self.blurred |= matches!(fault, Fault::ReadFlipped { .. });
                self.was_blurred |= self.blurred;
                // It strikes an operation to come.
                return Ok(());
            }
            Op::PowerFails(changes, seed) => {
                self.disk.inject(Fault::PowerFails(changes));
                self.cut_seed = seed;
                self.faulty = true;
                return Ok(());
            }
            Op::PowerCut(seed) => return self.power_cut(seed),
            Op::Kill => {
                self.stop();
                self.disk.kill();
                return self.start();
            }
            Op::Encrypt => {
                self.encrypted = true;
                return self.step(Op::Reopen);
            }
            Op::Retain(ms) => {
                self.retain = Duration::from_millis(ms.into());
                return self.step(Op::Reopen);
            }
            Op::Reopen => {
                self.engine().close();
                self.engine = None;
                if self.disk.is_off() {
                    self.disk.power_cut_with(&SeededRandom::new(self.cut_seed));
                }
                return self.start();
            }
        }
        self.settle(refusals + own_refusals, refused)?;
        if self.disk.is_off() {
            return self.power_cut(self.cut_seed);
        }
        self.look()
    }

    fn time_moves_on(&mut self) {
        self.clock.advance(RETRY_PAUSE);
        self.held_up = false;
    }

    /// Applies what was acknowledged; remembers what failed half way; refuses every other error. How often the disk was full.
    fn acknowledge<T>(
        &mut self,
        write: Write,
        outcome: Outcome<T>,
        applied: impl FnOnce(T) -> Write,
    ) -> Result<u64, Failure> {
        match outcome {
            Ok(ack) => {
                if self.read_only {
                    return Err(Failure::new(
                        Invariant::FailsAsSaid,
                        format!("{write:?} is acknowledged after a failed write"),
                    ));
                }
                self.model.apply(applied(ack));
                Ok(0)
            }
            Err(EngineError::DiskFull) if self.full || self.faulty => Ok(1),
            // Its tenant's key could not be written, and so nothing was.
            Err(EngineError::Ledger(_)) if self.faulty && self.encrypted && !self.disk.is_off() => Ok(0),
            // The machine is about to start again.
            Err(_) if self.disk.is_off() => {
                self.unknown.get_or_insert(write);
                Ok(0)
            }
            Err(EngineError::ReadOnly) if self.faulty => {
                // Those after the first were refused before they were written.
                if !self.read_only {
                    self.unknown = Some(write);
                }
                self.read_only = true;
                Ok(0)
            }
            Err(error) => Err(Failure::new(Invariant::FailsAsSaid, format!("{write:?}: {error:?}"))),
        }
    }

    /// The call must be refused with this kind of error.
    fn refused<T>(outcome: Outcome<T>, what: &str, expected: impl Fn(&EngineError) -> bool) -> Result<u64, Failure> {
        match outcome {
            Err(error) if expected(&error) => Ok(0),
            Err(error) => Err(Failure::new(Invariant::FailsAsSaid, format!("{what}: {error:?}"))),
            Ok(_) => Err(Failure::new(Invariant::FailsAsSaid, format!("{what} is accepted"))),
        }
    }

    fn create_tenant(&mut self, tenant: u8) -> Result<u64, Failure> {
        let outcome = self.wait(self.engine().create_tenant(&operator(), tenant_name(tenant)))?;
        if self.model.tenants.contains_key(&tenant) {
            return Run::refused(outcome, "a second tenant", |error| matches!(error, EngineError::Exists { .. }));
        }
        let write = Write::CreateTenant(tenant);
        self.acknowledge(write, outcome, |_| write)
    }

    fn drop_tenant(&mut self, tenant: u8) -> Result<u64, Failure> {
        let outcome = self.wait(self.engine().delete_tenant(&operator(), &tenant_name(tenant)))?;
        if !self.model.tenants.contains_key(&tenant) {
            return Run::refused(outcome, "no tenant", |error| matches!(error, EngineError::NotFound { .. }));
        }
        let write = Write::DropTenant(tenant);
        self.acknowledge(write, outcome, |_| write)
    }

    fn create_collection(&mut self, place: Place) -> Result<u64, Failure> {
        let Some(right) = self.right(place.tenant)? else { return Ok(0) };
        let (ctx, name) = (self.ctx(), collection_name(place.collection));
        let outcome = self.wait(self.engine().create_collection(&ctx, &right, name, settings(&self.words)))?;
        if self.model.collection(place).is_some() {
            return Run::refused(outcome, "a second collection", |error| matches!(error, EngineError::Exists { .. }));
        }
        let write = Write::CreateCollection(place);
        self.acknowledge(write, outcome, |_| write)
    }

    fn delete_collection(&mut self, place: Place) -> Result<u64, Failure> {
        let Some(right) = self.right(place.tenant)? else { return Ok(0) };
        let outcome = self.wait(self.engine().delete_collection(&right, &collection_name(place.collection)))?;
        if self.model.collection(place).is_none() {
            return Run::refused(outcome, "no collection", |error| matches!(error, EngineError::NotFound { .. }));
        }
        let write = Write::DeleteCollection(place);
        self.acknowledge(write, outcome, |_| write)
    }

    fn put(&mut self, put: Putting, stage: Stage) -> Result<u64, Failure> {
        let Putting { place, document, content, key } = put;
        let Some(partition) = self.partition(place)? else { return Ok(0) };
        // Whoever waits for a stage that does not come would wait for ever.
        let comes = !self.full && !self.stalled && !self.read_only;
        let wait_for = if comes { stage } else { Stage::Durable };
        let (records, embedded) = (self.engine().ledger_stats().records, self.words.embedded());
        let ctx = self.ctx();
        let outcome = self.wait(partition.put(&ctx, request(put, wait_for, &self.words)))?;

        let collection = self.model.collection(place).expect("the partition is there");
        let repeated = key.and_then(|key| collection.keys.get(&(document, key)).copied());
        let newest = collection.documents.get(&document).map(Document::newest);
        let (invariant, revision) = match (repeated, newest) {
            (Some(revision), _) => (Invariant::RepeatedChangesNothing, revision),
            (None, Some(newest)) if newest.content == content => (Invariant::UnchangedCostsNothing, newest.revision),
            (None, _) => {
                let highest = collection.highest(document);
                let reused = outcome.as_ref().is_ok_and(|ack| ack.revision.0 <= highest);
                if reused {
                    let what = format!("document {document} gets revision {:?} after {highest}", outcome);
                    return Err(Failure::new(Invariant::RevisionNeverReused, what));
                }
                if outcome.as_ref().is_ok_and(|ack| ack.unchanged) {
                    let what = format!("{put:?} is said to change nothing");
                    return Err(Failure::new(Invariant::AckedSurvives, what));
                }
                return self.acknowledge(Write::Put(put, None), outcome, |ack| Write::Put(put, Some(ack.revision.0)));
            }
        };
        match outcome {
            Ok(ack) if !ack.unchanged || Some(ack.revision.0) != revision => {
                Err(Failure::new(invariant, format!("{put:?}: {ack:?}, expected revision {revision:?}")))
            }
            Ok(_) => {
                let spent = (self.engine().ledger_stats().records, self.words.embedded()) != (records, embedded);
                if spent && self.at_rest {
                    return Err(Failure::new(invariant, format!("{put:?} writes or embeds")));
                }
                Ok(0)
            }
            // It waited for a stage that does not come.
            Err(EngineError::ReadOnly) if self.faulty => {
                self.read_only = true;
                Ok(0)
            }
            Err(_) if self.disk.is_off() => Ok(0),
            Err(error) => Err(Failure::new(Invariant::FailsAsSaid, format!("{put:?}: {error:?}"))),
        }
    }

    fn delete(&mut self, place: Place, document: u8) -> Result<u64, Failure> {
        let Some(partition) = self.partition(place)? else { return Ok(0) };
        let ctx = self.ctx();
        let outcome = self.wait(partition.delete(&ctx, &document_id(document)))?;
        let known = self.model.collection(place).is_some_and(|known| known.documents.contains_key(&document));
        if !known {
            return Run::refused(outcome, "no document", |error| matches!(error, EngineError::NotFound { .. }));
        }
        let write = Write::Delete(place, document);
        self.acknowledge(write, outcome, |_| write)
    }

    /// How often the disk was full.
    fn compact(&mut self) -> Result<u64, Failure> {
        let ctx = self.ctx();
        match self.wait(self.engine().compact(&ctx, &operator()))? {
            Ok(_) => Ok(0),
            Err(EngineError::DiskFull) if self.full || self.faulty => Ok(1),
            Err(EngineError::ReadOnly) if self.faulty => {
                self.read_only = true;
                Ok(0)
            }
            Err(_) if self.disk.is_off() => Ok(0),
            // A planned failure struck while segments were written anew: the old ones are there.
            Err(EngineError::Ledger(_) | EngineError::Damaged(_)) if self.faulty => Ok(0),
            Err(error) => Err(Failure::new(Invariant::FailsAsSaid, format!("compacting: {error:?}"))),
        }
    }

    /// Makes a snapshot and looks at what it gives; how often the disk was full.
    fn snapshot(&mut self) -> Result<u64, Failure> {
        let (ctx, store) = (self.ctx(), Arc::new(self.store()));
        let created = self.wait(self.engine().create_snapshot(&ctx, &operator(), store))?;
        match created {
            // What a flipped read shows is copied as it is seen.
            Ok(_) if self.blurred => Ok(0),
            Ok(created) => self.restore(&created.manifest).map(|()| 0),
            Err(_) if self.disk.is_off() => Ok(0),
            Err(EngineError::Snapshot(SnapshotError::Store(error))) if self.full || self.faulty => {
                let source = error.source.downcast_ref::<std::io::Error>();
                Ok(u64::from(source.is_some_and(|source| source.kind() == std::io::ErrorKind::StorageFull)))
            }
            Err(error) => Err(Failure::new(Invariant::FailsAsSaid, format!("a snapshot: {error:?}"))),
        }
    }

    /// On another machine the snapshot must give what this one has.
    fn restore(&self, manifest: &Manifest) -> Result<(), Failure> {
        let (model, retain) = (self.model.clone(), self.retain);
        let mut copy = Run { model, unknown: self.unknown, encrypted: self.encrypted, retain, ..Run::new() };
        let failed = |what: String| Failure::new(Invariant::SnapshotRestores, what);
        snapshots::restore(&self.ctx(), &self.store(), manifest, &copy.disk, Path::new(FOLDER))
            .map_err(|error| failed(format!("{}: {error:?}", manifest.id)))?;
        let compared = copy.start().and_then(|()| copy.step(Op::Check));
        copy.stop();
        compared.map_err(|failure| failed(format!("{}: {}: {}", manifest.id, failure.invariant, failure.what)))
    }

    /// Every snapshot that is there is whole.
    fn check_snapshots(&self) -> Result<(), Failure> {
        let (ctx, store) = (self.ctx(), self.store());
        let verified = snapshots::list(&store).and_then(|ids| {
            ids.iter().try_for_each(|id| snapshots::verify(&ctx, &store, &snapshots::read(&store, Some(id))?))
        });
        verified
            .map_err(|error| Failure::new(Invariant::SnapshotRestores, format!("a snapshot that is there: {error:?}")))
    }

    /// Destroyed keys are told there by whoever makes the next snapshot: a thread of its own would read this disk at times
    /// that no seed decides.
    fn store(&self) -> FolderStore {
        FolderStore::new(Arc::new(self.disk.clone()), PathBuf::from("backup"))
    }

    // Looks.

    fn right(&self, tenant: u8) -> Result<Option<TenantId>, Failure> {
        match self.engine().enter(&operator(), &tenant_name(tenant)) {
            Ok(right) => Ok(Some(right)),
            Err(EngineError::NotFound { .. }) if !self.model.tenants.contains_key(&tenant) => Ok(None),
            Err(error) => Err(Failure::new(Invariant::GoesOn, format!("tenant {tenant}: {error:?}"))),
        }
    }

    fn partition(&self, place: Place) -> Result<Option<Partition>, Failure> {
        let Some(right) = self.right(place.tenant)? else { return Ok(None) };
        let (ctx, name) = (self.ctx(), collection_name(place.collection));
        match self.wait(self.engine().partition(&ctx, &right, &name))? {
            Ok(partition) => Ok(Some(partition)),
            Err(EngineError::NotFound { .. }) if self.model.collection(place).is_none() => Ok(None),
            Err(_) if self.disk.is_off() => Ok(None),
            Err(error) => Err(Failure::new(Invariant::GoesOn, format!("{place:?} does not open: {error:?}"))),
        }
    }

    /// Waits until every document is at its last stage, or the background is held up: by a full disk, a silent embedder, or
    /// until the next start. `refusals`, `refused`: how often disk and embedder had done so when the step began.
    fn settle(&mut self, refusals: u64, refused: usize) -> Result<(), Failure> {
        self.at_rest = false;
        for look in 1..LOOKS_MAX {
            if self.disk.is_off() {
                return Ok(());
            }
            let (mut pending, mut uncut) = (false, false);
            for place in self.places() {
                let Some(partition) = self.partition(place)? else { continue };
                match partition.settled(&self.ctx(), |_| {}).now_or_never() {
                    Some(Ok(())) => {}
                    Some(Err(EngineError::ReadOnly)) if self.faulty => {
                        self.read_only = true;
                        return Ok(());
                    }
                    Some(Err(error)) => return Err(Failure::new(Invariant::GoesOn, format!("{place:?}: {error:?}"))),
                    None => {
                        pending = true;
                        uncut |= partition.list(None, None, 100).iter().any(|info| info.chunks == 0);
                    }
                }
            }
            if !pending {
                self.at_rest = !self.blurred;
                return Ok(());
            }
            // Several writes may have been refused at once: then nothing more is refused, and nothing moves.
            self.held_up |= self.disk.refusals() > refusals || self.words.refused() > refused || look == LOOKS_PATIENT;
            if self.held_up && (self.full || (self.stalled && (!uncut || self.blurred))) {
                return Ok(());
            }
            if look % LOOKS_PATIENT == 0 && !self.full && (!self.stalled || uncut) {
                self.clock.advance(RETRY_PAUSE);
            }
            std::thread::sleep(LOOK);
        }
        Err(Failure::new(Invariant::GoesOn, "documents do not reach their last stage"))
    }

    /// The places that the engine has.
    fn places(&self) -> Vec<Place> {
        let rights = (0..TENANTS)
            .filter_map(|tenant| Some((tenant, self.engine().enter(&operator(), &tenant_name(tenant)).ok()?)));
        let places = rights.flat_map(|(tenant, right)| {
            let names = self.engine().collection_names(&right, None, 100);
            names.into_iter().map(move |name| Place { tenant, collection: number_of(name.as_str()) })
        });
        places.collect()
    }

    /// What the engine shows must be what was acknowledged, with the write that failed half way or without it.
    fn look(&mut self) -> Result<(), Failure> {
        let observed = loop {
            match self.observe()? {
                Some(observed) => break observed,
                None if self.disk.is_off() => return Ok(()),
                // A read was flipped: each is, once.
                None => {}
            }
        };
        let without = self.model.agree(&observed);
        if let (Err(failure), Some(write)) = (&without, self.unknown) {
            let mut with = self.model.clone();
            with.apply(write);
            with.agree(&observed).map_err(|_| failure.clone())?;
            // What was seen once is there for good.
            (self.model, self.unknown) = (with, None);
        } else {
            without?;
        }
        if self.at_rest {
            self.model.at_rest();
        }
        let certain = self.at_rest && self.unknown.is_none();
        for place in self.model.places() {
            let Some(partition) = self.partition(place)? else { continue };
            if let Some(collection) = self.model.collection_mut(place) {
                collection.note_generation(partition.info().generation.0, certain);
            }
        }
        Ok(())
    }

    /// `None` if a planned failure spoiled it.
    fn observe(&mut self) -> Result<Option<Observed>, Failure> {
        let mut observed = Observed::new();
        for tenant in 0..TENANTS {
            let Ok(right) = self.engine().enter(&operator(), &tenant_name(tenant)) else { continue };
            let collections = observed.entry(tenant).or_default();
            for name in self.engine().collection_names(&right, None, 100) {
                let place = Place { tenant, collection: number_of(name.as_str()) };
                let Some(partition) = self.partition(place)? else { return Ok(None) };
                let documents: &mut BTreeMap<u8, (u64, u8)> = collections.entry(place.collection).or_default();
                for info in partition.list(None, None, 100) {
                    let number = number_of(info.id.as_str());
                    let text = match partition.document(&info.id, None) {
                        Ok((_, text)) => text,
                        Err(error) if self.may_be_damaged(&error) => return Ok(None),
                        Err(error) => {
                            let what = format!("{place:?}, document {number} cannot be read: {error:?}");
                            return Err(Failure::new(Invariant::GoesOn, what));
                        }
                    };
                    let content = (0..CONTENTS).find(|content| plan::text(place, number, *content) == text);
                    let content = content.ok_or_else(|| {
                        let what = format!("{place:?}, document {number} has a text that nobody put");
                        Failure::new(Invariant::NoHalfDocument, what)
                    })?;
                    documents.insert(number, (info.revision.0, content));
                }
            }
        }
        Ok(Some(observed))
    }

    fn may_be_damaged(&self, error: &EngineError) -> bool {
        self.blurred && matches!(error, EngineError::Damaged(_)) || self.disk.is_off()
    }

    fn settle_and_search(&mut self, refusals: u64, refused: usize) -> Result<(), Failure> {
        self.settle(refusals, refused)?;
        if self.disk.is_off() {
            return self.power_cut(self.cut_seed);
        }
        self.look()?;
        self.model.places().into_iter().try_for_each(|place| self.search(place))?;
        self.check()
    }

    /// The indexes against the ledger.
    fn check(&mut self) -> Result<(), Failure> {
        if !self.at_rest || self.disk.planned() > 0 {
            return Ok(());
        }
        let ctx = self.ctx();
        let violations = self.wait(self.engine().violations(&ctx))?;
        let violations = violations.map_err(|error| Failure::new(Invariant::GoesOn, format!("check: {error:?}")))?;
        match violations.first() {
            Some(first) => Err(Failure::new(first.invariant, first.to_string())),
            None => Ok(()),
        }
    }

    /// What both arms find is whole, is this tenant's, and is not what was replaced or deleted; at rest, nothing is missing.
    fn search(&mut self, place: Place) -> Result<(), Failure> {
        let Some(partition) = self.partition(place)? else { return Ok(()) };
        let collection = self.model.collection(place);
        let documents = collection.map_or_else(BTreeMap::new, |collection| collection.documents.clone());
        let strict = self.at_rest && self.unknown.is_none();
        self.search_in(place, &partition.snapshot(None), &documents, strict)
    }

    /// A generation that was seen at rest is found as it was, but for what was deleted since; or it is refused, once
    /// something of it may be kept no more.
    fn search_past(&mut self, place: Place, pick: u8) -> Result<(), Failure> {
        if !self.at_rest || self.unknown.is_some() || self.disk.planned() > 0 {
            return Ok(());
        }
        let Some(partition) = self.partition(place)? else { return Ok(()) };
        let Some(collection) = self.model.collection(place) else { return Ok(()) };
        let Some(generation) = collection.past.keys().nth(usize::from(pick) % collection.past.len().max(1)) else {
            return Ok(());
        };
        let (generation, documents) = (*generation, collection.documents_at(*generation));
        let ctx = self.ctx();
        match self.wait(partition.snapshot_at(&ctx, Generation(generation), None))? {
            Ok(snapshot) => self.search_in(place, &snapshot, &documents, true).map_err(|failure| {
                Failure::new(failure.invariant, format!("generation {generation}: {}", failure.what))
            }),
            Err(EngineError::OutOfRange(_)) if self.was_blurred || self.retain < RETAINED_FOR_GOOD => Ok(()),
            Err(error) => {
                let what = format!("{place:?}: generation {generation}: {error:?}");
                Err(Failure::new(Invariant::AckedSurvives, what))
            }
        }
    }

    /// `documents`: what may be found; with `strict` what must be.
    fn search_in(
        &self,
        place: Place,
        snapshot: &Snapshot,
        documents: &BTreeMap<u8, Document>,
        strict: bool,
    ) -> Result<(), Failure> {
        let ctx = self.ctx();
        let word = plan::tenant_word(place.tenant);
        let vector = self.words.vector(&word);
        let stranger = plan::tenant_word((place.tenant + 1) % TENANTS);
        let mut arms = Vec::new();
        for candidates in [
            snapshot.by_words(&ctx, &word, 1_000),
            snapshot.by_meaning(&ctx, &vector, 1_000, 0.35),
            snapshot.by_words(&ctx, &stranger, 1_000),
        ] {
            let candidates: Vec<Candidate> =
                candidates.map_err(|error| Failure::new(Invariant::GoesOn, format!("{place:?}: search: {error:?}")))?;
            let mut found = Vec::new();
            for candidate in candidates {
                match snapshot.find(candidate.label) {
                    Ok(chunk) => found.push(chunk),
                    Err(error) if self.may_be_damaged(&error) => return Ok(()),
                    Err(error) => {
                        let what = format!("{place:?}: a chunk that was found: {error:?}");
                        return Err(Failure::new(Invariant::NoHalfDocument, what));
                    }
                }
            }
            arms.push(found);
        }
        let found = Searched { place, documents, words: &arms[0], meaning: &arms[1], strict };
        found.check().map_err(|Failure { invariant, what }| Failure::new(invariant, format!("{place:?}: {what}")))?;
        if !arms[2].is_empty() || arms.iter().flatten().any(|chunk| !chunk.text.contains(&word)) {
            return Err(Failure::new(Invariant::NoOtherTenant, format!("{place:?} shows another tenant's words")));
        }
        Ok(())
    }
}

fn master_key() -> MasterKey {
    MasterKey::parse(&"5a".repeat(32)).expect("sixty-four digits")
}

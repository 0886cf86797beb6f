//! Changing a collection's model while it is searched.
//!
//! ```text
//! start   -> the new model embeds what is there, in the background, and every write; questions search the old one's vectors
//! switch  -> once it has everything and finds enough: one record, and questions search the new one's vectors
//! finish  -> the old one's vectors go.      roll back -> one record, and questions search the old one's vectors again
//! abort   -> before a switch, or after a roll back: the new one's vectors go
//! ```
//!
//! What a collection is at is in the ledger: after a crash it goes on from there.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::channel::oneshot;
use futures::executor::block_on;
use ibid_core::{CollectionName, ModelId, Reader, TenantId};
use ibid_ledger::{Embedding, ModelVersion, Record, SecondRole, Switching};
use ibid_runtime::{Ctx, Priority, start_thread};
use tokio::sync::OwnedMutexGuard;

use crate::compare::{Comparison, Labelled, compare};
use crate::config::EmbedModel;
use crate::engine::{Engine, Shared};
use crate::error::{EngineError, Invalid};
use crate::lanes::{Second, version_of};
use crate::partition::{Partition, State};
use crate::stages::{Behind, Change, LaneChange};
use crate::tenants::no_collection;

/// How long a comparison that failed waits before it is tried again.
const COMPARE_AGAIN: Duration = Duration::from_secs(5);

/// The models of a collection's vectors.
#[derive(Debug, Clone, PartialEq)]
pub struct Migration {
    /// The one whose vectors are searched.
    pub serving: ModelVersion,
    /// The one beside it; `None` if the model is not being changed.
    pub second: Option<SecondStatus>,
}

/// How far the model beside the one that serves is.
#[derive(Debug, Clone, PartialEq)]
pub struct SecondStatus {
    /// The model.
    pub model: ModelVersion,
    /// Whether it is to serve, or has served.
    pub role: SecondRole,
    /// Since when, milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// Whether this server has it; it stands still otherwise.
    pub loaded: bool,
    /// Chunks that the serving model has embedded, of versions that are replaced meanwhile too.
    pub chunks: u64,
    /// How many of them it has embedded.
    pub chunks_embedded: u64,
    /// Documents that it has failed at three times; a start of the server tries them again.
    pub documents_failed: u64,
    /// What was found when both were compared last, since the server started.
    pub comparison: Option<Comparison>,
}

impl SecondStatus {
    /// Whether it has everything that the serving model has.
    pub fn is_ready(&self) -> bool {
        self.loaded && self.chunks_embedded == self.chunks
    }
}

/// On which terms a model that has come is to serve.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    /// Questions with their answers; none: they are drawn from the documents.
    pub queries: Vec<Labelled>,
    /// How much recall may be lost by it, 0 to 1.
    pub loss_max: f32,
    /// It is to serve whatever was found, and whatever is left to embed.
    pub force: bool,
}

impl Engine {
    /// How far the change of a collection's model is.
    ///
    /// # Errors
    /// [`EngineError::NotFound`], or the collection cannot be opened.
    pub async fn migration(
        &self,
        ctx: &Ctx,
        tenant: &TenantId,
        name: &CollectionName,
    ) -> Result<Migration, EngineError> {
        Ok(self.partition(ctx, tenant, name).await?.migration())
    }

    /// Begins to move a collection to another model; one that is under way to it, or was switched to it, goes on as it is.
    ///
    /// `force` holds for a collection whose own model is not here: its vectors are of no use then, they are dropped and the
    /// documents embedded anew, found by words alone until they are.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] for a model that is not loaded or serves already; [`EngineError::Unfit`] while there is
    /// another one beside it; [`EngineError::OtherModel`] without `force`; or the ledger failed.
    pub async fn start_migration(
        &self,
        ctx: &Ctx,
        tenant: &TenantId,
        name: &CollectionName,
        to: &ModelId,
        switching: Switching,
        force: bool,
    ) -> Result<Migration, EngineError> {
        let models = &self.shared.parts.models;
        let model = models.get(to).cloned().ok_or_else(|| {
            let problem = format!("is {to}, which this server has not loaded; it has {}", models.names());
            Invalid::new("model", problem)
        })?;
        let partition = match self.partition(ctx, tenant, name).await {
            Err(EngineError::OtherModel { .. }) if force => return self.embed_anew(ctx, tenant, name, &*model).await,
            opened => opened?,
        };
        let lanes = partition.state.lanes();
        let wanted = version_of(&*model);
        match &lanes.second {
            Some(second) if second.record.model == wanted || lanes.serving.version == wanted => {}
            None if lanes.serving.version == wanted => {
                return Err(Invalid::new("model", format!("is {to}, which serves the collection already")).into());
            }
            Some(_) | None => self.change(&partition, Change::Start { model, switching }).await?,
        }
        Ok(partition.migration())
    }

    /// Lets the model that has come serve, if it has everything and finds enough; once it does, asking again changes nothing.
    ///
    /// # Errors
    /// [`EngineError::Unfit`]: no such model is coming, something is left to embed, or it finds less than `trial` allows;
    /// or the ledger failed.
    pub async fn switch_model(
        &self,
        ctx: &Ctx,
        tenant: &TenantId,
        name: &CollectionName,
        to: &ModelId,
        trial: Trial,
    ) -> Result<Migration, EngineError> {
        let partition = self.partition(ctx, tenant, name).await?;
        let status = partition.migration();
        // Whoever did not hear the answer asks again.
        if status.serving.id == *to {
            return Ok(status);
        }
        let Some(second) = status.second.filter(|second| second.model.id == *to) else {
            return Err(EngineError::Unfit(format!("{to} is not coming to {name}; start a migration first")));
        };
        if !second.is_ready() && !trial.force {
            return Err(EngineError::Unfit(left_to_embed(&second)));
        }
        let ctx = &ctx.at(Priority::Ingest);
        let compared = compare(ctx, &partition.state, partition.reader(), &trial.queries).await?;
        *partition.state.lock(&partition.state.comparison) = Some(compared);
        if compared.loss() > trial.loss_max && !trial.force {
            return Err(EngineError::Unfit(worse(&second.model.id, &compared, trial.loss_max)));
        }
        let behind = if trial.force { Behind::Allowed } else { Behind::Refused };
        self.change(&partition, Change::Switch { to: second.model, behind }).await?;
        Ok(partition.migration())
    }

    /// Lets the model that served before serve again. The other one stays beside it.
    ///
    /// # Errors
    /// [`EngineError::Unfit`] if none is kept, or it has something left to embed; or the ledger failed.
    pub async fn roll_back_model(
        &self,
        ctx: &Ctx,
        tenant: &TenantId,
        name: &CollectionName,
    ) -> Result<Migration, EngineError> {
        self.changed(ctx, tenant, name, Change::RollBack).await
    }

    /// Drops the vectors of the model that served before.
    ///
    /// # Errors
    /// [`EngineError::Unfit`] if none is kept; or the ledger failed.
    pub async fn finish_migration(
        &self,
        ctx: &Ctx,
        tenant: &TenantId,
        name: &CollectionName,
    ) -> Result<Migration, EngineError> {
        self.changed(ctx, tenant, name, Change::Finish).await
    }

    /// Drops the vectors of the model that was to serve.
    ///
    /// # Errors
    /// [`EngineError::Unfit`] if none is coming; or the ledger failed.
    pub async fn abort_migration(
        &self,
        ctx: &Ctx,
        tenant: &TenantId,
        name: &CollectionName,
    ) -> Result<Migration, EngineError> {
        self.changed(ctx, tenant, name, Change::Abort).await
    }

    /// A change that needs nothing but the collection.
    async fn changed(
        &self,
        ctx: &Ctx,
        tenant: &TenantId,
        name: &CollectionName,
        change: Change,
    ) -> Result<Migration, EngineError> {
        let partition = self.partition(ctx, tenant, name).await?;
        self.change(&partition, change).await?;
        Ok(partition.migration())
    }

    async fn change(&self, partition: &Partition, change: Change) -> Result<(), EngineError> {
        let turn = self.turn().await;
        ask_for(&partition.state, change, turn).await.unwrap_or(Err(EngineError::Closing))
    }

    /// A collection whose model is not here serves another one from now on.
    async fn embed_anew(
        &self,
        ctx: &Ctx,
        tenant: &TenantId,
        name: &CollectionName,
        model: &dyn EmbedModel,
    ) -> Result<Migration, EngineError> {
        let turn = self.turn().await;
        let key = self.catalog(|catalog| catalog.collection(tenant.key(), name).map(|entry| entry.key));
        let partition = key.ok_or_else(|| no_collection(name))?;
        let since = self.shared.ledger.mark(partition).map_err(EngineError::of_ledger)?.generation;
        let embedding = Embedding { serving: version_of(model), since, second: None };
        self.commit(Record::CollectionEmbedding { partition, embedding }, turn).await?;
        self.migration(ctx, tenant, name).await
    }
}

impl Partition {
    /// How far the change of the collection's model is.
    pub fn migration(&self) -> Migration {
        let state = &self.state;
        let lanes = state.lanes();
        let second = lanes.second.as_ref().map(|second| second_status(state, second));
        Migration { serving: lanes.serving.version.clone(), second }
    }
}

fn second_status(state: &State, second: &Second) -> SecondStatus {
    let progress = state.documents().second();
    let queued: HashSet<_> = state.lock(&state.to_second).iter().map(|work| (work.key, work.revision)).collect();
    let failed = progress.behind.iter().filter(|work| !queued.contains(*work)).count();
    let loaded = second.lane.is_some();
    SecondStatus {
        model: second.record.model.clone(),
        role: second.record.role,
        since_ms: second.record.since_ms,
        loaded,
        chunks: progress.chunks,
        chunks_embedded: progress.embedded,
        documents_failed: if loaded { failed as u64 } else { 0 },
        comparison: *state.lock(&state.comparison),
    }
}

fn left_to_embed(second: &SecondStatus) -> String {
    let name = &second.model.id;
    if !second.loaded {
        return format!("this server has not the model {name} with the weights that are wanted; start it with them");
    }
    let left = second.chunks - second.chunks_embedded;
    format!(
        "{left} of {} chunks have no vectors of {name} yet, and it failed at {} documents; wait, or force the switch: what is \
         left is found by words alone until it is done",
        second.chunks, second.documents_failed
    )
}

fn worse(name: &ModelId, compared: &Comparison, loss_max: f32) -> String {
    let Comparison { queries, labelled, recall_serving, recall_coming } = compared;
    let kind = if *labelled { "labelled" } else { "sampled" };
    format!(
        "{name} finds less: recall@10 {recall_coming:.3}, {recall_serving:.3} before, over {queries} {kind} queries, and \
         {loss_max:.3} may be lost; abort, allow more, or force the switch"
    )
}

/// Asks the embedding thread for a change, which happens whether or not anybody waits for the answer.
fn ask_for(
    state: &Arc<State>,
    change: Change,
    turn: OwnedMutexGuard<()>,
) -> oneshot::Receiver<Result<(), EngineError>> {
    let (done, changed) = oneshot::channel();
    state.lock(&state.to_change).push_back(LaneChange { change, turn, done });
    state.shared.embedding.push(state);
    if state.shared.background.check().is_err() {
        // The engine closes and may have looked here for the last time: whoever waits hears of it.
        state.lock(&state.to_change).clear();
    }
    changed
}

/// Compares, and switches, once a model that is to serve as soon as it can has everything. Does so beside the embedding
/// thread: documents go on.
pub(crate) fn compare_when_ready(state: &Arc<State>) {
    let lanes = state.lanes();
    let Some(second) = lanes.second.as_ref().filter(|second| second.lane.is_some()) else { return };
    let SecondRole::Coming(Switching::WhenReady { loss_max }) = second.record.role else { return };
    let ready = || state.documents().second().behind.is_empty();
    if second.compared.load(Ordering::Acquire) || !ready() {
        return;
    }
    second.compared.store(true, Ordering::Release);
    let (own, second) = (Arc::clone(state), second.clone());
    let started = start_thread("compare", move || {
        let switched = switch_if_good(&own, &second, loss_max);
        let Err(error) = switched else { return };
        if matches!(error, EngineError::Stopped(_) | EngineError::Closing | EngineError::ReadOnly) {
            // The next start goes on.
            return;
        }
        let error = &error as &dyn std::error::Error;
        tracing::warn!(partition = %own.key, error, "the models could not be compared; trying again");
        own.shared.embedding.pause(&*own.shared.parts.clock, COMPARE_AGAIN);
        second.compared.store(false, Ordering::Release);
        own.shared.embedding.push(&own);
    });
    if let Err(error) = started {
        tracing::error!(partition = %state.key, %error, "the models are not compared until the next start");
    }
}

fn switch_if_good(state: &Arc<State>, second: &Second, loss_max: f32) -> Result<(), EngineError> {
    let shared: &Shared = &state.shared;
    let compared = block_on(compare(&shared.background, state, &Reader::All, &[]))?;
    *state.lock(&state.comparison) = Some(compared);
    if compared.loss() > loss_max {
        let why = worse(&second.record.model.id, &compared, loss_max);
        tracing::warn!(partition = %state.key, why, "the model is not switched");
        return Ok(());
    }
    let turn = block_on(Arc::clone(&shared.changing).lock_owned());
    let change = Change::Switch { to: second.record.model.clone(), behind: Behind::Refused };
    block_on(ask_for(state, change, turn)).unwrap_or(Err(EngineError::Closing))
}

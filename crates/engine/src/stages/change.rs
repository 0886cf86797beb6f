//! Changes of a partition's lanes: a second model comes, changes places with the one that serves, or goes.
//!
//! They are made by the embedding thread, between two turns: so what is embedded always has its place when it is done, and
//! nothing of a model comes after the record by which it went. Each is one record of the ledger, and is seen once that is
//! durable.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use futures::channel::oneshot;
use ibid_ledger::{Embedding, ModelVersion, Record, SecondModel, SecondRole, Switching};
use tokio::sync::OwnedMutexGuard;

use super::caught;
use crate::config::EmbedModel;
use crate::error::EngineError;
use crate::intake::tell;
use crate::lanes::{Lanes, Second, folder_of};
use crate::partition::State;
use crate::recover;

/// A change that waits for the embedding thread.
pub(crate) struct LaneChange {
    pub(crate) change: Change,
    /// Keeps other changes of the catalog waiting until this one is done.
    pub(crate) turn: OwnedMutexGuard<()>,
    pub(crate) done: oneshot::Sender<Result<(), EngineError>>,
}

/// What is to change.
pub(crate) enum Change {
    /// A second model comes.
    Start { model: Arc<dyn EmbedModel>, switching: Switching },
    /// The model that came serves from now on, the other one is kept.
    Switch { to: ModelVersion, behind: Behind },
    /// The model that was kept serves again.
    RollBack,
    /// The model that came goes.
    Abort,
    /// The model that was kept goes.
    Finish,
}

/// What becomes of documents of which a model that is to serve has no vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behind {
    /// They hold the change up.
    Refused,
    /// They are found by words until it has them.
    Allowed,
}

/// Makes the changes that wait.
pub(super) fn change_lanes(state: &Arc<State>) {
    loop {
        let next = state.lock(&state.to_change).pop_front();
        let Some(LaneChange { change, turn, done }) = next else { return };
        let changed = caught(|| apply(state, change));
        drop(turn);
        tell(done, changed);
    }
}

fn apply(state: &Arc<State>, change: Change) -> Result<(), EngineError> {
    // Whoever changes indexes finds the lanes as they were, or as they are afterwards.
    let _changing = state.lock(&state.changing);
    if state.is_gone() {
        return Err(EngineError::NotFound { kind: "collection", name: state.name.to_string() });
    }
    match change {
        Change::Start { model, switching } => start(state, model, switching),
        // Two may have asked for it, the server itself one of them.
        Change::Switch { to, .. } if state.lanes().serving.version == to => Ok(()),
        Change::Switch { to, behind } => {
            let second = coming(state)?;
            if second.record.model != to {
                return Err(EngineError::Unfit(format!("the collection is moving to {}", second.record.model.id)));
            }
            trade(state, second, behind, SecondRole::Kept)
        }
        // Where it may switch again, somebody shall say so.
        Change::RollBack => trade(state, kept(state)?, Behind::Refused, SecondRole::Coming(Switching::Asked)),
        Change::Abort => coming(state).and_then(|second| end(state, &second)),
        Change::Finish => kept(state).and_then(|second| end(state, &second)),
    }
}

fn coming(state: &State) -> Result<Second, EngineError> {
    let second = state.lanes().second.clone();
    second
        .filter(|second| matches!(second.record.role, SecondRole::Coming(_)))
        .ok_or_else(|| EngineError::Unfit(format!("no model is coming to {}: start a migration first", state.name)))
}

fn kept(state: &State) -> Result<Second, EngineError> {
    let second = state.lanes().second.clone();
    second
        .filter(|second| matches!(second.record.role, SecondRole::Kept))
        .ok_or_else(|| EngineError::Unfit(format!("{} keeps no model beside the one that serves", state.name)))
}

fn start(state: &Arc<State>, model: Arc<dyn EmbedModel>, switching: Switching) -> Result<(), EngineError> {
    let lanes = state.lanes();
    if let Some(second) = &lanes.second {
        let name = &second.record.model.id;
        return Err(EngineError::Unfit(format!("{} has {name} beside it already; end that first", state.name)));
    }
    let lane = recover::empty_lane(&state.shared, model)?;
    let since_ms = state.shared.parts.clock.unix_ms();
    let record = SecondModel { model: lane.version.clone(), role: SecondRole::Coming(switching), since_ms };
    commit(state, &lanes, Some(record.clone()))?;
    state.set_lanes(Lanes { second: Some(Second::new(record, Some(lane))), ..(*lanes).clone() });
    *state.lock(&state.comparison) = None;
    let work = recover::unfinished_second(&state.documents());
    *state.lock(&state.to_second) = work.into();
    Ok(())
}

/// The lanes change places: whoever asks before is answered by the one, whoever asks afterwards by the other.
fn trade(state: &Arc<State>, second: Second, behind: Behind, role: SecondRole) -> Result<(), EngineError> {
    let name = &second.record.model.id;
    let Some(next) = second.lane.clone() else {
        return Err(EngineError::Unfit(format!(
            "this server has not the model {name} with the weights that are wanted"
        )));
    };
    let left = state.documents().second().behind.len();
    if left > 0 && behind == Behind::Refused {
        return Err(EngineError::Unfit(format!(
            "{left} documents wait for vectors of {name}; wait until they have them"
        )));
    }
    let lanes = state.lanes();
    let since = {
        // Under the documents' lock no put is given a number: those before are of the one model, those after of the other.
        let documents = state.documents_mut();
        state.switching.store(true, Ordering::Release);
        documents.generation
    };
    let now = Lanes { serving: next, since, second: None };
    let since_ms = state.shared.parts.clock.unix_ms();
    let record = SecondModel { model: lanes.serving.version.clone(), role, since_ms };
    let committed = commit(state, &now, Some(record.clone()));
    {
        let mut documents = state.documents_mut();
        state.switching.store(false, Ordering::Release);
        committed?;
        tracing::info!(partition = %state.key, from = %lanes.serving.version.id, to = %name, "the model was changed");
        documents.change_all(|version| {
            std::mem::swap(&mut version.embedded, &mut version.embedded_second);
            // The other model may do what this one could not.
            version.parked = false;
        });
        let second = Second { lane: Some(Arc::clone(&lanes.serving)), record, compared: Arc::default() };
        state.set_lanes(Lanes { second: Some(second), ..now });
        state.publish(&mut documents);
    }
    let documents = state.documents();
    let mut queue = state.lock(&state.to_embed);
    let queued: HashSet<_> = queue.iter().map(|work| (work.key, work.revision)).collect();
    let (_, unfinished) = recover::unfinished(&documents);
    queue.extend(unfinished.into_iter().filter(|work| !queued.contains(&(work.key, work.revision))));
    *state.lock(&state.to_second) = recover::unfinished_second(&documents).into();
    Ok(())
}

/// The second model goes, with all it has made.
fn end(state: &Arc<State>, second: &Second) -> Result<(), EngineError> {
    let lanes = state.lanes();
    commit(state, &lanes, None)?;
    state.set_lanes(Lanes { second: None, ..(*lanes).clone() });
    state.lock(&state.to_second).clear();
    *state.lock(&state.comparison) = None;
    state.documents_mut().change_all(|version| version.embedded_second = 0);
    let folder = state.shared.partition_folder(state.key).join(folder_of(second.record.model.key()));
    recover::remove_index(&state.shared, state.key, &folder);
    Ok(())
}

/// Writes which models there are from here on.
fn commit(state: &State, lanes: &Lanes, second: Option<SecondModel>) -> Result<(), EngineError> {
    let embedding = Embedding { serving: lanes.serving.version.clone(), since: lanes.since, second };
    let record = Record::CollectionEmbedding { partition: state.key, embedding };
    state.shared.ledger.append(record.clone()).wait().map_err(EngineError::of_ledger)?;
    state.shared.catalog.write().unwrap_or_else(PoisonError::into_inner).apply(&record);
    Ok(())
}

//! A partition's vectors, a lane for each model that makes them: one is searched, a second one stands beside it while the
//! model is being changed.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use ibid_core::Generation;
use ibid_ledger::{ModelKey, ModelVersion, SecondModel};
use ibid_vector::VectorIndex;

use crate::config::EmbedModel;

/// One model's vectors.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) model: Arc<dyn EmbedModel>,
    pub(crate) version: ModelVersion,
    pub(crate) vector: VectorIndex,
}

impl Lane {
    /// Where its index lives, within the partition's folder.
    pub(crate) fn folder(&self) -> PathBuf {
        folder_of(self.version.key())
    }
}

/// Where the index of this model's vectors lives, within the partition's folder.
pub(crate) fn folder_of(model: ModelKey) -> PathBuf {
    PathBuf::from(format!("vectors-{model}"))
}

/// A loaded model, as the ledger knows it.
pub(crate) fn version_of(model: &dyn EmbedModel) -> ModelVersion {
    ModelVersion {
        id: model.model().clone(),
        revision: model.revision().to_owned(),
        dimension: u32::try_from(model.dimension()).unwrap_or(u32::MAX),
    }
}

/// Which of a partition's lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    /// The one that questions search.
    Serving,
    /// The one beside it.
    Second,
}

/// The lane beside the one that is searched.
#[derive(Debug, Clone)]
pub(crate) struct Second {
    pub(crate) record: SecondModel,
    /// `None` while the server has not this model with these weights: then it stands still.
    pub(crate) lane: Option<Arc<Lane>>,
    /// Somebody compares, or has compared, what both lanes find.
    pub(crate) compared: Arc<AtomicBool>,
}

impl Second {
    pub(crate) fn new(record: SecondModel, lane: Option<Lane>) -> Second {
        Second { record, lane: lane.map(Arc::new), compared: Arc::default() }
    }
}

/// A partition's lanes; replaced as a whole when one comes, goes or changes places with the other.
#[derive(Debug, Clone)]
pub(crate) struct Lanes {
    pub(crate) serving: Arc<Lane>,
    /// Vectors that came with a document up to this generation are of another model.
    pub(crate) since: Generation,
    pub(crate) second: Option<Second>,
}

impl Lanes {
    /// The lanes that can be written, the one that is searched first.
    pub(crate) fn all(&self) -> impl Iterator<Item = (Which, &Arc<Lane>)> {
        let second = self.second.as_ref().and_then(|second| second.lane.as_ref());
        std::iter::once((Which::Serving, &self.serving)).chain(second.map(|lane| (Which::Second, lane)))
    }
}

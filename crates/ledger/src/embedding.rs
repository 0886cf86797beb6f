//! The models of a collection's vectors: one that questions search, and a second one while the model is being changed.

use ibid_core::{Generation, ModelId};
use serde::{Deserialize, Serialize};

use crate::ModelKey;

/// The models of a collection's vectors. Other models' vectors are of no use from the record on that says so.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Embedding {
    /// The model whose vectors are searched.
    pub serving: ModelVersion,
    /// The partition's generation when it began to serve: vectors that came with a document up to there are not of it.
    pub since: Generation,
    /// The model whose vectors are kept beside.
    pub second: Option<SecondModel>,
}

/// A model with its weights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelVersion {
    /// Its name.
    pub id: ModelId,
    /// Its weights, as a hash.
    pub revision: String,
    /// Floats a vector.
    pub dimension: u32,
}

impl ModelVersion {
    /// What its vectors are found by.
    pub fn key(&self) -> ModelKey {
        ModelKey::of(&self.id, &self.revision, self.dimension)
    }
}

/// A model whose vectors are made too, and not searched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SecondModel {
    /// The model.
    pub model: ModelVersion,
    /// What it is there for.
    pub role: SecondRole,
    /// Since when, milliseconds since the Unix epoch.
    pub since_ms: u64,
}

/// What a second model is there for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum SecondRole {
    /// It is to serve once it has everything.
    Coming(Switching),
    /// It has served, and may have to again.
    Kept,
}

/// When a coming model begins to serve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Switching {
    /// When somebody asks for it.
    Asked,
    /// As soon as it has everything and finds enough.
    WhenReady {
        /// How much recall may be lost by it, 0 to 1.
        loss_max: f32,
    },
}

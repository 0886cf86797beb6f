//! What the engine is given.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ibid_core::{Embed, ModelId, Tokenize};
use ibid_ledger::MasterKey;
use ibid_ledger::snapshot::SnapshotStore;
use ibid_runtime::{Clock, Disk, Pool, Random};

/// Limits and places.
#[derive(Debug, Clone)]
pub struct Config {
    /// The data folder.
    pub folder: PathBuf,
    /// The longest document, in bytes of its text.
    pub document_bytes_max: usize,
    /// How many documents may wait for their stages before puts are refused.
    pub pending_documents_max: usize,
    /// Vectors from which an index of one partition grows a graph; below, it is scanned.
    pub graph_from: usize,
    /// How long opening sled may take before its index is rebuilt from the log.
    pub index_open_timeout: Duration,
    /// Length of one log file in bytes.
    pub log_segment_bytes: u64,
    /// Zeros written to the log in advance, in bytes: syncing what overwrites them is faster.
    pub log_room_bytes: u64,
    /// Bytes that may wait for the log before writes are refused.
    pub queue_bytes_max: u64,
    /// How long the bytes of something deleted may stay in the log.
    pub erase_within: Duration,
    /// How long a version is kept after another one has taken its place; zero: it is not.
    pub retain: Duration,
    /// Chunks that a view of a past generation may have: it is held in memory.
    pub past_chunks_max: usize,
    /// What seals the tenants' keys: with it, what tenants store is encrypted in the log and in snapshots. `None`: nothing is.
    pub master_key: Option<MasterKey>,
    /// After a failure, how long the background waits, by the clock, before it tries again.
    pub retry_pause: Duration,
}

/// Where the indexes live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Views {
    /// Below the data folder.
    Folder,
    /// In memory, rebuilt from the ledger at every open: for simulation.
    Memory,
}

/// An embedder with its own tokenizer.
pub trait EmbedModel: Embed + Tokenize {}

impl<T: Embed + Tokenize> EmbedModel for T {}

/// The embedders that collections may name.
#[derive(Debug, Clone)]
pub struct Models {
    /// The one for collections that name none.
    pub default: ModelId,
    /// All of them.
    pub by_id: BTreeMap<ModelId, Arc<dyn EmbedModel>>,
}

impl Models {
    /// One model, for everything.
    pub fn only(model: Arc<dyn EmbedModel>) -> Models {
        Models { default: model.model().clone(), by_id: BTreeMap::from([(model.model().clone(), model)]) }
    }

    /// The names of all of them, for messages.
    pub(crate) fn names(&self) -> String {
        let names: Vec<&str> = self.by_id.keys().map(ModelId::as_str).collect();
        names.join(", ")
    }

    /// The model called `id`.
    pub fn get(&self, id: &ModelId) -> Option<&Arc<dyn EmbedModel>> {
        self.by_id.get(id)
    }
}

/// What the engine is built from.
#[derive(Debug, Clone)]
pub struct Parts {
    /// Files.
    pub disk: Arc<dyn Disk>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub random: Arc<dyn Random>,
    /// Compute.
    pub pool: Pool,
    /// Embedders.
    pub models: Models,
    /// Where the indexes live.
    pub views: Views,
    /// Where snapshots are kept: a deleted tenant's key is destroyed there too. `None`: nowhere.
    pub snapshots: Option<Arc<dyn SnapshotStore>>,
}

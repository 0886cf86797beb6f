//! The models that come with a clone, through the crate's own door; and the store and the download around them.

mod families;
mod models;
mod pull;
mod store;

use std::path::PathBuf;
use std::sync::Arc;

use ibid_core::ModelId;
use ibid_infer::ModelStore;
use ibid_runtime::{Ctx, Pool, Priority, SystemClock};

const EMBEDDER: &str = "all-MiniLM-L6-v2-int8";
const RERANKER: &str = "rerank-minilm-l6-int8";

fn models_dir() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../models"))
}

fn shipped() -> ModelStore {
    ModelStore::new(vec![models_dir()])
}

fn id(name: &str) -> ModelId {
    ModelId::new(name).unwrap()
}

fn pool() -> Pool {
    Pool::new(2, 64).unwrap()
}

fn ctx() -> Ctx {
    Ctx::new(Arc::new(SystemClock::new()), Priority::Query, None)
}

//! The same weights for both sides.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use ibid_core::ModelId;
use ibid_infer::{Compute, InferError, Installed, ModelEntry, ModelKind, ModelStore, Numbers, Pooling, Precision};
use serde_json::{Value, json};

use super::Peers;
use super::figures::has_vnni;
use super::peer::Peer;
use crate::config::Config;
use crate::house::model_roots;

/// Which weights.
#[derive(Debug, Args)]
pub(super) struct Choice {
    /// An installed model [default: the configured one]. int8 rows are expanded to f32 for both sides
    #[arg(long, value_name = "ID", conflicts_with = "f32_model")]
    model: Option<String>,
    /// A folder with model.safetensors, tokenizer.json and config.json
    #[arg(long, value_name = "DIR")]
    f32_model: Option<PathBuf>,
}

impl Choice {
    /// The weights chosen, `default` if none were; as floats if a peer has to read them too.
    pub(super) fn open(
        &self,
        default: &ModelId,
        config: &Config,
        peers: &Peers,
        peer: Option<&mut Peer>,
    ) -> anyhow::Result<Installed> {
        if let Some(dir) = &self.f32_model {
            let name = dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let id = ModelId::new(&name).map_err(|error| anyhow::anyhow!("the folder's name {name:?} {error}"))?;
            return Ok(Installed { entry: ModelEntry::describe(dir, &id)?, dir: dir.clone() });
        }
        let id = match &self.model {
            None => default.clone(),
            Some(name) => ModelId::new(name).map_err(|error| anyhow::anyhow!("the model's name {error}"))?,
        };
        let found = ModelStore::new(model_roots(config)).find(&id)?;
        match peer {
            Some(peer) if found.entry.precision == Precision::Int8Rows => expanded(found, peer, &peers.cache()),
            Some(_) | None => Ok(found),
        }
    }
}

/// Our engines on a model, by name: in floats and in int8.
pub(super) fn in_all_numbers<M>(
    load: impl Fn(Compute) -> Result<M, InferError>,
) -> anyhow::Result<Vec<(&'static str, Arc<M>)>> {
    let load = |numbers| load(Compute { numbers, ..Compute::default() }).map(Arc::new);
    Ok(vec![("ibid_f32", load(Numbers::F32)?), ("ibid_int8", load(Numbers::Int8)?)])
}

/// The model as floats, which a peer writes.
fn expanded(model: Installed, peer: &mut Peer, cache: &Path) -> anyhow::Result<Installed> {
    let answer = peer.ask(&json!({"do": "expand", "model": model.dir, "cache": cache}))?;
    let dir = PathBuf::from(answer.get("model").and_then(Value::as_str).context("the peers wrote no model")?);
    let described = ModelEntry::describe(&dir, &model.entry.id)?;
    let entry = ModelEntry { precision: described.precision, sha256: described.sha256, ..model.entry };
    Ok(Installed { entry, dir })
}

/// Has the peer load the model and export it where it has not; the names of its engines.
pub(super) fn open_at(peer: &mut Peer, model: &Installed, peers: &Peers) -> anyhow::Result<Vec<String>> {
    let (kind, pooling) = match &model.entry.kind {
        ModelKind::Embedder { pooling: Pooling::Mean, .. } => ("embedder", "mean"),
        ModelKind::Embedder { pooling: Pooling::Cls, .. } => ("embedder", "cls"),
        ModelKind::Reranker { .. } => ("reranker", "cls"),
    };
    let request = json!({
        "do": "open", "kind": kind, "model": model.dir, "pooling": pooling, "tokens_max": model.entry.max_tokens,
        "cache": peers.cache(), "reduce_range": !has_vnni(),
    });
    let answer = peer.ask(&request)?;
    let engines = answer.get("engines").and_then(Value::as_array).context("the peers opened no engines")?;
    Ok(engines.iter().filter_map(Value::as_str).map(str::to_owned).collect())
}

/// Multiplications and additions of all products of a BERT encoder over texts of these lengths: four matrices of the hidden
/// size and two of the intermediate size a layer, scores and their sums over each text.
pub(super) fn operations(model: &Installed, lengths: &[usize]) -> anyhow::Result<f64> {
    let path = model.dir.join("config.json");
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let config: Value = serde_json::from_str(&text).with_context(|| format!("understand {}", path.display()))?;
    let size = |name: &str| config.get(name).and_then(Value::as_f64).with_context(|| format!("{name} is no number"));
    let (layers, hidden) = (size("num_hidden_layers")?, size("hidden_size")?);
    let linear = 2.0 * hidden * (4.0 * hidden + 2.0 * size("intermediate_size")?);
    let of_text = |length: &usize| {
        let length = *length as f64;
        length * (linear + 4.0 * length * hidden)
    };
    Ok(layers * lengths.iter().map(of_text).sum::<f64>())
}

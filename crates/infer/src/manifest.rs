//! What is written down about a model: `manifest.toml` of a root lists its models as `[[model]]`; a folder that came by
//! itself (pulled, imported, quantized) carries the same fields in an `ibid.toml` of its own.

use std::collections::BTreeMap;
use std::path::Path;

use ibid_core::{Calibration, ModelId};
use safetensors::Dtype;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::InferError;
use crate::config::BertConfig;
use crate::weights::Weights;

/// The list of models in a root.
pub(crate) const MANIFEST: &str = "manifest.toml";
/// The entry of one model, in its folder.
pub(crate) const ENTRY: &str = "ibid.toml";
/// A model's weights.
pub(crate) const WEIGHTS: &str = "model.safetensors";
/// A model's shape.
pub(crate) const CONFIG: &str = "config.json";
/// A model's tokenizer.
pub(crate) const TOKENIZER: &str = "tokenizer.json";
/// The files a model consists of.
pub(crate) const FILES: [&str; 3] = [WEIGHTS, TOKENIZER, CONFIG];

/// One model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelEntry {
    /// What it is called.
    pub id: ModelId,
    /// Its folder within the root.
    pub folder: String,
    /// The version of its weights: a hub's commit, or our own name for it.
    pub revision: String,
    /// The licence of its weights, as an SPDX expression; empty where nobody has said.
    pub licence: String,
    /// The most tokens it reads, special tokens included; longer texts are cut.
    pub max_tokens: usize,
    /// What its weights are stored as.
    pub precision: Precision,
    /// What it does.
    #[serde(flatten)]
    pub kind: ModelKind,
    /// Where its full form comes from, if these are smaller weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub full: Option<FullForm>,
    /// SHA-256 of each of its files, in hex.
    pub sha256: BTreeMap<String, String>,
}

/// What a model does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum ModelKind {
    /// A text to a vector.
    Embedder {
        /// The vector's length.
        dimension: usize,
        /// How the tokens' states become one.
        pooling: Pooling,
        /// What is put before a question.
        #[serde(default)]
        query_prefix: String,
        /// What is put before a passage.
        #[serde(default)]
        passage_prefix: String,
    },
    /// A question and a passage to a score.
    Reranker {
        /// What its score is worth; the plain sigmoid where nobody has fitted it.
        #[serde(default)]
        calibration: Calibration,
    },
}

/// How the tokens' states become one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pooling {
    /// Their mean, special tokens included.
    Mean,
    /// The first one's.
    Cls,
}

/// What weights are stored as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// 32 bit floats.
    F32,
    /// 16 bit floats.
    F16,
    /// bfloat16.
    Bf16,
    /// Matrices as int8 with one f32 scale a row, vectors as f32.
    Int8Rows,
}

/// A repository on a model hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FullForm {
    /// Owner and name.
    pub repository: String,
    /// Commit, tag or branch.
    pub revision: String,
}

impl ModelEntry {
    /// Describes the model in `dir` from its own files: `config.json`, the weights, and, where they exist, what
    /// sentence-transformers keeps beside them (`modules.json`, `1_Pooling/config.json`, `sentence_bert_config.json`).
    /// Prefixes and calibrations are stated nowhere in a common form and come out as none.
    ///
    /// # Errors
    /// A file is missing or malformed, or the model is of a kind that does not run here.
    pub fn describe(dir: &Path, id: &ModelId) -> Result<ModelEntry, InferError> {
        let config = BertConfig::read(&dir.join(CONFIG))?;
        refuse_other_modules(dir)?;
        let kind = if config.is_classifier() {
            ModelKind::Reranker { calibration: Calibration::default() }
        } else {
            let (query_prefix, passage_prefix) = (String::new(), String::new());
            ModelKind::Embedder { dimension: config.hidden_size, pooling: pooling(dir)?, query_prefix, passage_prefix }
        };
        #[derive(Deserialize)]
        struct Lengths {
            max_seq_length: Option<usize>,
        }
        let lengths: Option<Lengths> = json_if_there(&dir.join("sentence_bert_config.json"))?;
        let max_tokens = lengths.and_then(|lengths| lengths.max_seq_length).unwrap_or(config.max_position_embeddings);
        Ok(ModelEntry {
            id: id.clone(),
            folder: folder_of(id),
            revision: String::new(),
            licence: String::new(),
            max_tokens: max_tokens.min(config.max_position_embeddings),
            precision: precision(&dir.join(WEIGHTS))?,
            kind,
            full: None,
            sha256: hashes(dir)?,
        })
    }

    /// Reads the `ibid.toml` of a folder, `None` if it has none.
    pub(crate) fn read(dir: &Path) -> Result<Option<ModelEntry>, InferError> {
        toml_if_there(&dir.join(ENTRY))
    }

    /// Writes the `ibid.toml` of a folder.
    pub(crate) fn write(&self, dir: &Path) -> Result<(), InferError> {
        let path = dir.join(ENTRY);
        let text = toml::to_string(self).expect("an entry is strings, numbers and tables");
        std::fs::write(&path, text).map_err(|source| InferError::Write { path, source })
    }
}

/// The entries of a root's `manifest.toml`; none if there is no such file.
pub(crate) fn read_manifest(root: &Path) -> Result<Vec<ModelEntry>, InferError> {
    #[derive(Deserialize)]
    struct Manifest {
        #[serde(default)]
        model: Vec<ModelEntry>,
    }
    let manifest: Option<Manifest> = toml_if_there(&root.join(MANIFEST))?;
    Ok(manifest.map_or_else(Vec::new, |manifest| manifest.model))
}

/// SHA-256 of each of a model's files.
pub(crate) fn hashes(dir: &Path) -> Result<BTreeMap<String, String>, InferError> {
    let hash = |name: &str| Ok((name.to_owned(), sha256_hex(&read(&dir.join(name))?)));
    FILES.iter().map(|name| hash(name)).collect()
}

/// SHA-256 in hex.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Bytes in hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A file's bytes.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, InferError> {
    std::fs::read(path).map_err(|source| InferError::Read { path: path.to_owned(), source })
}

/// The folder of a model that came by itself: its name, with no way out of the root.
pub(crate) fn folder_of(id: &ModelId) -> String {
    let name = id.as_str().replace(['/', '\\', ':'], "--");
    // Hidden folders are unfinished ones.
    if name.starts_with('.') { format!("_{name}") } else { name }
}

fn refuse_other_modules(dir: &Path) -> Result<(), InferError> {
    #[derive(Deserialize)]
    struct Module {
        #[serde(rename = "type")]
        class: String,
    }
    let modules: Option<Vec<Module>> = json_if_there(&dir.join("modules.json"))?;
    for module in modules.unwrap_or_default() {
        let class = module.class.rsplit('.').next().unwrap_or_default();
        if !matches!(class, "Transformer" | "Pooling" | "Normalize") {
            return Err(InferError::Unsupported {
                what: format!("module {class}"),
                way_out: "choose a model of an encoder, pooling and normalization alone",
            });
        }
    }
    Ok(())
}

fn pooling(dir: &Path) -> Result<Pooling, InferError> {
    #[derive(Deserialize)]
    struct Modes {
        #[serde(default)]
        pooling_mode_cls_token: bool,
        #[serde(default)]
        pooling_mode_mean_tokens: bool,
    }
    let modes: Option<Modes> = json_if_there(&dir.join("1_Pooling/config.json"))?;
    match modes.map(|modes| (modes.pooling_mode_mean_tokens, modes.pooling_mode_cls_token)) {
        None | Some((true, false)) => Ok(Pooling::Mean),
        Some((false, true)) => Ok(Pooling::Cls),
        Some((true, true) | (false, false)) => Err(InferError::Unsupported {
            what: "this pooling".to_owned(),
            way_out: "choose a model that pools by mean or by its first token",
        }),
    }
}

#[allow(clippy::wildcard_enum_match_arm, reason = "a foreign enum; a type without weights is refused at load")]
fn precision(path: &Path) -> Result<Precision, InferError> {
    let bytes = read(path)?;
    match Weights::parse(path, &bytes)?.stored_as("embeddings.word_embeddings.weight")? {
        Dtype::F16 => Ok(Precision::F16),
        Dtype::BF16 => Ok(Precision::Bf16),
        Dtype::I8 => Ok(Precision::Int8Rows),
        _ => Ok(Precision::F32),
    }
}

fn json_if_there<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<Option<T>, InferError> {
    if !path.exists() {
        return Ok(None);
    }
    let parsed = serde_json::from_slice(&read(path)?);
    parsed.map(Some).map_err(|error| InferError::Malformed { path: path.to_owned(), detail: error.to_string() })
}

fn toml_if_there<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<Option<T>, InferError> {
    if !path.exists() {
        return Ok(None);
    }
    let malformed = |detail: String| InferError::Malformed { path: path.to_owned(), detail };
    let text = String::from_utf8(read(path)?).map_err(|error| malformed(error.to_string()))?;
    toml::from_str(&text).map(Some).map_err(|error| malformed(error.to_string()))
}

//! What is written down about a model: `manifest.toml` of a root lists its models as `[[model]]`; a folder that came by
//! itself (pulled, imported, quantized) carries the same fields in an `ibid.toml` of its own.

use std::collections::BTreeMap;
use std::path::Path;

use ibid_core::{Calibration, ModelId};
use safetensors::Dtype;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::InferError;
use crate::config::ModelConfig;
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
        /// The vector's length: the encoder's, or less of a model that was trained for it (Kusupati et al. 2022), whose
        /// vectors are cut.
        dimension: usize,
        /// How the tokens' states become one.
        pooling: Pooling,
        /// Whether vectors are brought to length 1, after the cut.
        #[serde(default = "yes")]
        normalize: bool,
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

fn yes() -> bool {
    true
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
    /// The model in `dir` under the name `id`: as its `ibid.toml` or the `manifest.toml` beside it records it, else as
    /// [`ModelEntry::describe`] finds it.
    ///
    /// # Errors
    /// A file is missing or malformed, or the model is of a kind that does not run here.
    pub fn of(dir: &Path, id: &ModelId) -> Result<ModelEntry, InferError> {
        let own = ModelEntry::read(dir)?;
        let listed = || -> Result<Option<ModelEntry>, InferError> {
            let (Some(root), Some(folder)) = (dir.parent(), dir.file_name()) else { return Ok(None) };
            Ok(read_manifest(root)?.into_iter().find(|entry| *entry.folder == *folder))
        };
        match own.map_or_else(listed, |own| Ok(Some(own)))? {
            Some(recorded) => Ok(ModelEntry { id: id.clone(), folder: folder_of(id), ..recorded }),
            None => ModelEntry::describe(dir, id),
        }
    }

    /// Describes the model in `dir` from its own files: `config.json`, the weights, and, where they exist, what
    /// sentence-transformers keeps beside them: the modules, how they pool, prompts for queries and documents, the
    /// similarity, a truncated dimension and the longest text. Calibrations
    /// are stated nowhere in a common form: the plain sigmoid.
    ///
    /// # Errors
    /// A file is missing or malformed, or the model is of a kind that does not run here.
    pub fn describe(dir: &Path, id: &ModelId) -> Result<ModelEntry, InferError> {
        let config = ModelConfig::read(&dir.join(CONFIG))?;
        let normalizes = normalizes(dir)?;
        let kind = if config.is_classifier {
            ModelKind::Reranker { calibration: Calibration::default() }
        } else {
            let said: Said = json_if_there(&dir.join("config_sentence_transformers.json"))?.unwrap_or_default();
            // A model that is compared by cosine may leave the length to who compares; by dot product it counts.
            let by_length = said.similarity_fn_name.as_deref() == Some("dot");
            ModelKind::Embedder {
                dimension: said.truncate_dim.map_or(config.hidden_size(), |cut| cut.min(config.hidden_size())),
                pooling: pooling(dir)?,
                normalize: normalizes || !by_length,
                query_prefix: said.prompt(&["query"]),
                passage_prefix: said.prompt(&["document", "passage", "corpus"]),
            }
        };
        Ok(ModelEntry {
            id: id.clone(),
            folder: folder_of(id),
            revision: String::new(),
            licence: String::new(),
            max_tokens: tokens_max(dir)?.map_or(config.tokens_max(), |said| said.min(config.tokens_max())),
            precision: precision(&dir.join(WEIGHTS), &config)?,
            kind,
            full: None,
            sha256: hashes(dir)?,
        })
    }

    /// A hash of everything but the weights that a vector or a score depends on: how long a text may be, what stands before
    /// it, how it is pooled, cut and normalized, how it is tokenized and the shape of the encoder. `tokenizer` and `config`
    /// are the bytes of those files.
    pub(crate) fn reading(&self, tokenizer: &[u8], config: &[u8]) -> String {
        let kind = match &self.kind {
            ModelKind::Embedder { dimension, pooling, normalize, query_prefix, passage_prefix } => {
                let pooling = match pooling {
                    Pooling::Mean => "mean",
                    Pooling::Cls => "cls",
                };
                serde_json::json!([dimension, pooling, normalize, query_prefix, passage_prefix])
            }
            ModelKind::Reranker { .. } => serde_json::Value::Null,
        };
        let read = serde_json::json!([self.max_tokens, kind, sha256_hex(tokenizer), sha256_hex(config)]);
        sha256_hex(read.to_string().as_bytes())
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

/// `config_sentence_transformers.json`, as far as it says how to read a text.
#[derive(Default, Deserialize)]
struct Said {
    #[serde(default)]
    prompts: BTreeMap<String, Option<String>>,
    #[serde(default)]
    default_prompt_name: Option<String>,
    #[serde(default)]
    similarity_fn_name: Option<String>,
    #[serde(default)]
    truncate_dim: Option<usize>,
}

impl Said {
    /// The prompt of the first of `names` that has one, else the default one.
    fn prompt(&self, names: &[&str]) -> String {
        let names = names.iter().copied().chain(self.default_prompt_name.as_deref());
        names.filter_map(|name| self.prompts.get(name)?.clone()).next().unwrap_or_default()
    }
}

/// Whether the model's own modules bring vectors to length 1; one without modules leaves it to us.
fn normalizes(dir: &Path) -> Result<bool, InferError> {
    #[derive(Deserialize)]
    struct Module {
        #[serde(rename = "type")]
        class: String,
    }
    let modules: Option<Vec<Module>> = json_if_there(&dir.join("modules.json"))?;
    let Some(modules) = modules else { return Ok(true) };
    let mut normalizes = false;
    for module in modules {
        match module.class.rsplit('.').next().unwrap_or_default() {
            "Transformer" | "Pooling" => {}
            "Normalize" => normalizes = true,
            other => {
                return Err(InferError::Unsupported {
                    what: format!("module {other}"),
                    way_out: "choose a model of an encoder, pooling and normalization alone",
                });
            }
        }
    }
    Ok(normalizes)
}

fn pooling(dir: &Path) -> Result<Pooling, InferError> {
    #[derive(Deserialize)]
    struct Modes {
        /// Newer files name the one mode here.
        pooling_mode: Option<String>,
        #[serde(default)]
        pooling_mode_cls_token: bool,
        #[serde(default)]
        pooling_mode_mean_tokens: bool,
    }
    let modes: Option<Modes> = json_if_there(&dir.join("1_Pooling/config.json"))?;
    let Some(modes) = modes else { return Ok(Pooling::Mean) };
    match (modes.pooling_mode.as_deref(), modes.pooling_mode_mean_tokens, modes.pooling_mode_cls_token) {
        (Some("mean"), _, _) | (None, true, false) => Ok(Pooling::Mean),
        (Some("cls"), _, _) | (None, false, true) => Ok(Pooling::Cls),
        (Some(_) | None, _, _) => Err(InferError::Unsupported {
            what: "this pooling".to_owned(),
            way_out: "choose a model that pools by mean or by its first token",
        }),
    }
}

/// The longest text that the model was made for, if it says so.
fn tokens_max(dir: &Path) -> Result<Option<usize>, InferError> {
    #[derive(Default, Deserialize)]
    struct Lengths {
        max_seq_length: Option<usize>,
        /// "None" is written as a number of thirty digits.
        model_max_length: Option<f64>,
    }
    let in_file = |name: &str| json_if_there(&dir.join(name)).map(Option::<Lengths>::unwrap_or_default);
    let said = in_file("sentence_bert_config.json")?.max_seq_length;
    let tokenizer = in_file("tokenizer_config.json")?.model_max_length.filter(|length| *length >= 1.0);
    // Saturates, and is then cut to what the encoder takes.
    Ok(said.or(tokenizer.map(|length| length as usize)))
}

#[allow(clippy::wildcard_enum_match_arm, reason = "a foreign enum; a type without weights is refused at load")]
fn precision(path: &Path, config: &ModelConfig) -> Result<Precision, InferError> {
    let bytes = read(path)?;
    match Weights::parse(path, &bytes)?.stored_as(config.words())? {
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

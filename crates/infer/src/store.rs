//! Folders of models: list, verify, import, load.
//!
//! A model is a folder with `model.safetensors`, `tokenizer.json` and `config.json` in one of the roots, described by the
//! root's `manifest.toml` or by an `ibid.toml` of its own. The first root that has a name wins.

use std::io;
use std::path::{Path, PathBuf};

use ibid_core::ModelId;
use ibid_runtime::Pool;

use crate::config::ModelConfig;
use crate::manifest::{CONFIG, FILES, TOKENIZER, WEIGHTS, hashes, read, read_manifest, sha256_hex};
use crate::tokenizer::Subwords;
use crate::weights::Weights;
use crate::{Compute, CrossEncoder, Embedder, InferError, ModelEntry};

/// Says with a model's revision how its weights are run: another way that rounds differently gets another name.
const FORWARD_VERSION: &str = "bert-f32-1";

/// Enough digits of the hash of a reading that two of one model's never meet.
const READING_HEX: usize = 16;

/// Tokens of its own that an input keeps at least, beside the special ones.
const OWN_TOKENS_MIN: usize = 4;

/// The roots, in order, and what their models compute on.
#[derive(Debug, Clone)]
pub struct ModelStore {
    roots: Vec<PathBuf>,
    compute: Compute,
}

/// A model that is there.
#[derive(Debug, Clone, PartialEq)]
pub struct Installed {
    /// What is written down about it.
    pub entry: ModelEntry,
    /// Its folder.
    pub dir: PathBuf,
}

/// How a file of a model compares with what is written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileState {
    /// Its hash is the one written down.
    Ok,
    /// It is not there.
    Missing,
    /// It is there, and no hash is written down.
    Unlisted,
    /// It has another hash.
    Mismatch {
        /// Its hash.
        given: String,
    },
}

impl ModelStore {
    /// A store over these roots, loading for floats on the processor; a root that does not exist is empty.
    pub fn new(roots: Vec<PathBuf>) -> ModelStore {
        ModelStore { roots, compute: Compute::default() }
    }

    /// The same store, loading for `compute`.
    pub fn on(self, compute: Compute) -> ModelStore {
        ModelStore { compute, ..self }
    }

    /// All models, by root, then as the manifest lists them, then by folder.
    ///
    /// # Errors
    /// A manifest or an entry is malformed, or a root cannot be read.
    pub fn list(&self) -> Result<Vec<Installed>, InferError> {
        let mut models: Vec<Installed> = Vec::new();
        for root in self.roots.iter().filter(|root| root.is_dir()) {
            for found in models_in(root)? {
                if models.iter().all(|model| model.entry.id != found.entry.id) {
                    models.push(found);
                }
            }
        }
        Ok(models)
    }

    /// The model of this name.
    ///
    /// # Errors
    /// As [`ModelStore::list`]; or there is none.
    pub fn find(&self, id: &ModelId) -> Result<Installed, InferError> {
        let models = self.list()?;
        if let Some(found) = models.iter().find(|model| model.entry.id == *id) {
            return Ok(found.clone());
        }
        let listed = |names: Vec<String>| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        Err(InferError::Unknown {
            id: id.clone(),
            looked_in: listed(self.roots.iter().map(|root| root.display().to_string()).collect()),
            installed: listed(models.iter().map(|model| model.entry.id.to_string()).collect()),
        })
    }

    /// Compares each file of a model with the hash written down, by file name.
    ///
    /// # Errors
    /// As [`ModelStore::find`]; or a file that is there cannot be read.
    pub fn verify(&self, id: &ModelId) -> Result<Vec<(String, FileState)>, InferError> {
        let Installed { entry, dir } = self.find(id)?;
        let state = |name: &str| {
            let path = dir.join(name);
            if !path.exists() {
                return Ok(FileState::Missing);
            }
            let given = sha256_hex(&read(&path)?);
            Ok(match entry.sha256.get(name) {
                None => FileState::Unlisted,
                Some(expected) if *expected == given => FileState::Ok,
                Some(_) => FileState::Mismatch { given },
            })
        };
        FILES.iter().map(|name| Ok(((*name).to_owned(), state(name)?))).collect()
    }

    /// Copies the model in the folder `source` into `root` under the name `id`, and writes its `ibid.toml`, see
    /// [`ModelEntry::of`].
    ///
    /// # Errors
    /// `source` holds no model that runs here, `root` has a folder of that name, or a copy fails; then nothing remains.
    pub fn import(source: &Path, id: &ModelId, root: &Path) -> Result<Installed, InferError> {
        // A recorded entry does not say whether the model runs here.
        ModelConfig::read(&source.join(CONFIG))?;
        let entry = ModelEntry { sha256: hashes(source)?, ..ModelEntry::of(source, id)? };
        let dir = root.join(&entry.folder);
        install(&dir, |fresh| {
            for name in FILES {
                let path = fresh.join(name);
                std::fs::copy(source.join(name), &path).map_err(|source| InferError::Write { path, source })?;
            }
            entry.write(fresh)
        })?;
        Ok(Installed { entry, dir })
    }

    /// Loads an embedder that computes on `pool`, at most `batch_tokens_max` tokens (at least one text) a job.
    ///
    /// # Errors
    /// There is none of this name, its files are damaged, or it is of a kind that does not run here.
    pub fn load_embedder(&self, id: &ModelId, pool: &Pool, batch_tokens_max: usize) -> Result<Embedder, InferError> {
        let Installed { entry, dir } = self.find(id)?;
        Embedder::load(&dir, &entry, self.compute, pool, batch_tokens_max)
    }

    /// Loads a cross-encoder that computes on `pool`, at most `batch_tokens_max` tokens (at least one pair) a job.
    ///
    /// # Errors
    /// There is none of this name, its files are damaged, or it is of a kind that does not run here.
    pub fn load_reranker(
        &self,
        id: &ModelId,
        pool: &Pool,
        batch_tokens_max: usize,
    ) -> Result<CrossEncoder, InferError> {
        let Installed { entry, dir } = self.find(id)?;
        CrossEncoder::load(&dir, &entry, self.compute, pool, batch_tokens_max)
    }
}

fn models_in(root: &Path) -> Result<Vec<Installed>, InferError> {
    let unreadable = |source: io::Error| InferError::Read { path: root.to_owned(), source };
    let mut models = Vec::new();
    for entry in read_manifest(root)? {
        // A manifest may be somebody else's: it names folders, never ways out of the root.
        if Path::new(&entry.folder).file_name() != Some(entry.folder.as_ref()) {
            let detail = format!("folder {:?} of model {} is no plain name", entry.folder, entry.id);
            return Err(InferError::Malformed { path: root.join(crate::manifest::MANIFEST), detail });
        }
        models.push(Installed { dir: root.join(&entry.folder), entry });
    }
    let mut dirs = Vec::new();
    for found in std::fs::read_dir(root).map_err(unreadable)? {
        let found = found.map_err(unreadable)?;
        // A hidden folder is one that was not finished.
        if found.path().is_dir() && !found.file_name().to_string_lossy().starts_with('.') {
            dirs.push(found.path());
        }
    }
    dirs.sort();
    for dir in dirs {
        if models.iter().any(|model| model.dir == dir) {
            continue;
        }
        if let Some(entry) = ModelEntry::read(&dir)? {
            models.push(Installed { entry, dir });
        }
    }
    Ok(models)
}

/// Makes the folder `dir` by `fill`, which gets a hidden folder beside it; `dir` appears whole or not at all.
pub(crate) fn install(dir: &Path, fill: impl FnOnce(&Path) -> Result<(), InferError>) -> Result<(), InferError> {
    let fresh = unfinished(dir)?;
    let filled = fill(&fresh).and_then(|()| appear(&fresh, dir));
    if filled.is_err() {
        // The first error is the one to report; what cannot be removed now is hidden.
        let _ = std::fs::remove_dir_all(&fresh);
    }
    filled
}

/// The hidden folder in which `dir` is made, created if need be.
///
/// # Errors
/// `dir` is already there, or the folder cannot be made.
pub(crate) fn unfinished(dir: &Path) -> Result<PathBuf, InferError> {
    if dir.exists() {
        return Err(InferError::Exists { path: dir.to_owned() });
    }
    let name = dir.file_name().expect("a model's folder has a name").to_string_lossy().into_owned();
    let fresh = dir.with_file_name(format!(".{name}.part"));
    std::fs::create_dir_all(&fresh).map_err(|source| InferError::Write { path: fresh.clone(), source })?;
    Ok(fresh)
}

/// Gives a finished folder its name, in one step.
pub(crate) fn appear(fresh: &Path, dir: &Path) -> Result<(), InferError> {
    std::fs::rename(fresh, dir).map_err(|source| InferError::Write { path: dir.to_owned(), source })
}

/// A model's files, read and checked.
pub(crate) struct Files {
    pub(crate) config: ModelConfig,
    pub(crate) tokenizer: Subwords,
    /// Hash of the weights, how they are run, and a hash of how a text is read: two models of one revision give one vector.
    pub(crate) revision: String,
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Files {
    /// Reads the files of the model in `dir`.
    ///
    /// # Errors
    /// One is missing, malformed or differs from its hash; or `entry` and the files disagree.
    pub(crate) fn read(dir: &Path, entry: &ModelEntry) -> Result<Files, InferError> {
        let (config_path, tokenizer_path) = (dir.join(CONFIG), dir.join(TOKENIZER));
        let config = ModelConfig::read(&config_path)?;
        let path = dir.join(WEIGHTS);
        let bytes = read(&path)?;
        let given = sha256_hex(&bytes);
        if let Some(expected) = entry.sha256.get(WEIGHTS).filter(|expected| **expected != given) {
            return Err(InferError::Checksum { path, given, expected: expected.clone() });
        }
        let tokenizer = Subwords::read(&tokenizer_path, &config)?;
        let tokens = tokenizer.layout.around_two() + OWN_TOKENS_MIN..=config.tokens_max();
        if !tokens.contains(&entry.max_tokens) {
            return Err(InferError::Malformed {
                path: dir.to_owned(),
                detail: format!(
                    "max_tokens is {}, expected {} to {} (the positions that config.json gives a text)",
                    entry.max_tokens,
                    tokens.start(),
                    tokens.end()
                ),
            });
        }
        let reading = entry.reading(&read(&tokenizer_path)?, &read(&config_path)?);
        let revision = format!("{given}+{FORWARD_VERSION}+{}", &reading[..READING_HEX]);
        Ok(Files { config, tokenizer, revision, path, bytes })
    }

    /// The weights.
    pub(crate) fn weights(&self) -> Result<Weights<'_>, InferError> {
        Weights::parse(&self.path, &self.bytes)
    }
}

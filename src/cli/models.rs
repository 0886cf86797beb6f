//! List, verify, pull, import and quantize models.

use std::io::BufRead;
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Subcommand;
use ibid_core::ModelId;
use ibid_infer::{
    Device, Embedder, FileState, FullForm, HUB, ModelEntry, ModelKind, ModelStore, Pooling, Precision, compare, pull,
    quantize,
};
use ibid_runtime::{Ctx, Pool, Priority, SystemClock};

use super::Global;
use super::terminal::{bar, bold, plain};
use crate::config::Config;
use crate::house::model_roots;

/// List, verify, pull, import and quantize models.
#[derive(Debug, Subcommand)]
pub(super) enum Models {
    /// The models that are here, and where
    List,
    /// Compare every file of a model with its recorded hash; without a name all models
    Verify {
        /// The model
        id: Option<String>,
    },
    /// Fetch any BERT-family model from the Hugging Face hub into the data folder; continues where it was cut off
    Pull {
        /// Its repository, such as BAAI/bge-small-en-v1.5
        id: String,
        /// A branch, tag or commit
        #[arg(long, default_value = "main")]
        revision: String,
        /// The hub
        #[arg(long, env = "HF_ENDPOINT", default_value = HUB)]
        hub: String,
    },
    /// Copy a model from a folder with model.safetensors, tokenizer.json and config.json into the data folder
    Import {
        /// The folder
        path: PathBuf,
        /// What to call it [default: the folder's name]
        #[arg(long)]
        id: Option<String>,
    },
    /// Write a model as int8 rows: a quarter of the size, nearly the same vectors
    Quantize {
        /// A folder with the full model
        source: PathBuf,
        /// The new folder
        target: PathBuf,
        /// What to call it [default: the new folder's name]
        #[arg(long)]
        id: Option<String>,
        /// A file with a passage a line: prints how far the vectors of both agree
        #[arg(long, value_name = "FILE")]
        passages: Option<PathBuf>,
    },
}

impl Models {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<()> {
        let config = global.config()?;
        let store = ModelStore::new(model_roots(&config));
        match self {
            Models::List => list(&store),
            Models::Verify { id } => verify(&store, id),
            Models::Pull { id, revision, hub } => fetch(&config, FullForm { repository: id, revision }, &hub),
            Models::Import { path, id } => {
                let id = named(id, &path)?;
                let root = config.data_dir.join("models");
                let installed = ModelStore::import(&path, &id, &root)?;
                println!("imported {} to {}", bold(installed.entry.id.as_str()), installed.dir.display());
                Ok(())
            }
            Models::Quantize { source, target, id, passages } => {
                let id = named(id, &target)?;
                let entry = quantize(&source, &target, &id)?;
                println!("wrote {} to {}", bold(entry.id.as_str()), target.display());
                match passages {
                    Some(passages) => agreement(&config, &source, (&target, &entry), &passages),
                    None => Ok(()),
                }
            }
        }
    }
}

fn named(id: Option<String>, folder: &std::path::Path) -> anyhow::Result<ModelId> {
    let name = id.or_else(|| folder.file_name().map(|name| name.to_string_lossy().into_owned())).unwrap_or_default();
    ModelId::new(&name).map_err(|error| anyhow::anyhow!("the model's name {name:?} {error}; give one with --id"))
}

fn list(store: &ModelStore) -> anyhow::Result<()> {
    for model in store.list()? {
        let entry = &model.entry;
        let (kind, reading) = match &entry.kind {
            ModelKind::Embedder { dimension, pooling, normalize, query_prefix, passage_prefix } => {
                let pooling = match pooling {
                    Pooling::Mean => "mean",
                    Pooling::Cls => "first token",
                };
                let length = if *normalize { "" } else { ", not normalized" };
                let prefix = |of: &str, text: &str| match text {
                    "" => String::new(),
                    text => format!(", {} before {of}", plain(&format!("{text:?}"))),
                };
                let prefixes = prefix("questions", query_prefix) + &prefix("passages", passage_prefix);
                (format!("embedder, {dimension} dimensions"), format!(", {pooling}{length}{prefixes}"))
            }
            ModelKind::Reranker { .. } => ("reranker".to_owned(), String::new()),
        };
        let precision = match entry.precision {
            Precision::F32 => "f32",
            Precision::F16 => "f16",
            Precision::Bf16 => "bf16",
            Precision::Int8Rows => "int8 rows",
        };
        let licence = if entry.licence.is_empty() { "licence not recorded" } else { &entry.licence };
        println!("{}  {kind}, {precision}, {}", bold(entry.id.as_str()), plain(licence));
        println!("    up to {} tokens{reading}", entry.max_tokens);
        println!("    {}", model.dir.display());
    }
    Ok(())
}

fn verify(store: &ModelStore, id: Option<String>) -> anyhow::Result<()> {
    let ids = match id {
        Some(id) => vec![ModelId::new(&id).map_err(|error| anyhow::anyhow!("the model's name {error}"))?],
        None => store.list()?.into_iter().map(|model| model.entry.id).collect(),
    };
    let mut wrong = 0;
    for id in ids {
        for (file, state) in store.verify(&id)? {
            let said = match state {
                FileState::Ok => "ok".to_owned(),
                FileState::Missing => "missing".to_owned(),
                FileState::Unlisted => "no hash recorded".to_owned(),
                FileState::Mismatch { given } => format!("differs: sha256 {given}"),
            };
            wrong += usize::from(said != "ok");
            println!("{id}  {file}  {said}");
        }
    }
    if wrong == 0 { Ok(()) } else { bail!("{wrong} files are not as recorded; pull or import the model again") }
}

fn fetch(config: &Config, form: FullForm, hub: &str) -> anyhow::Result<()> {
    let root = config.data_dir.join("models");
    std::fs::create_dir_all(&root).with_context(|| format!("make {}", root.display()))?;
    let progress = bar(0, "bytes");
    let installed = pull(hub.trim_end_matches('/'), &form, &root, &mut |moved| {
        progress.set_message(moved.file.to_owned());
        progress.set_length(moved.bytes_total.unwrap_or(moved.bytes));
        progress.set_position(moved.bytes);
    });
    progress.finish_and_clear();
    let installed = installed?;
    println!("pulled {} to {}", bold(installed.entry.id.as_str()), installed.dir.display());
    println!("use it: ibid serve --set models.embedder={}", installed.entry.id);
    Ok(())
}

/// How far the vectors of the full and the small form agree, over the passages of a file.
fn agreement(
    config: &Config,
    full: &std::path::Path,
    small: (&std::path::Path, &ModelEntry),
    passages: &std::path::Path,
) -> anyhow::Result<()> {
    let file = std::fs::File::open(passages).with_context(|| format!("open {}", passages.display()))?;
    let passages = std::io::BufReader::new(file).lines().collect::<Result<Vec<_>, _>>()?;
    let pool = Pool::new(config.compute.threads, config.compute.jobs_max)?;
    let (dir, entry) = small;
    let described = ModelEntry::of(full, &entry.id)?;
    let full = Embedder::load(full, &described, Device::Cpu, &pool, config.models.batch_tokens_max)?;
    let small = Embedder::load(dir, entry, Device::Cpu, &pool, config.models.batch_tokens_max)?;
    let ctx = Ctx::new(std::sync::Arc::new(SystemClock::new()), Priority::Ingest, None);
    let agreement = futures::executor::block_on(compare(&ctx, &full, &small, &passages))?;
    println!(
        "{} passages: cosine to the full form {:.5} in the mean, {:.5} at least",
        agreement.texts, agreement.cosine_mean, agreement.cosine_min
    );
    Ok(())
}

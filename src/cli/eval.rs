//! A labelled set measured.

mod cache;
mod chunking;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};
use ibid_core::{CollectionSettings, Rerank};
use ibid_engine::{EmbedModel, Engine, Models, Views};
use ibid_eval::{Beir, CachedEmbed, CachedRerank, EvalError, Measurement, Progress};
use ibid_retrieve::Rerankers;
use ibid_runtime::{Clock, RealDisk, SystemClock, SystemRandom};
use indicatif::ProgressBar;

use super::Global;
use super::terminal::bar;
use crate::house::Parts;

/// Measure retrieval on a labelled set.
#[derive(Debug, Subcommand)]
pub(super) enum Eval {
    /// A set in BEIR's layout: corpus.jsonl, queries.jsonl, qrels/test.tsv
    Run(Run),
    /// What chunks bring back of the passages that answer, beside other libraries' chunkers at the same number of tokens
    Chunking(chunking::Chunking),
    /// What the semantic cache takes for the same question, on labelled pairs
    Cache(cache::Cache),
}

/// Measure a set in BEIR's layout, in a temporary folder, without a server.
#[derive(Debug, Args)]
pub(super) struct Run {
    /// The set's folder
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Which judgements: qrels/SPLIT.tsv
    #[arg(long, default_value = "test")]
    split: String,
    /// Keep embeddings and pair scores here, by hash of weights and input; a second run costs seconds then
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// The length that chunks aim at, in tokens; 0: 200
    #[arg(long, default_value_t = 0)]
    chunk_tokens: u32,
    /// How many candidates are reranked; 0: no reranked run
    #[arg(long, default_value_t = 50)]
    rerank_depth: usize,
    /// Time for reranking in the default run, in milliseconds; pair scores are not kept then [default: as long as it takes]
    #[arg(long, value_name = "MS")]
    rerank_budget_ms: Option<u64>,
}

impl Eval {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<()> {
        match self {
            Eval::Run(run) => run.run(global).await,
            Eval::Chunking(chunking) => chunking.run(global).await,
            Eval::Cache(cache) => cache.run(global).await,
        }
    }
}

impl Run {
    async fn run(self, global: &Global) -> anyhow::Result<()> {
        let set = Beir::open_split(&self.data, &self.split)?;
        for warning in &set.warnings {
            eprintln!("note: {warning}");
        }
        let config = global.config()?;
        let parts = Parts::of_this_machine(&config)?;
        let model = parts.models.get(&parts.models.default).context("the embedder is loaded")?.clone();
        let (model, rerankers): (Arc<dyn EmbedModel>, Rerankers) = match &self.cache {
            None => (model, parts.rerankers),
            Some(folder) => {
                std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
                let model = Arc::new(CachedEmbed::open(model, &RealDisk, folder)?);
                (model, self.rerankers(parts.rerankers, folder)?)
            }
        };
        let scratch = std::env::temp_dir().join(format!("ibid-eval-{}", std::process::id()));
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let engine_parts = ibid_engine::Parts {
            disk: Arc::new(RealDisk),
            clock: Arc::clone(&clock),
            random: Arc::new(SystemRandom),
            pool: parts.pool.clone(),
            models: Models::only(Arc::clone(&model)),
            views: Views::Folder,
            snapshots: None,
        };
        let engine_config = ibid_engine::Config { folder: scratch.clone(), ..crate::house::engine_config(&config) };
        let (engine, _) = tokio::task::block_in_place(|| Engine::open(engine_config, engine_parts))?;
        let measurement = Measurement {
            engine: &engine,
            pool: &parts.pool,
            rerankers,
            clock,
            rerank_depth: self.rerank_depth,
            rerank_budget: self.rerank_budget_ms.map(Duration::from_millis),
        };
        let progress = bar(0, "");
        let settings =
            CollectionSettings { chunk_tokens: self.chunk_tokens, ..Measurement::settings(model.model().clone()) };
        let report = measurement.beir(&set, settings, &|moved| show(&progress, moved)).await;
        progress.finish_and_clear();
        tokio::task::block_in_place(|| drop(engine));
        std::fs::remove_dir_all(&scratch).with_context(|| format!("remove {}", scratch.display()))?;
        let report = report?;
        if self.cache.is_some() && self.rerank_depth > 0 && self.rerank_budget_ms.is_none() {
            eprintln!("note: pair scores may come from the cache; for the reranker's time measure without --cache");
        }
        if global.json {
            println!("{}", serde_json::to_string(&report)?);
        } else {
            print!("{report}");
        }
        Ok(())
    }
}

impl Run {
    /// The cross-encoders with what they scored before; as they are where their own time decides what they score.
    fn rerankers(&self, given: Rerankers, folder: &Path) -> anyhow::Result<Rerankers> {
        if self.rerank_budget_ms.is_some() {
            return Ok(given);
        }
        let kept = |model| Ok::<Arc<dyn Rerank>, EvalError>(Arc::new(CachedRerank::open(model, &RealDisk, folder)?));
        Ok(Rerankers { small: given.small.map(kept).transpose()?, large: kept(given.large)? })
    }
}

fn show(progress: &ProgressBar, moved: Progress) {
    let (stage, done, of) = match moved {
        Progress::Stored(done, of) => ("storing", done as u64, of as u64),
        Progress::Embedded(done, of) => ("embedding", done, of),
        Progress::Asked(way, done, of) => (way, done as u64, of as u64),
    };
    if progress.message() != stage {
        if progress.is_hidden() {
            // Nobody watches a bar: a line a stage is enough for a log.
            eprintln!("{stage}");
        }
        progress.set_message(stage);
        progress.reset();
        progress.enable_steady_tick(Duration::from_millis(500));
    }
    progress.set_length(of);
    progress.set_position(done);
}

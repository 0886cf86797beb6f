//! Retrieval measured on documents (BEIR's layout) or on the words that answer (the handbook), in a temporary folder, without
//! a server; a second time with one setting changed, and the two compared.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use ibid_core::{CollectionSettings, Rerank};
use ibid_engine::{EmbedModel, Engine, Models, Views};
use ibid_eval::{
    Beir, CachedEmbed, CachedRerank, Cutting, Difference, EvalError, Handbook, Measurement, PerQuery, Quality, Report,
    SpanReport, Spans,
};
use ibid_retrieve::{Query, Rerankers};
use ibid_runtime::{Clock, Pool, RealDisk, SystemClock, SystemRandom};
use serde_json::{Map, Value, json};

use super::against::{Change, Settings};
use crate::cli::Global;
use crate::cli::demo::find_handbook;
use crate::cli::eval::show;
use crate::cli::terminal::bar;
use crate::config::Config;
use crate::house::Parts;

/// Measure a set, in a temporary folder, without a server.
#[derive(Debug, Args)]
pub(in crate::cli) struct Run {
    /// The set's folder, in BEIR's layout
    #[arg(long, value_name = "DIR", required_unless_present = "handbook")]
    data: Option<PathBuf>,
    /// Measure how much of the words that answer comes back, on the handbook [default folder: the one that comes with the program]
    #[arg(long, value_name = "DIR", conflicts_with_all = ["data", "split"])]
    handbook: Option<Option<PathBuf>>,
    /// Which judgements: qrels/SPLIT.tsv
    #[arg(long, default_value = "test")]
    split: String,
    /// Keep embeddings and pair scores here, by hash of weights and input; a second run costs seconds then
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// The length that chunks aim at, in tokens; 0: 200
    #[arg(long, default_value_t = 0)]
    chunk_tokens: u32,
    /// How much the text around a chunk counts in its meaning, 0 to 1
    #[arg(long, value_name = "WEIGHT", default_value_t = Query::NEIGHBOUR_WEIGHT)]
    neighbour_weight: f32,
    /// Measure again with this one changed and compare, query by query: chunk_tokens=N, chunk_context=false,
    /// neighbour_weight=W or, of the handbook, window_tokens=N (cut after every N tokens)
    #[arg(long, value_name = "KEY=VALUE")]
    against: Vec<Change>,
    /// How many candidates are reranked; 0: no reranked run
    #[arg(long, default_value_t = 50)]
    rerank_depth: usize,
    /// Time for reranking in the default run, in milliseconds; pair scores are not kept then [default: as long as it takes]
    #[arg(long, value_name = "MS")]
    rerank_budget_ms: Option<u64>,
}

/// What each measurement is made with.
struct Bench<'a> {
    config: &'a Config,
    model: Arc<dyn EmbedModel>,
    rerankers: Rerankers,
    pool: Pool,
}

impl Run {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<()> {
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
        let bench = Bench { config: &config, model, rerankers, pool: parts.pool.clone() };
        let given = Settings {
            chunk_tokens: self.chunk_tokens,
            neighbour_weight: self.neighbour_weight,
            chunk_context: true,
            window_tokens: None,
        };
        if !(0.0..=1.0).contains(&given.neighbour_weight) {
            bail!("--neighbour-weight is {}, expected 0 to 1", given.neighbour_weight);
        }
        let report = match (&self.data, &self.handbook) {
            (Some(folder), _) => self.documents(global, &bench, folder, given).await?,
            (None, Some(folder)) => {
                let folder = folder.clone().map_or_else(find_handbook, Ok)?;
                self.spans(global, &bench, &folder, given).await?
            }
            (None, None) => bail!("nothing to measure: give --data or --handbook"),
        };
        if self.cache.is_some() && self.rerank_depth > 0 && self.rerank_budget_ms.is_none() {
            eprintln!("note: pair scores may come from the cache; for the reranker's time measure without --cache");
        }
        if global.json {
            println!("{report}");
        }
        Ok(())
    }

    /// Measures a set in BEIR's layout, prints it for people, and gives it for programs.
    async fn documents(
        &self,
        global: &Global,
        bench: &Bench<'_>,
        folder: &Path,
        given: Settings,
    ) -> anyhow::Result<Value> {
        let set = Beir::open_split(folder, &self.split)?;
        for warning in &set.warnings {
            eprintln!("note: {warning}");
        }
        if self.against.iter().any(|change| matches!(change, Change::WindowTokens(_))) {
            bail!("--against window_tokens is for --handbook");
        }
        let measure = async |settings| {
            let progress = bar(0, "");
            let measured = bench
                .with(self, settings, async |measurement, collection| {
                    Ok(measurement.beir(&set, collection, &|moved| show(&progress, moved)).await?)
                })
                .await;
            progress.finish_and_clear();
            measured
        };
        let (report, queries): (Report, PerQuery) = measure(given).await?;
        if !global.json {
            print!("{report}");
        }
        let mut json = serde_json::to_value(&report)?;
        let mut all = Vec::new();
        for change in &self.against {
            let (other, others) = measure(change.to(given)).await?;
            let differences = differences(&queries, &others);
            if !global.json {
                print!("\nwith {change}\n{other}");
                for (way, figure, difference) in &differences {
                    println!("{way:<9}  {figure:<10}  {difference} above {change}");
                }
            }
            let mut ways = Map::new();
            for (way, figure, difference) in differences {
                let way = ways.entry(way).or_insert_with(|| json!({}));
                way[figure] = serde_json::to_value(difference)?;
            }
            all.push(json!({"setting": change.to_string(), "runs": other.runs, "differences": ways}));
        }
        json["against"] = all.into();
        Ok(json)
    }

    /// Measures the handbook, prints it for people, and gives it for programs.
    async fn spans(&self, global: &Global, bench: &Bench<'_>, folder: &Path, given: Settings) -> anyhow::Result<Value> {
        let set = Handbook::open(folder)?;
        let measure = async |settings: Settings| {
            let progress = bar(0, "");
            let cutting = settings.window_tokens.map_or(Cutting::Structure, Cutting::Windows);
            let measured = bench
                .with(self, settings, async |measurement, collection| {
                    let tell = |moved| show(&progress, moved);
                    Ok(measurement.handbook(&set, &collection, cutting, &*bench.model, &tell).await?)
                })
                .await;
            progress.finish_and_clear();
            measured
        };
        let report: SpanReport = measure(given).await?;
        if !global.json {
            println!("{} questions that the asking tenant can answer, {}", report.questions.len(), bench.model.model());
            print_spans(&report);
        }
        let mut json = serde_json::to_value(&report)?;
        let mut all = Vec::new();
        for change in &self.against {
            let other = measure(change.to(given)).await?;
            let figures = |report: &SpanReport, of: fn(&Spans) -> f64| {
                report.questions.iter().map(|(_, spans)| of(spans)).collect::<Vec<_>>()
            };
            let difference = |of| Difference::of(&figures(&report, of), &figures(&other, of));
            let (recall, iou) = (difference(|spans| spans.recall), difference(|spans| spans.iou));
            if !global.json {
                println!("\nwith {change}");
                print_spans(&other);
                println!("span_recall@5  {recall} above {change}");
                println!("span_iou@5     {iou} above {change}");
            }
            let differences = json!({"span_recall@5": recall, "span_iou@5": iou});
            all.push(json!({"setting": change.to_string(), "report": other, "differences": differences}));
        }
        json["against"] = all.into();
        Ok(json)
    }

    /// The cross-encoders with what they scored before; as they are where their own time decides what they score.
    fn rerankers(&self, given: Rerankers, folder: &Path) -> anyhow::Result<Rerankers> {
        if self.rerank_budget_ms.is_some() {
            return Ok(given);
        }
        let kept = |model| Ok::<Arc<dyn Rerank>, EvalError>(Arc::new(CachedRerank::open(model, &RealDisk, folder)?));
        Ok(Rerankers { small: given.small.map(kept).transpose()?, large: kept(given.large)? })
    }
}

impl Bench<'_> {
    /// Measures on an engine of its own, in a folder that is gone afterwards.
    async fn with<T>(
        &self,
        run: &Run,
        settings: Settings,
        measure: impl AsyncFnOnce(&Measurement<'_>, CollectionSettings) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let scratch = std::env::temp_dir().join(format!("ibid-eval-{}", std::process::id()));
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let engine_parts = ibid_engine::Parts {
            disk: Arc::new(RealDisk),
            clock: Arc::clone(&clock),
            random: Arc::new(SystemRandom),
            pool: self.pool.clone(),
            models: Models::only(Arc::clone(&self.model)),
            views: Views::Folder,
            snapshots: None,
        };
        let engine_config = ibid_engine::Config { folder: scratch.clone(), ..crate::house::engine_config(self.config) };
        let (engine, _) = tokio::task::block_in_place(|| Engine::open(engine_config, engine_parts))?;
        let measurement = Measurement {
            engine: &engine,
            pool: &self.pool,
            rerankers: self.rerankers.clone(),
            clock,
            rerank_depth: run.rerank_depth,
            rerank_budget: run.rerank_budget_ms.map(Duration::from_millis),
            neighbour_weight: settings.neighbour_weight,
        };
        let collection = CollectionSettings {
            chunk_tokens: settings.chunk_tokens,
            chunk_context: settings.chunk_context,
            ..Measurement::settings(self.model.model().clone())
        };
        let measured = measure(&measurement, collection).await;
        tokio::task::block_in_place(|| drop(engine));
        std::fs::remove_dir_all(&scratch).with_context(|| format!("remove {}", scratch.display()))?;
        measured
    }
}

/// By way and figure, how far the first is above the second.
fn differences(first: &PerQuery, second: &PerQuery) -> Vec<(&'static str, &'static str, Difference)> {
    type Figure = (&'static str, fn(&Quality) -> f64);
    const FIGURES: [Figure; 2] = [("ndcg@10", |one| one.ndcg_at_10), ("recall@100", |one| one.recall_at_100)];
    let mut out = Vec::new();
    for (way, first) in first {
        let Some(second) = second.get(way) else { continue };
        for (name, figure) in FIGURES {
            let figures = |all: &[Quality]| all.iter().map(figure).collect::<Vec<_>>();
            out.push((*way, name, Difference::of(&figures(first), &figures(second))));
        }
    }
    out
}

fn print_spans(report: &SpanReport) {
    let row = |name: &str, count: usize, Spans { recall, precision, iou }: Spans| {
        vec![name.to_owned(), count.to_string(), format!("{recall:.4}"), format!("{precision:.4}"), format!("{iou:.4}")]
    };
    let mut rows = vec![row("all", report.questions.len(), report.mean)];
    rows.extend(report.by_kind.iter().map(|(kind, (count, spans))| row(kind, *count, *spans)));
    let header = ["kind", "questions", "span recall@5", "precision@5", "IoU@5"];
    crate::cli::terminal::print_table(&header, &rows);
    println!("{} chunks; hits with another tenant's words: {}", report.chunks, report.leaks);
}

//! Resident memory beside the weights held, and over an ingest.
//!
//! The ingest replaces the same documents over and over with new text, so that what is stored stays as much as it is: what
//! grows then is not the index. Only Linux says how much memory is resident.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use futures::stream::{self, StreamExt};
use ibid_core::{Embed, Passage, Purpose, Tokenize};
use ibid_infer::{Installed, ModelStore, Numbers};
use ibid_runtime::{Ctx, Priority};
use serde_json::{Value, json};

use super::figures::{Machine, rounded};
use super::scratch::{Documents, Scratch};
use super::texts::Pieces;
use crate::cli::Global;
use crate::cli::terminal::{print_table, teller};
use crate::house::{Parts, model_roots};

/// Documents that are replaced in turn.
const DOCUMENTS: usize = 500;
const PUTS_AT_ONCE: usize = 48;
/// Tokens of a text that makes the models use their largest buffers.
const LONG_TOKENS: usize = 250;

/// Resident memory beside the weights held, and its growth over an ingest.
#[derive(Debug, Args)]
pub(in crate::cli) struct Memory {
    /// Text from DIR/corpus.jsonl [default: the handbook]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Compute threads
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// How long documents are ingested; 0: not at all
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Seconds between two looks at the memory
    #[arg(long, default_value_t = 30.0)]
    every: f64,
}

impl Memory {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<()> {
        let mut config = global.config()?;
        config.compute.threads = self.threads;
        let (progress, tell) = teller();
        let before = resident()?;
        tell("load the models");
        let parts = Parts::of_this_machine(&config)?;
        let store = ModelStore::new(model_roots(&config));
        let mut weights = Vec::new();
        for id in [&config.models.embedder, &config.models.reranker].into_iter().chain(&config.models.reranker_small) {
            weights.push((id.to_string(), weights_held(&store.find(id)?, config.models.numbers)?));
        }
        let held: u64 = weights.iter().map(|(_, bytes)| bytes).sum();
        let model = Arc::clone(parts.models.get(&parts.models.default).context("the embedder is loaded")?);
        let pieces = Pieces::open(self.data.as_deref(), Arc::clone(&model) as Arc<dyn Tokenize>)?;
        self.use_once(&parts, model.as_ref(), &pieces).await?;
        let loaded = resident()?;

        let documents = Documents::of(&pieces)?;
        drop(pieces);
        let mut looks: Vec<(Duration, u64)> = Vec::new();
        let mut put = 0;
        if self.minutes > 0.0 {
            let scratch = Scratch::open(&config, Arc::clone(&model), &parts.pool, Arc::clone(&parts.clock))?;
            let partition = scratch.partition(model.as_ref()).await?;
            let start = scratch.clock.monotonic();
            let end = start + Duration::from_secs_f64(self.minutes * 60.0);
            let mut next_look = start;
            let clock = &scratch.clock;
            let partition_of_puts = &partition;
            let documents = &documents;
            let numbers = (0..).take_while(|_| clock.monotonic() < end);
            let mut puts = stream::iter(numbers)
                .map(|number: usize| {
                    let ctx = Ctx::new(Arc::clone(clock), Priority::Ingest, None);
                    let put = documents.put(number % DOCUMENTS, number);
                    async move { partition_of_puts.put(&ctx, put).await }
                })
                .buffer_unordered(PUTS_AT_ONCE);
            while let Some(ack) = puts.next().await {
                ack?;
                put += 1;
                let now = clock.monotonic();
                if now >= next_look {
                    let bytes = resident()?;
                    tell(&format!("{:.0} s: {:.1} MB, {put} documents", (now - start).as_secs_f64(), megabytes(bytes)));
                    looks.push((now - start, bytes));
                    next_look = now + Duration::from_secs_f64(self.every);
                }
            }
            drop(puts);
            drop(partition);
            scratch.close()?;
        }
        progress.finish_and_clear();
        let report = Report { before, loaded, weights, held, looks, documents: put };
        report.print(global, &Machine::new(self.threads, None));
        Ok(())
    }

    /// Both models read texts of full length, in as many batches as run side by side.
    async fn use_once(&self, parts: &Parts, model: &dyn Embed, pieces: &Pieces) -> anyhow::Result<()> {
        let texts = (0..64).map(|_| pieces.cut(LONG_TOKENS)).collect::<Result<Vec<_>, _>>()?;
        let ctx = Ctx::new(Arc::clone(&parts.clock), Priority::Query, None);
        model.embed(&ctx, Purpose::Passage, &texts).await?;
        let question = pieces.cut(12)?;
        let passages: Vec<Passage> = texts.into_iter().map(|text| Passage { context: String::new(), text }).collect();
        parts.rerankers.large.score(&ctx, &question, &passages).await?;
        Ok(())
    }
}

struct Report {
    before: u64,
    loaded: u64,
    /// Bytes of each model's weights.
    weights: Vec<(String, u64)>,
    held: u64,
    /// Time since the ingest's start, resident bytes.
    looks: Vec<(Duration, u64)>,
    documents: usize,
}

impl Report {
    fn print(&self, global: &Global, machine: &Machine) {
        let slope = slope(&self.looks[self.looks.len() / 2..]);
        if global.json {
            let looks = self.looks.iter().map(|(time, bytes)| {
                json!({"seconds": rounded(time.as_secs_f64(), 0), "rss_mb": rounded(megabytes(*bytes), 1)})
            });
            let weights = self.weights.iter().map(|(name, bytes)| (name.clone(), rounded(megabytes(*bytes), 1)));
            let mut report = machine.json();
            report.insert("rss_before_mb".to_owned(), rounded(megabytes(self.before), 1));
            report.insert("rss_loaded_mb".to_owned(), rounded(megabytes(self.loaded), 1));
            report.insert("weights_mb".to_owned(), Value::Object(weights.collect()));
            report.insert("weights_total_mb".to_owned(), rounded(megabytes(self.held), 1));
            report.insert("documents".to_owned(), json!(self.documents));
            report.insert("ingest".to_owned(), looks.collect());
            report.insert("slope_mb_per_minute".to_owned(), rounded(slope, 3));
            println!("{}", Value::Object(report));
            return;
        }
        println!("{}\n", machine.line());
        let mb = |bytes: u64| format!("{:.1}", megabytes(bytes));
        let mut rows: Vec<Vec<String>> =
            self.weights.iter().map(|(name, bytes)| vec![format!("weights of {name}"), mb(*bytes)]).collect();
        rows.push(vec!["weights together".to_owned(), mb(self.held)]);
        rows.push(vec!["resident before they are loaded".to_owned(), mb(self.before)]);
        rows.push(vec!["resident once they are used".to_owned(), mb(self.loaded)]);
        print_table(&["", "MB"], &rows);
        if !self.looks.is_empty() {
            println!("\n{} documents ingested, {DOCUMENTS} of them kept at most", self.documents);
            let row = |(time, bytes): &(Duration, u64)| vec![format!("{:.0} s", time.as_secs_f64()), mb(*bytes)];
            print_table(&["after", "MB"], &self.looks.iter().map(row).collect::<Vec<_>>());
            println!("slope over the second half: {slope:+.3} MB a minute");
        }
    }
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// MB a minute by least squares; 0 of fewer than two looks.
fn slope(looks: &[(Duration, u64)]) -> f64 {
    let n = looks.len().max(1) as f64;
    let points = || looks.iter().map(|(time, bytes)| (time.as_secs_f64() / 60.0, megabytes(*bytes)));
    let (x_mean, y_mean) = points().fold((0.0, 0.0), |(xs, ys), (x, y)| (xs + x / n, ys + y / n));
    let (above, below) = points()
        .fold((0.0, 0.0), |(above, below), (x, y)| (above + (x - x_mean) * (y - y_mean), below + (x - x_mean).powi(2)));
    if below > 0.0 { above / below } else { 0.0 }
}

/// Bytes of this process that are in memory.
pub(super) fn resident() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status").context("read the resident memory (Linux only)")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("the system tells no VmRSS")?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().context("VmRSS is no number")?;
    Ok(kib * 1024)
}

/// Bytes of a model's weights as they are held: tables that are looked up as they are stored, what is multiplied as `numbers`
/// says, all else as f32.
fn weights_held(model: &Installed, numbers: Numbers) -> anyhow::Result<u64> {
    let path = model.dir.join("model.safetensors");
    let bytes = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    held(&bytes, numbers).with_context(|| format!("{} is not a safetensors file", path.display()))
}

/// The same from the file's bytes: eight bytes with the header's length, the header as JSON, the tensors.
fn held(file: &[u8], numbers: Numbers) -> Option<u64> {
    let (length, rest) = file.split_first_chunk::<8>()?;
    let header = rest.get(..usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    let header: serde_json::Map<String, Value> = serde_json::from_slice(header).ok()?;
    let mut held = 0;
    for (name, tensor) in header.iter().filter(|(name, _)| *name != "__metadata__" && !name.ends_with(".scale")) {
        let shape: Vec<u64> = tensor.get("shape")?.as_array()?.iter().filter_map(Value::as_u64).collect();
        let values: u64 = shape.iter().product();
        let is_table = name.contains("_embeddings.weight") && tensor.get("dtype")?.as_str()? == "I8";
        held += match (numbers, &shape[..]) {
            _ if is_table => values,
            // With each row's scale and sum.
            (Numbers::Int8, [rows, _]) if name.contains("encoder.layer.") => values + 8 * rows,
            _ => 4 * values,
        };
    }
    Some(held)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_growth_is_its_slope() {
        let look = |seconds, bytes| (Duration::from_secs(seconds), bytes);
        assert_eq!(slope(&[look(0, 1_000_000), look(60, 3_000_000), look(120, 5_000_000)]), 2.0);
        assert_eq!(slope(&[look(0, 5), look(60, 5)]), 0.0);
        assert_eq!((slope(&[]), slope(&[look(7, 1)])), (0.0, 0.0));
    }

    #[test]
    fn tables_are_held_as_stored_and_matrices_as_they_are_multiplied() {
        let header = json!({
            "__metadata__": {"format": "x"},
            "embeddings.word_embeddings.weight": {"dtype": "I8", "shape": [10, 4], "data_offsets": [0, 40]},
            "embeddings.word_embeddings.weight.scale": {"dtype": "F32", "shape": [10], "data_offsets": [40, 80]},
            "encoder.layer.0.output.dense.weight": {"dtype": "I8", "shape": [4, 8], "data_offsets": [80, 112]},
        });
        let header = header.to_string();
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.as_bytes());
        assert_eq!(held(&file, Numbers::F32), Some(40 + 4 * 32));
        assert_eq!(held(&file, Numbers::Int8), Some(40 + 32 + 8 * 4));
        assert_eq!(held(&file[..20], Numbers::F32), None);
    }
}

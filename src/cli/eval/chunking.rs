//! Chunkers compared by what their chunks bring back, with one embedder and one way of counting tokens for all.
//!
//! Ours are embedded as the engine embeds them (title and headings, context, chunk) and ranked as it ranks them: together
//! with their neighbours' share. The same chunks ranked alone are shown beside them. A peer's are embedded as they are, for
//! nothing else comes with them. What counts as retrieved is the chunk alone, for all.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Args;
use ibid_chunk::{Chunker, Config, Limits};
use ibid_core::{Chunk, MediaType, Purpose, Span};
use ibid_engine::{EmbedModel, surroundings};
use ibid_eval::{CachedEmbed, ChunkingDocument, ChunkingSet, Piece, Ratio, Retrieved, Trial, mean, nearest, ratio};
use ibid_infer::ModelStore;
use ibid_retrieve::Query;
use ibid_runtime::{Clock, Ctx, Priority, RealDisk, SystemClock};
use serde_json::{Value, json};

use crate::cli::Global;
use crate::cli::bench::figures::{Machine, rounded};
use crate::cli::bench::peer::Peer;
use crate::cli::bench::plot::{Curve, svg};
use crate::cli::terminal::{print_table, teller};
use crate::house::{Parts, model_roots};

/// The other chunkers.
const CHUNKERS: &str = include_str!("../../../benches/peers/chunkers.py");
/// Tokens retrieved at which chunkers are compared: from a passage or two to a prompt's worth.
const BUDGETS: [f64; 5] = [100.0, 200.0, 400.0, 800.0, 1600.0];
const OURS: &str = "ibid";
/// Ours without their neighbours' share.
const ALONE: &str = "ibid, chunks alone";
/// Which rows are looked at.
type RowFilter<'f> = &'f dyn Fn(&Row) -> bool;

/// Texts given to the embedder at once.
const EMBEDDED_AT_ONCE: usize = 512;

/// Measure chunkers on Chroma's set: recall and IoU of the passages that answer, at equal tokens retrieved.
#[derive(Debug, Args)]
pub(in crate::cli) struct Chunking {
    /// The set's folder: questions_df.csv and the documents as .md
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Lengths that every chunker is asked for, in tokens
    #[arg(long, value_delimiter = ',', default_value = "50,100,200,400")]
    sizes: Vec<u32>,
    /// A Python with langchain-text-splitters, chonkie, llama-index-core and tokenizers
    #[arg(long = "peers", value_name = "PYTHON")]
    python: Option<PathBuf>,
    /// Compute threads [default: the configured number]
    #[arg(long)]
    threads: Option<usize>,
    /// Keep embeddings here, by hash of weights and input
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Draw recall and IoU against tokens retrieved: FILE for IoU, and beside it the same name with -recall
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
}

/// The documents cut in one way.
struct Cut {
    chunker: String,
    /// The length asked for; `None` for our own choice.
    size: Option<u32>,
    pieces: Vec<Piece>,
    /// What is embedded of each.
    inputs: Vec<String>,
    /// How long the cutting took, on one thread.
    seconds: f64,
    /// How long finding the tokens alone took; of ours.
    tokenizer_seconds: f64,
}

/// A way of cutting, measured.
struct Row {
    chunker: String,
    size: Option<u32>,
    chunks: usize,
    tokens_mean: f64,
    seconds: f64,
    tokenizer_seconds: f64,
    trial: Trial,
}

/// A figure that is compared.
#[derive(Clone, Copy)]
struct Measure {
    name: &'static str,
    of: fn(&Retrieved) -> f64,
}

const MEASURES: [Measure; 2] =
    [Measure { name: "recall", of: |figures| figures.recall }, Measure { name: "iou", of: |figures| figures.iou }];

impl Chunking {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<()> {
        let set = ChunkingSet::open(&self.data)?;
        let mut config = global.config()?;
        config.compute.threads = self.threads.unwrap_or(config.compute.threads);
        let parts = Parts::of_this_machine(&config)?;
        let model = parts.models.get(&parts.models.default).context("the embedder is loaded")?.clone();
        let model: Arc<dyn EmbedModel> = match &self.cache {
            None => model,
            Some(folder) => Arc::new(CachedEmbed::open(model, &RealDisk, folder)?),
        };
        let embedder = Embedder { model, ctx: Ctx::new(Arc::new(SystemClock::new()), Priority::Ingest, None) };
        let (progress, tell) = teller();
        let questions: Vec<String> = set.questions.iter().map(|question| question.text.clone()).collect();
        let questions = embedder.vectors(Purpose::Query, &questions).await?;

        let mut rows = Vec::new();
        let mut measure = async |cut: Cut| -> anyhow::Result<()> {
            tell(&format!("embedding {} {}", cut.chunker, size_name(cut.size)));
            let chunks = embedder.vectors(Purpose::Passage, &cut.inputs).await?;
            let budget_max = BUDGETS.iter().copied().fold(0.0, f64::max);
            let mut row = |chunker: &str, vectors: &[Vec<f32>]| {
                let rankings = nearest(&questions, vectors, &cut.pieces, budget_max);
                rows.push(Row::new(&set, &cut, chunker, &rankings));
            };
            if cut.chunker == OURS {
                row(OURS, &with_neighbours(&cut.pieces, &chunks));
                row(ALONE, &chunks);
            } else {
                row(&cut.chunker, &chunks);
            }
            Ok(())
        };
        let auto = (None, Config::auto());
        for (size, config) in self.sizes.iter().map(|size| (Some(*size), Config::fixed(*size))).chain([auto]) {
            measure(ours(&set, size, config, &*embedder.model)?).await?;
        }
        let mut versions = None;
        if let Some(python) = &self.python {
            let store = ModelStore::new(model_roots(&config));
            let tokenizer = store.find(embedder.model.model())?.dir.join("tokenizer.json");
            let mut peer = Peer::start(python, CHUNKERS, &[])?;
            versions = Some(peer.versions.clone());
            for name in open_at(&mut peer, &tokenizer, &set)? {
                for size in &self.sizes {
                    tell(&format!("cutting with {name} {size}"));
                    match theirs(&mut peer, &set, &name, *size, &embedder).await {
                        Ok(cut) => measure(cut).await?,
                        Err(error) => eprintln!("note: without {name} at {size}: {error:#}"),
                    }
                }
            }
        }
        progress.finish_and_clear();

        let ratios = ratios(&rows);
        let speeds = speeds(&rows);
        if let Some(file) = &self.plot {
            for (measure, file) in MEASURES.iter().zip([beside(file, "recall"), file.clone()]) {
                std::fs::write(&file, plot(&rows, *measure)).with_context(|| format!("write {}", file.display()))?;
            }
        }
        let machine = Machine::new(config.compute.threads, versions.as_ref());
        if global.json {
            let mut report = machine.json();
            report.insert("model".to_owned(), json!(embedder.model.model().as_str()));
            report.insert("questions".to_owned(), json!(set.questions.len()));
            report.insert("rows".to_owned(), rows.iter().map(Row::json).collect());
            let compared = ratios.iter().flat_map(|(name, compared)| compared.json(name));
            let speeds = speeds.iter().map(|(name, speed)| (name.clone(), rounded(*speed, 2)));
            report.insert("ratios".to_owned(), Value::Object(compared.chain(speeds).collect()));
            println!("{}", Value::Object(report));
            return Ok(());
        }
        println!("{} questions, {}, {}", set.questions.len(), embedder.model.model(), machine.line());
        println!("recall / IoU of the passages that answer, by tokens retrieved\n");
        let budgets: Vec<String> = BUDGETS.iter().map(|budget| format!("{budget}")).collect();
        let header =
            ["chunker", "size", "chunks", "tokens", "cut s"].into_iter().chain(budgets.iter().map(String::as_str));
        print_table(&header.collect::<Vec<_>>(), &rows.iter().map(Row::cells).collect::<Vec<_>>());
        for (name, compared) in &ratios {
            println!("{name} {compared}");
        }
        for (name, speed) in &speeds {
            println!("{name} {speed:.2}");
        }
        Ok(())
    }
}

struct Embedder {
    model: Arc<dyn EmbedModel>,
    ctx: Ctx,
}

impl Embedder {
    /// In order; embedded by length, so that batches are of equal ones.
    async fn vectors(&self, purpose: Purpose, texts: &[String]) -> anyhow::Result<Vec<Vec<f32>>> {
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by_key(|text| texts[*text].len());
        let mut vectors = vec![Vec::new(); texts.len()];
        for batch in order.chunks(EMBEDDED_AT_ONCE) {
            let given: Vec<String> = batch.iter().map(|text| texts[*text].clone()).collect();
            for (text, vector) in batch.iter().zip(self.model.embed(&self.ctx, purpose, &given).await?) {
                vectors[*text] = vector;
            }
        }
        Ok(vectors)
    }
}

fn ours(set: &ChunkingSet, size: Option<u32>, config: Config, model: &dyn EmbedModel) -> anyhow::Result<Cut> {
    let chunker = Chunker::new(config)?;
    let mut cut = Cut {
        chunker: OURS.to_owned(),
        size,
        pieces: Vec::new(),
        inputs: Vec::new(),
        seconds: 0.0,
        tokenizer_seconds: 0.0,
    };
    for (place, document) in set.documents.iter().enumerate() {
        let clock = SystemClock::new();
        let start = clock.monotonic();
        let mut starts = Vec::new();
        model.token_starts(&document.text, &mut starts);
        cut.tokenizer_seconds += (clock.monotonic() - start).as_secs_f64();
        let start = clock.monotonic();
        let outline = ibid_chunk::outline(&document.text, MediaType::Markdown, &Limits::NONE)?;
        let chunked = chunker.chunk(&document.text, outline, model);
        cut.seconds += (clock.monotonic() - start).as_secs_f64();
        let title = chunked.title.unwrap_or_default();
        for chunk in &chunked.chunks {
            let span = chunk.span.range();
            let chars = document.char_of(span.start)..document.char_of(span.end);
            cut.pieces.push(Piece { document: place, chars, tokens: chunk.tokens });
            cut.inputs.push(encoder_input(&title, chunk, document));
        }
    }
    Ok(cut)
}

/// The vectors of chunks, which are in their documents' order, as the engine compares them with a question.
fn with_neighbours(pieces: &[Piece], vectors: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let mut blended = Vec::with_capacity(vectors.len());
    for document in pieces.chunk_by(|one, next| one.document == next.document) {
        let vectors = &vectors[blended.len()..];
        let tokens = |ordinal: usize| document.get(ordinal).map(|piece| piece.tokens);
        let vector = |ordinal: usize| Some(vectors[ordinal].as_slice());
        let all = (0..document.len())
            .map(|ordinal| surroundings::blend(Query::NEIGHBOUR_WEIGHT, ordinal, tokens, vector))
            .map(|vector| vector.expect("each has one"));
        blended.extend(all.collect::<Vec<_>>());
    }
    blended
}

/// What the engine's encoder reads of a chunk.
fn encoder_input(title: &str, chunk: &Chunk, document: &ChunkingDocument) -> String {
    let quote = |span: Span| span.quote(&document.text).unwrap_or_default();
    let context = ibid_core::context(title, &chunk.heading_path, chunk.context.map(quote));
    let content = quote(chunk.span);
    if context.is_empty() { content.to_owned() } else { format!("{context}\n{content}") }
}

/// The names of the other chunkers.
fn open_at(peer: &mut Peer, tokenizer: &Path, set: &ChunkingSet) -> anyhow::Result<Vec<String>> {
    let texts: Vec<&str> = set.documents.iter().map(|document| &*document.text).collect();
    let answer = peer.ask(&json!({"do": "open", "tokenizer": tokenizer, "texts": texts}))?;
    serde_json::from_value(answer.get("chunkers").cloned().unwrap_or_default()).context("the peers named no chunkers")
}

async fn theirs(peer: &mut Peer, set: &ChunkingSet, name: &str, size: u32, embedder: &Embedder) -> anyhow::Result<Cut> {
    let mut answer = peer.ask(&json!({"do": "cut", "chunker": name, "size": size}))?;
    while let Some(texts) = answer.get("embed") {
        let texts: Vec<String> =
            serde_json::from_value(texts.clone()).context("the peers asked for vectors of no texts")?;
        answer = peer.ask(&json!({"vectors": embedder.vectors(Purpose::Passage, &texts).await?}))?;
    }
    let spans: Vec<Vec<(usize, usize)>> =
        serde_json::from_value(answer.get("spans").cloned().unwrap_or_default()).context("the peers gave no spans")?;
    let seconds = answer.get("seconds").and_then(Value::as_f64).context("the peers gave no time")?;
    let mut cut = Cut {
        chunker: name.to_owned(),
        size: Some(size),
        pieces: Vec::new(),
        inputs: Vec::new(),
        seconds,
        tokenizer_seconds: 0.0,
    };
    let mut starts = Vec::new();
    for (place, (document, spans)) in set.documents.iter().zip(spans).enumerate() {
        for (start, end) in spans {
            let Some(text) = document.chars(start..end) else { bail!("{name}: no such piece: {start}..{end}") };
            starts.clear();
            embedder.model.token_starts(text, &mut starts);
            cut.pieces.push(Piece { document: place, chars: start..end, tokens: u32::try_from(starts.len())? });
            cut.inputs.push(text.to_owned());
        }
    }
    Ok(cut)
}

impl Row {
    fn new(set: &ChunkingSet, cut: &Cut, chunker: &str, rankings: &[Vec<usize>]) -> Row {
        let tokens: f64 = cut.pieces.iter().map(|piece| f64::from(piece.tokens)).sum();
        Row {
            trial: set.measure(&cut.pieces, rankings),
            chunks: cut.pieces.len(),
            tokens_mean: tokens / cut.pieces.len().max(1) as f64,
            chunker: chunker.to_owned(),
            size: cut.size,
            seconds: cut.seconds,
            tokenizer_seconds: cut.tokenizer_seconds,
        }
    }

    fn at(&self, budget: f64) -> Option<Retrieved> {
        self.trial.at(budget).map(|figures| mean(&figures))
    }

    fn cells(&self) -> Vec<String> {
        let mut cells = vec![
            self.chunker.clone(),
            size_name(self.size),
            self.chunks.to_string(),
            format!("{:.0}", self.tokens_mean),
            format!("{:.2}", self.seconds),
        ];
        cells.extend(BUDGETS.iter().map(|budget| {
            self.at(*budget).map_or_else(|| "-".to_owned(), |at| format!("{:.3} / {:.4}", at.recall, at.iou))
        }));
        cells
    }

    fn json(&self) -> Value {
        let figures = |at: &Retrieved| {
            json!({"tokens": rounded(at.tokens, 1), "recall": rounded(at.recall, 4),
                "precision": rounded(at.precision, 4), "iou": rounded(at.iou, 4)})
        };
        let at = BUDGETS.iter().filter_map(|budget| Some((budget.to_string(), figures(&self.at(*budget)?))));
        json!({
            "chunker": self.chunker, "size": self.size, "chunks": self.chunks,
            "tokens_mean": rounded(self.tokens_mean, 1), "seconds": rounded(self.seconds, 3),
            "at": Value::Object(at.collect()),
            "at_5_chunks": self.trial.means().get(4).map(figures),
        })
    }
}

/// Ours beside the best of the others.
struct Compared {
    ratio: Ratio,
    /// At each budget that one of them meets: whose and which size was best.
    best: Vec<(f64, String)>,
}

impl Compared {
    fn json(&self, name: &str) -> Vec<(String, Value)> {
        let Ratio { ratio, low, high } = self.ratio;
        vec![(name.to_owned(), rounded(ratio, 3)), (format!("{name}_95"), json!([rounded(low, 3), rounded(high, 3)]))]
    }
}

impl std::fmt::Display for Compared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Ratio { ratio, low, high } = self.ratio;
        let best: Vec<String> = self.best.iter().map(|(budget, who)| format!("{who} at {budget}")).collect();
        write!(f, "{ratio:.3} ({low:.3} to {high:.3}), best: {}", best.join(", "))
    }
}

/// Over all budgets and at each: the best of our sizes by the best of all others' sizes, and our own choice by the same.
fn ratios(rows: &[Row]) -> BTreeMap<String, Compared> {
    let mut out = BTreeMap::new();
    for Measure { name, of } in MEASURES {
        let best = |budget: f64, those: &dyn Fn(&Row) -> bool| {
            let values = |row: &Row| -> Option<(f64, String, Vec<f64>)> {
                let values: Vec<f64> = row.trial.at(budget)?.iter().map(of).collect();
                Some((values.iter().sum(), format!("{} {}", row.chunker, size_name(row.size)), values))
            };
            rows.iter().filter(|row| those(row)).filter_map(values).max_by(|a, b| a.0.total_cmp(&b.0))
        };
        let ours: [(&str, RowFilter<'_>); 2] = [
            ("vs_best", &|row| row.chunker == OURS),
            ("auto_vs_best", &|row| row.chunker == OURS && row.size.is_none()),
        ];
        for (suffix, ours) in ours {
            let (mut pairs, mut all) = (Vec::new(), Vec::new());
            for budget in BUDGETS {
                let theirs = best(budget, &|row| row.chunker != OURS && row.chunker != ALONE);
                let (Some((_, _, ours)), Some((_, who, theirs))) = (best(budget, ours), theirs) else { continue };
                pairs.push((ours, theirs));
                all.push((budget, who.clone()));
                let compared = Compared { ratio: ratio(&pairs[pairs.len() - 1..]), best: vec![(budget, who)] };
                out.insert(format!("{name}_{suffix}_at_{budget}"), compared);
            }
            if !pairs.is_empty() {
                out.insert(format!("{name}_{suffix}"), Compared { ratio: ratio(&pairs), best: all });
            }
        }
    }
    out
}

/// How many times faster ours cuts, all sizes together: than each of the others, and than the tokenizer alone is.
fn speeds(rows: &[Row]) -> BTreeMap<String, f64> {
    let sum = |chunker: &str, of: fn(&Row) -> f64| {
        let those = rows.iter().filter(|row| row.chunker == chunker && row.size.is_some());
        those.map(of).sum::<f64>()
    };
    let ours = sum(OURS, |row| row.seconds);
    let others = rows.iter().filter(|row| row.chunker != OURS && row.chunker != ALONE);
    let mut out: BTreeMap<String, f64> =
        others.map(|row| (format!("speed_vs_{}", row.chunker), sum(&row.chunker, |row| row.seconds) / ours)).collect();
    out.insert("speed_vs_tokenizer".to_owned(), sum(OURS, |row| row.tokenizer_seconds) / ours);
    out
}

/// A curve a chunker: at each budget the best of its sizes.
fn plot(rows: &[Row], measure: Measure) -> String {
    let mut curves: Vec<Curve> = Vec::new();
    for row in rows {
        if curves.iter().any(|curve| curve.name == row.chunker) {
            continue;
        }
        let point = |budget: &f64| {
            let same = rows.iter().filter(|other| other.chunker == row.chunker);
            let values = same.filter_map(|row| Some((measure.of)(&row.at(*budget)?)));
            Some((*budget, values.max_by(f64::total_cmp)?))
        };
        curves.push(Curve { name: row.chunker.clone(), points: BUDGETS.iter().filter_map(point).collect() });
    }
    svg("Passages that answer, brought back by chunks", "tokens retrieved", measure.name, &curves)
}

fn beside(file: &Path, name: &str) -> PathBuf {
    let stem = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    file.with_file_name(format!("{stem}-{name}.svg"))
}

fn size_name(size: Option<u32>) -> String {
    size.map_or_else(|| "auto".to_owned(), |size| size.to_string())
}

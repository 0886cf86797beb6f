//! Vectors beside sentence-transformers', and what a difference costs in nDCG.
//!
//! Every document of a set is read as title and text in one, cut to the model's length, by both sides. Cosines are of the
//! first documents; nDCG@10 is of an exact search for the set's test queries over all of them, by vectors alone.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use ibid_core::{DocumentId, Embed, Purpose, Tokenize};
use ibid_eval::{Beir, Quality, Run};
use ibid_runtime::{Ctx, Pool, Priority, SystemClock};
use serde_json::{Map, Value, json};

use super::Peers;
use super::embed::{SPECIAL_TOKENS, embedders};
use super::figures::{Machine, rounded};
use super::model::{Choice, open_at};
use super::peer::{ENCODERS, Peer};
use super::race::{Inputs, Race, Work};
use crate::cli::Global;
use crate::cli::terminal::{print_table, teller};

/// What ours are compared with.
const REFERENCE: &str = "torch_f32";
/// Documents a ranking keeps.
const DEEP: usize = 100;

/// How far our vectors agree with sentence-transformers', and what a difference costs in nDCG@10.
#[derive(Debug, Args)]
pub(in crate::cli) struct Agree {
    #[command(flatten)]
    peers: Peers,
    #[command(flatten)]
    choice: Choice,
    /// A set in BEIR's layout
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Threads of each engine
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Documents whose vectors are compared
    #[arg(long, default_value_t = 1_000)]
    documents: usize,
}

/// How far one engine's vectors agree with the reference's.
struct Agreement {
    engine: String,
    cosine_mean: f64,
    cosine_min: f64,
    ndcg_at_10: Option<f64>,
}

impl Agree {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<()> {
        let config = global.config()?;
        let python = self.peers.python.as_deref().context("name a Python with sentence-transformers by --peers")?;
        let set = Beir::open(&self.data)?;
        let mut peer = Peer::start(python, ENCODERS, &[self.threads.to_string()])?;
        let model = self.choice.open(&config.models.embedder, &config, &self.peers, Some(&mut peer))?;
        let engines = open_at(&mut peer, &model, &self.peers)?;
        let machine = Machine::new(self.threads, Some(&peer.versions));
        let pool = Pool::new(self.threads, config.compute.jobs_max)?;
        let ours = embedders(&model, &pool, config.models.batch_tokens_max)?;

        let (progress, tell) = teller();
        let tokenizer = Arc::clone(&ours[0].1) as Arc<dyn Tokenize>;
        let texts =
            Texts { tokenizer, tokens_max: model.entry.max_tokens, batch_tokens: config.models.batch_tokens_max };
        let documents: Vec<String> = set.documents.iter().map(|one| format!("{} {}", one.title, one.text)).collect();
        let queries: Vec<String> = set.queries.iter().map(|query| query.text.clone()).collect();
        let corpus = texts.sorted("corpus", Purpose::Passage, &documents);
        let first = texts.sorted("first", Purpose::Passage, &documents[..self.documents.min(documents.len())]);
        let asked = texts.sorted("queries", Purpose::Query, &queries);

        let mut race = Race::new(Vec::new(), Some(peer), engines);
        for sorted in [&corpus, &first, &asked] {
            if let Some(note) = race.enter(&sorted.work)? {
                eprintln!("note: {note}");
            }
        }
        let mut peer = race.peer.take().context("it was handed over")?;
        tell(&format!("{REFERENCE}: {} documents, {} queries", documents.len(), queries.len()));
        let reference = corpus.theirs(&mut peer, REFERENCE, &self.peers)?;
        let reference_asked = asked.theirs(&mut peer, REFERENCE, &self.peers)?;
        let reference_ndcg = ndcg(&set, &reference, &reference_asked)?;
        let mut found = Vec::new();
        for (name, embedder) in &ours {
            tell(name);
            let (vectors, asked) = (corpus.ours(embedder.as_ref()).await?, asked.ours(embedder.as_ref()).await?);
            let (cosine_mean, cosine_min) = cosines(&vectors[..self.documents.min(vectors.len())], &reference);
            let ndcg_at_10 = Some(ndcg(&set, &vectors, &asked)?);
            found.push(Agreement { engine: (*name).to_owned(), cosine_mean, cosine_min, ndcg_at_10 });
        }
        for engine in race.engines.iter().filter(|engine| *engine != REFERENCE) {
            tell(engine);
            let (cosine_mean, cosine_min) = cosines(&first.theirs(&mut peer, engine, &self.peers)?, &reference);
            found.push(Agreement { engine: engine.clone(), cosine_mean, cosine_min, ndcg_at_10: None });
        }
        progress.finish_and_clear();

        if global.json {
            let mut report = machine.json();
            report.insert("model".to_owned(), json!(model.entry.id.as_str()));
            report.insert("documents".to_owned(), json!(self.documents.min(documents.len())));
            report.insert("reference".to_owned(), json!({"engine": REFERENCE, "ndcg@10": rounded(reference_ndcg, 5)}));
            report.insert("engines".to_owned(), Value::Object(json_of(&found, reference_ndcg)));
            println!("{}", Value::Object(report));
            return Ok(());
        }
        println!("{} beside {REFERENCE}, whose nDCG@10 is {reference_ndcg:.4}", model.entry.id);
        println!("{}\n", machine.line());
        let rows = found.iter().map(|one| {
            let ndcg = one.ndcg_at_10.map_or_else(|| "-".to_owned(), |ndcg| format!("{ndcg:.4}"));
            let difference =
                one.ndcg_at_10.map_or_else(|| "-".to_owned(), |ndcg| format!("{:+.4}", ndcg - reference_ndcg));
            vec![
                one.engine.clone(),
                format!("{:.7}", one.cosine_mean),
                format!("{:.7}", one.cosine_min),
                ndcg,
                difference,
            ]
        });
        let header = ["engine", "cosine mean", "cosine min", "nDCG@10", "difference"];
        print_table(&header, &rows.collect::<Vec<_>>());
        Ok(())
    }
}

fn json_of(found: &[Agreement], reference_ndcg: f64) -> Map<String, Value> {
    let of = |one: &Agreement| {
        let mut fields = Map::from_iter([
            ("cosine_mean".to_owned(), rounded(one.cosine_mean, 7)),
            ("cosine_min".to_owned(), rounded(one.cosine_min, 7)),
        ]);
        if let Some(ndcg) = one.ndcg_at_10 {
            fields.insert("ndcg@10".to_owned(), rounded(ndcg, 5));
            fields.insert("ndcg_difference".to_owned(), rounded(ndcg - reference_ndcg, 5));
        }
        (one.engine.clone(), Value::Object(fields))
    };
    found.iter().map(of).collect()
}

/// How texts become workloads.
struct Texts {
    tokenizer: Arc<dyn Tokenize>,
    tokens_max: usize,
    batch_tokens: usize,
}

/// Texts by length, and where each came from.
struct Sorted {
    work: Work,
    /// The place in the original order of each text of the workload.
    places: Vec<usize>,
}

impl Texts {
    fn sorted(&self, name: &'static str, purpose: Purpose, texts: &[String]) -> Sorted {
        let length = |text: &String| {
            let mut starts = Vec::new();
            self.tokenizer.token_starts(text, &mut starts);
            (starts.len() + SPECIAL_TOKENS).min(self.tokens_max)
        };
        let lengths: Vec<usize> = texts.iter().map(length).collect();
        let mut places: Vec<usize> = (0..texts.len()).collect();
        places.sort_by_key(|place| lengths[*place]);
        let sorted = places.iter().map(|place| (texts[*place].clone(), lengths[*place])).collect();
        let work = Work::texts(name, name.to_owned(), purpose, sorted, self.batch_tokens);
        Sorted { work, places }
    }
}

impl Sorted {
    async fn ours(&self, embedder: &dyn Embed) -> anyhow::Result<Vec<Vec<f32>>> {
        let Inputs::Texts(purpose, texts) = &self.work.inputs else { return Ok(Vec::new()) };
        let ctx = Ctx::new(Arc::new(SystemClock::new()), Priority::Ingest, None);
        Ok(self.back(embedder.embed(&ctx, *purpose, texts).await?))
    }

    fn theirs(&self, peer: &mut Peer, engine: &str, peers: &Peers) -> anyhow::Result<Vec<Vec<f32>>> {
        Ok(self.back(peer.results(engine, self.work.name, &peers.cache())?))
    }

    /// Vectors of the workload in the original order.
    fn back(&self, vectors: Vec<Vec<f32>>) -> Vec<Vec<f32>> {
        let mut in_place: Vec<(usize, Vec<f32>)> = self.places.iter().copied().zip(vectors).collect();
        in_place.sort_by_key(|(place, _)| *place);
        in_place.into_iter().map(|(_, vector)| vector).collect()
    }
}

/// Mean and least cosine of the vectors that stand at the same place.
fn cosines(ours: &[Vec<f32>], theirs: &[Vec<f32>]) -> (f64, f64) {
    let cosines: Vec<f64> = ours.iter().zip(theirs).map(|(a, b)| dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()).collect();
    let mean = cosines.iter().sum::<f64>() / cosines.len().max(1) as f64;
    (mean, cosines.iter().copied().fold(1.0, f64::min))
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

/// nDCG@10 of the exact search by these vectors, in the mean over the set's queries.
fn ndcg(set: &Beir, documents: &[Vec<f32>], queries: &[Vec<f32>]) -> anyhow::Result<f64> {
    let ranking = |vector: &Vec<f32>| {
        let mut scored: Vec<(f32, &DocumentId)> = Vec::with_capacity(documents.len());
        for (document, its) in set.documents.iter().zip(documents) {
            #[allow(clippy::cast_possible_truncation, reason = "a score is kept as trec_eval keeps it")]
            scored.push((dot(vector, its) as f32, &document.id));
        }
        scored.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        scored.into_iter().take(DEEP).map(|(score, id)| (id.clone(), score)).collect::<Vec<_>>()
    };
    let scored = set.queries.iter().zip(queries).map(|(query, vector)| (query.id.clone(), ranking(vector)));
    Ok(Quality::mean(&Run::from_scores(scored)?, &set.qrels).ndcg_at_10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_of_the_same_direction_agree() {
        let (mean, min) = cosines(&[vec![1.0, 0.0], vec![0.0, 2.0]], &[vec![3.0, 0.0], vec![0.0, 2.0]]);
        assert_eq!((mean, min), (1.0, 1.0));
        let (mean, min) = cosines(&[vec![1.0, 0.0], vec![0.0, 1.0]], &[vec![1.0, 0.0], vec![1.0, 0.0]]);
        assert_eq!((mean, min), (0.5, 0.0));
    }
}

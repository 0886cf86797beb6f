//! Pairs to scores beside onnxruntime.
//!
//! Questions of 12 tokens, each with its passages: pairs of exactly 128 tokens, of 32 to 256 tokens (uniform, fixed seed)
//! sorted by length within a question, and the same as they come. Every engine reads the same batches. With a set, what the
//! reranker adds to it within a budget follows.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use ibid_core::Tokenize;
use ibid_infer::{Compute, CrossEncoder, Installed, ModelStore, Numbers};
use ibid_retrieve::Rerankers;
use ibid_runtime::Pool;
use serde_json::{Value, json};

use super::Peers;
use super::budgets::Budgets;
use super::embed::{MIXED_TOKENS, medians, print_rates, print_ratios, rate_ratios};
use super::figures::Machine;
use super::model::{Choice, in_all_numbers, open_at};
use super::peer::{ENCODERS, Peer};
use super::race::{Ours, Race, Work};
use super::texts::Pieces;
use crate::cli::Global;
use crate::cli::terminal::teller;
use crate::house::model_roots;

/// `[CLS]` and two `[SEP]`.
const SPECIAL_TOKENS: usize = 3;
const PAIR_TOKENS: usize = 128;
const QUESTION_TOKENS: usize = 12;

/// Pairs to scores: pairs a second, and quality against the time a search may rerank.
#[derive(Debug, Args)]
pub(in crate::cli) struct Rerank {
    #[command(flatten)]
    peers: Peers,
    #[command(flatten)]
    choice: Choice,
    /// A set in BEIR's layout: texts for the pairs, and what the budgets are measured on [default: the handbook's texts, and
    /// no budgets]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Threads of each engine
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Rounds in which the engines take turns; 0: only the budgets
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Questions of a workload
    #[arg(long, default_value_t = 5)]
    questions: usize,
    /// Passages a question
    #[arg(long, default_value_t = 50)]
    passages: usize,
    /// Tokens of one batch, for every engine [default: models.batch_tokens_max]
    #[arg(long)]
    batch_tokens: Option<usize>,
    #[command(flatten)]
    budgets: Budgets,
}

/// Our engines on a model, by name.
fn rerankers(
    model: &Installed,
    pool: &Pool,
    batch_tokens_max: usize,
) -> anyhow::Result<Vec<(&'static str, Arc<CrossEncoder>)>> {
    in_all_numbers(|compute| CrossEncoder::load(&model.dir, &model.entry, compute, pool, batch_tokens_max))
}

impl Rerank {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<()> {
        let mut config = global.config()?;
        config.compute.threads = self.threads;
        let mut peer = self
            .peers
            .python
            .as_deref()
            .map(|python| Peer::start(python, ENCODERS, &[self.threads.to_string()]))
            .transpose()?;
        let model = self.choice.open(&config.models.reranker, &config, &self.peers, peer.as_mut())?;
        let engines = peer.as_mut().map(|peer| open_at(peer, &model, &self.peers)).transpose()?.unwrap_or_default();
        let machine = Machine::new(self.threads, peer.as_ref().map(|peer| &peer.versions));
        let pool = Pool::new(self.threads, config.compute.jobs_max)?;
        let batch_tokens = self.batch_tokens.unwrap_or(config.models.batch_tokens_max);
        // Texts are cut by the embedder's tokenizer: a peer that counts other tokens is told of.
        let store = ModelStore::new(model_roots(&config));
        let embedder = store.load_embedder(&config.models.embedder, &pool, config.models.batch_tokens_max)?;
        let embedder = Arc::new(embedder);
        let tokenizer = Arc::clone(&embedder) as Arc<dyn Tokenize>;
        let works = self.works(&Pieces::open(self.data.as_deref(), tokenizer)?, batch_tokens)?;

        let ours = rerankers(&model, &pool, batch_tokens)?;
        let named = |numbers| ours.iter().find(|(name, _)| *name == numbers).map(|(_, one)| Arc::clone(one));
        let large: Arc<dyn ibid_core::Rerank> = match config.models.numbers {
            Numbers::F32 => named("ibid_f32"),
            Numbers::Int8 => named("ibid_int8"),
        }
        .context("both were loaded")?;
        let mut ways = vec![("large alone", Rerankers { small: None, large: Arc::clone(&large) })];
        if let Some(id) = &config.models.reranker_small {
            let compute = Compute { device: config.models.device, numbers: config.models.numbers };
            let small = store.clone().on(compute).load_reranker(id, &pool, config.models.batch_tokens_max)?;
            ways.insert(0, ("cascade", Rerankers { small: Some(Arc::new(small)), large }));
        }
        let ours = ours.into_iter().map(|(name, reranker)| (name, Ours::Reranker(reranker))).collect();
        let mut race = Race::new(ours, peer, engines);
        let (progress, tell) = teller();
        let works = if self.rounds == 0 { Vec::new() } else { works };
        for work in &works {
            if let Some(note) = race.enter(work)? {
                eprintln!("note: {note}");
            }
        }
        let seconds = race.rounds(&works, self.rounds, &tell).await?;
        let engines = race.engines.clone();
        // The peers are told to end: the budgets are ours alone.
        drop(race);
        let budgets = match &self.data {
            Some(data) => Some(self.budgets.measure(data, &config, &pool, embedder, ways, &tell).await?),
            None => None,
        };
        progress.finish_and_clear();

        let ratios = rate_ratios(&["fixed128", "mixed", "mixed_unsorted"], &seconds);
        if global.json {
            let mut report = machine.json();
            report.insert("model".to_owned(), json!(model.entry.id.as_str()));
            report.insert("batch_tokens".to_owned(), json!(batch_tokens));
            report.insert("rounds".to_owned(), json!(self.rounds));
            report.insert("medians".to_owned(), medians(&works, &engines, &seconds));
            report.insert("ratios".to_owned(), Value::Object(ratios));
            report.extend(budgets.into_iter().flat_map(|budgets| budgets.json()));
            println!("{}", Value::Object(report));
            return Ok(());
        }
        println!("{}, batches of {batch_tokens} tokens, {} rounds", model.entry.id, self.rounds);
        println!("{}\n", machine.line());
        if !works.is_empty() {
            print_rates(&works, &engines, &seconds, "pairs/s");
            print_ratios(&ratios);
        }
        if let Some(budgets) = &budgets {
            budgets.print();
        }
        Ok(())
    }

    fn works(&self, pieces: &Pieces, batch_tokens: usize) -> anyhow::Result<Vec<Work>> {
        let span = MIXED_TOKENS.end() - MIXED_TOKENS.start() + 1;
        let asked = |length: &dyn Fn() -> usize| {
            let question = pieces.cut(QUESTION_TOKENS)?;
            let passage = || {
                let length = length();
                anyhow::Ok((pieces.cut(length - SPECIAL_TOKENS - QUESTION_TOKENS)?, length))
            };
            anyhow::Ok((question, (0..self.passages).map(|_| passage()).collect::<Result<Vec<_>, _>>()?))
        };
        let all =
            |length: &dyn Fn() -> usize| (0..self.questions).map(|_| asked(length)).collect::<Result<Vec<_>, _>>();
        let fixed = all(&|| PAIR_TOKENS)?;
        let mixed = all(&|| MIXED_TOKENS.start() + pieces.draw(span))?;
        let mut sorted = mixed.clone();
        sorted.iter_mut().for_each(|(_, passages)| passages.sort_by_key(|(_, length)| *length));
        let range = format!("{} to {} tokens", MIXED_TOKENS.start(), MIXED_TOKENS.end());
        Ok(vec![
            Work::pairs("fixed128", format!("{PAIR_TOKENS} tokens"), fixed, batch_tokens),
            Work::pairs("mixed", format!("{range}, sorted by length"), sorted, batch_tokens),
            Work::pairs("mixed_unsorted", format!("{range}, as they come"), mixed, batch_tokens),
        ])
    }
}

//! A question's embedding while documents are ingested.
//!
//! Ten questions a second, whatever became of the ones before, are embedded by the model that also embeds the documents, on
//! the same pool. Idle and loaded rounds take turns; in a loaded one documents are put as fast as they are embedded.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use futures::stream::{self, StreamExt};
use ibid_core::{Purpose, Tokenize};
use ibid_engine::{EmbedModel, Partition};
use ibid_runtime::{Clock, Ctx, Priority};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::figures::{Machine, median, percentile_ms, rounded};
use super::scratch::{Documents, Scratch};
use super::texts::Pieces;
use crate::cli::Global;
use crate::cli::terminal::{print_table, teller};
use crate::house::Parts;

/// Documents on their way at once: more than one batch of chunks, so that the embedder never waits for documents.
const PUTS_AT_ONCE: usize = 48;
/// A loaded round begins when the pool has been full for a while.
const LEAD: Duration = Duration::from_secs(2);
const QUESTION_TOKENS: usize = 12;
const QUESTIONS: usize = 200;

/// The time of a question's embedding while documents are ingested at full speed.
#[derive(Debug, Args)]
pub(in crate::cli) struct Load {
    /// Text from DIR/corpus.jsonl [default: the handbook]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Compute threads
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Pairs of an idle and a loaded round
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Length of a round
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Questions a second
    #[arg(long, default_value_t = 10)]
    rate: u32,
}

/// An idle round and the loaded one after it.
struct Round {
    idle: Vec<Duration>,
    loaded: Vec<Duration>,
    chunks_per_s: f64,
}

impl Round {
    fn ratio(&self, percent: u8) -> f64 {
        percentile_ms(&self.loaded, percent) / percentile_ms(&self.idle, percent)
    }
}

impl Load {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<()> {
        let mut config = global.config()?;
        config.compute.threads = self.threads;
        let parts = Parts::of_this_machine(&config)?;
        let model = Arc::clone(parts.models.get(&parts.models.default).context("the embedder is loaded")?);
        let pieces = Pieces::open(self.data.as_deref(), Arc::clone(&model) as Arc<dyn Tokenize>)?;
        let questions = (0..QUESTIONS).map(|_| pieces.cut(QUESTION_TOKENS)).collect::<Result<Vec<_>, _>>()?;
        let documents = Documents::of(&pieces)?;
        let scratch = Scratch::open(&config, Arc::clone(&model), &parts.pool, Arc::clone(&parts.clock))?;
        let partition = scratch.partition(model.as_ref()).await?;
        let asking = Asking { model: Arc::clone(&model), questions: questions.into(), clock: parts.clock, load: &self };
        let ingest = Ingest { partition, documents, clock: Arc::clone(&scratch.clock), next: AtomicUsize::new(0) };

        let (progress, tell) = teller();
        let mut rounds = Vec::new();
        for round in 1..=self.rounds {
            tell(&format!("round {round} of {}: idle", self.rounds));
            let idle = asking.round().await?;
            tell(&format!("round {round} of {}: loaded", self.rounds));
            let (loaded, chunks_per_s) = ingest.during(&asking).await?;
            rounds.push(Round { idle, loaded, chunks_per_s });
        }
        progress.finish_and_clear();
        drop(ingest);
        scratch.close()?;
        report(global, &Machine::new(self.threads, None), &rounds);
        Ok(())
    }
}

fn report(global: &Global, machine: &Machine, rounds: &[Round]) {
    let all = |of: fn(&Round) -> &Vec<Duration>| rounds.iter().flat_map(of).copied().collect::<Vec<_>>();
    let whole = Round {
        idle: all(|round| &round.idle),
        loaded: all(|round| &round.loaded),
        chunks_per_s: median(&rounds.iter().map(|round| round.chunks_per_s).collect::<Vec<_>>()),
    };
    if global.json {
        let times = |times: &[Duration]| json!({"p50_ms": rounded(percentile_ms(times, 50), 3), "p99_ms": rounded(percentile_ms(times, 99), 3)});
        let of = |round: &Round| {
            json!({
                "idle": times(&round.idle),
                "loaded": times(&round.loaded),
                "ratios": {"p50": rounded(round.ratio(50), 3), "p99": rounded(round.ratio(99), 3)},
                "ingest_chunks_per_s": rounded(round.chunks_per_s, 1),
            })
        };
        let mut report = machine.json();
        report.insert("rounds".to_owned(), rounds.iter().map(of).collect());
        if let Value::Object(fields) = of(&whole) {
            report.extend(fields);
        }
        println!("{}", Value::Object(report));
        return;
    }
    println!("{}\n", machine.line());
    let row = |name: String, round: &Round| {
        let ms = |times: &[Duration], percent| format!("{:.2}", percentile_ms(times, percent));
        vec![
            name,
            ms(&round.idle, 50),
            ms(&round.idle, 99),
            ms(&round.loaded, 50),
            ms(&round.loaded, 99),
            format!("{:.2}", round.ratio(50)),
            format!("{:.2}", round.ratio(99)),
            format!("{:.1}", round.chunks_per_s),
        ]
    };
    let mut rows: Vec<Vec<String>> =
        (1..).zip(rounds).map(|(number, round): (usize, _)| row(number.to_string(), round)).collect();
    rows.push(row("all".to_owned(), &whole));
    let header = ["round", "idle p50", "p99 ms", "loaded p50", "p99 ms", "ratio p50", "p99", "chunks/s ingested"];
    print_table(&header, &rows);
}

/// Questions at a steady pace.
struct Asking<'a> {
    model: Arc<dyn EmbedModel>,
    questions: Arc<[String]>,
    clock: Arc<dyn Clock>,
    load: &'a Load,
}

impl Asking<'_> {
    /// The time of each question's embedding, waiting included.
    async fn round(&self) -> anyhow::Result<Vec<Duration>> {
        let count = self.load.seconds * u64::from(self.load.rate);
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / self.load.rate.max(1));
        // A late question does not make the next ones late.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut asked = JoinSet::new();
        for number in 0..usize::try_from(count)? {
            ticks.tick().await;
            let (model, questions) = (Arc::clone(&self.model), Arc::clone(&self.questions));
            let ctx = Ctx::new(Arc::clone(&self.clock), Priority::Query, None);
            asked.spawn(async move {
                let question = &questions[number % questions.len()..][..1];
                model.embed(&ctx, Purpose::Query, question).await.map(|_| ctx.elapsed())
            });
        }
        let mut times = Vec::new();
        while let Some(time) = asked.join_next().await {
            times.push(time??);
        }
        Ok(times)
    }
}

/// Documents put without a pause.
struct Ingest {
    partition: Partition,
    documents: Documents,
    clock: Arc<dyn Clock>,
    next: AtomicUsize,
}

impl Ingest {
    /// Asks a round while it puts; returns when everything put has its vectors. The questions' times, and chunks embedded a
    /// second until the last question.
    async fn during(&self, asking: &Asking<'_>) -> anyhow::Result<(Vec<Duration>, f64)> {
        let (stopped, chunks) = (AtomicBool::new(false), AtomicU64::new(0));
        let puts = async {
            let number = || (!stopped.load(Ordering::Relaxed)).then(|| self.next.fetch_add(1, Ordering::Relaxed));
            let put = |number| {
                let ctx = Ctx::new(Arc::clone(&self.clock), Priority::Ingest, None);
                let put = self.documents.put(number, number);
                async move { self.partition.put(&ctx, put).await }
            };
            let mut puts = stream::iter(std::iter::from_fn(number)).map(put).buffer_unordered(PUTS_AT_ONCE);
            while let Some(ack) = puts.next().await {
                chunks.fetch_add(u64::from(ack?.chunks_new), Ordering::Relaxed);
            }
            anyhow::Ok(())
        };
        let questions = async {
            tokio::time::sleep(LEAD).await;
            let (before, start) = (chunks.load(Ordering::Relaxed), self.clock.monotonic());
            let times = asking.round().await;
            stopped.store(true, Ordering::Relaxed);
            let seconds = (self.clock.monotonic() - start).as_secs_f64();
            let embedded = chunks.load(Ordering::Relaxed) - before;
            anyhow::Ok((times?, embedded as f64 / seconds))
        };
        let ((), asked) = futures::try_join!(puts, questions)?;
        Ok(asked)
    }
}

//! How soon documents are found by words, and what questions notice of it.
//!
//! Many writers put documents, each waiting until its last one is durable. Ten questions a second by words are asked from the
//! first put on until every document is found by words; their vectors follow as fast as they can be made.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use futures::stream::{self, StreamExt};
use ibid_core::{Floor, Tokenize};
use ibid_engine::{EngineError, Expand, Partition, Put, Stage};
use ibid_retrieve::{Duplicates, Fusion, Mode, Query, Rerank, Retriever};
use ibid_runtime::{Clock, Ctx, Priority};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::figures::{Machine, percentile_ms, rounded};
use super::scratch::{DOCUMENT_SECTIONS, Documents, Scratch};
use super::texts::Pieces;
use crate::cli::Global;
use crate::cli::terminal::{print_table, teller};
use crate::house::Parts;

const QUESTION_TOKENS: usize = 4;
const QUESTIONS: usize = 200;
const QUESTIONS_INTERVAL: Duration = Duration::from_millis(100);
/// Between two looks at how far the index of words is.
const LOOK: Duration = Duration::from_millis(200);
/// Before a put is tried again that was refused because too many wait.
const RETRY: Duration = Duration::from_millis(50);
/// How long questions are asked once all documents are found by words.
const AFTERWARDS: Duration = Duration::from_secs(10);
const TOP_K: usize = 10;
const CANDIDATES: usize = 50;

/// How soon documents are found by words, and the time of questions meanwhile.
#[derive(Debug, Args)]
pub(in crate::cli) struct Ingest {
    /// Text from DIR/corpus.jsonl [default: the handbook]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Chunks, about
    #[arg(long, default_value_t = 20_000)]
    chunks: usize,
    /// Documents on their way into the log at once
    #[arg(long, default_value_t = 64)]
    writers: usize,
    /// Compute threads
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

/// What came of it; times from the first put.
struct Measured {
    documents: usize,
    chunks: u64,
    /// The last put was acknowledged.
    durable: Duration,
    /// All were found by words.
    found: Duration,
    /// Chunks that had their vectors by then.
    embedded: u64,
    /// Questions until then.
    meanwhile: Vec<Duration>,
    /// Questions after it, while vectors followed.
    afterwards: Vec<Duration>,
}

impl Ingest {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<()> {
        let mut config = global.config()?;
        config.compute.threads = self.threads;
        let parts = Parts::of_this_machine(&config)?;
        let model = Arc::clone(parts.models.get(&parts.models.default).context("the embedder is loaded")?);
        let pieces = Pieces::open(self.data.as_deref(), Arc::clone(&model) as Arc<dyn Tokenize>)?;
        let questions = (0..QUESTIONS).map(|_| pieces.cut(QUESTION_TOKENS)).collect::<Result<Vec<_>, _>>()?;
        let documents = Documents::of(&pieces)?;
        let scratch = Scratch::open(&config, Arc::clone(&model), &parts.pool, Arc::clone(&parts.clock))?;
        let asking = Asking {
            partition: scratch.partition(model.as_ref()).await?,
            retriever: Retriever::new(parts.pool.clone(), None),
            questions: questions.into(),
            clock: Arc::clone(&scratch.clock),
        };
        let (progress, tell) = teller();
        let measured = self.measure(&asking, &documents, &tell).await;
        progress.finish_and_clear();
        drop(asking);
        // What still waits for its vectors is not waited for.
        scratch.close()?;
        report(global, &Machine::new(self.threads, None), self.writers, &measured?);
        Ok(())
    }

    async fn measure(&self, asking: &Asking, documents: &Documents, tell: &dyn Fn(&str)) -> anyhow::Result<Measured> {
        let Asking { partition, clock, .. } = asking;
        let count = self.chunks.div_ceil(DOCUMENT_SECTIONS);
        let start = clock.monotonic();
        let work = async {
            let put = |number| {
                let put = Put { wait_for: Stage::Durable, ..documents.put(number, number) };
                put_once_there_is_room(partition, clock, put)
            };
            let mut puts = stream::iter(0..count).map(put).buffer_unordered(self.writers);
            let mut acked = 0;
            while let Some(ack) = puts.next().await {
                ack?;
                acked += 1;
                if acked % 500 == 0 {
                    tell(&format!("{acked} of {count} documents acknowledged"));
                }
            }
            let durable = clock.monotonic() - start;
            loop {
                let listed = partition.list(None, None, usize::MAX);
                let found = listed.iter().filter(|document| document.stage >= Stage::Lexical).count();
                if found == count {
                    return anyhow::Ok((durable, clock.monotonic() - start, listed));
                }
                tell(&format!("{found} of {count} documents found by words"));
                tokio::time::sleep(LOOK).await;
            }
        };
        let (meanwhile, worked) = asking.during(work).await?;
        let (durable, found, listed) = worked?;
        tell("vectors follow");
        let (afterwards, ()) = asking.during(tokio::time::sleep(AFTERWARDS)).await?;
        Ok(Measured {
            documents: count,
            chunks: listed.iter().map(|document| u64::from(document.chunks)).sum(),
            durable,
            found,
            embedded: listed.iter().map(|document| u64::from(document.chunks_embedded)).sum(),
            meanwhile,
            afterwards,
        })
    }
}

/// Puts a document; one that is refused because too many wait is put again after a while.
async fn put_once_there_is_room(partition: &Partition, clock: &Arc<dyn Clock>, put: Put) -> anyhow::Result<()> {
    loop {
        let ctx = Ctx::new(Arc::clone(clock), Priority::Ingest, None);
        match partition.put(&ctx, put.clone()).await {
            Err(EngineError::Overloaded { .. }) => tokio::time::sleep(RETRY).await,
            put => return Ok(put.map(drop)?),
        }
    }
}

/// Questions by words at a steady pace.
struct Asking {
    partition: Partition,
    retriever: Retriever,
    questions: Arc<[String]>,
    clock: Arc<dyn Clock>,
}

impl Asking {
    /// Asks until `work` is done. Each question's time, waiting included, and what came of the work.
    async fn during<T>(&self, work: impl Future<Output = T>) -> anyhow::Result<(Vec<Duration>, T)> {
        let mut work = std::pin::pin!(work);
        let mut ticks = tokio::time::interval(QUESTIONS_INTERVAL);
        // A late question does not make the next ones late.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut asked = JoinSet::new();
        let done = loop {
            tokio::select! {
                done = &mut work => break done,
                _ = ticks.tick() => {}
            }
            let ctx = Ctx::new(Arc::clone(&self.clock), Priority::Query, None);
            let query = Query {
                question: self.questions[asked.len() % self.questions.len()].clone(),
                vector: None,
                mode: Mode::Lexical,
                top_k: TOP_K,
                neighbour_weight: Query::NEIGHBOUR_WEIGHT,
                candidates: CANDIDATES,
                fusion: Fusion::default(),
                rerank: Rerank::Off,
                filter: None,
                floor: Floor::default(),
                generation: None,
                expand: Expand::None,
                duplicates: Duplicates::Collapse,
            };
            let (retriever, partition) = (self.retriever.clone(), self.partition.clone());
            asked.spawn(async move {
                let found = retriever.retrieve(&ctx, std::slice::from_ref(&partition), &query).await;
                found.map(|_| ctx.elapsed())
            });
        };
        let mut times = Vec::new();
        while let Some(time) = asked.join_next().await {
            times.push(time??);
        }
        Ok((times, done))
    }
}

fn report(global: &Global, machine: &Machine, writers: usize, measured: &Measured) {
    let Measured { documents, chunks, durable, found, embedded, meanwhile, afterwards } = measured;
    let (durable, found) = (durable.as_secs_f64(), found.as_secs_f64());
    if global.json {
        let times = |times: &[Duration]| {
            json!({
                "p50_ms": rounded(percentile_ms(times, 50), 3),
                "p99_ms": rounded(percentile_ms(times, 99), 3),
                "questions": times.len(),
            })
        };
        let mut report = machine.json();
        let fields = [
            ("documents", json!(documents)),
            ("chunks", json!(chunks)),
            ("writers", json!(writers)),
            ("durable_s", rounded(durable, 2)),
            ("found_by_words_s", rounded(found, 2)),
            ("chunks_embedded_then", json!(embedded)),
            ("questions_meanwhile", times(meanwhile)),
            ("questions_afterwards", times(afterwards)),
        ];
        report.extend(fields.map(|(name, value)| (name.to_owned(), value)));
        println!("{}", Value::Object(report));
        return;
    }
    println!("{}\n", machine.line());
    println!("{documents} documents, {chunks} chunks, {writers} writers; seconds from the first put:");
    println!("  all acknowledged    {durable:.1}");
    println!("  all found by words  {found:.1}; {embedded} chunks had their vectors");
    let row = |name: &str, times: &[Duration]| {
        let ms = |percent| format!("{:.2}", percentile_ms(times, percent));
        vec![name.to_owned(), ms(50), ms(99), times.len().to_string()]
    };
    println!();
    let header = ["questions by words", "p50 ms", "p99 ms", "asked"];
    print_table(&header, &[row("until all were found", meanwhile), row("while vectors followed", afterwards)]);
}

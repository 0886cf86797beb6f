//! How soon a full data folder answers after it was closed, and after a kill; what it takes up.
//!
//! Another process fills the folder and ends without closing it, as a kill would end it. Then the folder is opened, asked once
//! by words and once by a vector, and closed; then opened once more. The system's page cache is as the filling left it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;
use futures::stream::{self, StreamExt};
use ibid_core::{CollectionName, DocumentId, Embed, MediaType, Metadata, Operator, Readers, TenantName, Tokenize};
use ibid_engine::{EmbedModel, Engine, Models, Partition, Put, ReadyChunk, Stage, Views};
use ibid_eval::Measurement;
use ibid_retrieve::Query;
use ibid_runtime::{Ctx, Priority, Random, RealDisk, SeededRandom, SystemRandom};
use serde_json::json;

use super::figures::{Machine, rounded};
use super::memory::resident;
use super::texts::Pieces;
use crate::cli::Global;
use crate::cli::terminal::{print_table, teller};
use crate::house::Parts;

const WRITERS: usize = 256;
const DOCUMENT_TOKENS: usize = 180;
/// Different texts; each document adds its number.
const TEXTS: usize = 500;
const TOP_K: usize = 10;

/// How soon a full data folder answers after a close and after a kill; what it takes up in memory and on disk.
#[derive(Debug, Args)]
pub(in crate::cli) struct Open {
    /// Text from DIR/corpus.jsonl [default: the handbook]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Documents of one chunk each, whose vectors come with them
    #[arg(long, default_value_t = 100_000)]
    documents: usize,
    /// Compute threads
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Fill this folder and end without closing it
    #[arg(long, hide = true, value_name = "DIR")]
    fill: Option<PathBuf>,
    /// Open this folder, which was filled before, and leave it there
    #[arg(long, hide = true, value_name = "DIR", conflicts_with = "fill")]
    filled: Option<PathBuf>,
}

/// One start.
struct Started {
    /// The folder was open.
    open: Duration,
    /// The first answers were there.
    answered: Duration,
    /// Everything was ready: nothing is left to recover.
    settled: Duration,
    /// Resident bytes then, less those before.
    resident: u64,
}

impl Open {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<()> {
        let mut config = global.config()?;
        config.compute.threads = self.threads;
        let parts = Parts::of_this_machine(&config)?;
        let model = Arc::clone(parts.models.get(&parts.models.default).context("the embedder is loaded")?);
        let house = House { config: crate::house::engine_config(&config), parts, model };
        if let Some(folder) = &self.fill {
            self.fill(&house, folder).await?;
            // Nothing is closed.
            std::process::exit(0);
        }
        if let Some(folder) = &self.filled {
            let measured = self.measure(&house, folder).await?;
            measured.print(global, &Machine::new(self.threads, None));
            return Ok(());
        }
        let folder = std::env::temp_dir().join(format!("ibid-bench-{}", std::process::id()));
        let (progress, tell) = teller();
        tell(&format!("another process puts {} documents", self.documents));
        let filled = self.fill_elsewhere(global, &folder);
        progress.finish_and_clear();
        let measured = match filled {
            Ok(()) => self.measure(&house, &folder).await,
            Err(error) => Err(error),
        };
        if folder.exists() {
            std::fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
        }
        measured?.print(global, &Machine::new(self.threads, None));
        Ok(())
    }

    /// Fills a folder in another process, which ends without closing it.
    fn fill_elsewhere(&self, global: &Global, folder: &Path) -> anyhow::Result<()> {
        let mut filling = Command::new(std::env::current_exe()?);
        filling.args(["bench", "open", "--documents", &self.documents.to_string(), "--fill"]).arg(folder);
        filling.args(["--threads", &self.threads.to_string()]);
        filling.args(global.settings.iter().flat_map(|setting| ["--set", setting]));
        for (flag, path) in [("--data", &self.data), ("--config", &global.config)] {
            filling.args(path.iter().flat_map(|path| [OsStr::new(flag), path.as_os_str()]));
        }
        let filled = tokio::task::block_in_place(|| filling.status())?;
        ensure!(filled.success(), "the process that fills the folder failed: {filled}");
        Ok(())
    }

    async fn measure(&self, house: &House, folder: &Path) -> anyhow::Result<Report> {
        let (progress, tell) = teller();
        tell("open it after the kill");
        let killed = house.start(folder).await?;
        tell("open it after a close");
        let closed = house.start(folder).await?;
        progress.finish_and_clear();
        let text_bytes = texts(self, house)?.iter().map(String::len).sum::<usize>() / TEXTS;
        Ok(Report {
            documents: self.documents,
            given_bytes: (text_bytes + 4 * house.model.dimension()) as u64,
            killed,
            closed,
            disk: sizes(folder)?,
        })
    }

    async fn fill(&self, house: &House, folder: &Path) -> anyhow::Result<()> {
        let texts = texts(self, house)?;
        let engine = house.open(folder)?;
        let partition = house.partition(&engine, true).await?;
        let (random, dimension) = (SeededRandom::new(1), house.model.dimension());
        let put = |number: usize| {
            let text = format!("Document {number}. {}", texts[number % TEXTS]);
            let mut bytes = vec![0; dimension];
            random.fill(b"vector", &mut bytes);
            let vector = bytes.iter().map(|byte| f32::from(*byte) - 127.5).collect();
            let put = Put {
                id: DocumentId::new(&format!("document-{number}")).expect("a valid id"),
                media_type: MediaType::Plain,
                title: String::new(),
                source_uri: String::new(),
                metadata: Metadata::new(),
                readers: Readers::default(),
                chunks: vec![ReadyChunk { bytes: 0..text.len(), vector: Some(vector) }],
                content: text.into(),
                idempotency_key: None,
                wait_for: Stage::Vector,
            };
            let (ctx, partition) = (house.ctx(Priority::Ingest), partition.clone());
            async move { partition.put(&ctx, put).await }
        };
        let mut puts = stream::iter(0..self.documents).map(put).buffer_unordered(WRITERS);
        while let Some(ack) = puts.next().await {
            ack?;
        }
        // As a server that has been running for a while: its indexes were saved now and then.
        partition.settled(&house.ctx(Priority::Ingest), |_| {}).await?;
        Ok(())
    }
}

fn texts(of: &Open, house: &House) -> anyhow::Result<Vec<String>> {
    let pieces = Pieces::open(of.data.as_deref(), Arc::clone(&house.model) as Arc<dyn Tokenize>)?;
    (0..TEXTS).map(|_| pieces.cut(DOCUMENT_TOKENS)).collect()
}

/// What engines are made of here.
struct House {
    config: ibid_engine::Config,
    parts: Parts,
    model: Arc<dyn EmbedModel>,
}

impl House {
    fn ctx(&self, priority: Priority) -> Ctx {
        Ctx::new(Arc::clone(&self.parts.clock), priority, None)
    }

    fn open(&self, folder: &Path) -> anyhow::Result<Engine> {
        let parts = ibid_engine::Parts {
            disk: Arc::new(RealDisk),
            clock: Arc::clone(&self.parts.clock),
            random: Arc::new(SystemRandom),
            pool: self.parts.pool.clone(),
            models: Models::only(Arc::clone(&self.model)),
            views: Views::Folder,
            snapshots: None,
        };
        let config = ibid_engine::Config { folder: folder.to_owned(), ..self.config.clone() };
        Ok(tokio::task::block_in_place(|| Engine::open(config, parts))?.0)
    }

    async fn partition(&self, engine: &Engine, fresh: bool) -> anyhow::Result<Partition> {
        let (operator, ctx) = (Operator::of_this_process(), self.ctx(Priority::Query));
        let tenant = TenantName::new("bench").expect("a valid name");
        let collection = CollectionName::new("documents").expect("a valid name");
        if fresh {
            engine.create_tenant(&operator, tenant.clone()).await?;
        }
        let right = engine.enter(&operator, &tenant)?;
        if fresh {
            let settings = Measurement::settings(Embed::model(&*self.model).clone());
            engine.create_collection(&ctx, &right, collection.clone(), settings).await?;
        }
        Ok(engine.partition(&ctx, &right, &collection).await?)
    }

    /// Opens the folder, asks, waits until nothing is left to do, and closes it.
    async fn start(&self, folder: &Path) -> anyhow::Result<Started> {
        let before = resident()?;
        let clock = &self.parts.clock;
        let start = clock.monotonic();
        let engine = self.open(folder)?;
        let open = clock.monotonic() - start;
        let partition = self.partition(&engine, false).await?;
        let (snapshot, ctx) = (partition.snapshot(None), self.ctx(Priority::Query));
        let words = snapshot.by_words(&ctx, "document", TOP_K)?;
        let meaning = snapshot.by_meaning(&ctx, &vec![1.0; self.model.dimension()], TOP_K, Query::NEIGHBOUR_WEIGHT)?;
        for candidate in words.iter().chain(&meaning) {
            snapshot.find(candidate.label)?;
        }
        ensure!(words.len() == TOP_K && meaning.len() == TOP_K, "{} and {} hits", words.len(), meaning.len());
        let answered = clock.monotonic() - start;
        partition.settled(&ctx, |_| {}).await?;
        let settled = clock.monotonic() - start;
        let resident = resident()?.saturating_sub(before);
        drop((snapshot, partition));
        tokio::task::block_in_place(|| drop(engine));
        Ok(Started { open, answered, settled, resident })
    }
}

struct Report {
    documents: usize,
    /// Text and vector of a document.
    given_bytes: u64,
    killed: Started,
    closed: Started,
    /// Bytes of each part of the folder.
    disk: Vec<(String, u64)>,
}

impl Report {
    fn print(&self, global: &Global, machine: &Machine) {
        let seconds = |time: Duration| rounded(time.as_secs_f64(), 2);
        let each = |bytes: u64| bytes / self.documents.max(1) as u64;
        let disk: u64 = self.disk.iter().map(|(_, bytes)| bytes).sum();
        let of_given = rounded(each(disk) as f64 / self.given_bytes as f64, 2);
        if global.json {
            let start = |start: &Started| {
                json!({
                    "open_s": seconds(start.open),
                    "answered_s": seconds(start.answered),
                    "settled_s": seconds(start.settled),
                    "rss_bytes_per_document": each(start.resident),
                })
            };
            let mut report = machine.json();
            report.insert("documents".to_owned(), json!(self.documents));
            report.insert("after_kill".to_owned(), start(&self.killed));
            report.insert("after_close".to_owned(), start(&self.closed));
            report.insert("disk_bytes_per_document".to_owned(), json!(each(disk)));
            report.insert("text_and_vector_bytes_per_document".to_owned(), json!(self.given_bytes));
            report.insert("disk_of_text_and_vectors".to_owned(), of_given);
            println!("{}", serde_json::Value::Object(report));
            return;
        }
        println!(
            "{}\n\n{} documents of one chunk, {} bytes of text and vector each",
            machine.line(),
            self.documents,
            self.given_bytes
        );
        let row = |name: &str, start: &Started| {
            let times = [start.open, start.answered, start.settled].map(|time| format!("{:.2} s", time.as_secs_f64()));
            [vec![name.to_owned()], times.to_vec(), vec![each(start.resident).to_string()]].concat()
        };
        print_table(
            &["", "open", "first answers", "nothing left to do", "resident bytes a document"],
            &[row("after a kill", &self.killed), row("after a close", &self.closed)],
        );
        println!();
        let row = |(name, bytes): &(String, u64)| vec![name.clone(), each(*bytes).to_string()];
        print_table(&["on disk", "bytes a document"], &self.disk.iter().map(row).collect::<Vec<_>>());
        println!("together {} bytes a document, {of_given} x text and vector", each(disk));
    }
}

/// Bytes of the folder's log, index and each kind of partition index.
fn sizes(folder: &Path) -> anyhow::Result<Vec<(String, u64)>> {
    fn size(path: &Path) -> std::io::Result<u64> {
        if !path.is_dir() {
            return Ok(std::fs::metadata(path)?.len());
        }
        std::fs::read_dir(path)?.map(|entry| size(&entry?.path())).sum()
    }
    let mut sizes = Vec::new();
    for name in ["log", "index"] {
        sizes.push((name.to_owned(), size(&folder.join(name))?));
    }
    for partition in std::fs::read_dir(folder.join("partitions"))? {
        for view in std::fs::read_dir(partition?.path())? {
            let view = view?;
            sizes.push((view.file_name().to_string_lossy().into_owned(), size(&view.path())?));
        }
    }
    Ok(sizes)
}

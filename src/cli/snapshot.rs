//! Snapshots made, listed, verified and restored.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use clap::{Args, Subcommand};
use ibid_core::{CollectionName, Operator, TenantId, TenantName};
use ibid_engine::snapshots::{self, Manifest, SnapshotId, SnapshotStore};
use ibid_engine::{Engine, Partition};
use ibid_runtime::{Ctx, Disk, Priority, RealDisk, SystemClock};
use serde_json::{Value, json};

use super::session::{As, Session, explain};
use super::terminal::{plain, print_table};
use super::{Global, runtime};
use crate::config::Config;
use crate::grpc;
use crate::house::{House, Parts};
use crate::proto;
use crate::snapshots::Target;

/// Snapshots that one list shows.
const LISTED_MAX: usize = 1_000;
/// How much of a document is asked for.
const QUESTION_BYTES_MAX: usize = 4_096;
/// Documents of a collection that are asked for, until one is found.
const ASKED_MAX: usize = 20;
const HITS: usize = 10;
const PAGE: usize = 100;

/// Copy everything to the snapshot target; list, verify, restore and prune such copies.
///
/// A snapshot is the log as of one moment; the indexes are made anew from it. Only what the target does not have is copied.
/// The files in the data folder's `keys` and `models` are not in it. The target holds the log as it is: where
/// that is not encrypted, whoever can read it can read every document.
#[derive(Debug, Subcommand)]
pub(super) enum Snapshot {
    /// Copy what the target of the setting snapshots.target does not have (operator key)
    Create,
    /// List the snapshots, the newest first
    List {
        #[command(flatten)]
        from: From,
    },
    /// Compare every block with its hash; then restore into a temporary folder, check the indexes and ask each collection
    Verify {
        /// Which one [default: the newest]
        id: Option<String>,
        #[command(flatten)]
        from: From,
        /// Compare the blocks and nothing else
        #[arg(long)]
        blocks_only: bool,
    },
    /// Delete all snapshots of the target but the newest (operator key)
    Prune {
        /// How many stay
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
        keep: u32,
    },
    /// Write a snapshot into a new data folder; no server is needed
    Restore {
        /// Which one [default: the newest]
        id: Option<String>,
        /// The new data folder: empty, or not there
        #[arg(long, value_name = "FOLDER")]
        to: PathBuf,
        #[command(flatten)]
        from: From,
    },
}

/// Where snapshots are read.
#[derive(Debug, Args)]
pub(super) struct From {
    /// A folder, or s3://bucket/prefix [default: the setting snapshots.target]
    #[arg(long, value_name = "URL")]
    from: Option<String>,
}

impl From {
    fn open(&self, config: &Config) -> anyhow::Result<Arc<dyn SnapshotStore>> {
        let named = self
            .from
            .as_ref()
            .map(|text| Target::parse(text, |path| PathBuf::from(path)).with_context(|| format!("{text:?}")));
        let target = named.transpose()?.or_else(|| config.snapshots.target.clone());
        let target = target.context("no snapshot target: name one with --from, or set snapshots.target")?;
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        target.open(&disk).with_context(|| format!("use {target}"))
    }
}

impl Snapshot {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<()> {
        let config = global.config()?;
        let ctx = Ctx::new(Arc::new(SystemClock::new()), Priority::Query, None);
        match self {
            Snapshot::Create => runtime()?.block_on(create(global)),
            Snapshot::List { from } => {
                // Where only the server has the credentials, it is asked.
                let listed = match from.from {
                    Some(_) => grpc::operations::list(&*from.open(&config)?, LISTED_MAX)?,
                    None => runtime()?.block_on(list(global))?,
                };
                show(&listed, global.json);
                Ok(())
            }
            Snapshot::Verify { id, from, blocks_only } => {
                let store = from.open(&config)?;
                let manifest = read(&*store, id.as_deref())?;
                snapshots::verify(&ctx, &*store, &manifest)?;
                let asked = if blocks_only { None } else { Some(rehearse(&ctx, &config, &*store, &manifest)?) };
                report(&manifest, asked, global.json);
                Ok(())
            }
            Snapshot::Prune { keep } => runtime()?.block_on(prune(global, keep)),
            Snapshot::Restore { id, to, from } => {
                let store = from.open(&config)?;
                let manifest = read(&*store, id.as_deref())?;
                let restored = snapshots::restore(&ctx, &*store, &manifest, &RealDisk, &to);
                restored.with_context(|| format!("restore into {}", to.display()))?;
                if global.json {
                    println!("{}", json!({ "id": manifest.id.to_string(), "bytes": manifest.bytes() }));
                } else {
                    println!("restored {} into {}, {} bytes", manifest.id, to.display(), manifest.bytes());
                    println!("the original's keys open it: copy its folder `keys`, and `models` if it has one");
                }
                Ok(())
            }
        }
    }
}

async fn create(global: &Global) -> anyhow::Result<()> {
    let session = Session::open(global, As::Operator).await?;
    let created = session.operations().create_snapshot(proto::CreateSnapshotRequest {}).await;
    session.close().await?;
    let created = created.map_err(|status| explain(&status))?.into_inner();
    let snapshot = created.snapshot.unwrap_or_default();
    if global.json {
        let mut report = render(&snapshot);
        report["bytes_written"] = created.bytes_written.into();
        println!("{report}");
    } else {
        println!("{}: {} bytes, {} of them new", snapshot.id, snapshot.bytes, created.bytes_written);
    }
    let damaged = snapshot.damaged_records;
    ensure!(damaged == 0, "{damaged} records of the log are damaged, and they are so in the snapshot");
    Ok(())
}

async fn prune(global: &Global, keep: u32) -> anyhow::Result<()> {
    let session = Session::open(global, As::Operator).await?;
    let pruned = session.operations().prune_snapshots(proto::PruneSnapshotsRequest { keep }).await;
    session.close().await?;
    let proto::PruneSnapshotsResponse { snapshots, blocks, left } =
        pruned.map_err(|status| explain(&status))?.into_inner();
    if global.json {
        println!("{}", json!({ "snapshots": snapshots, "blocks": blocks, "left": left }));
    } else {
        println!("deleted {snapshots} snapshots and {blocks} blocks that no other needs; {left} are left");
    }
    Ok(())
}

async fn list(global: &Global) -> anyhow::Result<Vec<proto::Snapshot>> {
    let session = Session::open(global, As::Operator).await?;
    let request = proto::ListSnapshotsRequest { limit: LISTED_MAX as u32 };
    let listed = session.operations().list_snapshots(request).await.map_err(|status| explain(&status));
    session.close().await?;
    Ok(listed?.into_inner().snapshots)
}

fn show(listed: &[proto::Snapshot], as_json: bool) {
    if as_json {
        println!("{}", json!({ "snapshots": listed.iter().map(render).collect::<Vec<_>>() }));
        return;
    }
    let row = |one: &proto::Snapshot| {
        let created = one.created_at.map(|at| at.to_string()).unwrap_or_default();
        let state = match (one.unreadable, one.damaged_records) {
            (true, _) => "its manifest cannot be read".to_owned(),
            (false, 0) => String::new(),
            (false, damaged) => format!("{damaged} damaged records"),
        };
        vec![plain(&one.id), created, one.last_sequence.to_string(), one.bytes.to_string(), state]
    };
    print_table(&["id", "created", "last record", "bytes", ""], &listed.iter().map(row).collect::<Vec<_>>());
}

fn render(one: &proto::Snapshot) -> Value {
    json!({
        "id": one.id,
        "created_at": one.created_at.map(|at| at.to_string()),
        "last_sequence": one.last_sequence,
        "bytes": one.bytes,
        "damaged_records": one.damaged_records,
        "folder": one.folder,
        "unreadable": one.unreadable,
    })
}

fn read(store: &dyn SnapshotStore, id: Option<&str>) -> anyhow::Result<Manifest> {
    let parse = |text: &str| SnapshotId::parse(text).with_context(|| format!("{text:?} is no snapshot's id"));
    let id = id.map(parse).transpose()?;
    Ok(snapshots::read(store, id.as_ref())?)
}

/// What was asked of a restored folder.
#[derive(Debug, Default)]
struct Asked {
    collections: usize,
    documents: u64,
    hits: usize,
}

fn report(manifest: &Manifest, asked: Option<Asked>, as_json: bool) {
    if as_json {
        let mut report = json!({
            "id": manifest.id.to_string(),
            "bytes": manifest.bytes(),
            "damaged_records": manifest.damaged_records,
        });
        if let Some(Asked { collections, documents, hits }) = asked {
            report["restored"] = json!({ "collections": collections, "documents": documents, "hits": hits });
        }
        println!("{report}");
        return;
    }
    println!("{}: {} bytes, every block as it was written", manifest.id, manifest.bytes());
    if let Some(Asked { collections, documents, hits }) = asked {
        println!("restored: {documents} documents in {collections} collections; {hits} hits quote their documents");
    }
}

/// Restores into a temporary folder and asks what was restored.
fn rehearse(ctx: &Ctx, config: &Config, store: &dyn SnapshotStore, manifest: &Manifest) -> anyhow::Result<Asked> {
    let folder = tempfile::Builder::new().prefix("ibid-verify-").tempdir().context("make a temporary folder")?;
    let data_dir = folder.path().join("data");
    snapshots::restore(ctx, store, manifest, &RealDisk, &data_dir).context("restore into a temporary folder")?;
    // Models of the data folder stay where they are.
    let parts = Parts::of_this_machine(config)?;
    let (house, _) = House::open(&Config { data_dir, ..config.clone() }, parts)?;
    let asked = runtime()?.block_on(ask(ctx, &house.engine));
    house.engine.close();
    asked
}

async fn ask(ctx: &Ctx, engine: &Engine) -> anyhow::Result<Asked> {
    let partitions = partitions(ctx, engine).await?;
    for partition in &partitions {
        partition.settled(ctx, |_| {}).await?;
    }
    let violations = engine.violations(ctx).await?;
    if let Some(first) = violations.first() {
        bail!("the restored folder is not sound: {first}, and {} more", violations.len() - 1);
    }
    let mut asked = Asked { collections: partitions.len(), ..Asked::default() };
    for partition in &partitions {
        asked.documents += partition.info().documents;
        asked.hits += ask_one(ctx, partition).with_context(|| format!("ask collection {}", partition.name()))?;
    }
    Ok(asked)
}

async fn partitions(ctx: &Ctx, engine: &Engine) -> anyhow::Result<Vec<Partition>> {
    let operator = Operator::of_this_process();
    let mut partitions = Vec::new();
    let mut after: Option<TenantName> = None;
    loop {
        let page = engine.tenants(&operator, after.as_ref(), PAGE);
        for tenant in &page {
            let right = engine.enter(&operator, &tenant.name)?;
            for name in collection_names(engine, &right) {
                partitions.push(engine.partition(ctx, &right, &name).await?);
            }
        }
        match page.into_iter().next_back() {
            Some(last) => after = Some(last.name),
            None => return Ok(partitions),
        }
    }
}

fn collection_names(engine: &Engine, right: &TenantId) -> Vec<CollectionName> {
    let mut names: Vec<CollectionName> = Vec::new();
    loop {
        let page = engine.collection_names(right, names.last(), PAGE);
        if page.is_empty() {
            return names;
        }
        names.extend(page);
    }
}

/// Asks for a document by its own words; how many chunks were found. Each must quote its document's stored text.
fn ask_one(ctx: &Ctx, partition: &Partition) -> anyhow::Result<usize> {
    let documents = partition.list(None, None, ASKED_MAX);
    let mut indexed = documents.iter().filter(|document| document.chunks > 0).peekable();
    if indexed.peek().is_none() {
        return Ok(0);
    }
    let snapshot = partition.snapshot(None);
    for document in indexed {
        let (_, text) = partition.document(&document.id, None)?;
        let question = &text[..text.floor_char_boundary(QUESTION_BYTES_MAX)];
        let candidates = snapshot.by_words(ctx, question, HITS)?;
        for candidate in &candidates {
            let found = snapshot.find(candidate.label)?;
            let (_, text) = partition.document(&found.document, Some(found.revision))?;
            ensure!(found.span.quote(&text) == Some(&found.text), "a hit does not quote document {}", found.document);
        }
        if !candidates.is_empty() {
            return Ok(candidates.len());
        }
    }
    bail!("none of {} documents is found by its own words", documents.len())
}

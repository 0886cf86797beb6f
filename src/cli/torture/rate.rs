//! How near acknowledgements come to what the disk allows.
//!
//! A sync is shared by the writes that wait for it. So with writers enough, acknowledgements a second can be the disk's syncs
//! a second, measured alone, times the acknowledgements that share one. The server runs in this process here, for its own
//! count of syncs; its clients are gRPC clients all the same, on threads that give way to its own.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use ibid_runtime::{Clock, Disk, SystemClock};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::UnboundedReceiverStream;

use super::clients::{Clients, Keys, create_collections, put_request};
use super::model::COLLECTIONS;
use super::revision::Revision;
use super::slow::SlowDisk;
use crate::cli::Global;
use crate::cli::session::{Session, explain};
use crate::config::Config;
use crate::first_start;
use crate::house::Parts;
use crate::proto::ingest_request::Step;
use crate::proto::ingest_response::Outcome;
use crate::proto::{IngestCommit, IngestRequest, Stage};
use crate::server::{Running, Server};

/// Streams of documents, each on a connection of its own; each has as many on their way as the server gives credit for.
const STREAMS: usize = 6;
const LEAD: Duration = Duration::from_millis(500);
const LASTS: Duration = Duration::from_secs(3);
const SYNCS_LAST: Duration = Duration::from_secs(1);

/// What was measured, each a second where it is not a ratio.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    acks_per_s: f64,
    syncs_per_s: f64,
    /// The disk's own, alone, by writes as long as the log's.
    syncs_alone_per_s: f64,
    sync_bytes: f64,
    acks_per_sync: f64,
    records_per_sync: f64,
}

impl Rate {
    pub(super) fn vs_limit(&self) -> f64 {
        self.acks_per_s / (self.syncs_alone_per_s * self.acks_per_sync)
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "streams": STREAMS,
            "acks_per_s": self.acks_per_s.round(),
            "fdatasyncs_alone_per_s": self.syncs_alone_per_s.round(),
            "fdatasyncs_per_s": self.syncs_per_s.round(),
            "bytes_per_fdatasync": self.sync_bytes.round(),
            "acks_per_fdatasync": (self.acks_per_sync * 100.0).round() / 100.0,
            "records_per_fdatasync": (self.records_per_sync * 100.0).round() / 100.0,
        })
    }

    pub(super) fn line(&self) -> String {
        format!(
            "{:.0} acks/s by {STREAMS} streams; limit: {:.0} fdatasync/s of {:.0} bytes alone x {:.1} acks a sync; \
             under load {:.0} fdatasync/s of {:.1} records",
            self.acks_per_s,
            self.syncs_alone_per_s,
            self.sync_bytes,
            self.acks_per_sync,
            self.syncs_per_s,
            self.records_per_sync,
        )
    }
}

/// Measures on the file system of `dir`, in a folder that is removed afterwards.
/// Where a sync takes less than `sync_min`, it is made to last so long.
pub(super) async fn measure(
    global: &Global,
    parts: Parts,
    dimension: usize,
    dir: &Path,
    sync_min: Duration,
) -> anyhow::Result<Rate> {
    let parts = Parts { disk: Arc::new(SlowDisk { disk: parts.disk, sync_min }), ..parts };
    let folder = dir.join("torture-rate");
    let mut config = global.config()?;
    config.data_dir = folder.join("data");
    config.server.listen = ([127, 0, 0, 1], 0).into();
    // Writers alone are to be in each other's way.
    config.limits.pending_documents_max = usize::MAX;
    let measured = measure_in(&config, parts, dimension, &folder).await;
    std::fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
    measured
}

async fn measure_in(config: &Config, parts: Parts, dimension: usize, folder: &Path) -> anyhow::Result<Rate> {
    let disk = Arc::clone(&parts.disk);
    let server = Server::start(config, parts).await?;
    let under_load = tokio::task::block_in_place(|| remote()?.block_on(load(&server, config, dimension)));
    server.shutdown().await?;
    let Counted { acks, records, syncs, bytes, took } = under_load?;
    ensure!(syncs > 0, "nothing was acknowledged within {LASTS:?}");
    let per_sync = |count: u64| count as f64 / syncs as f64;
    let sync_bytes = per_sync(bytes);
    Ok(Rate {
        acks_per_s: acks as f64 / took.as_secs_f64(),
        syncs_per_s: syncs as f64 / took.as_secs_f64(),
        syncs_alone_per_s: tokio::task::block_in_place(|| syncs_alone(&*disk, folder, sync_bytes as usize))?,
        sync_bytes,
        acks_per_sync: per_sync(acks),
        records_per_sync: per_sync(records),
    })
}

/// Threads for the clients that give way to the server's: elsewhere, they would take no processor from it.
fn remote() -> anyhow::Result<Runtime> {
    let yielding = || {
        #[cfg(unix)]
        if let Err(error) = rustix::process::setpriority_process(None, 19) {
            tracing::debug!(%error, "the clients compete with the server for the processor");
        }
    };
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.thread_name("clients").worker_threads(2).enable_all().on_thread_start(yielding);
    runtime.build().context("start the clients' threads")
}

/// What happened over a stretch of time.
struct Counted {
    acks: u64,
    records: u64,
    syncs: u64,
    bytes: u64,
    took: Duration,
}

async fn load(server: &Running, config: &Config, dimension: usize) -> anyhow::Result<Counted> {
    let address = format!("http://{}", server.address());
    let key =
        std::fs::read_to_string(first_start::operator_key(&config.data_dir)).context("read the operator's key")?;
    let clients = Clients::connect(&address, key.trim(), Keys::default(), dimension).await?;
    clients.create_tenant("rate").await.map_err(|status| explain(&status))?;
    let session = clients.tenant("rate").await?;
    create_collections(&session).await.map_err(|status| explain(&status))?;
    let mut sessions = vec![session];
    for _ in 1..STREAMS {
        let clients = Clients::connect(&address, key.trim(), clients.keys_of_tenants(), dimension).await?;
        sessions.push(clients.tenant("rate").await?);
    }

    let (next, acks) = (Arc::new(AtomicU64::new(1)), Arc::new(AtomicU64::new(0)));
    let mut writers = JoinSet::new();
    for session in sessions {
        writers.spawn(ingest_on(session, dimension, Arc::clone(&next), Arc::clone(&acks)));
    }
    let clock = SystemClock::new();
    let now = || {
        let stats = server.house().engine.ledger_stats();
        (clock.monotonic(), acks.load(Ordering::Relaxed), stats)
    };
    tokio::time::sleep(LEAD).await;
    let before = now();
    tokio::time::sleep(LASTS).await;
    let after = now();
    // A writer ends only by an error.
    if let Some(ended) = writers.try_join_next() {
        ended??;
    }
    Ok(Counted {
        acks: after.1 - before.1,
        records: after.2.records - before.2.records,
        syncs: after.2.syncs - before.2.syncs,
        bytes: after.2.bytes - before.2.bytes,
        took: after.0 - before.0,
    })
}

/// Puts new documents by one stream until it is dropped: as many are on their way as the server gives credit for.
async fn ingest_on(
    session: Session,
    dimension: usize,
    next: Arc<AtomicU64>,
    acks: Arc<AtomicU64>,
) -> anyhow::Result<()> {
    let (sender, uploads) = mpsc::unbounded_channel();
    let upload = || {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let revision = Revision::of("rate", number);
        let put = put_request(&revision, COLLECTIONS[0], number.to_string(), Stage::Durable, dimension);
        let steps = put.header.map(Step::Header).into_iter().chain([Step::Part(put.content)]);
        // Once nobody receives them the stream has ended, with an error that is read below.
        steps
            .chain([Step::Commit(IngestCommit {})])
            .for_each(|step| drop(sender.send(IngestRequest { step: Some(step) })));
    };
    let replies = session.documents().ingest(UnboundedReceiverStream::new(uploads)).await;
    let mut replies = replies.map_err(|status| explain(&status))?.into_inner();
    let mut waiting = 0;
    loop {
        let reply = replies.message().await.map_err(|status| explain(&status))?;
        let reply = reply.context("the server ended a stream")?;
        match reply.outcome {
            // The first one only gives credit.
            None => {}
            Some(Outcome::Result(_)) => {
                acks.fetch_add(1, Ordering::Relaxed);
                waiting -= 1;
            }
            Some(Outcome::Error(error)) => bail!("a document was refused: {}", error.message),
        }
        while waiting < reply.documents_credit {
            upload();
            waiting += 1;
        }
    }
}

/// Writes of so many bytes at a file's end, each followed by `fdatasync`, a second.
fn syncs_alone(disk: &dyn Disk, folder: &Path, bytes: usize) -> anyhow::Result<f64> {
    let clock = SystemClock::new();
    let file = disk.create(&folder.join("syncs")).context("make a file to sync")?;
    let piece = vec![7; bytes];
    let (start, mut count) = (clock.monotonic(), 0);
    while clock.monotonic() - start < SYNCS_LAST {
        file.write_at(count * bytes as u64, &piece).context("write")?;
        file.sync().context("sync")?;
        count += 1;
    }
    Ok(count as f64 / (clock.monotonic() - start).as_secs_f64())
}

//! Whether this machine, the configuration and the data folder are fit for a server, before one is started on them.
//!
//! It changes nothing: what it writes to measure the disk is removed. What is *in* a data folder is looked at by `ibid fsck`.

use std::fmt::Display;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;
use ibid_engine::snapshots;
use ibid_eval::percentile;
use ibid_infer::isa;
use ibid_runtime::{Clock, Disk, RealDisk, SystemClock};
use serde_json::json;

use super::Global;
use super::terminal::plain;
use crate::config::Config;
use crate::house::Parts;

/// Look whether this machine, the settings and the data folder's disk are fit for a server.
#[derive(Debug, Args)]
pub(super) struct Doctor;

/// Syncs measured, each after a write of so many bytes.
const SYNCS: u64 = 64;
const SYNC_BYTES: u64 = 4 << 10;
/// A sync that takes no longer has not waited for a disk.
const SYNC_MIN: Duration = Duration::from_micros(20);
/// A write is acknowledged after one of them.
const SYNC_MAX: Duration = Duration::from_millis(50);
const FREE_BYTES_LOW: u64 = 2 << 30;
const FREE_BYTES_MIN: u64 = 64 << 20;
/// Each collection holds its index's files open.
const FILES_LOW: u64 = 4_096;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Good,
    Doubtful,
    Bad,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Verdict::Good => "ok",
            Verdict::Doubtful => "doubtful",
            Verdict::Bad => "bad",
        }
    }
}

/// What was found of one thing, and what to do about it.
struct Finding {
    what: &'static str,
    verdict: Verdict,
    found: String,
    advice: &'static str,
}

impl Finding {
    fn good(what: &'static str, found: impl Display) -> Finding {
        Finding { what, verdict: Verdict::Good, found: found.to_string(), advice: "" }
    }

    fn doubtful(what: &'static str, found: impl Display, advice: &'static str) -> Finding {
        Finding { what, verdict: Verdict::Doubtful, found: found.to_string(), advice }
    }

    fn bad(what: &'static str, found: impl Display, advice: &'static str) -> Finding {
        Finding { what, verdict: Verdict::Bad, found: found.to_string(), advice }
    }
}

impl Doctor {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<()> {
        let config = global.config()?;
        let findings = [
            processor(&config),
            models(&config),
            folder(&config),
            syncs(&config),
            room(&config),
            files(),
            address(&config),
            encryption(&config),
            snapshot_target(&config),
        ];
        if global.json {
            let finding = |one: &Finding| json!({ "what": one.what, "verdict": one.verdict.word(), "found": one.found, "advice": one.advice });
            println!("{}", json!({ "findings": findings.iter().map(finding).collect::<Vec<_>>() }));
        } else {
            for one in &findings {
                println!("{:12} {:9} {}", one.what, one.verdict.word(), plain(&one.found));
            }
            for one in findings.iter().filter(|one| !one.advice.is_empty()) {
                println!("{}: {}", one.what, one.advice);
            }
        }
        let bad = findings.iter().filter(|one| one.verdict == Verdict::Bad).count();
        ensure!(bad == 0, "{bad} of these keep a server from working");
        Ok(())
    }
}

fn processor(config: &Config) -> Finding {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let found = format!("{cores} cores, {}; {} compute threads", isa(), config.compute.threads);
    if config.compute.threads > cores {
        return Finding::doubtful("processor", found, "more compute threads than cores are in each other's way");
    }
    Finding::good("processor", found)
}

fn models(config: &Config) -> Finding {
    match Parts::of_this_machine(config) {
        Ok(parts) => {
            let names: Vec<&str> = parts.models.by_id.keys().map(|id| id.as_str()).collect();
            Finding::good("models", format!("{}, {} load", names.join(", "), config.models.reranker))
        }
        Err(error) => {
            let found = format!("{:#}", anyhow::Error::from(error));
            Finding::bad("models", found, "`ibid models list` shows what is here, `ibid models pull` fetches one")
        }
    }
}

/// The nearest folder that is there: the data folder's file system.
fn nearest(folder: &Path) -> PathBuf {
    let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    folder.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("/")).to_owned()
}

fn folder(config: &Config) -> Finding {
    let shown = config.data_dir.display();
    if config.data_dir.join("log").is_dir() {
        return Finding::good("data folder", format!("{shown} has a log"));
    }
    if config.data_dir.exists() && !config.data_dir.is_dir() {
        return Finding::bad("data folder", format!("{shown} is no folder"), "name another one with --data-dir");
    }
    Finding::good("data folder", format!("{shown} is made by the first start"))
}

fn syncs(config: &Config) -> Finding {
    let measured = measure_syncs(&nearest(&config.data_dir));
    let times = match measured {
        Ok(times) => times,
        Err(error) => {
            return Finding::bad("disk syncs", format!("{error:#}"), "the server must be able to write there");
        }
    };
    let [half, most] = [50, 99].map(|percent| percentile(&times, percent).unwrap_or_default());
    let found = format!("half take {half:.1?}, 99 of 100 at most {most:.1?}");
    if half < SYNC_MIN {
        return Finding::doubtful(
            "disk syncs",
            found,
            "so fast that nothing waits for a disk: a power cut may lose writes",
        );
    }
    if half > SYNC_MAX {
        return Finding::doubtful("disk syncs", found, "an acknowledged write waits for one: take a faster disk");
    }
    Finding::good("disk syncs", found)
}

fn measure_syncs(folder: &Path) -> anyhow::Result<Vec<Duration>> {
    let (disk, clock) = (RealDisk, SystemClock::new());
    let path = folder.join(format!(".ibid-doctor-{}", std::process::id()));
    let file = disk.create(&path).with_context(|| format!("make a file in {}", folder.display()))?;
    let piece = vec![7; SYNC_BYTES as usize];
    let once = |count: u64| {
        let start = clock.monotonic();
        file.write_at(count * SYNC_BYTES, &piece).and_then(|()| file.sync())?;
        Ok(clock.monotonic() - start)
    };
    let times: std::io::Result<Vec<Duration>> = (0..SYNCS).map(once).collect();
    disk.remove(&path).context("remove the file that was synced")?;
    times.context("write and sync")
}

#[cfg(unix)]
fn room(config: &Config) -> Finding {
    let stat = match rustix::fs::statvfs(nearest(&config.data_dir)) {
        Ok(stat) => stat,
        Err(error) => return Finding::doubtful("room", error, "how much room there is cannot be told"),
    };
    let bytes = stat.f_bavail.saturating_mul(stat.f_frsize);
    let found = format!("{} MiB free", bytes >> 20);
    match bytes {
        0..FREE_BYTES_MIN => Finding::bad("room", found, "writes are refused while the disk is full"),
        FREE_BYTES_MIN..FREE_BYTES_LOW => Finding::doubtful("room", found, "writes are refused once the disk is full"),
        FREE_BYTES_LOW.. => Finding::good("room", found),
    }
}

#[cfg(unix)]
fn files() -> Finding {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    if limit < FILES_LOW {
        let advice = "each collection in use holds about ten: raise it (`ulimit -n 65536`) for many collections";
        return Finding::doubtful("open files", format!("{limit} allowed"), advice);
    }
    Finding::good("open files", format!("{limit} allowed"))
}

#[cfg(not(unix))]
fn room(_config: &Config) -> Finding {
    Finding::doubtful("room", "not known", "how much room there is cannot be told on this system")
}

#[cfg(not(unix))]
fn files() -> Finding {
    Finding::good("open files", "no limit known")
}

fn address(config: &Config) -> Finding {
    let listen = config.server.listen;
    match TcpListener::bind(listen) {
        Ok(_) if listen.ip().is_loopback() || config.server.tls.is_some() => {
            Finding::good("address", format!("{listen} is free"))
        }
        Ok(_) => Finding::doubtful(
            "address",
            format!("{listen} is free, and reached from other machines without TLS"),
            "set server.tls.cert and server.tls.key, or put a proxy that has them in front",
        ),
        Err(error) => Finding::doubtful(
            "address",
            format!("{listen}: {error}"),
            "a server runs there already, or server.listen has to be another",
        ),
    }
}

fn encryption(config: &Config) -> Finding {
    let there = config.data_dir.join("tenant-keys").is_dir();
    match (&config.ledger.master_key, there) {
        (Some(_), _) => Finding::good("encryption", "what tenants store is encrypted"),
        (None, false) => Finding::good("encryption", "off: no master key is configured"),
        (None, true) => Finding::bad(
            "encryption",
            "the folder is encrypted, and no master key is configured",
            "configure the one it was made with: ledger.master_key_file, or IBID_MASTER_KEY",
        ),
    }
}

fn snapshot_target(config: &Config) -> Finding {
    let Some(target) = &config.snapshots.target else {
        return Finding::doubtful("snapshots", "no target", "one disk is one copy: set snapshots.target");
    };
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let listed = target.open(&disk).map_err(anyhow::Error::from);
    match listed.and_then(|store| snapshots::list(&*store).map_err(anyhow::Error::from)) {
        Ok(there) if there.is_empty() => {
            Finding::doubtful("snapshots", format!("{target} has none"), "`ibid snapshot create` makes one")
        }
        Ok(there) => Finding::good("snapshots", format!("{target} has {}", there.len())),
        Err(error) => Finding::bad("snapshots", format!("{target}: {error:#}"), "no snapshot can be made there"),
    }
}

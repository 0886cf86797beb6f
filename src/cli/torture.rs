//! kill -9, again and again: what was acknowledged is there afterwards, whole.
//!
//! | file          | responsibility                                                                    |
//! | ------------- | --------------------------------------------------------------------------------- |
//! | `server.rs`   | the server under torture, a process of its own                                    |
//! | `clients.rs`  | what is asked of it, over gRPC                                                    |
//! | `revision.rs` | what a document holds: everything follows from a number                           |
//! | `model.rs`    | what must be stored and what may be; kept in a file from one run to the next      |
//! | `load.rs`     | writers and an operator that go on until the server is gone                       |
//! | `check.rs`    | what the server has, against what it acknowledged                                 |
//! | `rate.rs`     | how near acknowledgements come to what the disk allows                            |
//! | `slow.rs`     | a slower disk than this machine's                                                 |
//!
//! A killed process leaves the page cache as it was: this says nothing of power cuts. The simulation does.

mod check;
mod clients;
mod load;
mod model;
mod rate;
mod revision;
mod server;
mod slow;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::Args;
use ibid_engine::snapshots::{self, FolderStore, SnapshotError};
use ibid_runtime::{Clock, Ctx, Priority, RealDisk, SystemClock};
use serde_json::json;

use self::check::Findings;
use self::clients::{Clients, Keys};
use self::load::Draws;
use self::model::Model;
use self::rate::Rate;
use self::server::Server;
use super::Global;
use super::serve::told_to_stop;
use super::terminal::{plain, teller};
use crate::first_start;
use crate::house::Parts;

/// Kill a server under load and compare what it has afterwards with what it acknowledged
#[derive(Debug, Args)]
pub(super) struct Torture {
    /// How often
    #[arg(long, default_value_t = 20)]
    kills: u64,
    /// What moments, documents and tenants are drawn from; a later run over the same state draws others
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Go on where an earlier run ended: what it knows of the data folder is kept here. Needs --data-dir
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Measure the rate of acknowledgements on a disk whose syncs take so many milliseconds at least: on a fast one the
    /// processor is the limit
    #[arg(long, value_name = "MS", default_value_t = 0)]
    sync_ms: u64,
}

impl Torture {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<()> {
        let known = match &self.state {
            Some(file) => Model::load(file)?,
            None => None,
        };
        let (data_dir, is_temporary) = match &global.data_dir {
            Some(folder) => (folder.clone(), false),
            None if self.state.is_some() => bail!("--state needs --data-dir: the folder that it tells of"),
            None => (std::env::temp_dir().join(format!("ibid-torture-{}", std::process::id())), true),
        };
        fs::create_dir_all(&data_dir).with_context(|| format!("--data-dir: make {}", data_dir.display()))?;
        let is_empty = fs::read_dir(&data_dir).context("--data-dir: read")?.next().is_none();
        ensure!(
            known.is_some() || is_empty,
            "--data-dir: {} is not empty; give an empty folder, or the --state that tells of it",
            data_dir.display()
        );
        let mut model = known.unwrap_or_else(|| Model::new(self.seed));
        let done = self.torture(global, &data_dir, &mut model).await;
        match &done {
            Ok(findings) if findings.count() == 0 && is_temporary => {
                fs::remove_dir_all(&data_dir).with_context(|| format!("remove {}", data_dir.display()))?;
            }
            Ok(_) | Err(_) if is_temporary => eprintln!("the data folder is left in {}", data_dir.display()),
            Ok(_) | Err(_) => {}
        }
        let findings = done?.count();
        ensure!(findings == 0, "{findings} things are not as they must be");
        Ok(())
    }

    /// Kills, measures, and prints what came of it.
    async fn torture(&self, global: &Global, data_dir: &Path, model: &mut Model) -> anyhow::Result<Findings> {
        let parts = Parts::of_this_machine(&global.config()?)?;
        let dimension = parts.models.get(&parts.models.default).context("the embedder is loaded")?.dimension();
        let clock = SystemClock::new();
        let run = Run {
            global,
            data_dir,
            log: data_dir.join("torture.log"),
            state: self.state.as_deref(),
            dimension,
            keys: Keys::default(),
        };
        let (kills_before, start) = (model.counts.kills, clock.monotonic());
        let findings = run.kill_all(self.kills, self.seed, model).await?;
        let seconds = (clock.monotonic() - start).as_secs_f64();
        let kills = model.counts.kills - kills_before;
        let seconds_per_kill = if kills == 0 { 0.0 } else { seconds / kills as f64 };
        if findings.count() == 0 {
            verify_newest(&server::snapshots_of(data_dir))?;
        }
        let sync_min = Duration::from_millis(self.sync_ms);
        let rate = if findings.count() == 0 {
            Some(rate::measure(global, parts, dimension, data_dir, sync_min).await?)
        } else {
            None
        };
        report(global, model, &findings, seconds_per_kill, rate.as_ref());
        Ok(findings)
    }
}

/// What survived of the snapshots is whole.
fn verify_newest(target: &Path) -> anyhow::Result<()> {
    let store = FolderStore::new(Arc::new(RealDisk), target.to_owned());
    let ctx = Ctx::new(Arc::new(SystemClock::new()), Priority::Ingest, None);
    match snapshots::read(&store, None) {
        Ok(manifest) => snapshots::verify(&ctx, &store, &manifest).context("the newest snapshot"),
        Err(SnapshotError::Nothing) => Ok(()),
        Err(error) => Err(error).context("the newest snapshot"),
    }
}

/// One run's surroundings.
struct Run<'a> {
    global: &'a Global,
    data_dir: &'a Path,
    log: PathBuf,
    state: Option<&'a Path>,
    dimension: usize,
    keys: Keys,
}

impl Run<'_> {
    /// Kills `kills` times, or until something is found or the process is told to stop. The server is compared with `model`
    /// whenever it starts, the first time too.
    async fn kill_all(&self, kills: u64, seed: u64, model: &mut Model) -> anyhow::Result<Findings> {
        let (progress, tell) = teller();
        let mut findings = Findings::default();
        let mut stop = Box::pin(told_to_stop());
        let mut is_stopped = false;
        let (mut server, mut clients) = self.start().await?;
        check::check(&clients, model, &mut findings).await;
        for kill in 1..=kills {
            if is_stopped || findings.count() > 0 {
                break;
            }
            self.save(model, true)?;
            let draws = Draws::new(seed, model.counts.kills);
            let stop = async {
                // However it came, it is the end.
                let _ = (&mut stop).await;
                is_stopped = true;
            };
            let errors = load::run(clients, draws, model, stop, || server.kill()).await?;
            errors.into_iter().for_each(|line| findings.error(line));
            model.killed();
            (server, clients) = self.start().await?;
            check::check(&clients, model, &mut findings).await;
            if findings.count() == 0 {
                self.save(model, false)?;
            }
            tell(&format!("kill {kill} of {kills}: {} writes acknowledged so far", model.counts.acked));
        }
        progress.finish_and_clear();
        server.kill()?.into_iter().for_each(|line| findings.error(line));
        Ok(findings)
    }

    fn save(&self, model: &mut Model, writing: bool) -> anyhow::Result<()> {
        self.state.map_or(Ok(()), |file| model.save(file, writing))
    }

    async fn start(&self) -> anyhow::Result<(Server, Clients)> {
        let server = tokio::task::block_in_place(|| Server::start(self.global, self.data_dir, &self.log))?;
        let key = first_start::operator_key(self.data_dir);
        let key = fs::read_to_string(&key).with_context(|| format!("read the key {}", key.display()))?;
        let clients = Clients::connect(server.address(), key.trim(), Keys::clone(&self.keys), self.dimension).await?;
        Ok((server, clients))
    }
}

fn report(global: &Global, model: &Model, findings: &Findings, seconds_per_kill: f64, rate: Option<&Rate>) {
    let Findings { lost_acks, half_documents, resurrected, mismatches, errors, lines } = findings;
    lines.iter().for_each(|line| eprintln!("{}", plain(line)));
    let counts = &model.counts;
    if global.json {
        let report = json!({
            "seed": model.seed,
            "kills": counts.kills,
            "acked": counts.acked,
            "cut_off": counts.cut_off,
            "tenants_dropped": counts.tenants_dropped,
            "snapshots": counts.snapshots,
            "lost_acks": lost_acks,
            "half_documents": half_documents,
            "resurrected": resurrected,
            "mismatches": mismatches,
            "errors": errors,
            "seconds_per_kill": (seconds_per_kill * 100.0).round() / 100.0,
            "ack_rate_vs_limit": rate.map(|rate| (rate.vs_limit() * 1_000.0).round() / 1_000.0),
            "ack_rate": rate.map(Rate::json),
        });
        println!("{report}");
        return;
    }
    println!("kills              {} ({seconds_per_kill:.2} s each)", counts.kills);
    println!("acknowledged       {} ({} more were on their way at a kill)", counts.acked, counts.cut_off);
    println!("tenants dropped    {}", counts.tenants_dropped);
    println!("snapshots          {}", counts.snapshots);
    println!("lost acks          {lost_acks}");
    println!("half documents     {half_documents}");
    println!("resurrected        {resurrected}");
    println!("mismatches         {mismatches}");
    println!("errors             {errors}");
    if let Some(rate) = rate {
        println!("ack rate vs limit  {:.2} ({})", rate.vs_limit(), rate.line());
    }
}

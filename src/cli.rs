//! The command line.
//!
//! | file         | responsibility                                                                |
//! | ------------ | ----------------------------------------------------------------------------- |
//! | `session.rs` | a connection: to the server that runs, or to one started for the command      |
//! | `serve.rs`   | the server, until it is told to stop                                          |
//! | `demo.rs`    | the handbook ingested, questions asked, the server left running               |
//! | `ingest.rs`  | files and folders into a collection                                           |
//! | `search.rs`  | the best chunks for a question                                                |
//! | `ask.rs`     | an answer as it comes, with numbered footnotes                                |
//! | `chunk.rs`   | how a file is read and cut                                                    |
//! | `citation.rs`| what has become of something cited                                            |
//! | `admin.rs`   | tenants and keys                                                              |
//! | `doctor.rs`  | whether machine, settings and disk are fit for a server                       |
//! | `compact.rs` | the log without what is of no use any more                                    |
//! | `fsck.rs`    | the data folder examined, while no server runs on it                          |
//! | `snapshot.rs`| snapshots made, listed, verified and restored                                 |
//! | `models.rs`  | list, verify, pull, import, quantize                                          |
//! | `migrate.rs` | a collection moved to another model                                           |
//! | `eval.rs`    | a labelled set measured                                                       |
//! | `bench.rs`   | this machine measured, beside other engines where there are any               |
//! | `torture.rs` | a server killed under load, and what it has afterwards                        |
//! | `terminal.rs`| colour and tables where a person reads, control characters made harmless      |

mod admin;
mod ask;
mod bench;
mod chunk;
mod citation;
mod compact;
mod demo;
mod doctor;
mod erasure;
mod eval;
mod fsck;
mod ingest;
mod migrate;
mod models;
mod search;
mod serve;
mod session;
mod snapshot;
mod terminal;
mod torture;

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::{Config, Sources};

/// A retrieval engine for RAG: one server that owns its indexes and answers with sources.
#[derive(Debug, Parser)]
#[command(name = "ibid", version, propagate_version = true, max_term_width = 110)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command understands.
#[derive(Debug, Args)]
struct Global {
    /// The data folder [default: ./ibid-data]
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The configuration file [default: ./ibid.toml if it is there]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Any setting, as in `--set rerank.depth=0`; `ibid config` lists them
    #[arg(long = "set", global = true, value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// A running server's address, such as http://127.0.0.1:7420 [default: the configured one if it runs, else the data
    /// folder is opened for the command]
    #[arg(long, global = true, env = "IBID_SERVER", value_name = "URL")]
    server: Option<String>,
    /// A file with the key to show [default: keys/default.key of the data folder; or the variable IBID_KEY]
    #[arg(long, global = true, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// The key itself. Only as a variable: a command line can be read by others.
    #[arg(long, hide = true, env = "IBID_KEY", hide_env_values = true)]
    key: Option<String>,
    /// One JSON object on standard output instead of text for people
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Ingest the handbook of three companies, ask a few questions, and leave the server running
    Demo(demo::Demo),
    /// Run the server
    Serve(serve::Serve),
    /// Put files and folders into a collection
    Ingest(ingest::Ingest),
    /// Show how a file is read and cut into chunks
    Chunk(chunk::Chunk),
    /// List the formats that are read
    Formats,
    /// Find the best chunks for a question
    Search(search::Search),
    /// Answer a question from the documents
    Ask(ask::Ask),
    /// Look what has become of something cited: current, superseded or erased
    Citation(citation::Citation),
    /// Create, list, show and delete tenants (operator key)
    #[command(subcommand)]
    Tenants(admin::Tenants),
    /// Make, list and revoke keys
    #[command(subcommand)]
    Keys(admin::Keys),
    /// Erase what was deleted or replaced from the log now, and give its room back (operator key)
    Compact(compact::Compact),
    /// Look whether something deleted is gone from the log, the indexes and the snapshots
    Erasure(erasure::Erasure),
    /// Read all of the log, compare every index with it, mend what can be mended, name what is lost; no server may run
    Fsck(fsck::Fsck),
    /// Copy everything to the snapshot target; list, verify, restore and prune such copies
    #[command(subcommand)]
    Snapshot(snapshot::Snapshot),
    /// List, verify, pull, import and quantize models; move a collection to another one
    #[command(subcommand)]
    Models(models::Models),
    /// Measure retrieval on a labelled set
    #[command(subcommand)]
    Eval(eval::Eval),
    /// Measure this machine, beside other engines where there are any
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Kill a server under load, again and again, and look for what it lost
    Torture(torture::Torture),
    /// Look whether this machine, the settings and the data folder's disk are fit for a server
    Doctor(doctor::Doctor),
    /// Show every setting with its value and where it came from
    Config,
}

/// Runs the command that this process was given. The exit status.
pub fn run() -> std::process::ExitCode {
    let Cli { global, command } = Cli::parse();
    match dispatch(&global, command) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", terminal::plain(&format!("{error:#}")));
            std::process::ExitCode::FAILURE
        }
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}

fn dispatch(global: &Global, command: Command) -> anyhow::Result<()> {
    match command {
        Command::Demo(demo) => runtime()?.block_on(demo.run(global)),
        Command::Serve(serve) => runtime()?.block_on(serve.run(global)),
        Command::Ingest(ingest) => runtime()?.block_on(ingest.run(global)),
        Command::Chunk(chunk) => chunk.run(global),
        Command::Formats => {
            chunk::list_formats();
            Ok(())
        }
        Command::Search(search) => runtime()?.block_on(search.run(global)),
        Command::Ask(ask) => runtime()?.block_on(ask.run(global)),
        Command::Citation(citation) => runtime()?.block_on(citation.run(global)),
        Command::Tenants(tenants) => runtime()?.block_on(tenants.run(global)),
        Command::Keys(keys) => runtime()?.block_on(keys.run(global)),
        Command::Compact(compact) => runtime()?.block_on(compact.run(global)),
        Command::Erasure(erasure) => runtime()?.block_on(erasure.run(global)),
        Command::Fsck(fsck) => fsck.run(global),
        Command::Snapshot(snapshot) => snapshot.run(global),
        Command::Models(models) => models.run(global),
        Command::Eval(eval) => runtime()?.block_on(eval.run(global)),
        Command::Bench(bench) => runtime()?.block_on(bench.run(global)),
        Command::Torture(torture) => runtime()?.block_on(torture.run(global)),
        Command::Doctor(doctor) => doctor.run(global),
        Command::Config => explain(global),
    }
}

impl Global {
    fn sources(&self) -> anyhow::Result<Sources> {
        let mut flags = BTreeMap::new();
        for setting in &self.settings {
            let (key, value) = setting
                .split_once('=')
                .ok_or_else(|| anyhow::anyhow!("--set {setting:?}: expected KEY=VALUE, such as rerank.depth=0"))?;
            flags.insert(key.to_owned(), value.to_owned());
        }
        if let Some(dir) = &self.data_dir {
            flags.insert("data_dir".to_owned(), dir.display().to_string());
        }
        Ok(Sources::of_this_process(self.config.clone(), flags))
    }

    fn config(&self) -> anyhow::Result<Config> {
        Ok(Config::load(&self.sources()?)?)
    }
}

fn explain(global: &Global) -> anyhow::Result<()> {
    for explained in Config::explain(&global.sources()?)? {
        println!("{} = {:?}  # {}: {}", explained.key, explained.value, explained.origin, explained.about);
    }
    Ok(())
}

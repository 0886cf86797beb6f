//! What this machine does, measured beside the engines that others would use on the same weights.
//!
//! | file         | responsibility                                                                     |
//! | ------------ | ---------------------------------------------------------------------------------- |
//! | `peer.rs`    | a Python process with the other engines, asked over JSON lines                      |
//! | `model.rs`   | the same weights for both sides                                                     |
//! | `texts.rs`   | texts of exact lengths in tokens, from a corpus                                     |
//! | `race.rs`    | workloads, and rounds in which the engines take turns                               |
//! | `figures.rs` | medians, spread, tables, and the machine they were measured on                      |
//! | `embed.rs`   | texts to vectors beside torch and onnxruntime                                       |
//! | `agree.rs`   | vectors beside sentence-transformers', and what a difference costs in nDCG          |
//! | `rerank.rs`  | pairs to scores beside onnxruntime                                                  |
//! | `budgets.rs` | quality against the time a search may rerank                                        |
//! | `plot.rs`    | curves as SVG                                                                       |
//! | `scratch.rs` | an engine in a temporary folder, and documents without end to fill it with          |
//! | `load.rs`    | a question's embedding while documents are ingested                                 |
//! | `ingest.rs`  | how soon documents are found by words, and what questions notice of it              |
//! | `open.rs`    | how soon a full folder answers after a close and after a kill, and what it takes up |
//! | `memory.rs`  | resident memory beside the weights held, and over an ingest                         |
//!
//! Invariants: one side works at a time, the other waits at its input. What is compared was measured in one run, in turns.
//! Every command prints the instructions, threads and versions that its figures were measured with.

mod agree;
mod budgets;
mod embed;
pub(super) mod figures;
mod ingest;
mod load;
mod memory;
mod model;
mod open;
pub(super) mod peer;
pub(super) mod plot;
mod race;
mod rerank;
mod scratch;
mod texts;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Global;

/// Measure this machine, beside other engines where there are any.
#[derive(Debug, Subcommand)]
pub(super) enum Bench {
    /// Texts to vectors: passages a second and the time of one question
    Embed(embed::Embed),
    /// How far our vectors agree with sentence-transformers', and what a difference costs in nDCG@10
    Agree(agree::Agree),
    /// Pairs to scores: pairs a second, and quality against the time a search may rerank
    Rerank(rerank::Rerank),
    /// The time of a question's embedding while documents are ingested at full speed
    Load(load::Load),
    /// How soon documents are found by words, and the time of questions meanwhile
    Ingest(ingest::Ingest),
    /// How soon a full data folder answers after a close and after a kill; what it takes up
    Open(open::Open),
    /// Resident memory beside the weights held, and its growth over an ingest
    Memory(memory::Memory),
}

/// Whom to compare with.
#[derive(Debug, Args)]
struct Peers {
    /// A Python with torch, sentence-transformers, onnxruntime and onnx
    #[arg(long = "peers", value_name = "PYTHON")]
    python: Option<PathBuf>,
    /// Where exported models are kept [default: ibid-bench in the folder for temporary files]
    #[arg(long = "peers-cache", value_name = "DIR")]
    cache: Option<PathBuf>,
}

impl Peers {
    fn cache(&self) -> PathBuf {
        self.cache.clone().unwrap_or_else(|| std::env::temp_dir().join("ibid-bench"))
    }
}

impl Bench {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<()> {
        match self {
            Bench::Embed(embed) => embed.run(global).await,
            Bench::Agree(agree) => agree.run(global).await,
            Bench::Rerank(rerank) => rerank.run(global).await,
            Bench::Load(load) => load.run(global).await,
            Bench::Ingest(ingest) => ingest.run(global).await,
            Bench::Open(open) => open.run(global).await,
            Bench::Memory(memory) => memory.run(global).await,
        }
    }
}

//! A labelled set measured.

mod against;
mod cache;
mod chunking;
mod run;

use std::time::Duration;

use clap::Subcommand;
use ibid_eval::Progress;
use indicatif::ProgressBar;

use super::Global;

/// Measure retrieval on a labelled set.
#[derive(Debug, Subcommand)]
pub(super) enum Eval {
    /// A set in BEIR's layout (corpus.jsonl, queries.jsonl, qrels/test.tsv), or the handbook
    Run(run::Run),
    /// What chunks bring back of the passages that answer, beside other libraries' chunkers at the same number of tokens
    Chunking(chunking::Chunking),
    /// What the semantic cache takes for the same question, on labelled pairs
    Cache(cache::Cache),
}

impl Eval {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<()> {
        match self {
            Eval::Run(run) => run.run(global).await,
            Eval::Chunking(chunking) => chunking.run(global).await,
            Eval::Cache(cache) => cache.run(global).await,
        }
    }
}

fn show(progress: &ProgressBar, moved: Progress) {
    let (stage, done, of) = match moved {
        Progress::Stored(done, of) => ("storing", done as u64, of as u64),
        Progress::Embedded(done, of) => ("embedding", done, of),
        Progress::Asked(way, done, of) => (way, done as u64, of as u64),
    };
    if progress.message() != stage {
        if progress.is_hidden() {
            // Nobody watches a bar: a line a stage is enough for a log.
            eprintln!("{stage}");
        }
        progress.set_message(stage);
        progress.reset();
        progress.enable_steady_tick(Duration::from_millis(500));
    }
    progress.set_length(of);
    progress.set_position(done);
}

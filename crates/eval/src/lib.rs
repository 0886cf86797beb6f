//! How good retrieval is, in the figures of the field: labelled sets, metrics, and the report they end up in.
//!
//! | file          | responsibility                                                                       |
//! | ------------- | ------------------------------------------------------------------------------------ |
//! | `beir.rs`     | a labelled set in BEIR's layout: corpus, queries, judgements                         |
//! | `handbook.rs` | a labelled set in our own layout: tenants, files, questions, the spans that answer   |
//! | `chunking.rs` | Chroma's set of answering passages: what chunks bring back of them, at equal tokens |
//! | `lines.rs`    | files of one record a line; a bad line is an error that says where                   |
//! | `qrels.rs`    | judgements: which document answers which query, and how well                         |
//! | `run.rs`      | what a search gave, in the order in which trec_eval would read it                    |
//! | `metrics.rs`  | nDCG, recall, reciprocal rank, and percentiles of times                              |
//! | `measure.rs`  | a set put into an engine, its queries asked in every way                             |
//! | `spans.rs`    | the handbook put into an engine: how much of the words that answer comes back       |
//! | `paired.rs`   | two ways compared query by query: difference, interval, chance                       |
//! | `report.rs`   | the figures of a measurement, as JSON and as a table                                 |
//! | `cache.rs`    | models whose results are kept on disk, so that a second measurement costs seconds    |
//! | `records.rs`  | the file below a cache: checksummed records of one size                              |
//! | `error.rs`    | why a measurement cannot be made                                                     |
//!
//! Invariants: the figures are trec_eval's own to nine digits (`tests/golden.rs`), each the mean over every judged query,
//! found or not. A cached result is what the model gave for exactly this input. This crate prints nothing, reads no
//! clock and writes nothing but its caches.
#![forbid(unsafe_code)]

mod beir;
mod cache;
mod chunking;
mod error;
mod handbook;
mod lines;
mod measure;
mod metrics;
mod paired;
mod qrels;
mod records;
mod report;
mod run;
mod spans;

pub use beir::{Beir, BeirDocument, BeirQuery, Warning};
pub use cache::{CacheCounts, CachedEmbed, CachedRerank};
pub use chunking::{
    ChunkingDocument, ChunkingQuestion, ChunkingSet, Piece, Ratio, Retrieved, Trial, mean, nearest, ratio,
};
pub use error::EvalError;
pub use handbook::{Handbook, HandbookDocument, Holder, LabelledSpan, Question, QuestionKind};
pub use measure::{Measurement, PerQuery, Progress};
pub use metrics::{Quality, ndcg, percentile, recall, reciprocal_rank};
pub use paired::Difference;
pub use qrels::{Judgements, Qrels};
pub use report::{Report, RunReport, Runs};
pub use run::Run;
pub use spans::{Cutting, SpanReport, Spans};

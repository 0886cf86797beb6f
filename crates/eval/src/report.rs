//! The figures of one measurement: as JSON through serde, and as a table for people through `Display`.

use std::fmt;
use std::time::Duration;

use ibid_core::ModelId;
use serde::{Deserialize, Serialize};

use crate::{Quality, percentile};

/// What one way of searching reached.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RunReport {
    /// The means over all judged queries.
    #[serde(flatten)]
    pub quality: Quality,
    /// The time that half of the queries did not exceed, in milliseconds.
    pub p50_ms: f64,
    /// The time that 95 % of the queries did not exceed, in milliseconds.
    pub p95_ms: f64,
}

impl RunReport {
    /// From the means and every query's time; without times both percentiles are 0.
    pub fn new(quality: Quality, times: &[Duration]) -> RunReport {
        let at_ms = |percent| percentile(times, percent).unwrap_or_default().as_secs_f64() * 1e3;
        RunReport { quality, p50_ms: at_ms(50), p95_ms: at_ms(95) }
    }
}

/// The ways of searching that are compared; `None` (`null` in JSON) for one that was not run.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Runs {
    /// BM25 alone.
    pub lexical: Option<RunReport>,
    /// Vectors alone.
    pub vector: Option<RunReport>,
    /// Both, joined by reciprocal rank fusion.
    pub fused: Option<RunReport>,
    /// The fused list with its head reranked, as long as it takes.
    pub reranked: Option<RunReport>,
    /// What a search does when nothing is asked for.
    pub default: Option<RunReport>,
}

/// The figures of one measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The figures of each way of searching.
    pub runs: Runs,
    /// Documents searched.
    pub documents: usize,
    /// Queries asked.
    pub queries: usize,
    /// The embedder.
    pub model: ModelId,
    /// The whole measurement's time, indexing included.
    pub seconds: f64,
}

const COLUMNS: [&str; 7] = ["run", "nDCG@10", "recall@10", "recall@100", "MRR@10", "p50 ms", "p95 ms"];

impl fmt::Display for Report {
    /// A table: a line a run, shares with 4 digits, `-` for what was not run; then a line about the set.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Runs { lexical, vector, fused, reranked, default } = &self.runs;
        let rows = [
            COLUMNS.map(str::to_owned),
            row("lexical", lexical.as_ref()),
            row("vector", vector.as_ref()),
            row("fused", fused.as_ref()),
            row("reranked", reranked.as_ref()),
            row("default", default.as_ref()),
        ];
        let widths: [usize; 7] =
            std::array::from_fn(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or_default());
        for row in &rows {
            write!(f, "{:<1$}", row[0], widths[0])?;
            for (cell, width) in row.iter().zip(widths).skip(1) {
                write!(f, "  {cell:>width$}")?;
            }
            writeln!(f)?;
        }
        let Report { documents, queries, model, seconds, .. } = self;
        writeln!(f, "{documents} documents, {queries} queries, {model}, {seconds:.1} s")
    }
}

fn row(name: &str, run: Option<&RunReport>) -> [String; 7] {
    let name = name.to_owned();
    match run {
        None => std::array::from_fn(|column| if column == 0 { name.clone() } else { "-".to_owned() }),
        Some(RunReport { quality, p50_ms, p95_ms }) => [
            name,
            format!("{:.4}", quality.ndcg_at_10),
            format!("{:.4}", quality.recall_at_10),
            format!("{:.4}", quality.recall_at_100),
            format!("{:.4}", quality.mrr_at_10),
            format!("{p50_ms:.1}"),
            format!("{p95_ms:.1}"),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let quality = Quality { ndcg_at_10: 0.67894, recall_at_10: 0.8, recall_at_100: 0.925, mrr_at_10: 1.0 };
        let times: Vec<Duration> = (1..=20).map(|n| Duration::from_micros(n * 1_250)).collect();
        let lexical = Some(RunReport::new(quality, &times));
        let model = ModelId::new("all-MiniLM-L6-v2").unwrap();
        Report { runs: Runs { lexical, ..Runs::default() }, documents: 5183, queries: 300, model, seconds: 61.28 }
    }

    #[test]
    fn the_json_form_is_the_contract() {
        let json = serde_json::to_string(&report()).unwrap();
        insta::assert_snapshot!(json, @r#"{"runs":{"lexical":{"ndcg@10":0.67894,"recall@10":0.8,"recall@100":0.925,"mrr@10":1.0,"p50_ms":12.5,"p95_ms":23.75},"vector":null,"fused":null,"reranked":null,"default":null},"documents":5183,"queries":300,"model":"all-MiniLM-L6-v2","seconds":61.28}"#);
        assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report());
    }

    #[test]
    fn the_table_is_aligned() {
        insta::assert_snapshot!(report().to_string(), @r"
        run       nDCG@10  recall@10  recall@100  MRR@10  p50 ms  p95 ms
        lexical    0.6789     0.8000      0.9250  1.0000    12.5    23.8
        vector          -          -           -       -       -       -
        fused           -          -           -       -       -       -
        reranked        -          -           -       -       -       -
        default         -          -           -       -       -       -
        5183 documents, 300 queries, all-MiniLM-L6-v2, 61.3 s
        ");
    }
}

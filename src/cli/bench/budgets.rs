//! Quality against the time a search may rerank.
//!
//! A set's test queries, again and again, are searched as by default, each with every budget in turn: the rerank stage's wall
//! time, how many candidates it scored, and nDCG@10 of the documents found.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use ibid_core::Floor;
use ibid_engine::{EmbedModel, Expand, Partition};
use ibid_eval::{Beir, Measurement, Quality};
use ibid_retrieve::{Duplicates, Fusion, Mode, Query, Rerank, Reranked, Rerankers, Retriever};
use ibid_runtime::{Clock, Ctx, Pool, Priority, SystemClock};
use serde_json::{Map, Value, json};

use super::figures::{percentile_ms, rounded};
use super::plot::{Curve, svg};
use super::scratch::Scratch;
use crate::cli::terminal::print_table;
use crate::config::Config;

/// The stages that a budget is for.
const STAGES: &str = "retrieve.rerank";
/// Hits asked for: several may be of one document, and ten documents are judged.
const TOP_K: usize = 20;
const CANDIDATES: usize = 50;

/// What is measured within budgets.
#[derive(Debug, Args)]
pub(super) struct Budgets {
    /// Budgets of the rerank stage
    #[arg(long = "budgets", value_name = "MS", value_delimiter = ',', default_values_t = [20, 50, 100, 200])]
    budgets_ms: Vec<u64>,
    /// How many queries a budget; the set's are repeated
    #[arg(long, default_value_t = 1_000)]
    queries: usize,
    /// Candidates that may be scored
    #[arg(long, default_value_t = 50)]
    depth: usize,
    /// Draw nDCG@10 against the budget
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
}

/// What one way of reranking reached.
pub(super) struct Curves {
    /// nDCG@10 of what is reranked.
    fused_ndcg: f64,
    /// By way, the default search's first.
    ways: Vec<(&'static str, Vec<Point>)>,
}

/// With one budget.
struct Point {
    /// `None`: as long as it takes, each query once.
    budget_ms: Option<u64>,
    times: Vec<Duration>,
    /// By the large model.
    scored: u64,
    scored_small: u64,
    ndcg_sum: f64,
}

impl Point {
    fn new(budget_ms: Option<u64>) -> Point {
        Point { budget_ms, times: Vec::new(), scored: 0, scored_small: 0, ndcg_sum: 0.0 }
    }

    fn mean(&self, sum: f64) -> f64 {
        sum / self.times.len().max(1) as f64
    }

    fn scored(&self) -> f64 {
        self.mean(self.scored as f64)
    }

    fn scored_small(&self) -> f64 {
        self.mean(self.scored_small as f64)
    }

    fn ndcg_at_10(&self) -> f64 {
        self.mean(self.ndcg_sum)
    }

    fn json(&self) -> Value {
        json!({
            "budget_ms": self.budget_ms,
            "p50_ms": rounded(percentile_ms(&self.times, 50), 2),
            "p99_ms": rounded(percentile_ms(&self.times, 99), 2),
            "scored": rounded(self.scored(), 2),
            "scored_small": rounded(self.scored_small(), 2),
            "ndcg@10": rounded(self.ndcg_at_10(), 5),
            "queries": self.times.len(),
        })
    }
}

impl Budgets {
    /// Puts the set into an engine of its own and asks its queries in each of the ways (the default search's first).
    pub(super) async fn measure(
        &self,
        data: &Path,
        config: &Config,
        pool: &Pool,
        model: Arc<dyn EmbedModel>,
        ways: Vec<(&'static str, Rerankers)>,
        tell: &dyn Fn(&str),
    ) -> anyhow::Result<Curves> {
        let set = Beir::open(data)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let scratch = Scratch::open(config, Arc::clone(&model), pool, Arc::clone(&clock))?;
        tell(&format!("{} documents into an engine", set.documents.len()));
        let (_, rerankers) = ways.first().cloned().context("there is a way to rerank")?;
        let engine = &scratch.engine;
        let measurement = Measurement {
            engine,
            pool,
            rerankers,
            clock,
            rerank_depth: self.depth,
            rerank_budget: None,
            neighbour_weight: Query::NEIGHBOUR_WEIGHT,
        };
        let settings = Measurement::settings(model.model().clone());
        let partition = measurement.fill(&set, settings, &|_| {}).await?;
        let retriever = |(name, rerankers)| (name, Retriever::new(pool.clone(), Some(rerankers)));
        let ways: Vec<_> = ways.into_iter().map(retriever).collect();
        let searched = self.search(&set, &partition, &ways, tell).await;
        drop(partition);
        scratch.close()?;
        let curves = searched?;
        if let Some(path) = &self.plot {
            std::fs::write(path, curves.svg()).with_context(|| format!("write {}", path.display()))?;
        }
        Ok(curves)
    }

    async fn search(
        &self,
        set: &Beir,
        partition: &Partition,
        ways: &[(&'static str, Retriever)],
        tell: &dyn Fn(&str),
    ) -> anyhow::Result<Curves> {
        let limited = |_: &(&'static str, Retriever)| self.budgets_ms.iter().map(|ms| Point::new(Some(*ms))).collect();
        let mut points: Vec<Vec<Point>> = ways.iter().map(limited).collect();
        points.iter_mut().for_each(|points| points.push(Point::new(None)));
        let mut fused = Point::new(None);
        for asked in 0..self.queries {
            let query = &set.queries[asked % set.queries.len()];
            if asked.is_multiple_of(100) {
                tell(&format!("query {asked} of {}, each with every budget", self.queries));
            }
            let first_time = asked < set.queries.len();
            if let (true, Some((_, retriever))) = (first_time, ways.first()) {
                let found = search(retriever, partition, &query.text, Rerank::Off).await?;
                fused.note(&found, set, &query.id);
            }
            for ((_, retriever), points) in ways.iter().zip(&mut points) {
                for point in points.iter_mut().filter(|point| first_time || point.budget_ms.is_some()) {
                    let budget = point.budget_ms.map(Duration::from_millis);
                    let rerank = Rerank::Top { depth: self.depth, weight: Rerank::WEIGHT, budget };
                    let found = search(retriever, partition, &query.text, rerank).await?;
                    point.note(&found, set, &query.id);
                }
            }
        }
        let ways = ways.iter().map(|(name, _)| *name).zip(points).collect();
        Ok(Curves { fused_ndcg: fused.ndcg_at_10(), ways })
    }
}

/// What one search found.
struct Found {
    documents: Vec<ibid_core::DocumentId>,
    scored: Reranked,
    rerank: Duration,
}

impl Point {
    fn note(&mut self, found: &Found, set: &Beir, query: &str) {
        let quality = set.qrels.of(query).map(|judged| Quality::of(&found.documents, judged)).unwrap_or_default();
        self.ndcg_sum += quality.ndcg_at_10;
        self.scored += u64::from(found.scored.large);
        self.scored_small += u64::from(found.scored.small);
        self.times.push(found.rerank);
    }
}

async fn search(retriever: &Retriever, partition: &Partition, question: &str, rerank: Rerank) -> anyhow::Result<Found> {
    let ctx = Ctx::new(Arc::new(SystemClock::new()), Priority::Query, None);
    let query = Query {
        question: question.to_owned(),
        vector: None,
        mode: Mode::Hybrid,
        top_k: TOP_K,
        neighbour_weight: Query::NEIGHBOUR_WEIGHT,
        candidates: CANDIDATES,
        fusion: Fusion::default(),
        rerank,
        filter: None,
        floor: Floor::default(),
        generation: None,
        expand: Expand::None,
        duplicates: Duplicates::Collapse,
    };
    let retrieved = retriever.retrieve(&ctx, std::slice::from_ref(partition), &query).await?;
    let stages: Vec<_> = ctx.stages().into_iter().filter(|stage| stage.stage.starts_with(STAGES)).collect();
    let start = stages.iter().map(|stage| stage.start).min().unwrap_or_default();
    let end = stages.iter().map(|stage| stage.start + stage.took).max().unwrap_or_default();
    let mut seen = HashSet::new();
    let documents = retrieved.hits.into_iter().map(|hit| hit.document).filter(|id| seen.insert(id.clone())).collect();
    Ok(Found { documents, scored: retrieved.reranked, rerank: end.saturating_sub(start) })
}

impl Curves {
    /// Fields to stand among those of a report: the default search's points, and those of every way.
    pub(super) fn json(&self) -> Map<String, Value> {
        let points = |points: &[Point]| points.iter().map(Point::json).collect::<Value>();
        let default = self.ways.first().map(|(_, points)| points.as_slice()).unwrap_or_default();
        let limited = default.iter().filter(|point| point.budget_ms.is_some()).map(Point::json).collect();
        let ways = self.ways.iter().map(|(name, own)| ((*name).to_owned(), points(own))).collect();
        Map::from_iter([
            ("budgets".to_owned(), limited),
            ("ways".to_owned(), Value::Object(ways)),
            ("fused_ndcg@10".to_owned(), rounded(self.fused_ndcg, 5)),
        ])
    }

    /// A table for people.
    pub(super) fn print(&self) {
        println!("\nreranking within a budget; without it nDCG@10 is {:.4}", self.fused_ndcg);
        let row = |name: &str, point: &Point| {
            vec![
                name.to_owned(),
                point.budget_ms.map_or_else(|| "none".to_owned(), |ms| ms.to_string()),
                format!("{:.1}", percentile_ms(&point.times, 50)),
                format!("{:.1}", percentile_ms(&point.times, 99)),
                format!("{:.1}", point.scored_small()),
                format!("{:.1}", point.scored()),
                format!("{:.4}", point.ndcg_at_10()),
                point.times.len().to_string(),
            ]
        };
        let rows = self.ways.iter().flat_map(|(name, points)| points.iter().map(|point| row(name, point)));
        let header =
            ["reranker", "budget ms", "p50 ms", "p99 ms", "scored small", "scored large", "nDCG@10", "queries"];
        print_table(&header, &rows.collect::<Vec<_>>());
    }

    /// nDCG@10 against the budget; no budget at all is where nothing was reranked.
    fn svg(&self) -> String {
        let curve = |(name, points): &(&str, Vec<Point>)| {
            #[allow(clippy::cast_precision_loss, reason = "budgets are far below 2^53 ms")]
            let limited = points.iter().filter_map(|point| Some((point.budget_ms? as f64, point.ndcg_at_10())));
            let mut points: Vec<(f64, f64)> = limited.chain([(0.0, self.fused_ndcg)]).collect();
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            Curve { name: (*name).to_owned(), points }
        };
        let curves: Vec<Curve> = self.ways.iter().map(curve).collect();
        svg("Quality against the reranker's time", "budget of the rerank stage, ms", "nDCG@10", &curves)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_search_comes_first_and_without_its_unlimited_point() {
        let point = |budget_ms, ms| Point {
            budget_ms,
            times: vec![Duration::from_millis(ms); 4],
            scored: 30,
            scored_small: 50,
            ndcg_sum: 2.8,
        };
        let points = || vec![point(Some(20), 21), point(None, 300)];
        let curves = Curves { fused_ndcg: 0.65, ways: vec![("cascade", points()), ("large", points())] };
        let json = curves.json();
        insta::assert_snapshot!(
            json["budgets"],
            @r#"[{"budget_ms":20,"ndcg@10":0.7,"p50_ms":21.0,"p99_ms":21.0,"queries":4,"scored":7.5,"scored_small":12.5}]"#
        );
        assert_eq!(json["ways"]["large"][1]["budget_ms"], Value::Null);
        assert!(curves.svg().contains(">cascade</text>"));
    }
}

//! The semantic cache on pairs of questions: how often it takes one question for another, and how often it knows one again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use ibid_core::{Embed, TenantKey};
use ibid_gateway::cache::semantic::{Config, Found, Scope, SemanticCache};
use ibid_gateway::cache::{COSINE_MIN, Difference, same_question};
use ibid_infer::ModelStore;
use ibid_runtime::{Clock, Ctx, Pool, Priority, SystemClock};
use serde::{Deserialize, Serialize};

use crate::cli::Global;
use crate::cli::terminal::print_table;
use crate::house::model_roots;

/// Measure the semantic cache: false hits on near misses, hits on paraphrases.
#[derive(Debug, Args)]
pub(in crate::cli) struct Cache {
    /// The pairs: JSON lines with half, same, a and b
    #[arg(long, value_name = "FILE", default_value = "datasets/paraphrases/pairs.jsonl")]
    pairs: PathBuf,
    /// The least cosine of two questions that may share an answer
    #[arg(long, default_value_t = COSINE_MIN)]
    cosine_min: f32,
    /// List the false hits of all pairs and the misses of the half `dev`, with why
    #[arg(long)]
    list: bool,
}

#[derive(Debug, Deserialize)]
struct Pair {
    half: String,
    same: bool,
    a: String,
    b: String,
}

/// One half of the pairs, or both.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
struct Rates {
    near_misses: usize,
    /// Of them, those that the cache answered.
    false_hits: usize,
    /// Of them, those that a cosine alone would have answered.
    false_hits_by_cosine_alone: usize,
    paraphrases: usize,
    /// Of them, those that the cache answered.
    hits: usize,
    hits_by_cosine_alone: usize,
}

impl Rates {
    fn false_hit_rate(&self) -> f64 {
        self.false_hits as f64 / self.near_misses.max(1) as f64
    }

    fn hit_rate(&self) -> f64 {
        self.hits as f64 / self.paraphrases.max(1) as f64
    }
}

/// A pair that went wrong.
struct Wrong {
    pair: Pair,
    cosine: f32,
    refused: Option<Difference>,
}

impl Cache {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<()> {
        let config = global.config()?;
        let pool = Pool::new(config.compute.threads, config.compute.jobs_max)?;
        let store = ModelStore::new(model_roots(&config));
        let embedder = store.load_embedder(&config.models.embedder, &pool, config.models.batch_tokens_max)?;
        let pairs = read(&self.pairs)?;
        let (rates, wrong) = measure(Arc::new(embedder), self.cosine_min, pairs).await?;
        if global.json {
            println!("{}", serde_json::to_string(&rates)?);
            return Ok(());
        }
        if self.list {
            for Wrong { pair: Pair { half, same, a, b }, cosine, refused } in wrong {
                if !same || half == "dev" {
                    let what = if same { "missed" } else { "false hit" };
                    let why = refused.map_or_else(String::new, |difference| format!(" ({difference})"));
                    println!("{what} {half} {cosine:.3}{why}: {a} | {b}");
                }
            }
        }
        let header = [
            "half",
            "near misses",
            "false hits",
            "rate",
            "cosine alone",
            "paraphrases",
            "hits",
            "rate",
            "cosine alone",
        ];
        let rows = rates.iter().map(|(half, rates)| {
            vec![
                half.clone(),
                rates.near_misses.to_string(),
                rates.false_hits.to_string(),
                format!("{:.3}", rates.false_hit_rate()),
                rates.false_hits_by_cosine_alone.to_string(),
                rates.paraphrases.to_string(),
                rates.hits.to_string(),
                format!("{:.3}", rates.hit_rate()),
                rates.hits_by_cosine_alone.to_string(),
            ]
        });
        print_table(&header, &rows.collect::<Vec<_>>());
        Ok(())
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<Pair>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let pair =
        |(at, line)| serde_json::from_str(line).with_context(|| format!("line {} of {}", at + 1, path.display()));
    let pairs = text.lines().enumerate().map(pair).collect::<anyhow::Result<Vec<Pair>>>()?;
    if pairs.is_empty() {
        bail!("{} has no pairs", path.display());
    }
    Ok(pairs)
}

/// Each pair in a scope of its own: the first question is kept, the second asked.
async fn measure(
    embedder: Arc<dyn Embed>,
    cosine_min: f32,
    pairs: Vec<Pair>,
) -> anyhow::Result<(BTreeMap<String, Rates>, Vec<Wrong>)> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let config = Config {
        cosine_min,
        ttl: Duration::from_secs(3_600),
        tenant_bytes_max: 64 << 20,
        bytes_max: 64 << 20,
        scope_entries_max: 16,
    };
    let cache = SemanticCache::new(config, embedder, Arc::clone(&clock))?;
    let ctx = Ctx::new(clock, Priority::Query, None);
    let mut rates: BTreeMap<String, Rates> = BTreeMap::new();
    let mut wrong = vec![];
    for (at, pair) in pairs.into_iter().enumerate() {
        let scope = Scope::new(TenantKey(1), &[&at.to_le_bytes()]);
        let kept = cache.ask(&ctx, &pair.a).await?;
        cache.keep(scope, &kept, (), 0);
        let (is_hit, cosine, refused) = match cache.find(scope, &cache.ask(&ctx, &pair.b).await?) {
            Found::Hit { cosine, .. } => (true, cosine, None),
            Found::Miss { nearest, refused } => {
                (false, nearest.unwrap_or(0.0), refused.or(same_question(&pair.a, &pair.b).err()))
            }
        };
        for half in [pair.half.as_str(), "both"] {
            let rates = rates.entry(half.to_owned()).or_default();
            let (all, hits, alone) = if pair.same {
                (&mut rates.paraphrases, &mut rates.hits, &mut rates.hits_by_cosine_alone)
            } else {
                (&mut rates.near_misses, &mut rates.false_hits, &mut rates.false_hits_by_cosine_alone)
            };
            *all += 1;
            *hits += usize::from(is_hit);
            *alone += usize::from(cosine >= cosine_min);
        }
        if is_hit != pair.same {
            wrong.push(Wrong { pair, cosine, refused });
        }
    }
    Ok((rates, wrong))
}

#[cfg(test)]
mod tests {
    use ibid_core::ModelId;

    use super::*;

    /// With the embedder that comes with a clone: at most one near miss in a hundred is answered, on each half, and
    /// at least four paraphrases in ten are.
    #[tokio::test(flavor = "multi_thread")]
    async fn near_misses_are_told_apart_and_paraphrases_are_known_again() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let pool = Pool::new(2, 64).unwrap();
        let model = ModelId::new("all-MiniLM-L6-v2-int8").unwrap();
        let embedder = ModelStore::new(vec![root.join("models")]).load_embedder(&model, &pool, 2_048).unwrap();
        let pairs = read(&root.join("datasets/paraphrases/pairs.jsonl")).unwrap();
        assert!(pairs.len() >= 300);
        let (rates, _) = measure(Arc::new(embedder), COSINE_MIN, pairs).await.unwrap();
        for (half, rates) in rates {
            assert!(rates.near_misses * 2 >= rates.near_misses + rates.paraphrases, "{half}: {rates:?}");
            assert!(rates.false_hit_rate() <= 0.01, "{half}: {rates:?}");
            assert!(rates.hit_rate() >= 0.4, "{half}: {rates:?}");
        }
    }
}

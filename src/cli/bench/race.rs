//! Workloads, and rounds in which the engines take turns.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use ibid_core::{Embed, Passage, Purpose, Rerank};
use ibid_infer::{CrossEncoder, Embedder};
use ibid_runtime::{Clock, Ctx, Priority, SystemClock};
use serde_json::{Value, json};

use super::peer::Peer;

/// Between turns: threads of an engine that has finished may spin for a while before they sleep.
const REST: Duration = Duration::from_millis(300);

/// What is read.
#[derive(Debug, Clone)]
pub(super) enum Inputs {
    /// By an embedder.
    Texts(Purpose, Vec<String>),
    /// By a cross-encoder: questions, each with its passages.
    Pairs(Vec<(String, Vec<Passage>)>),
}

/// Inputs in the batches in which every engine reads them.
#[derive(Debug, Clone)]
pub(super) struct Work {
    pub(super) name: &'static str,
    /// What it is, for a table.
    pub(super) about: String,
    pub(super) inputs: Inputs,
    /// Tokens of each input, special tokens included.
    pub(super) lengths: Vec<usize>,
    batches: Vec<Vec<usize>>,
}

impl Work {
    /// Texts in batches of at most `batch_tokens_max` tokens (padding not counted), in this order.
    pub(super) fn texts(
        name: &'static str,
        about: String,
        purpose: Purpose,
        texts: Vec<(String, usize)>,
        batch_tokens_max: usize,
    ) -> Work {
        let lengths: Vec<usize> = texts.iter().map(|(_, length)| *length).collect();
        let batches = batches(0, &lengths, batch_tokens_max);
        let texts = texts.into_iter().map(|(text, _)| text).collect();
        Work { name, about, inputs: Inputs::Texts(purpose, texts), lengths, batches }
    }

    /// Questions, each with its passages in this order and their pairs' lengths; no batch has pairs of two questions.
    pub(super) fn pairs(
        name: &'static str,
        about: String,
        asked: Vec<(String, Vec<(String, usize)>)>,
        batch_tokens_max: usize,
    ) -> Work {
        let (mut pairs, mut lengths, mut all) = (Vec::new(), Vec::new(), Vec::new());
        for (question, passages) in asked {
            let own: Vec<usize> = passages.iter().map(|(_, length)| *length).collect();
            all.extend(batches(lengths.len(), &own, batch_tokens_max));
            lengths.extend(own);
            let passage = |(text, _)| Passage { context: String::new(), text };
            pairs.push((question, passages.into_iter().map(passage).collect()));
        }
        Work { name, about, inputs: Inputs::Pairs(pairs), lengths, batches: all }
    }

    pub(super) fn tokens(&self) -> usize {
        self.lengths.iter().sum()
    }

    /// What the peers read of it.
    fn request(&self) -> Value {
        let mut request = json!({"do": "work", "work": self.name, "batches": self.batches});
        match &self.inputs {
            Inputs::Texts(_, texts) => request["texts"] = json!(texts),
            Inputs::Pairs(asked) => {
                let pairs = asked.iter().flat_map(|(question, passages)| {
                    passages.iter().map(move |passage| [question.as_str(), passage.text.as_str()])
                });
                request["pairs"] = json!(pairs.collect::<Vec<_>>());
            }
        }
        request
    }
}

/// Inputs of these lengths, numbered from `first`, in runs of at most `tokens_max` tokens, a longer one alone: the rule by
/// which our scheduler cuts a call into jobs.
fn batches(first: usize, lengths: &[usize], tokens_max: usize) -> Vec<Vec<usize>> {
    let mut batches: Vec<Vec<usize>> = Vec::new();
    let mut tokens = 0;
    for (input, length) in (first..).zip(lengths) {
        match batches.last_mut() {
            Some(batch) if tokens + length <= tokens_max => {
                batch.push(input);
                tokens += length;
            }
            Some(_) | None => {
                batches.push(vec![input]);
                tokens = *length;
            }
        }
    }
    batches
}

/// One of our models.
#[derive(Debug)]
pub(super) enum Ours {
    Embedder(Arc<Embedder>),
    Reranker(Arc<CrossEncoder>),
}

/// The engines, ours first.
#[derive(Debug)]
pub(super) struct Race {
    clock: Arc<dyn Clock>,
    ours: BTreeMap<&'static str, Ours>,
    pub(super) peer: Option<Peer>,
    /// In the order of their turns.
    pub(super) engines: Vec<String>,
}

/// Seconds of each round, by workload and engine.
pub(super) type Seconds = BTreeMap<(&'static str, String), Vec<f64>>;

impl Race {
    /// Our models, then the peer's engines.
    pub(super) fn new(ours: Vec<(&'static str, Ours)>, peer: Option<Peer>, theirs: Vec<String>) -> Race {
        let engines = ours.iter().map(|(name, _)| (*name).to_owned()).chain(theirs).collect();
        Race { clock: Arc::new(SystemClock::new()), ours: BTreeMap::from_iter(ours), peer, engines }
    }

    /// Hands the workload to the peers. Returns a note if they count other tokens than we do.
    pub(super) fn enter(&mut self, work: &Work) -> anyhow::Result<Option<String>> {
        let Some(peer) = &mut self.peer else { return Ok(None) };
        let answer = peer.ask(&work.request())?;
        let theirs = answer.get("tokens").and_then(Value::as_array).context("the peers counted no tokens")?;
        let theirs: u64 = theirs.iter().filter_map(Value::as_u64).sum();
        let differs = theirs != work.tokens() as u64;
        Ok(differs.then(|| format!("{}: the peers count {theirs} tokens, we {}", work.about, work.tokens())))
    }

    /// Every engine runs every workload once a round, in turns that begin with another engine each round. Before the first
    /// round each runs the first workload untimed.
    pub(super) async fn rounds(
        &mut self,
        works: &[Work],
        rounds: usize,
        tell: &dyn Fn(&str),
    ) -> anyhow::Result<Seconds> {
        let mut seconds = Seconds::new();
        for engine in self.engines.clone() {
            if let Some(work) = works.first() {
                tell(&format!("warm-up: {engine}"));
                self.all(&engine, work).await?;
            }
        }
        for round in 0..rounds {
            let mut turns = self.engines.clone();
            turns.rotate_left(round % self.engines.len().max(1));
            for work in works {
                for engine in &turns {
                    tell(&format!("round {} of {rounds}: {}, {engine}", round + 1, work.about));
                    tokio::time::sleep(REST).await;
                    let took = self.all(engine, work).await?;
                    seconds.entry((work.name, engine.clone())).or_default().push(took);
                }
            }
        }
        Ok(seconds)
    }

    /// Every engine runs every input of `work` alone, round by round as in [`Race::rounds`]. The times of all rounds.
    pub(super) async fn latencies(
        &mut self,
        work: &Work,
        rounds: usize,
        tell: &dyn Fn(&str),
    ) -> anyhow::Result<BTreeMap<String, Vec<Duration>>> {
        let mut times: BTreeMap<String, Vec<Duration>> = BTreeMap::new();
        for round in 0..rounds {
            let mut turns = self.engines.clone();
            turns.rotate_left(round % self.engines.len().max(1));
            for engine in turns {
                tell(&format!("round {} of {rounds}: {}, {engine}", round + 1, work.about));
                tokio::time::sleep(REST).await;
                let took = self.each(&engine, work).await?;
                times.entry(engine).or_default().extend(took);
            }
        }
        Ok(times)
    }

    async fn all(&mut self, engine: &str, work: &Work) -> anyhow::Result<f64> {
        if let Some(ours) = self.ours.get(engine) {
            let start = self.clock.monotonic();
            let ctx = self.ctx(Priority::Ingest);
            match (ours, &work.inputs) {
                (Ours::Embedder(embedder), Inputs::Texts(purpose, texts)) => {
                    embedder.embed(&ctx, *purpose, texts).await?;
                }
                (Ours::Reranker(reranker), Inputs::Pairs(asked)) => {
                    for (question, passages) in asked {
                        reranker.score(&ctx, question, passages).await?;
                    }
                }
                (Ours::Embedder(_), Inputs::Pairs(_)) | (Ours::Reranker(_), Inputs::Texts(..)) => {
                    bail!("{engine} does not read {}", work.about)
                }
            }
            return Ok((self.clock.monotonic() - start).as_secs_f64());
        }
        let answer = self.peer_mut()?.ask(&json!({"do": "time", "engine": engine, "work": work.name}))?;
        answer.get("seconds").and_then(Value::as_f64).context("the peers gave no time")
    }

    async fn each(&mut self, engine: &str, work: &Work) -> anyhow::Result<Vec<Duration>> {
        if let Some(ours) = self.ours.get(engine) {
            let (Ours::Embedder(embedder), Inputs::Texts(purpose, texts)) = (ours, &work.inputs) else {
                bail!("{engine} does not read {}", work.about)
            };
            let mut times = Vec::with_capacity(texts.len());
            for text in texts {
                let ctx = self.ctx(Priority::Query);
                embedder.embed(&ctx, *purpose, std::slice::from_ref(text)).await?;
                times.push(ctx.elapsed());
            }
            return Ok(times);
        }
        let answer = self.peer_mut()?.ask(&json!({"do": "times", "engine": engine, "work": work.name}))?;
        let seconds = answer.get("seconds").and_then(Value::as_array).context("the peers gave no times")?;
        Ok(seconds.iter().filter_map(Value::as_f64).map(Duration::from_secs_f64).collect())
    }

    fn ctx(&self, priority: Priority) -> Ctx {
        Ctx::new(Arc::clone(&self.clock), priority, None)
    }

    fn peer_mut(&mut self) -> anyhow::Result<&mut Peer> {
        self.peer.as_mut().context("there are no peers")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_bounded_by_tokens_and_keep_to_one_question() {
        assert_eq!(batches(3, &[4, 4, 4, 30, 2], 10), [vec![3, 4], vec![5], vec![6], vec![7]]);
        let passages = |lengths: &[usize]| lengths.iter().map(|length| ("x".to_owned(), *length)).collect();
        let asked = vec![("a".to_owned(), passages(&[2, 2])), ("b".to_owned(), passages(&[2, 9]))];
        let work = Work::pairs("pairs", String::new(), asked, 10);
        assert_eq!((work.batches.clone(), work.tokens()), (vec![vec![0, 1], vec![2], vec![3]], 15));
        let request = work.request();
        assert_eq!(request["pairs"], json!([["a", "x"], ["a", "x"], ["b", "x"], ["b", "x"]]));
        assert_eq!(request["batches"], json!([[0, 1], [2], [3]]));
    }
}

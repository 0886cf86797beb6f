//! A question and passages to scores, at a provider.

use std::ops::Range;
use std::time::Duration;

use ibid_core::{BoxFuture, Calibration, ModelError, ModelId, Pairs, Passage, Rerank};
use ibid_runtime::Ctx;
use serde_json::{Value, json};

use super::{Remote, RemoteConfig, finite};
use crate::GatewayError;

/// A relevance closer to 0 or 1 than this is taken for it: its logit would be infinite.
const RELEVANCE_MIN: f32 = 1e-6;

/// How a reranker is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RerankProtocol {
    /// Text Embeddings Inference's `/rerank`, which gives logits.
    Tei,
    /// `/rerank` as Cohere speaks it (`base_url` such as `https://api.cohere.com/v2`), which gives a relevance from 0 to 1.
    Cohere,
    /// `/rerank` as Jina speaks it (`base_url` such as `https://api.jina.ai/v1`), which gives a relevance from 0 to 1.
    Jina,
}

/// A cross-encoder at a provider. A relevance becomes its logit, so that scores are on core's scale.
#[derive(Debug)]
pub struct RemoteReranker {
    remote: Remote,
    protocol: RerankProtocol,
    id: ModelId,
    revision: String,
    calibration: Calibration,
}

impl RemoteReranker {
    /// The reranker called `id`. Connects to nobody yet.
    ///
    /// # Errors
    /// [`GatewayError`]: an address, a key or a number that cannot be used.
    pub fn new(
        config: RemoteConfig,
        protocol: RerankProtocol,
        id: ModelId,
        calibration: Calibration,
    ) -> Result<RemoteReranker, GatewayError> {
        let revision = blake3::hash(config.model.as_bytes()).to_hex()[..16].to_owned();
        let remote = Remote::new(config, &["rerank"])?;
        Ok(RemoteReranker { remote, protocol, id, revision, calibration })
    }

    async fn logits(&self, ctx: &Ctx, question: &str, texts: &[String]) -> Result<Vec<f32>, ModelError> {
        let model = &self.remote.model;
        let body = match self.protocol {
            RerankProtocol::Tei => json!({ "query": question, "texts": texts, "raw_scores": true, "truncate": true }),
            RerankProtocol::Cohere => json!({ "model": model, "query": question, "documents": texts }),
            RerankProtocol::Jina => {
                json!({ "model": model, "query": question, "documents": texts, "return_documents": false })
            }
        };
        let reply = self.remote.ask(ctx, &body).await?;
        let rows = match self.protocol {
            RerankProtocol::Tei => &reply,
            RerankProtocol::Cohere | RerankProtocol::Jina => &reply["results"],
        };
        let scores = rows.as_array().and_then(|rows| self.in_order(rows, texts.len()));
        scores.ok_or_else(|| self.remote.nonsense("its reply does not have a score for each passage"))
    }

    /// Best first is how they come; each says whose it is.
    fn in_order(&self, rows: &[Value], passages: usize) -> Option<Vec<f32>> {
        let mut scores = vec![None; passages];
        for row in rows {
            let place = scores.get_mut(usize::try_from(row["index"].as_u64()?).ok()?)?;
            *place = Some(match self.protocol {
                RerankProtocol::Tei => finite(&row["score"])?,
                RerankProtocol::Cohere | RerankProtocol::Jina => logit(finite(&row["relevance_score"])?),
            });
        }
        scores.into_iter().collect()
    }
}

fn logit(relevance: f32) -> f32 {
    let relevance = relevance.clamp(RELEVANCE_MIN, 1.0 - RELEVANCE_MIN);
    (relevance / (1.0 - relevance)).ln()
}

#[derive(Debug)]
struct RemotePairs<'a> {
    reranker: &'a RemoteReranker,
    ctx: Ctx,
    question: &'a str,
    texts: Vec<String>,
}

impl Pairs for RemotePairs<'_> {
    fn expected(&self, _: Range<usize>) -> Option<Duration> {
        None
    }

    fn score(&self, range: Range<usize>) -> BoxFuture<'_, Result<Vec<f32>, ModelError>> {
        let texts = &self.texts[range];
        Box::pin(async move {
            let mut scores = Vec::with_capacity(texts.len());
            for batch in texts.chunks(self.reranker.remote.batch_texts_max) {
                scores.extend(self.reranker.logits(&self.ctx, self.question, batch).await?);
            }
            Ok(scores)
        })
    }
}

impl Rerank for RemoteReranker {
    fn model(&self) -> &ModelId {
        &self.id
    }

    fn revision(&self) -> &str {
        &self.revision
    }

    fn calibration(&self) -> Calibration {
        self.calibration
    }

    fn pairs<'a>(
        &'a self,
        ctx: &'a Ctx,
        question: &'a str,
        passages: &'a [Passage],
    ) -> BoxFuture<'a, Result<Box<dyn Pairs + 'a>, ModelError>> {
        let text = |passage: &Passage| match passage.context.as_str() {
            "" => passage.text.clone(),
            context => format!("{context}\n{}", passage.text),
        };
        let texts = passages.iter().map(text).collect();
        let pairs = RemotePairs { reranker: self, ctx: ctx.clone(), question, texts };
        Box::pin(async move { Ok(Box::new(pairs) as Box<dyn Pairs + 'a>) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relevance_becomes_the_logit_it_came_from() {
        let back = |relevance: f32| Calibration::default().relevance(logit(relevance));
        for relevance in [0.001, 0.25, 0.5, 0.9, 0.999] {
            assert!((back(relevance) - relevance).abs() < 1e-5, "{relevance}");
        }
        assert!(logit(0.0).is_finite() && logit(1.0).is_finite());
    }
}

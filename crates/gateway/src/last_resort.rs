//! The layer for when nobody can be asked: an answer that was kept beyond its time, marked as stale; else the sources' own
//! words, marked as extractive; else the failure.

use std::sync::Arc;

use futures::StreamExt;
use ibid_core::{CacheState, Fallback, Generated, GenerationStream, ModelError};
use tower::{Layer, Service, ServiceExt};

use crate::bill::Bill;
use crate::call::{Answer, Call, Door, always_ready};
use crate::config::LastResortConfig;
use crate::exact_cache::ExactCache;
use crate::failure::Failure;
use crate::table::Table;

/// Answers where the layers behind it cannot.
#[derive(Debug, Clone)]
pub(crate) struct LastResortLayer {
    pub(crate) config: Arc<LastResortConfig>,
    pub(crate) table: Arc<Table>,
    pub(crate) cache: Option<Arc<ExactCache>>,
}

#[derive(Debug, Clone)]
pub(crate) struct LastResort<S> {
    layer: LastResortLayer,
    inner: S,
}

impl<S> Layer<S> for LastResortLayer {
    type Service = LastResort<S>;
    fn layer(&self, inner: S) -> LastResort<S> {
        LastResort { layer: self.clone(), inner }
    }
}

impl<S: Door> Service<Call> for LastResort<S> {
    type Response = GenerationStream;
    type Error = Failure;
    type Future = Answer;
    always_ready!();

    fn call(&mut self, call: Call) -> Answer {
        let inner = self.inner.clone();
        let layer = self.layer.clone();
        Box::pin(async move {
            match inner.oneshot(call.clone()).await {
                Err(failure) if failure.goes_elsewhere() => match layer.stale(&call) {
                    Some(stream) => Ok(stream),
                    None => layer.extractive(call, failure).await,
                },
                answer => answer,
            }
        })
    }
}

impl LastResortLayer {
    fn stale(&self, call: &Call) -> Option<GenerationStream> {
        let cache = self.cache.as_ref().filter(|_| self.config.stale)?;
        let kept = cache.stale(call.request.tenant, &call.key?, call.ctx.clock().monotonic())?;
        Some(kept.replay(CacheState::Stale))
    }

    /// The sources' own words, if there are sources and the rules let this call have them; else `failure`.
    async fn extractive(&self, call: Call, failure: Failure) -> Result<GenerationStream, Failure> {
        if self.config.extractive.is_empty() || call.request.sources.is_empty() {
            return Err(failure);
        }
        let Ok(model) = self.table.model(&self.config.extractive) else { return Err(failure) };
        let Some(deployment) = self.table.permitted(&call, model).next() else { return Err(failure) };
        // It asks no provider, so it is no attempt.
        let own = Call { bill: Arc::new(Bill::new(1)), ..call.clone() };
        let Ok(stream) = deployment.door.clone().oneshot(own).await else { return Err(failure) };
        tracing::warn!(model = %call.model, "nobody can be asked; the answer is the sources' own words");
        let (name, attempts, cost) = (Arc::clone(&model.name), call.bill.attempts(), call.bill.cost());
        let mark = move |mut piece: Result<Generated, ModelError>| {
            if let Ok(Generated::Call(record)) = &mut piece {
                record.model = name.to_string();
                record.fallback = Fallback::Extractive;
                record.attempts = attempts;
                record.cost_microdollars = cost.0;
            }
            piece
        };
        Ok(stream.map(mark).boxed())
    }
}

//! The layer that asks twice when the first token takes long, and takes whichever answer comes first ("The Tail at Scale",
//! Dean and Barroso 2013). The other one is dropped, which closes its connection; its prompt is paid.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{Either, select, select_ok};
use ibid_core::GenerationStream;
use tower::retry::budget::{Budget, TpsBudget};
use tower::{Layer, Service, ServiceExt};

use crate::call::{Answer, Call, Door, always_ready};
use crate::failure::Failure;

/// Asks a second time.
#[derive(Debug, Clone)]
pub(crate) struct HedgeLayer {
    /// `None`: never.
    pub(crate) after: Option<Duration>,
    /// Shared with retries: a provider that is slow because it is overloaded is not helped by twice the calls.
    pub(crate) budget: Arc<TpsBudget>,
}

#[derive(Debug, Clone)]
pub(crate) struct Hedge<S> {
    layer: HedgeLayer,
    inner: S,
}

impl<S> Layer<S> for HedgeLayer {
    type Service = Hedge<S>;
    fn layer(&self, inner: S) -> Hedge<S> {
        Hedge { layer: self.clone(), inner }
    }
}

impl<S: Door> Service<Call> for Hedge<S> {
    type Response = GenerationStream;
    type Error = Failure;
    type Future = Answer;
    always_ready!();

    fn call(&mut self, call: Call) -> Answer {
        let inner = self.inner.clone();
        let HedgeLayer { after, budget } = self.layer.clone();
        let Some(after) = after else { return Box::pin(inner.oneshot(call)) };
        Box::pin(async move {
            let first: Answer = Box::pin(inner.clone().oneshot(call.clone()));
            let first = match select(first, Box::pin(tokio::time::sleep(after))).await {
                Either::Left((answer, _)) => return answer,
                Either::Right(((), first)) => first,
            };
            if !call.bill.has_attempts() || !budget.withdraw() {
                return first.await;
            }
            let second: Answer = Box::pin(inner.oneshot(call));
            select_ok([first, second]).await.map(|(stream, _)| stream)
        })
    }
}

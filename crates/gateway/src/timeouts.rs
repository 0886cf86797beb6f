//! The layer that starts a call's time: to connect, to the first token, between tokens, in total. See `pace.rs`.

use std::sync::Arc;

use ibid_core::GenerationStream;
use tower::{Layer, Service, ServiceExt};

use crate::ask::Paced;
use crate::call::{Answer, Call, always_ready};
use crate::failure::Failure;
use crate::pace::{Pace, Timeouts};

/// Gives each attempt its own time.
#[derive(Debug, Clone)]
pub(crate) struct TimeoutsLayer {
    pub(crate) deployment: Arc<str>,
    pub(crate) timeouts: Timeouts,
}

#[derive(Debug, Clone)]
pub(crate) struct TimeoutsService<S> {
    layer: TimeoutsLayer,
    inner: S,
}

impl<S> Layer<S> for TimeoutsLayer {
    type Service = TimeoutsService<S>;
    fn layer(&self, inner: S) -> TimeoutsService<S> {
        TimeoutsService { layer: self.clone(), inner }
    }
}

impl<S> Service<Call> for TimeoutsService<S>
where
    S: Service<Paced, Response = GenerationStream, Error = Failure, Future: Send + 'static> + Clone + Send + 'static,
{
    type Response = GenerationStream;
    type Error = Failure;
    type Future = Answer;
    always_ready!();

    fn call(&mut self, call: Call) -> Answer {
        let inner = self.inner.clone();
        let pace = Pace::start(&self.layer.deployment, &call.ctx, self.layer.timeouts);
        // The provider's protocol knows what is a sign of progress, so it looks at the pace wherever it waits.
        Box::pin(inner.oneshot(Paced { call, pace }))
    }
}

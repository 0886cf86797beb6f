//! The innermost service: one request to one deployment, counted.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use ibid_core::{CacheState, CallRecord, Fallback, FinishReason, Generated, GenerationStream, ModelError, Usage};
use ibid_runtime::Ctx;
use tower::Service;

use crate::bill::{Meter, Tariff};
use crate::call::{Answer, Call, always_ready};
use crate::failure::{Failure, Kind};
use crate::health::Health;
use crate::pace::Pace;
use crate::providers::{Attempt, Pieces, Provider};

/// A call whose time has started.
#[derive(Debug)]
pub(crate) struct Paced {
    pub(crate) call: Call,
    pub(crate) pace: Pace,
}

/// Asks one deployment.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) deployment: Arc<str>,
    pub(crate) provider: Arc<dyn Provider>,
    pub(crate) tariff: Tariff,
    pub(crate) health: Arc<Health>,
}

impl Service<Paced> for Ask {
    type Response = GenerationStream;
    type Error = Failure;
    type Future = Answer;
    always_ready!();

    fn call(&mut self, Paced { call, pace }: Paced) -> Answer {
        let ask = self.clone();
        Box::pin(async move {
            let Some(meter) = call.bill.attempt(&ask.tariff, &call.request) else {
                let detail = "the call has no attempts left";
                return Err(Failure::unavailable(Kind::Shut, &ask.deployment, detail));
            };
            let start = call.ctx.elapsed();
            let attempt = Attempt { request: Arc::clone(&call.request), pace, meter: Arc::clone(&meter) };
            let pieces = ask.provider.ask(attempt).await.inspect_err(|failure| ask.failed(&call.ctx, failure))?;
            ask.health.answered(call.ctx.elapsed().saturating_sub(start));
            Ok(ask.counted(&call, pieces, meter))
        })
    }
}

impl Ask {
    fn failed(&self, ctx: &Ctx, failure: &Failure) {
        if failure.is_illness() {
            self.health.failed();
        }
        if let Some(retry_after) = failure.retry_after {
            self.health.quiet_until(ctx.clock().monotonic().saturating_add(retry_after));
        }
    }

    /// The reply with what it used and what is known of the call at its end.
    fn counted(self, call: &Call, pieces: Pieces, meter: Arc<Meter>) -> GenerationStream {
        let counted = Counted { ask: self, pieces, meter, asked: Arc::clone(&call.model), ready: VecDeque::new() };
        stream::unfold(Some(counted), |counted| async move {
            let mut counted = counted?;
            let piece = counted.next().await?;
            let ended = match &piece {
                Err(_) | Ok(Generated::Done(_)) => true,
                Ok(_) => false,
            };
            Some((piece, (!ended).then_some(counted)))
        })
        .boxed()
    }
}

struct Counted {
    ask: Ask,
    pieces: Pieces,
    meter: Arc<Meter>,
    asked: Arc<str>,
    ready: VecDeque<Result<Generated, ModelError>>,
}

impl Counted {
    async fn next(&mut self) -> Option<Result<Generated, ModelError>> {
        if let Some(piece) = self.ready.pop_front() {
            return Some(piece);
        }
        let name = &self.ask.deployment;
        let ended = || Failure::unavailable(Kind::Broken, name, "the reply ended without a finish");
        match self.pieces.next().await.unwrap_or_else(|| Err(ended())) {
            Ok(Generated::Done(finish)) => {
                let usage = self.meter.usage();
                // A generator in this process that counts nothing uses nothing.
                if usage.reported || self.ask.provider.is_counted() {
                    self.ready.push_back(Ok(Generated::Usage(usage)));
                }
                self.ready.push_back(Ok(self.record(usage, Some(finish))));
                self.ready.push_back(Ok(Generated::Done(finish)));
            }
            Ok(piece) => return Some(Ok(piece)),
            Err(failure) => {
                if failure.is_illness() {
                    self.ask.health.failed();
                }
                self.ready.push_back(Ok(self.record(self.meter.usage(), None)));
                self.ready.push_back(Err(failure.error));
            }
        }
        self.ready.pop_front()
    }

    /// What this layer knows of the call; those around it write down the rest.
    fn record(&self, usage: Usage, finish: Option<FinishReason>) -> Generated {
        Generated::Call(Box::new(CallRecord {
            asked: self.asked.to_string(),
            model: self.asked.to_string(),
            fallback: Fallback::None,
            deployment: self.ask.deployment.to_string(),
            provider: self.ask.provider.system().to_owned(),
            usage,
            cost_microdollars: self.meter.cost().0,
            first_token: None,
            total: Duration::ZERO,
            finish,
            attempts: 1,
            cache: CacheState::Bypass,
        }))
    }
}

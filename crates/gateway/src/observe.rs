//! The outermost layer: what every call leaves, in the reply, in the trace and with whoever observes.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use ibid_core::{CacheState, CallRecord, Fallback, GenerateRequest, Generated, GenerationStream, ModelError, Usage};
use tower::{Layer, Service, ServiceExt};

use crate::call::{Answer, Call, Door, always_ready};
use crate::failure::Failure;

/// Hears of every call at its end. Called on the thread that serves it: quick, or it hands the record on.
pub trait Observe: Send + Sync + Debug {
    /// A call has ended: with `error`, or by the finish in `record`; with neither if the caller left.
    fn ended(&self, request: &GenerateRequest, record: &CallRecord, error: Option<&ModelError>);
}

/// Watches calls.
#[derive(Debug, Clone)]
pub(crate) struct ObserveLayer {
    pub(crate) observer: Option<Arc<dyn Observe>>,
}

#[derive(Debug, Clone)]
pub(crate) struct ObserveService<S> {
    layer: ObserveLayer,
    inner: S,
}

impl<S> Layer<S> for ObserveLayer {
    type Service = ObserveService<S>;
    fn layer(&self, inner: S) -> ObserveService<S> {
        ObserveService { layer: self.clone(), inner }
    }
}

impl<S: Door> Service<Call> for ObserveService<S> {
    type Response = GenerationStream;
    type Error = Failure;
    type Future = Answer;
    always_ready!();

    fn call(&mut self, call: Call) -> Answer {
        let inner = self.inner.clone();
        let mut seen = Seen::new(self.layer.clone(), &call);
        Box::pin(async move {
            let stream = inner.oneshot(call).await.inspect_err(|failure| seen.failed(&failure.error))?;
            Ok(stream.map(move |piece| seen.piece(piece)).boxed())
        })
    }
}

/// One call as it is seen from outside.
struct Seen {
    layer: ObserveLayer,
    call: Call,
    start: Duration,
    first_token: Option<Duration>,
    record: Option<CallRecord>,
    told: bool,
}

impl Seen {
    fn new(layer: ObserveLayer, call: &Call) -> Seen {
        let start = call.ctx.elapsed();
        Seen { layer, call: call.clone(), start, first_token: None, record: None, told: false }
    }

    fn took(&self) -> Duration {
        self.call.ctx.elapsed().saturating_sub(self.start)
    }

    fn piece(&mut self, mut piece: Result<Generated, ModelError>) -> Result<Generated, ModelError> {
        if self.first_token.is_none() {
            self.first_token = Some(self.took());
        }
        match &mut piece {
            Ok(Generated::Delta(_) | Generated::ToolCall(_) | Generated::Usage(_)) => {}
            Ok(Generated::Call(record)) => {
                record.asked = self.call.model.to_string();
                (record.first_token, record.total) = (self.first_token, self.took());
                self.record = Some((**record).clone());
            }
            Ok(Generated::Done(_)) => self.tell(None),
            Err(error) => self.tell(Some(&error.clone())),
        }
        piece
    }

    fn failed(&mut self, error: &ModelError) {
        self.tell(Some(error));
    }

    /// What is known of a call that has no record of its own: it failed before it began, or was given up.
    fn so_far(&self) -> CallRecord {
        let bill = &self.call.bill;
        CallRecord {
            asked: self.call.model.to_string(),
            model: self.call.model.to_string(),
            fallback: Fallback::None,
            deployment: String::new(),
            provider: String::new(),
            usage: Usage::default(),
            cost_microdollars: bill.cost().0,
            first_token: self.first_token,
            total: self.took(),
            finish: None,
            attempts: bill.attempts(),
            cache: CacheState::Bypass,
        }
    }

    fn tell(&mut self, error: Option<&ModelError>) {
        if std::mem::replace(&mut self.told, true) {
            return;
        }
        let record = self.record.take().unwrap_or_else(|| self.so_far());
        trace(&self.call.request, &record, error);
        if let Some(observer) = &self.layer.observer {
            observer.ended(&self.call.request, &record, error);
        }
    }
}

impl Drop for Seen {
    fn drop(&mut self) {
        self.tell(None);
    }
}

/// One event a call, named after OpenTelemetry's semantic conventions for generative AI; numbers and names, no texts.
fn trace(request: &GenerateRequest, record: &CallRecord, error: Option<&ModelError>) {
    let finish = record.finish.map_or("", ibid_core::FinishReason::as_str);
    let fallback = match record.fallback {
        Fallback::None => "none",
        Fallback::Model => "model",
        Fallback::Extractive => "extractive",
    };
    let (kind, ended) = match error {
        Some(error) => (kind(error), "failed"),
        None if record.finish.is_none() => ("cancelled", "given up"),
        None => ("", "answered"),
    };
    tracing::info!(
        gen_ai.operation.name = "chat",
        gen_ai.provider.name = record.provider,
        gen_ai.request.model = record.asked,
        gen_ai.response.model = record.model,
        gen_ai.request.max_tokens = request.tokens_max,
        gen_ai.request.temperature = request.temperature,
        gen_ai.usage.input_tokens = record.usage.input_tokens,
        gen_ai.usage.cached_tokens = record.usage.cached_tokens,
        gen_ai.usage.output_tokens = record.usage.output_tokens,
        gen_ai.usage.reported = record.usage.reported,
        gen_ai.response.finish_reasons = finish,
        "error.type" = kind,
        ibid.deployment = record.deployment,
        ibid.cost_microdollars = record.cost_microdollars,
        ibid.attempts = record.attempts,
        ibid.cache = record.cache.as_str(),
        ibid.fallback = fallback,
        ibid.first_token_ms = record.first_token.map(|took| took.as_millis() as u64),
        ibid.total_ms = record.total.as_millis() as u64,
        "gateway.call {ended}"
    );
}

fn kind(error: &ModelError) -> &'static str {
    match error {
        ModelError::Stopped(_) => "stopped",
        ModelError::Overloaded { .. } => "overloaded",
        ModelError::RateLimited { .. } => "rate_limited",
        ModelError::OverBudget { .. } => "over_budget",
        ModelError::Forbidden { .. } => "forbidden",
        ModelError::TooLong { .. } => "too_long",
        ModelError::Refused { .. } => "refused",
        ModelError::Unavailable { .. } => "unavailable",
        ModelError::Failed { .. } => "failed",
    }
}

//! The layer that asks a deployment again, after a pause drawn by chance ("full jitter", Brooker, "Exponential Backoff And
//! Jitter", 2015), as long as neither its own retries, the budget of all retries, the call's attempts nor the caller's
//! deadline are used up. Only before the first piece: the answer of this layer is where a reply begins.

use std::sync::Arc;
use std::time::Duration;

use ibid_core::GenerationStream;
use ibid_runtime::Random;
use tower::retry::budget::{Budget, TpsBudget};
use tower::{Layer, Service, ServiceExt};

use crate::call::{Answer, Call, Door, always_ready};
use crate::config::RetryConfig;
use crate::failure::Failure;
use crate::pace::unless_stopped;

/// Asks again.
#[derive(Debug, Clone)]
pub(crate) struct RetryLayer {
    pub(crate) config: RetryConfig,
    pub(crate) budget: Arc<TpsBudget>,
    pub(crate) random: Arc<dyn Random>,
}

#[derive(Debug, Clone)]
pub(crate) struct Retry<S> {
    layer: RetryLayer,
    inner: S,
}

impl<S> Layer<S> for RetryLayer {
    type Service = Retry<S>;
    fn layer(&self, inner: S) -> Retry<S> {
        Retry { layer: self.clone(), inner }
    }
}

impl<S: Door> Service<Call> for Retry<S> {
    type Response = GenerationStream;
    type Error = Failure;
    type Future = Answer;
    always_ready!();

    fn call(&mut self, call: Call) -> Answer {
        let inner = self.inner.clone();
        let layer = self.layer.clone();
        Box::pin(async move {
            layer.budget.deposit();
            let mut retries = 0;
            loop {
                let failure = match inner.clone().oneshot(call.clone()).await {
                    Ok(stream) => return Ok(stream),
                    Err(failure) => failure,
                };
                let chance = chance(&*layer.random);
                let Some(pause) = pause(&layer.config, retries, chance, &failure) else { return Err(failure) };
                let in_time = call.ctx.left().is_none_or(|left| pause < left);
                if !in_time || !call.bill.has_attempts() || !layer.budget.withdraw() {
                    return Err(failure);
                }
                unless_stopped(&call.ctx, tokio::time::sleep(pause)).await?;
                retries += 1;
            }
        })
    }
}

/// How long to wait before the next try after `retries` of them; `None` if there is none. `chance` is from 0 to 1.
pub(crate) fn pause(config: &RetryConfig, retries: u32, chance: f64, failure: &Failure) -> Option<Duration> {
    if retries >= config.retries_max || !failure.retries() {
        return None;
    }
    let ceiling = config.pause.saturating_mul(1_u32.checked_shl(retries).unwrap_or(u32::MAX)).min(config.pause_max);
    let drawn = ceiling.mul_f64(chance);
    match failure.retry_after {
        // Sooner would be refused again.
        Some(hint) => (hint <= config.retry_after_max).then(|| hint.max(drawn)),
        None => Some(drawn),
    }
}

/// A number from 0 to 1.
pub(crate) fn chance(random: &dyn Random) -> f64 {
    let mut bytes = [0; 4];
    random.fill(b"gateway", &mut bytes);
    f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Kind;

    const CONFIG: RetryConfig = RetryConfig {
        retries_max: 40,
        pause: Duration::from_millis(100),
        pause_max: Duration::from_secs(1),
        retry_after_max: Duration::from_secs(5),
        share_max: 0.2,
        per_second_min: 1,
    };

    #[test]
    fn the_pause_is_drawn_and_grows_to_its_bound_and_a_hint_is_honoured() {
        let failed = |kind| Failure::unavailable(kind, "m", "");
        let ms =
            |retries, chance| pause(&CONFIG, retries, chance, &failed(Kind::Broken)).map(|pause| pause.as_millis());
        assert_eq!([ms(0, 0.0), ms(0, 1.0), ms(1, 0.5), ms(2, 1.0)], [Some(0), Some(100), Some(100), Some(400)]);
        assert_eq!([ms(4, 1.0), ms(39, 1.0), ms(40, 1.0)], [Some(1000), Some(1000), None]);
        assert_eq!(pause(&CONFIG, 0, 0.0, &failed(Kind::BadRequest)), None);
        let hint = |seconds| Failure { retry_after: Some(Duration::from_secs(seconds)), ..failed(Kind::Throttled) };
        assert_eq!(pause(&CONFIG, 0, 1.0, &hint(5)), Some(Duration::from_secs(5)));
        assert_eq!(pause(&CONFIG, 0, 1.0, &hint(6)), None, "so long nobody waits");
    }
}

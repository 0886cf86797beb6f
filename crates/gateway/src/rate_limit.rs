//! The second layer: how often a tenant, and a feature within it, may ask. Who asks too often learns when to come back.
//!
//! The limits are token buckets (Turner 1986): a minute's worth at most, filled evenly. Tokens are taken for the prompt and
//! the longest answer, and what was not used is given back at the end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use ibid_core::{GenerationStream, ModelError, TenantKey};
use ibid_runtime::Clock;
use tower::{Layer, Service, ServiceExt};

use crate::bill::Bill;
use crate::call::{Answer, Call, Door, always_ready};
use crate::config::{Rate, RatesConfig};
use crate::failure::{Failure, Kind};
use crate::table::Table;

/// What is in a bucket is counted in parts of a token, so many to one: then a minute's filling is whole numbers alone.
const PARTS: i128 = 60_000_000_000;
/// Tenants and features whose buckets are kept; a full bucket is as good as none, so full ones go first.
const BUCKETS_MAX: usize = 65_536;

/// One limit's bucket.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// Tokens, or requests, that it holds; each nanosecond adds as many parts.
    size: u64,
    /// Parts. Below 0 it is in debt.
    level: i128,
    at: Duration,
}

impl Bucket {
    fn full(size: u64, now: Duration) -> Bucket {
        Bucket { size, level: i128::from(size) * PARTS, at: now }
    }

    fn fill(&mut self, now: Duration) {
        let passed = i128::try_from(now.saturating_sub(self.at).as_nanos()).unwrap_or(i128::MAX);
        self.level = self.level.saturating_add(passed.saturating_mul(self.size.into())).min(self.full_level());
        self.at = self.at.max(now);
    }

    fn full_level(&self) -> i128 {
        i128::from(self.size) * PARTS
    }

    /// How long until `amount` is there; zero if it is. More than the bucket holds is there when the bucket is full.
    fn wait(&mut self, amount: u64, now: Duration) -> Duration {
        self.fill(now);
        let missing = i128::from(amount.min(self.size)) * PARTS - self.level;
        if self.size == 0 {
            // It never fills.
            return Duration::MAX;
        }
        let nanoseconds = missing.max(0).unsigned_abs().div_ceil(u128::from(self.size));
        u64::try_from(nanoseconds).map_or(Duration::MAX, Duration::from_nanos)
    }

    /// Takes `amount`: more than it holds leaves it in debt, which is paid off before the next call.
    fn take(&mut self, amount: u64) {
        self.level = self.level.saturating_sub(i128::from(amount) * PARTS);
    }

    fn give_back(&mut self, amount: i128) {
        self.level = self.level.saturating_add(amount.saturating_mul(PARTS)).min(self.full_level());
    }
}

/// The buckets of one [`Rate`].
#[derive(Debug)]
pub(crate) struct Buckets {
    rate: Rate,
    state: Mutex<Option<Pair>>,
}

#[derive(Debug, Clone, Copy)]
struct Pair {
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
}

impl Buckets {
    /// Full buckets.
    pub(crate) fn new(rate: Rate) -> Buckets {
        Buckets { rate, state: Mutex::new(None) }
    }

    /// Takes one request and `tokens` of both buckets, or nothing.
    ///
    /// # Errors
    /// How long to wait.
    pub(crate) fn take(&self, tokens: u64, now: Duration) -> Result<(), Duration> {
        let mut state = self.lock();
        let pair = state.get_or_insert_with(|| Pair {
            requests: self.rate.requests_per_minute.map(|size| Bucket::full(size.into(), now)),
            tokens: self.rate.tokens_per_minute.map(|size| Bucket::full(size, now)),
        });
        let wait_requests = pair.requests.as_mut().map_or(Duration::ZERO, |bucket| bucket.wait(1, now));
        let wait_tokens = pair.tokens.as_mut().map_or(Duration::ZERO, |bucket| bucket.wait(tokens, now));
        let wait = wait_requests.max(wait_tokens);
        if !wait.is_zero() {
            return Err(wait);
        }
        pair.requests.iter_mut().for_each(|bucket| bucket.take(1));
        pair.tokens.iter_mut().for_each(|bucket| bucket.take(tokens));
        Ok(())
    }

    /// Of `taken` tokens only `used` were.
    pub(crate) fn settle(&self, taken: u64, used: u64) {
        if let Some(bucket) = self.lock().as_mut().and_then(|pair| pair.tokens.as_mut()) {
            bucket.give_back(i128::from(taken) - i128::from(used));
        }
    }

    fn is_full(&self, now: Duration) -> bool {
        let mut state = self.lock();
        let Some(pair) = state.as_mut() else { return true };
        [&mut pair.requests, &mut pair.tokens].into_iter().flatten().all(|bucket| {
            bucket.fill(now);
            bucket.level >= bucket.full_level()
        })
    }

    fn lock(&self) -> MutexGuard<'_, Option<Pair>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Who = (TenantKey, Option<String>);

/// All callers' buckets.
#[derive(Debug)]
pub(crate) struct RateLimits {
    config: RatesConfig,
    buckets: Mutex<HashMap<Who, Arc<Buckets>>>,
}

impl RateLimits {
    pub(crate) fn new(config: RatesConfig) -> RateLimits {
        RateLimits { config, buckets: Mutex::default() }
    }

    fn of(&self, tenant: TenantKey, feature: &str, now: Duration) -> Vec<(&'static str, Arc<Buckets>)> {
        let mut found = Vec::new();
        let own = self.config.tenants.get(&tenant).copied().unwrap_or(self.config.tenant);
        let both =
            [("tenant", Some(own), None), ("feature", self.config.features.get(feature).copied(), Some(feature))];
        for (whose, rate, feature) in both {
            if let Some(rate) = rate.filter(|rate| *rate != Rate::default()) {
                found.push((whose, self.buckets((tenant, feature.map(str::to_owned)), rate, now)));
            }
        }
        found
    }

    fn buckets(&self, who: Who, rate: Rate, now: Duration) -> Arc<Buckets> {
        let mut all = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= BUCKETS_MAX && !all.contains_key(&who) {
            all.retain(|_, buckets| !buckets.is_full(now));
        }
        Arc::clone(all.entry(who).or_insert_with(|| Arc::new(Buckets::new(rate))))
    }
}

/// Takes from the caller's buckets.
#[derive(Debug, Clone)]
pub(crate) struct RateLimitLayer {
    pub(crate) table: Arc<Table>,
    pub(crate) limits: Arc<RateLimits>,
}

#[derive(Debug, Clone)]
pub(crate) struct RateLimit<S> {
    layer: RateLimitLayer,
    inner: S,
}

impl<S> Layer<S> for RateLimitLayer {
    type Service = RateLimit<S>;
    fn layer(&self, inner: S) -> RateLimit<S> {
        RateLimit { layer: self.clone(), inner }
    }
}

/// Tokens that were taken; what is not used goes back when the call ends, however it ends.
pub(crate) struct Taken {
    buckets: Vec<Arc<Buckets>>,
    tokens: u64,
    bill: Arc<Bill>,
}

impl Taken {
    /// Takes `tokens` for the call of `bill`.
    ///
    /// # Errors
    /// How long to wait; `None`: for ever.
    pub(crate) fn from(
        buckets: &Arc<Buckets>,
        tokens: u64,
        bill: &Arc<Bill>,
        now: Duration,
    ) -> Result<Taken, Option<Duration>> {
        buckets.take(tokens, now).map_err(|wait| (wait < Duration::MAX).then_some(wait))?;
        Ok(Taken { buckets: vec![Arc::clone(buckets)], tokens, bill: Arc::clone(bill) })
    }

    /// Gives back when `stream` ends.
    pub(crate) fn held_by(self, stream: GenerationStream) -> GenerationStream {
        let hold = move |piece| {
            let _held = &self;
            piece
        };
        stream.map(hold).boxed()
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let used = self.bill.tokens();
        self.buckets.iter().for_each(|buckets| buckets.settle(self.tokens, used));
    }
}

impl<S: Door> Service<Call> for RateLimit<S> {
    type Response = GenerationStream;
    type Error = Failure;
    type Future = Answer;
    always_ready!();

    fn call(&mut self, call: Call) -> Answer {
        let inner = self.inner.clone();
        let layer = self.layer.clone();
        Box::pin(async move {
            let taken = layer.take(&call)?;
            Ok(taken.held_by(inner.oneshot(call).await?))
        })
    }
}

impl RateLimitLayer {
    fn take(&self, call: &Call) -> Result<Taken, Failure> {
        let clock: &Arc<dyn Clock> = call.ctx.clock();
        let now = clock.monotonic();
        let tokens = self.table.tokens(&call.model, &call.request);
        let mut taken = Taken { buckets: Vec::new(), tokens, bill: Arc::clone(&call.bill) };
        for (whose, buckets) in self.limits.of(call.request.tenant, &call.request.caller.feature, now) {
            if let Err(wait) = buckets.take(tokens, now) {
                let retry_after = (wait < Duration::MAX).then_some(wait);
                let error = ModelError::RateLimited {
                    model: call.model.to_string(),
                    detail: format!("the {whose}'s limit of calls or tokens a minute is reached"),
                    retry_after,
                };
                return Err(Failure { kind: Kind::OverRate, error, retry_after });
            }
            taken.buckets.push(buckets);
        }
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_minutes_worth_at_once_and_then_evenly() {
        let buckets = Buckets::new(Rate { requests_per_minute: Some(2), tokens_per_minute: None });
        assert_eq!([buckets.take(1, SECOND), buckets.take(1, SECOND)], [Ok(()), Ok(())]);
        assert_eq!(buckets.take(1, SECOND), Err(30 * SECOND));
        assert_eq!(buckets.take(1, 16 * SECOND), Err(15 * SECOND));
        assert_eq!(buckets.take(1, 31 * SECOND), Ok(()));
        let none = Buckets::new(Rate { requests_per_minute: Some(0), tokens_per_minute: None });
        assert_eq!(none.take(1, SECOND), Err(Duration::MAX));
    }

    #[test]
    fn what_was_not_used_is_given_back_and_a_debt_is_paid_off() {
        let buckets = Buckets::new(Rate { requests_per_minute: None, tokens_per_minute: Some(60) });
        assert_eq!(buckets.take(60, SECOND), Ok(()));
        assert_eq!(buckets.take(30, SECOND), Err(30 * SECOND));
        buckets.settle(60, 30);
        assert_eq!(buckets.take(30, SECOND), Ok(()));
        assert_eq!(
            buckets.take(600, 61 * SECOND),
            Ok(()),
            "one that is longer than a minute's worth passes a full bucket"
        );
        assert_eq!(buckets.take(1, 61 * SECOND), Err(541 * SECOND));
    }

    #[test]
    fn one_tenant_does_not_feel_another() {
        let rate = Rate { requests_per_minute: Some(1), tokens_per_minute: None };
        let features = HashMap::from([("judge".to_owned(), rate)]);
        let limits = RateLimits::new(RatesConfig { tenant: Rate::default(), tenants: HashMap::new(), features });
        let take = |tenant| {
            let found = limits.of(TenantKey(tenant), "judge", SECOND);
            found.iter().map(|(whose, buckets)| (*whose, buckets.take(1, SECOND).is_ok())).collect::<Vec<_>>()
        };
        assert_eq!(take(1), [("feature", true)]);
        assert_eq!(take(1), [("feature", false)]);
        assert_eq!(take(2), [("feature", true)]);
        assert!(limits.of(TenantKey(1), "answer", SECOND).is_empty());
    }
}

//! The layers, in their order, each with the reason why it stands there.

use std::sync::Arc;

use ibid_runtime::Random;
use tower::ServiceBuilder;
use tower::retry::budget::TpsBudget;
use tower::util::BoxCloneSyncService;

use crate::GatewayError;
use crate::ask::Ask;
use crate::authorise::AuthoriseLayer;
use crate::bill::Tariff;
use crate::breaker::{Breaker, BreakerLayer};
use crate::budget::{Budget, BudgetLayer};
use crate::call::BoxedDoor;
use crate::config::{DeploymentConfig, LastResortConfig};
use crate::exact_cache::{ExactCache, ExactCacheLayer};
use crate::health::Health;
use crate::hedge::HedgeLayer;
use crate::last_resort::LastResortLayer;
use crate::observe::{Observe, ObserveLayer};
use crate::providers::provider;
use crate::rate_limit::{Buckets, RateLimitLayer, RateLimits};
use crate::retry::RetryLayer;
use crate::route::Route;
use crate::single_flight::{Flights, SingleFlightLayer};
use crate::table::{Deployment, Table};
use crate::timeouts::TimeoutsLayer;

/// How long a retry's share of calls is counted over.
const RETRY_WINDOW: std::time::Duration = std::time::Duration::from_secs(10);

/// What the layers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) table: Arc<Table>,
    pub(crate) rates: Arc<RateLimits>,
    pub(crate) cache: Option<Arc<ExactCache>>,
    pub(crate) budget: Arc<Budget>,
    pub(crate) last_resort: Arc<LastResortConfig>,
    pub(crate) observer: Option<Arc<dyn Observe>>,
    pub(crate) random: Arc<dyn Random>,
}

/// The whole way of a call, from outside to inside.
pub(crate) fn stack(shared: &Shared) -> BoxedDoor {
    let Shared { table, rates, cache, budget, last_resort, observer, random } = shared;
    let layers = ServiceBuilder::new()
        // Outermost, so that every call leaves a record, whichever layer ends it, with the time its caller waited.
        .layer(ObserveLayer { observer: observer.clone() })
        // Before everything that counts, reads or spends: who may not ask leaves no mark on anybody's limits.
        .layer(AuthoriseLayer { table: Arc::clone(table) })
        // Before the caches: an answer that is kept costs no money, but who asks too often asks too often.
        .layer(RateLimitLayer { table: Arc::clone(table), limits: Arc::clone(rates) })
        // moderate stands here: the request on its way in; on its way out every answer, kept and extractive ones too.
        //
        // Outside the caches, so that what it gives is not kept; inside moderation, for it is an answer like another.
        .layer(LastResortLayer { config: Arc::clone(last_resort), table: Arc::clone(table), cache: cache.clone() })
        // On the request as it was asked, not redacted: two customers' questions must not become one key.
        .layer(ExactCacheLayer { cache: cache.clone() })
        // semantic cache stands here: it costs an embedding, so the exact one goes first.
        //
        // Behind the caches: what they know needs no flight. Before money: a call that serves many is paid once.
        .layer(SingleFlightLayer { flights: Arc::<Flights>::default() })
        // redact stands here: everything further in speaks to providers. Its placeholders are undone on the way out, so that
        // caches and callers see the answer's own words.
        //
        // Around every attempt: the most that all of them can cost is set aside before the first one starts.
        .layer(BudgetLayer { table: Arc::clone(table), budget: Arc::clone(budget) });
    BoxCloneSyncService::new(layers.service(Route { table: Arc::clone(table), random: Arc::clone(random) }))
}

/// One deployment behind its own layers, from outside to inside.
///
/// # Errors
/// [`GatewayError`]: its provider cannot be used, or a limit is out of its range.
pub(crate) fn deployment(config: DeploymentConfig, random: &Arc<dyn Random>) -> Result<Deployment, GatewayError> {
    check(&config)?;
    let DeploymentConfig { name, provider: asked, weight, prices, region, rate, timeouts, retry, breaker, .. } = config;
    let (hedge_after, counter) = (config.hedge_after, config.counter);
    let shared_name: Arc<str> = name.as_str().into();
    let tariff = Tariff { prices, counter };
    let health = Arc::<Health>::default();
    let provider = provider(&name, asked, &timeouts)?;
    let retries = Arc::new(TpsBudget::new(RETRY_WINDOW, retry.per_second_min, retry.share_max));
    let breaker = Arc::new(Breaker::new(breaker));
    let layers = ServiceBuilder::new()
        // Outside the breaker: each try asks it again, and one that has opened ends the tries.
        .layer(RetryLayer { config: retry, budget: Arc::clone(&retries), random: Arc::clone(random) })
        // Outside the hedge: two requests for one answer are one call to it, slow if the answer was slow.
        .layer(BreakerLayer { deployment: Arc::clone(&shared_name), breaker: Arc::clone(&breaker) })
        // Outside the timeouts: the second request has its own time.
        .layer(HedgeLayer { after: hedge_after, budget: retries })
        // Around one request: to connect, to the first token, between tokens, in total.
        .layer(TimeoutsLayer { deployment: Arc::clone(&shared_name), timeouts });
    let ask = Ask { deployment: shared_name, provider, tariff: tariff.clone(), health: Arc::clone(&health) };
    let per_try = if hedge_after.is_some() { 2 } else { 1 };
    let tries_max = retry.retries_max.saturating_add(1).saturating_mul(per_try);
    let door = BoxCloneSyncService::new(layers.service(ask));
    let rate = Arc::new(Buckets::new(rate));
    Ok(Deployment { name, region, weight, tariff, tries_max, rate, health, breaker, door })
}

fn check(config: &DeploymentConfig) -> Result<(), GatewayError> {
    let refuse = |key: &'static str, expected: &'static str| {
        Err(GatewayError::OutOfRange { name: config.name.clone(), key, expected })
    };
    let share = |share: f32| share > 0.0 && share <= 1.0;
    let (breaker, retry) = (&config.breaker, &config.retry);
    if !(0.0..=10.0).contains(&retry.share_max) {
        return refuse("retry.share_max", "0 to 10");
    }
    if retry.per_second_min > 1_000_000 {
        return refuse("retry.per_second_min", "0 to 1,000,000");
    }
    if !(1..=10_000).contains(&breaker.window_calls) {
        return refuse("breaker.window_calls", "1 to 10,000");
    }
    if !share(breaker.failure_rate) {
        return refuse("breaker.failure_rate", "above 0 to 1");
    }
    if !share(breaker.slow_rate) {
        return refuse("breaker.slow_rate", "above 0 to 1");
    }
    if breaker.calls_min == 0 {
        return refuse("breaker.calls_min", "at least 1");
    }
    if breaker.probes == 0 {
        return refuse("breaker.probes", "at least 1");
    }
    Ok(())
}

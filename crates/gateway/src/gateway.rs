//! The door that the edge hands out.

use std::sync::Arc;
use std::time::Duration;

use ibid_core::{BoxFuture, Generate, GenerateRequest, GenerationStream, ModelError, TenantKey};
use ibid_runtime::{Ctx, Disk, Random};
use tower::ServiceExt;

use crate::bill::Bill;
use crate::breaker::BreakerState;
use crate::budget::{Account, Alerts, Budget, Ceilings, Window};
use crate::call::{BoxedDoor, Call};
use crate::config::{DeploymentConfig, GatewayConfig};
use crate::exact_cache::{self, ExactCache};
use crate::money::Prices;
use crate::observe::Observe;
use crate::policy::{Live, Policy};
use crate::providers::ProviderConfig;
use crate::rate_limit::RateLimits;
use crate::stack::{Shared, deployment, stack};
use crate::table::Table;
use crate::{GatewayError, Microdollars};

/// What a gateway needs of the world.
#[derive(Debug)]
pub struct GatewayParts {
    /// Where the journal of budgets is.
    pub disk: Arc<dyn Disk>,
    /// For pauses and for routing by weight.
    pub random: Arc<dyn Random>,
    /// Hears when money is being spent.
    pub alerts: Option<Arc<dyn Alerts>>,
    /// Hears of every call.
    pub observer: Option<Arc<dyn Observe>>,
}

/// How a deployment is doing.
#[derive(Debug, Clone, PartialEq)]
pub struct DeploymentStatus {
    /// Its name in the table.
    pub name: String,
    /// Whether it is asked.
    pub breaker: BreakerState,
    /// How long its provider asked to be left alone; zero if it may be asked.
    pub quiet: Duration,
    /// A moving average of the time to the first token; zero if it never answered.
    pub first_token: Duration,
    /// The share of calls that failed of late, 0 to 1.
    pub failure_share: f64,
}

/// All models by public name, behind the layers of `stack.rs`; the first is the default.
pub struct Gateway {
    table: Arc<Table>,
    policy: Live<Policy>,
    budget: Arc<Budget>,
    cache: Option<Arc<ExactCache>>,
    temperature_max: f32,
    attempts_max: u32,
    door: BoxedDoor,
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").field("table", &self.table).field("policy", &self.policy).finish_non_exhaustive()
    }
}

impl Gateway {
    /// A gateway of `config`. Connects to nobody yet; reads and writes the journal of budgets, if there is one.
    ///
    /// # Errors
    /// [`GatewayError`]: something in the configuration cannot be used, or the journal cannot.
    pub fn new(config: GatewayConfig, parts: GatewayParts) -> Result<Gateway, GatewayError> {
        let GatewayConfig { models, policy, rates, cache, budget, last_resort, attempts_max } = config;
        let GatewayParts { disk, random, alerts, observer } = parts;
        if attempts_max == 0 {
            let (name, key) = ("gateway".to_owned(), "attempts_max");
            return Err(GatewayError::OutOfRange { name, key, expected: "at least 1" });
        }
        // What stands in when nobody can be asked passes no budget.
        let costs = |one: &DeploymentConfig| {
            !matches!(one.provider, ProviderConfig::Local(_)) || one.prices != Prices::default()
        };
        let stands_in = models.iter().find(|model| !model.name.is_empty() && model.name == last_resort.extractive);
        if stands_in.is_some_and(|model| model.deployments.iter().any(costs)) {
            return Err(GatewayError::NotFree { name: last_resort.extractive });
        }
        let table = Table::new(models, attempts_max, |config| deployment(config, &random))?;
        table.check(&policy)?;
        let extractive = &last_resort.extractive;
        if !extractive.is_empty() && table.model(extractive).is_err() {
            let place = "last_resort.extractive".to_owned();
            return Err(GatewayError::UnknownName { name: extractive.clone(), place });
        }
        let table = Arc::new(table);
        let budget = Arc::new(Budget::open(budget, disk, alerts)?);
        let temperature_max = cache.map_or(0.0, |cache| cache.temperature_max);
        let cache = cache.map(|cache| Arc::new(ExactCache::new(cache)));
        let shared = Shared {
            table: Arc::clone(&table),
            rates: Arc::new(RateLimits::new(rates)),
            cache: cache.clone(),
            budget: Arc::clone(&budget),
            last_resort: Arc::new(last_resort),
            observer,
            random,
        };
        let door = stack(&shared);
        Ok(Gateway { table, policy: Live::new(policy), budget, cache, temperature_max, attempts_max, door })
    }

    /// Other rules from the next call on.
    ///
    /// # Errors
    /// [`GatewayError::UnknownName`]: a rule names no model and no deployment; the rules stay as they were.
    pub fn set_policy(&self, policy: Policy) -> Result<(), GatewayError> {
        self.table.check(&policy)?;
        self.policy.set(policy);
        Ok(())
    }

    /// Other ceilings from the next call on. What was spent stays spent.
    pub fn set_ceilings(&self, ceilings: Ceilings) {
        self.budget.set_ceilings(ceilings);
    }

    /// What was spent, and what is set aside for calls under way, in the window that `at_ms` (milliseconds since the Unix
    /// epoch) lies in.
    pub fn spent(&self, account: &Account, window: Window, at_ms: u64) -> (Microdollars, Microdollars) {
        self.budget.spent(account, window, at_ms)
    }

    /// Forgets every answer that is kept of `tenant`.
    pub fn forget(&self, tenant: TenantKey) {
        self.cache.iter().for_each(|cache| cache.forget(tenant));
    }

    /// How each deployment is doing at `now`, by the clock's monotonic time, in the table's order.
    pub fn deployments(&self, now: Duration) -> Vec<DeploymentStatus> {
        let status = |one: &Arc<crate::table::Deployment>| DeploymentStatus {
            name: one.name.clone(),
            breaker: one.breaker.state(now),
            quiet: one.health.quiet(now).unwrap_or_default(),
            first_token: Duration::from_secs_f64(one.health.first_token_seconds()),
            failure_share: one.health.failure_share(),
        };
        self.table.deployments().map(status).collect()
    }
}

impl Generate for Gateway {
    fn generators(&self) -> Vec<String> {
        self.table.names()
    }

    fn generate<'a>(
        &'a self,
        ctx: &'a Ctx,
        request: GenerateRequest,
    ) -> BoxFuture<'a, Result<GenerationStream, ModelError>> {
        Box::pin(async move {
            let model = Arc::clone(&self.table.model(&request.generator)?.name);
            // Who asks for chance wants it for itself.
            let is_alike = request.temperature <= self.temperature_max;
            let key = is_alike.then(|| exact_cache::key(&model, &request)).flatten();
            let call = Call {
                ctx: ctx.clone(),
                request: Arc::new(request),
                model,
                policy: self.policy.get(),
                bill: Arc::new(Bill::new(self.attempts_max)),
                key,
            };
            self.door.clone().oneshot(call).await.map_err(|failure| failure.error)
        })
    }
}

//! What a gateway is made from: plain values; the edge reads them from a file.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ibid_core::TenantKey;

use crate::budget::BudgetConfig;
use crate::count::CountTokens;
use crate::exact_cache::CacheConfig;
use crate::money::Prices;
use crate::pace::Timeouts;
use crate::policy::Policy;
use crate::providers::ProviderConfig;

/// A gateway's configuration.
#[derive(Debug)]
pub struct GatewayConfig {
    /// What can be asked for, the default first.
    pub models: Vec<ModelConfig>,
    /// Who may use what, as long as nobody says otherwise: see [`crate::Gateway::set_policy`].
    pub policy: Policy,
    /// How often tenants and features may ask.
    pub rates: RatesConfig,
    /// Answers that are kept; `None` keeps none.
    pub cache: Option<CacheConfig>,
    /// What may be spent.
    pub budget: BudgetConfig,
    /// What happens when nobody can be asked.
    pub last_resort: LastResortConfig,
    /// The most requests to providers for one call: retries, fallbacks and hedges together, at least 1.
    pub attempts_max: u32,
}

/// A public name, and who answers to it.
#[derive(Debug, Clone)]
pub struct ModelConfig {
    /// The public name.
    pub name: String,
    /// At least one.
    pub deployments: Vec<DeploymentConfig>,
    /// Which of them is asked first.
    pub routing: Routing,
    /// Public names that are asked, in this order, when none of the deployments can answer.
    pub fallbacks: Vec<String>,
    /// Public names that are asked when the prompt is too long for this one.
    pub context_fallbacks: Vec<String>,
}

/// Which deployment is asked first. The others follow if it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Routing {
    /// By chance, in proportion to the weights.
    Weight,
    /// The one with the shortest time to the first token of late (a moving average); one that was never asked comes first.
    Latency,
    /// The cheapest for this prompt and this length of answer.
    Cost,
    /// The one that fails least of late; among equals by weight.
    Health,
}

/// One model at one provider.
#[derive(Debug, Clone)]
pub struct DeploymentConfig {
    /// Its name in the table, unique; for records and bans.
    pub name: String,
    /// Who generates.
    pub provider: ProviderConfig,
    /// Its share of the calls; 0 for one that only stands in.
    pub weight: u32,
    /// What it costs.
    pub prices: Prices,
    /// Where it is, such as `eu`; empty if nobody knows.
    pub region: String,
    /// How often it may be asked, all tenants together.
    pub rate: Rate,
    /// How long it may take.
    pub timeouts: Timeouts,
    /// How often it is asked again.
    pub retry: RetryConfig,
    /// When it is left alone.
    pub breaker: BreakerConfig,
    /// Asks it a second time when the first token takes so long, and takes whichever comes first; `None`: never.
    pub hedge_after: Option<Duration>,
    /// Its tokenizer, for prompts and for replies whose tokens the provider does not count; estimated without.
    pub counter: Option<Arc<dyn CountTokens>>,
}

impl DeploymentConfig {
    /// A deployment that costs nothing, is asked once and has no limits but `timeouts`.
    pub fn plain(name: &str, provider: ProviderConfig, timeouts: Timeouts) -> DeploymentConfig {
        DeploymentConfig {
            name: name.to_owned(),
            provider,
            weight: 1,
            prices: Prices::default(),
            region: String::new(),
            rate: Rate::default(),
            timeouts,
            retry: RetryConfig::NONE,
            breaker: BreakerConfig::NEVER,
            hedge_after: None,
            counter: None,
        }
    }
}

/// How often something may be done; `None`: as often as one likes. Whoever was quiet for a minute may do a minute's worth
/// at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rate {
    /// Calls a minute.
    pub requests_per_minute: Option<u32>,
    /// Tokens a minute, read and written.
    pub tokens_per_minute: Option<u64>,
}

/// How often callers may ask.
#[derive(Debug, Clone, Default)]
pub struct RatesConfig {
    /// A tenant that is not named below.
    pub tenant: Rate,
    /// Tenants with a limit of their own.
    pub tenants: HashMap<TenantKey, Rate>,
    /// Features, each within each tenant.
    pub features: HashMap<String, Rate>,
}

/// How often a deployment is asked again after a failure that may pass.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryConfig {
    /// Tries after the first.
    pub retries_max: u32,
    /// The longest pause before the first of them; the pause is drawn evenly from 0 to that ("full jitter", Brooker 2015).
    pub pause: Duration,
    /// The pause doubles with each try up to this.
    pub pause_max: Duration,
    /// A provider that asks for more patience than this is not waited for.
    pub retry_after_max: Duration,
    /// Retries and hedges as a share of all calls of the last 10 seconds, 0 to 10: the retry budget, so that retries do
    /// not keep a provider down that is down.
    pub share_max: f32,
    /// Retries a second that are always allowed.
    pub per_second_min: u32,
}

impl RetryConfig {
    /// Never.
    pub const NONE: RetryConfig = RetryConfig {
        retries_max: 0,
        pause: Duration::ZERO,
        pause_max: Duration::ZERO,
        retry_after_max: Duration::ZERO,
        share_max: 0.0,
        per_second_min: 0,
    };
}

/// When a deployment is left alone for a while.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BreakerConfig {
    /// How many of the last calls are looked at, 1 to 10,000.
    pub window_calls: u32,
    /// Fewer calls than this say nothing.
    pub calls_min: u32,
    /// It opens when this share of them failed, above 0 to 1.
    pub failure_rate: f32,
    /// It opens when this share of them was slow, above 0 to 1.
    pub slow_rate: f32,
    /// A first token that takes so long is slow.
    pub slow_after: Duration,
    /// How long it stays open before it is tried again.
    pub open_for: Duration,
    /// How many calls try it then, at the same time; all must succeed to close it, and one that fails opens it again.
    pub probes: u32,
}

impl BreakerConfig {
    /// Never opens.
    pub const NEVER: BreakerConfig = BreakerConfig {
        window_calls: 1,
        calls_min: u32::MAX,
        failure_rate: 1.0,
        slow_rate: 1.0,
        slow_after: Duration::MAX,
        open_for: Duration::ZERO,
        probes: 1,
    };
}

/// What happens when no deployment can answer.
#[derive(Debug, Clone, Default)]
pub struct LastResortConfig {
    /// Answers that were kept beyond their time may be shown, marked as stale.
    pub stale: bool,
    /// The public name of the extractive generator, which then puts the sources' own words together, marked; empty: the
    /// call fails.
    pub extractive: String,
}

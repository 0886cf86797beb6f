//! Gateways for the tests of this crate.
#![allow(dead_code, reason = "each test binary that includes this file uses its part")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ibid_core::{CallRecord, Caller, GenerateRequest, Message, ModelError, Origin, Role, TenantKey};
use ibid_gateway::{
    AnthropicConfig, BudgetConfig, DeploymentConfig, Gateway, GatewayConfig, GatewayParts, LastResortConfig,
    ModelConfig, Observe, OpenAiConfig, Policy, ProviderConfig, RatesConfig, Routing, Secret, Timeouts,
    TokensParameter,
};
use ibid_runtime::{Ctx, MemoryDisk, Priority, SeededRandom, SystemClock};

use crate::upstream::Wire;

pub(crate) const KEY: &str = "sk-very-secret-1";
pub(crate) const PROMPT: &str = "what is said of the zebra?";
/// Longer than anything here takes.
pub(crate) const LONG: Duration = Duration::from_secs(20);
pub(crate) const PATIENT: Timeouts = Timeouts { connect: LONG, first_token: LONG, between_tokens: LONG, total: LONG };

pub(crate) fn ctx(timeout: Option<Duration>) -> Ctx {
    Ctx::new(Arc::new(SystemClock::new()), Priority::Query, timeout)
}

/// 34 bytes of prompt, 64 tokens of answer at most.
pub(crate) fn request() -> GenerateRequest {
    GenerateRequest {
        tenant: TenantKey(1),
        caller: Caller::default(),
        origin: Origin::default(),
        generator: String::new(),
        messages: vec![
            Message { role: Role::System, content: "be brief".to_owned() },
            Message { role: Role::User, content: PROMPT.to_owned() },
        ],
        question: PROMPT.to_owned(),
        sources: Arc::new([]),
        tokens_max: 64,
        temperature: 0.0,
    }
}

pub(crate) fn provider(wire: Wire, base_url: &str) -> ProviderConfig {
    let (base_url, model, api_key) = (base_url.to_owned(), "far-1".to_owned(), Some(Secret::new(KEY.to_owned())));
    match wire {
        Wire::OpenAi => {
            let tokens_parameter = TokensParameter::MaxTokens;
            ProviderConfig::OpenAi(OpenAiConfig { base_url, model, api_key, tokens_parameter })
        }
        Wire::Anthropic => ProviderConfig::Anthropic(AnthropicConfig {
            base_url,
            model,
            api_key,
            cache_prompts: true,
            send_temperature: false,
        }),
    }
}

/// A deployment that costs nothing, is asked once and may take long.
pub(crate) fn deployment(name: &str, wire: Wire, base_url: &str) -> DeploymentConfig {
    DeploymentConfig::plain(name, provider(wire, base_url), PATIENT)
}

pub(crate) fn model(name: &str, deployments: Vec<DeploymentConfig>) -> ModelConfig {
    let (routing, fallbacks, context_fallbacks) = (Routing::Weight, Vec::new(), Vec::new());
    ModelConfig { name: name.to_owned(), deployments, routing, fallbacks, context_fallbacks }
}

pub(crate) fn config(models: Vec<ModelConfig>) -> GatewayConfig {
    GatewayConfig {
        models,
        policy: Policy::default(),
        rates: RatesConfig::default(),
        cache: None,
        budget: BudgetConfig::default(),
        last_resort: LastResortConfig::default(),
        attempts_max: 1,
    }
}

pub(crate) fn parts() -> GatewayParts {
    let random = Arc::new(SeededRandom::new(7));
    GatewayParts { disk: Arc::new(MemoryDisk::new()), random, alerts: None, observer: None }
}

pub(crate) fn gateway_of(models: Vec<ModelConfig>, change: impl FnOnce(&mut GatewayConfig)) -> Gateway {
    gateway_with(models, None, change)
}

pub(crate) fn gateway_with(
    models: Vec<ModelConfig>,
    observer: Option<Arc<Ended>>,
    change: impl FnOnce(&mut GatewayConfig),
) -> Gateway {
    let mut config = config(models);
    change(&mut config);
    let observer = observer.map(|observer| observer as Arc<dyn Observe>);
    Gateway::new(config, GatewayParts { observer, ..parts() }).unwrap()
}

/// Every call that has ended.
#[derive(Debug, Default)]
pub(crate) struct Ended(Mutex<Vec<(CallRecord, Option<ModelError>)>>);

impl Ended {
    pub(crate) fn take(&self) -> Vec<(CallRecord, Option<ModelError>)> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl Observe for Ended {
    fn ended(&self, _: &GenerateRequest, record: &CallRecord, error: Option<&ModelError>) {
        self.0.lock().unwrap().push((record.clone(), error.cloned()));
    }
}

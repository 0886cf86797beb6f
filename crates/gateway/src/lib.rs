//! Every call of a language model goes through this door.
//!
//! | file               | responsibility                                                                       |
//! | ------------------ | ------------------------------------------------------------------------------------ |
//! | `config.rs`        | what a gateway is made from, as plain values                                         |
//! | `gateway.rs`       | the one [`ibid_core::Generate`] that the edge hands out                              |
//! | `stack.rs`         | the layers in their order, each with its reason                                      |
//! | `call.rs`          | a call on its way through the layers                                                 |
//! | `failure.rs`       | why a call failed: what may be tried again, and where                                |
//! | `observe.rs`       | what every call leaves: in the reply, in the trace                                   |
//! | `authorise.rs`     | who may not use a model is told so; the rules are in `policy.rs`                     |
//! | `policy.rs`        | allow-lists, bans, residency; swapped while calls run                                |
//! | `rate_limit.rs`    | requests and tokens a minute, by tenant, feature and deployment                      |
//! | `last_resort.rs`   | nobody can be asked: a stale answer, else the sources' own words, else an error      |
//! | `exact_cache.rs`   | the kept answer to the very same request                                             |
//! | `single_flight.rs` | equal requests at the same time are one call                                         |
//! | `budget.rs`        | money is set aside before a call and settled after it                                |
//! | `budget/book.rs`   | accounts, windows, ceilings                                                          |
//! | `budget/journal.rs`| the book on disk, whatever happens to the process                                    |
//! | `route.rs`         | which deployment is asked, and who stands in                                         |
//! | `table.rs`         | public name -> deployments, each behind its own layers                               |
//! | `health.rs`        | how a deployment has been doing of late                                              |
//! | `retry.rs`         | asks again, after a pause                                                            |
//! | `breaker.rs`       | leaves a deployment alone that fails or is slow                                      |
//! | `hedge.rs`         | asks twice when the first token takes long                                           |
//! | `timeouts.rs`      | starts a call's time; `pace.rs` measures it                                          |
//! | `ask.rs`           | one request to one deployment, counted                                               |
//! | `bill.rs`          | what the attempts of a call have used; `count.rs` counts tokens, `money.rs` prices them |
//! | `providers/`       | OpenAI's chat completions, Anthropic's Messages, generators in this process          |
//! | `remote/`          | embedders and rerankers at a provider                                                |
//! | `secret.rs`        | a provider's key, which is never printed                                             |
//!
//! Invariants: no error and no `Debug` text holds a key, a prompt or what a provider echoes of either. A reply ends in
//! `Done` or in an error, never in silence, and is one model's from its first piece on. Dropping a reply closes its
//! connection and settles its cost. No proxy and no key is read from the environment, and no redirect is followed: a key
//! goes to the configured address alone.
#![forbid(unsafe_code)]

mod ask;
mod authorise;
mod bill;
mod breaker;
mod budget;
mod call;
mod config;
mod count;
mod error;
mod exact_cache;
mod failure;
mod gateway;
mod health;
mod hedge;
mod last_resort;
mod money;
mod observe;
mod pace;
mod policy;
mod providers;
mod rate_limit;
mod remote;
mod retry;
mod route;
mod secret;
mod single_flight;
mod stack;
mod table;
#[cfg(test)]
mod testing;
mod timeouts;

pub use breaker::BreakerState;
pub use budget::{Account, Alert, Alerts, BudgetConfig, Ceiling, Ceilings, Window};
pub use config::{
    BreakerConfig, DeploymentConfig, GatewayConfig, LastResortConfig, ModelConfig, Rate, RatesConfig, RetryConfig,
    Routing,
};
pub use count::CountTokens;
pub use error::GatewayError;
pub use exact_cache::CacheConfig;
pub use gateway::{DeploymentStatus, Gateway, GatewayParts};
pub use money::{Microdollars, Prices};
pub use observe::Observe;
pub use pace::Timeouts;
pub use policy::{Policy, Rule, Says};
pub use providers::{AnthropicConfig, OpenAiConfig, ProviderConfig, TokensParameter};
pub use remote::{EmbedProtocol, RemoteConfig, RemoteEmbedder, RemoteReranker, RerankProtocol};
pub use secret::Secret;

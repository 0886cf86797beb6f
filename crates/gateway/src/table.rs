//! The table of models, checked: public name -> deployments, each behind its own layers.

use std::collections::HashSet;
use std::sync::Arc;

use ibid_core::{GenerateRequest, ModelError};

use crate::GatewayError;
use crate::bill::Tariff;
use crate::breaker::Breaker;
use crate::call::{BoxedDoor, Call};
use crate::config::{DeploymentConfig, ModelConfig, Routing};
use crate::failure::{Failure, Kind};
use crate::health::Health;
use crate::policy::Policy;
use crate::rate_limit::Buckets;

/// One deployment that can be asked.
pub(crate) struct Deployment {
    pub(crate) name: String,
    pub(crate) region: String,
    pub(crate) weight: u32,
    pub(crate) tariff: Tariff,
    /// The most times that one call asks it.
    pub(crate) tries_max: u32,
    pub(crate) rate: Arc<Buckets>,
    pub(crate) health: Arc<Health>,
    pub(crate) breaker: Arc<Breaker>,
    /// Retry, breaker, hedge, timeouts, provider.
    pub(crate) door: BoxedDoor,
}

impl std::fmt::Debug for Deployment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Deployment").field("name", &self.name).field("health", &self.health).finish_non_exhaustive()
    }
}

/// A public name.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) name: Arc<str>,
    pub(crate) deployments: Vec<Arc<Deployment>>,
    pub(crate) routing: Routing,
    pub(crate) fallbacks: Vec<String>,
    pub(crate) context_fallbacks: Vec<String>,
}

/// All of them, the default first.
#[derive(Debug)]
pub(crate) struct Table {
    models: Vec<Model>,
    attempts_max: u32,
}

impl Table {
    /// Checks the names in `models`; `open` makes a deployment's layers.
    ///
    /// # Errors
    /// [`GatewayError`]: nothing to ask, a name that is empty, taken or unknown, a deployment that cannot be opened.
    pub(crate) fn new(
        models: Vec<ModelConfig>,
        attempts_max: u32,
        mut open: impl FnMut(DeploymentConfig) -> Result<Deployment, GatewayError>,
    ) -> Result<Table, GatewayError> {
        let mut names = HashSet::new();
        for model in &models {
            if model.name.is_empty() || model.deployments.iter().any(|one| one.name.is_empty()) {
                return Err(GatewayError::EmptyName);
            }
            if !names.insert(model.name.clone()) {
                return Err(GatewayError::DuplicateName { name: model.name.clone() });
            }
            if model.deployments.is_empty() {
                return Err(GatewayError::NoDeployment { name: model.name.clone() });
            }
        }
        let (mut table, mut deployments) = (Vec::new(), HashSet::new());
        for ModelConfig { name, deployments: configs, routing, fallbacks, context_fallbacks } in models {
            if let Some(unknown) = fallbacks.iter().chain(&context_fallbacks).find(|other| !names.contains(*other)) {
                return Err(GatewayError::UnknownName { name: unknown.clone(), place: format!("fallback of {name}") });
            }
            let mut opened = Vec::new();
            for config in configs {
                if !deployments.insert(config.name.clone()) {
                    return Err(GatewayError::DuplicateName { name: config.name });
                }
                opened.push(Arc::new(open(config)?));
            }
            let deployments = opened;
            table.push(Model { name: name.into(), deployments, routing, fallbacks, context_fallbacks });
        }
        if table.is_empty() {
            return Err(GatewayError::NoRoute);
        }
        Ok(Table { models: table, attempts_max })
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.models.iter().map(|model| model.name.to_string()).collect()
    }

    /// The model of this public name; the default for an empty one.
    ///
    /// # Errors
    /// [`ModelError::Refused`] if there is none.
    pub(crate) fn model(&self, name: &str) -> Result<&Model, ModelError> {
        let found = self.models.iter().find(|model| name.is_empty() || *model.name == *name);
        found.ok_or_else(|| ModelError::Refused {
            model: name.to_owned(),
            detail: format!("there is no such generator, expected one of: {}", self.names().join(", ")),
        })
    }

    pub(crate) fn deployments(&self) -> impl Iterator<Item = &Arc<Deployment>> {
        self.models.iter().flat_map(|model| &model.deployments)
    }

    /// # Errors
    /// [`GatewayError::UnknownName`]: a rule that names nobody protects nobody.
    pub(crate) fn check(&self, policy: &Policy) -> Result<(), GatewayError> {
        let known = |name: &str| {
            self.models.iter().any(|model| *model.name == *name) || self.deployments().any(|one| one.name == name)
        };
        match policy.names().find(|name| !known(name)) {
            Some(name) => Err(GatewayError::UnknownName { name: name.to_owned(), place: "policy".to_owned() }),
            None => Ok(()),
        }
    }

    /// The deployments of `model` that the rules let `call` use.
    pub(crate) fn permitted<'a>(&self, call: &'a Call, model: &'a Model) -> impl Iterator<Item = &'a Arc<Deployment>> {
        let admits =
            move |one: &&Arc<Deployment>| call.policy.admits(&call.request, &model.name, &one.name, &one.region);
        model.deployments.iter().filter(admits)
    }

    /// `model` and every model that may stand in for it, in this order, each once.
    pub(crate) fn chain<'a>(&'a self, model: &'a Model, stand_ins: &'a [String]) -> Vec<&'a Model> {
        let mut chain: Vec<&Model> = vec![model];
        let others = stand_ins.iter().filter_map(|name| self.models.iter().find(|other| *other.name == **name));
        for other in others {
            if !chain.iter().any(|known| known.name == other.name) {
                chain.push(other);
            }
        }
        chain
    }

    /// The most that `call` can cost: its dearest permitted attempts, as many as it may make.
    pub(crate) fn cost_max(&self, call: &Call) -> Result<crate::Microdollars, Failure> {
        let model = self.model(&call.model).map_err(|error| Failure::new(Kind::BadRequest, error))?;
        let stand_ins: Vec<String> = model.fallbacks.iter().chain(&model.context_fallbacks).cloned().collect();
        let mut costs = Vec::new();
        for one in self.chain(model, &stand_ins).into_iter().flat_map(|model| self.permitted(call, model)) {
            let cost = one.tariff.cost_max(&call.request);
            let tries = one.tries_max.min(self.attempts_max);
            costs.extend(std::iter::repeat_n(cost, tries as usize));
        }
        costs.sort_unstable();
        Ok(costs.into_iter().rev().take(self.attempts_max as usize).sum())
    }

    /// What a call of `request` is likely to use of a limit of tokens, before anybody was asked.
    pub(crate) fn tokens(&self, name: &str, request: &GenerateRequest) -> u64 {
        let counter = self.model(name).ok().and_then(|model| model.deployments[0].tariff.counter.clone());
        crate::count::prompt(counter.as_deref(), request).likely + u64::from(request.tokens_max)
    }
}

//! Public name to generator, in this process or at a provider.

use std::sync::Arc;

use ibid_core::{BoxFuture, Generate, GenerateRequest, GenerationStream, ModelError};
use ibid_runtime::Ctx;

use crate::OpenAiConfig;
use crate::openai::OpenAi;
use crate::pace::unless_stopped;

/// Why a gateway was not built. Each is repaired in the configuration.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// Nothing could generate.
    #[error("no generator is given, expected at least one")]
    NoRoute,
    /// Two generators, one name.
    #[error("two generators are called {name:?}, expected a name each")]
    DuplicateName {
        /// The name.
        name: String,
    },
    /// A name that means "the default one" in a request.
    #[error("a generator has an empty name, expected one that requests can give")]
    EmptyName,
    /// An address that cannot be called. The address itself is not shown: people put keys there.
    #[error("base_url of generator {name:?} {problem}")]
    BaseUrl {
        /// The generator.
        name: String,
        /// What is wrong and what is expected.
        problem: &'static str,
    },
    /// A key that no HTTP header can carry.
    #[error("api_key of generator {name:?} has characters that a header cannot carry, expected visible ASCII")]
    ApiKey {
        /// The generator.
        name: String,
    },
    /// The HTTP client was not built; for `https` most often because the system has no CA certificates.
    #[error("make the HTTP client of generator {name:?}; for https the system's CA certificates must be installed")]
    Client {
        /// The generator.
        name: String,
        /// What it says.
        #[source]
        source: reqwest::Error,
    },
}

/// One generator that can be asked by name.
#[derive(Debug, Clone)]
pub enum Route {
    /// A generator in this process, asked for its own default, and its public name.
    Local(String, Arc<dyn Generate>),
    /// A provider that speaks OpenAI's chat completions.
    OpenAi(OpenAiConfig),
}

#[derive(Debug)]
enum Generator {
    Local(Arc<dyn Generate>),
    OpenAi(Box<OpenAi>),
}

/// All generators by public name; the first is the default.
#[derive(Debug)]
pub struct Gateway {
    routes: Vec<(String, Generator)>,
}

impl Gateway {
    /// A gateway to `routes`, the default first. Connects to nobody yet.
    ///
    /// # Errors
    /// [`GatewayError`]: no route, a name that is empty or taken, an address or a key that cannot be used.
    pub fn new(routes: Vec<Route>) -> Result<Gateway, GatewayError> {
        let mut table: Vec<(String, Generator)> = Vec::with_capacity(routes.len());
        for route in routes {
            let (name, generator) = match route {
                Route::Local(name, generate) => (name, Generator::Local(generate)),
                Route::OpenAi(config) => (config.name.clone(), Generator::OpenAi(Box::new(OpenAi::new(config)?))),
            };
            if name.is_empty() {
                return Err(GatewayError::EmptyName);
            }
            if table.iter().any(|(taken, _)| *taken == name) {
                return Err(GatewayError::DuplicateName { name });
            }
            table.push((name, generator));
        }
        if table.is_empty() {
            return Err(GatewayError::NoRoute);
        }
        Ok(Gateway { routes: table })
    }

    fn generator(&self, name: &str) -> Result<&Generator, ModelError> {
        let found = self.routes.iter().find(|(known, _)| name.is_empty() || known == name);
        found.map(|(_, generator)| generator).ok_or_else(|| ModelError::Refused {
            model: name.to_owned(),
            detail: format!("there is no such generator, expected one of: {}", self.generators().join(", ")),
        })
    }
}

impl Generate for Gateway {
    fn generators(&self) -> Vec<String> {
        self.routes.iter().map(|(name, _)| name.clone()).collect()
    }

    fn generate<'a>(
        &'a self,
        ctx: &'a Ctx,
        mut request: GenerateRequest,
    ) -> BoxFuture<'a, Result<GenerationStream, ModelError>> {
        Box::pin(async move {
            match self.generator(&request.generator)? {
                Generator::Local(generate) => {
                    // The public name is ours; behind the door it is asked for what it is.
                    request.generator.clear();
                    unless_stopped(ctx, generate.generate(ctx, request)).await?
                }
                Generator::OpenAi(provider) => provider.generate(ctx, &request).await,
            }
        })
    }
}

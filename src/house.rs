//! Joins the rooms: models, engine, query path and generators, from one configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ibid_answer::{Extractive, ExtractiveConfig};
use ibid_core::{CollectionName, Floor, Generate, ModelId, Rerank, TenantId};
use ibid_engine::snapshots::SnapshotStore;
use ibid_engine::{Engine, EngineError, Invalid, MasterKey, MasterKeyError, Models, Opened, Partition, Views};
use ibid_gateway::{
    BudgetConfig, DeploymentConfig, Gateway, GatewayConfig, GatewayError, GatewayParts, LastResortConfig, ModelConfig,
    OpenAiConfig, Policy, ProviderConfig, RatesConfig, Routing, Timeouts, TokensParameter,
};
use ibid_infer::{Compute, InferError, LanguageModel, LanguageModelConfig, ModelStore};
use ibid_retrieve::{Rerankers, Retriever};
use ibid_runtime::{Clock, Ctx, Disk, Pool, Random, RealDisk, SystemClock, SystemRandom};

use crate::config::{self, Config, Generator, MASTER_KEY_VARIABLE, MasterKeySource, Runs};
use crate::grpc::upload::Room;
use crate::snapshots::TargetError;
use crate::wire::search::Defaults;

/// Vectors of one collection from which searching by a graph is worth building it.
const GRAPH_FROM: usize = 20_000;
/// Chunks of a past generation's view: with vectors of 384 dimensions about 100 MB, a collection.
const PAST_CHUNKS_MAX: usize = 50_000;
/// sled opens in well under a second unless it is damaged.
const INDEX_OPEN_TIMEOUT: Duration = Duration::from_secs(10);
const LOG_SEGMENT_BYTES: u64 = 128 << 20;
/// One write in dozens is longer by so much.
const LOG_ROOM_BYTES: u64 = 1 << 20;
/// Some of the largest documents.
const LOG_QUEUE_BYTES_MAX: u64 = 256 << 20;
/// Long enough that a disk which stays full costs nothing, short enough that nobody waits for it.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// Hits of a search that does not say.
const SEARCH_TOP_K: usize = 10;
/// Sources of an answer that does not say.
const ANSWER_TOP_K: usize = 6;
/// Collections that a search of all of them may have.
const COLLECTIONS_MAX: usize = 16;

/// How much of the sources the extractive generator scores and says.
const EXTRACTIVE: ExtractiveConfig = ExtractiveConfig { units_max: 40, picks_max: 3, margin: 1.0, floor: 0.0 };

/// How long a generator may take.
const GENERATOR_TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(5),
    // A local model reads a long prompt on two cores before it says a word.
    first_token: Duration::from_secs(120),
    between_tokens: Duration::from_secs(30),
    total: Duration::from_secs(600),
};

/// Why the house could not be opened. Who starts the server reads it: it may name paths.
#[derive(Debug, thiserror::Error)]
pub enum HouseError {
    /// The compute threads were refused.
    #[error("start the compute threads")]
    Pool(#[source] std::io::Error),
    /// A model cannot be loaded.
    #[error("load the {what}")]
    Model {
        /// Which one.
        what: &'static str,
        /// Why.
        #[source]
        source: InferError,
    },
    /// A generator's model cannot be loaded.
    #[error("load the model of generator {name:?}")]
    Generator {
        /// The generator.
        name: String,
        /// Why.
        #[source]
        source: InferError,
    },
    /// A generator of the configuration cannot be used.
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    /// Snapshots cannot be kept where the configuration says.
    #[error("use snapshots.target")]
    Snapshots(#[source] TargetError),
    /// The master key cannot be used.
    #[error("use the master key in {origin}")]
    MasterKey {
        /// Where it is.
        origin: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The data folder cannot be opened.
    #[error("open the data folder {}", folder.display())]
    Engine {
        /// The folder.
        folder: PathBuf,
        /// Why.
        #[source]
        source: EngineError,
    },
}

/// What is found outside: tests bring their own.
#[derive(Debug, Clone)]
pub struct Parts {
    /// Files.
    pub disk: Arc<dyn Disk>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub random: Arc<dyn Random>,
    /// Compute.
    pub pool: Pool,
    /// Embedders.
    pub models: Models,
    /// The cross-encoders.
    pub rerankers: Rerankers,
    /// What answers.
    pub generate: Arc<dyn Generate>,
}

impl Parts {
    /// This machine's files, clock and randomness, and the models and generators that the configuration names. Loading
    /// takes about a second.
    ///
    /// # Errors
    /// [`HouseError`]: no threads, a model that cannot be loaded, a generator that cannot be used.
    pub fn of_this_machine(config: &Config) -> Result<Parts, HouseError> {
        let pool = Pool::new(config.compute.threads, config.compute.jobs_max).map_err(HouseError::Pool)?;
        let store = ModelStore::new(model_roots(config))
            .on(Compute { device: config.models.device, numbers: config.models.numbers });
        let batch_tokens_max = config.models.batch_tokens_max;
        let mut models = Models { default: config.models.embedder.clone(), by_id: BTreeMap::new() };
        for id in std::iter::once(&config.models.embedder).chain(&config.models.embedders) {
            if models.by_id.contains_key(id) {
                continue;
            }
            let embedder = store
                .load_embedder(id, &pool, batch_tokens_max)
                .map_err(|source| HouseError::Model { what: "embedder", source })?;
            models.by_id.insert(id.clone(), Arc::new(embedder));
        }
        let reranker = |id, what| match store.load_reranker(id, &pool, batch_tokens_max) {
            Ok(reranker) => Ok(Arc::new(reranker) as Arc<dyn Rerank>),
            Err(source) => Err(HouseError::Model { what, source }),
        };
        let large = reranker(&config.models.reranker, "reranker")?;
        let small = config.models.reranker_small.as_ref().map(|id| reranker(id, "small reranker")).transpose()?;
        let generate = gateway(&config.generators, Arc::clone(&large), &pool)?;
        Ok(Parts {
            disk: Arc::new(RealDisk),
            clock: Arc::new(SystemClock::new()),
            random: Arc::new(SystemRandom),
            pool,
            models,
            rerankers: Rerankers { small, large },
            generate: Arc::new(generate),
        })
    }
}

/// The engine's limits and places.
pub(crate) fn engine_config(config: &Config) -> ibid_engine::Config {
    ibid_engine::Config {
        folder: config.data_dir.clone(),
        document_bytes_max: config.limits.document_bytes_max,
        pending_documents_max: config.limits.pending_documents_max,
        graph_from: GRAPH_FROM,
        index_open_timeout: INDEX_OPEN_TIMEOUT,
        log_segment_bytes: LOG_SEGMENT_BYTES,
        log_room_bytes: LOG_ROOM_BYTES,
        queue_bytes_max: LOG_QUEUE_BYTES_MAX,
        erase_within: config.ledger.erase_within,
        retain: config.ledger.retain,
        past_chunks_max: PAST_CHUNKS_MAX,
        // Of the data folder alone: scratch folders have no secrets.
        master_key: None,
        retry_pause: RETRY_PAUSE,
    }
}

fn master_key(config: &Config) -> Result<Option<MasterKey>, HouseError> {
    let Some(source) = &config.ledger.master_key else { return Ok(None) };
    let (origin, text) = match source {
        MasterKeySource::Environment(secret) => (format!("variable {MASTER_KEY_VARIABLE}"), secret.expose().to_owned()),
        MasterKeySource::File(path) => {
            let origin = format!("file {}", path.display());
            let failed =
                |source: std::io::Error| HouseError::MasterKey { origin: origin.clone(), source: source.into() };
            warn_if_shared(path);
            (origin.clone(), std::fs::read_to_string(path).map_err(failed)?)
        }
    };
    let failed = |error: MasterKeyError| HouseError::MasterKey { origin, source: error.into() };
    MasterKey::parse(&text).map(Some).map_err(failed)
}

#[cfg(unix)]
fn warn_if_shared(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    if std::fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o077 != 0) {
        tracing::warn!(path = %path.display(), "others may read the master key's file; `chmod 600` keeps it to its owner");
    }
}

#[cfg(not(unix))]
fn warn_if_shared(_: &Path) {}

/// Where models are looked for: the configured folders, then the data folder, beside the program, and where it was built.
pub fn model_roots(config: &Config) -> Vec<PathBuf> {
    let beside = std::env::current_exe().ok().and_then(|program| program.parent().map(|dir| dir.join("models")));
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    config.models.roots.iter().cloned().chain([config.data_dir.join("models")]).chain(beside).chain([built]).collect()
}

fn gateway(generators: &[Generator], reranker: Arc<dyn Rerank>, pool: &Pool) -> Result<Gateway, HouseError> {
    let mut models = generators.iter().map(|one| model(one, pool)).collect::<Result<Vec<_>, HouseError>>()?;
    let extractive = ProviderConfig::Local(Arc::new(Extractive::new(reranker, EXTRACTIVE)));
    models.push(alone(Extractive::NAME, extractive));
    let config = GatewayConfig {
        models,
        policy: Policy::default(),
        rates: RatesConfig::default(),
        cache: None,
        budget: BudgetConfig::default(),
        last_resort: LastResortConfig::default(),
        attempts_max: 1,
    };
    let parts = GatewayParts { disk: Arc::new(RealDisk), random: Arc::new(SystemRandom), alerts: None, observer: None };
    Ok(Gateway::new(config, parts)?)
}

fn model(generator: &Generator, pool: &Pool) -> Result<ModelConfig, HouseError> {
    let Generator { name, runs } = generator.clone();
    let provider = match runs {
        Runs::There { base_url, model, api_key } => ProviderConfig::OpenAi(OpenAiConfig {
            base_url,
            model,
            api_key,
            tokens_parameter: TokensParameter::MaxTokens,
        }),
        Runs::Here { gguf, seed, temperature, top_p } => {
            let config = LanguageModelConfig { name: name.clone(), path: gguf, seed, temperature, top_p };
            let model = LanguageModel::load(config, pool)
                .map_err(|source| HouseError::Generator { name: name.clone(), source })?;
            ProviderConfig::Local(Arc::new(model))
        }
    };
    Ok(alone(&name, provider))
}

/// A public name with one deployment, which is asked once.
fn alone(name: &str, provider: ProviderConfig) -> ModelConfig {
    ModelConfig {
        name: name.to_owned(),
        deployments: vec![DeploymentConfig::plain(name, provider, GENERATOR_TIMEOUTS)],
        routing: Routing::Weight,
        fallbacks: Vec::new(),
        context_fallbacks: Vec::new(),
    }
}

/// The first half of a hash of all values; secrets print nothing of themselves.
fn config_version(config: &Config) -> String {
    blake3::hash(format!("{config:?}").as_bytes()).to_hex()[..16].to_owned()
}

/// Everything that serves requests.
#[derive(Debug)]
pub struct House {
    /// Tenants, keys, collections and documents.
    pub engine: Engine,
    /// The query path.
    pub retriever: Retriever,
    /// What answers.
    pub generate: Arc<dyn Generate>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Compute.
    pub pool: Pool,
    /// The embedder of collections that name none.
    pub default_model: ModelId,
    /// Changes whenever the configuration does.
    pub(crate) config_version: String,
    pub(crate) room: Room,
    snapshots: Option<Arc<dyn SnapshotStore>>,
    pub(crate) answer: ibid_answer::Config,
    pub(crate) answer_floor: Floor,
    random: Arc<dyn Random>,
    rerank: config::Rerank,
}

impl House {
    /// Opens the data folder and joins the rooms. Blocks while the ledger is read.
    ///
    /// # Errors
    /// [`HouseError::Engine`].
    pub fn open(config: &Config, parts: Parts) -> Result<(House, Opened), HouseError> {
        let Parts { disk, clock, random, pool, models, rerankers, generate } = parts;
        let default_model = models.default.clone();
        let target = config.snapshots.target.as_ref();
        let snapshots = target.map(|target| target.open(&disk)).transpose().map_err(HouseError::Snapshots)?;
        let engine_parts = ibid_engine::Parts {
            disk,
            clock: Arc::clone(&clock),
            random: Arc::clone(&random),
            pool: pool.clone(),
            models,
            views: Views::Folder,
            snapshots: snapshots.clone(),
        };
        let engine_config = ibid_engine::Config { master_key: master_key(config)?, ..engine_config(config) };
        let (engine, opened) = Engine::open(engine_config, engine_parts)
            .map_err(|source| HouseError::Engine { folder: config.data_dir.clone(), source })?;
        let house = House {
            engine,
            retriever: Retriever::new(pool.clone(), Some(rerankers)),
            generate,
            clock,
            pool,
            default_model,
            config_version: config_version(config),
            room: Room::new(config.limits.upload_bytes_max, config.limits.document_bytes_max),
            answer: ibid_answer::Config {
                sources_max: ANSWER_TOP_K,
                sources_bytes_max: config.answer.sources_bytes_max,
                tokens_max: 0,
                temperature: 0.0,
            },
            answer_floor: Floor {
                relevance: config.answer.relevance_floor,
                rerank_logit: config.answer.rerank_logit_floor,
                cosine: config.answer.cosine_floor,
            },
            snapshots,
            random,
            rerank: config.rerank.clone(),
        };
        Ok((house, opened))
    }

    /// Where snapshots are kept.
    ///
    /// # Errors
    /// [`EngineError::Unfit`]: nowhere.
    pub(crate) fn snapshots(&self) -> Result<Arc<dyn SnapshotStore>, EngineError> {
        let unset =
            || EngineError::Unfit("snapshots.target is not set: name a folder or s3://bucket/prefix".to_owned());
        self.snapshots.clone().ok_or_else(unset)
    }

    pub(crate) fn search_defaults(&self) -> Defaults<'_> {
        Defaults { top_k: SEARCH_TOP_K, rerank: &self.rerank }
    }

    pub(crate) fn answer_defaults(&self) -> Defaults<'_> {
        Defaults { top_k: ANSWER_TOP_K, rerank: &self.rerank }
    }

    /// The collections of these names, or all of the tenant if none is named, by name.
    ///
    /// # Errors
    /// [`EngineError`]: there is no such collection, it cannot be opened, or there are too many to search them all.
    pub async fn partitions(
        &self,
        ctx: &Ctx,
        tenant: &TenantId,
        named: &BTreeSet<CollectionName>,
    ) -> Result<Vec<Partition>, EngineError> {
        let mut names: Vec<CollectionName> = named.iter().cloned().collect();
        if names.is_empty() {
            names = self.engine.collection_names(tenant, None, COLLECTIONS_MAX + 1);
            if names.len() > COLLECTIONS_MAX {
                let problem = format!("is empty, and there are more than {COLLECTIONS_MAX}: name those to search");
                return Err(Invalid::new("collections", problem).into());
            }
        }
        let mut partitions = Vec::with_capacity(names.len());
        for name in &names {
            partitions.push(self.engine.partition(ctx, tenant, name).await?);
        }
        Ok(partitions)
    }

    /// An id for an answer.
    pub(crate) fn job(&self, tenant: &TenantId) -> [u8; 16] {
        let mut domain = b"job".to_vec();
        domain.extend(tenant.key().0.to_le_bytes());
        let mut job = [0; 16];
        self.random.fill(&domain, &mut job);
        job
    }
}

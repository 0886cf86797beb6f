//! Configuration: one file, one struct, the defaults written once.
//!
//! | file            | responsibility                                                            |
//! | --------------- | ------------------------------------------------------------------------- |
//! | `settings.rs`   | every setting: key, variable, default, unit, range, reason                |
//! | `values.rs`     | which value holds: flag, then environment, then file, then default        |
//! | `generators.rs` | the `[[generator]]` tables: a language model elsewhere or here            |
//!
//! An unknown key, in the file or as a flag, is an error with the nearest name. An unknown `IBID_` variable is not: where
//! a cluster runs a service called `ibid`, it sets such variables itself.

mod generators;
mod settings;
mod values;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ibid_core::ModelId;
use ibid_gateway::Secret;
use ibid_infer::{Device, Numbers};

use crate::snapshots::Target;

pub use settings::{SETTINGS, Setting};
pub use values::Explained;
use values::Values;

/// The file that is read where none is named, if it is there.
pub const FILE: &str = "ibid.toml";
/// The variable that names the file.
pub const FILE_VARIABLE: &str = "IBID_CONFIG";

/// Everything that can be set, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The data folder.
    pub data_dir: PathBuf,
    /// Where and how the server listens.
    pub server: Server,
    /// Bounds on what is kept waiting.
    pub limits: Limits,
    /// The log.
    pub ledger: Ledger,
    /// Snapshots of the data folder.
    pub snapshots: Snapshots,
    /// Threads for compute.
    pub compute: Compute,
    /// Which models, from where.
    pub models: Models,
    /// What a search does that says nothing of reranking.
    pub rerank: Rerank,
    /// What an answer does that says nothing of it.
    pub answer: Answer,
    /// Language models that answer, the default first. The server's own extractive generator is always there, after them.
    pub generators: Vec<Generator>,
}

/// Where and how the server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// The address.
    pub listen: SocketAddr,
    /// `None`: in plain text.
    pub tls: Option<Tls>,
}

/// A certificate and its key, PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The certificate chain.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// Bounds on what is kept waiting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The longest document.
    pub document_bytes_max: usize,
    /// Documents that may wait for their stages.
    pub pending_documents_max: usize,
    /// Content that uploads may hold in memory together.
    pub upload_bytes_max: usize,
}

/// How the log is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ledger {
    /// How long the bytes of something deleted may stay in it.
    pub erase_within: Duration,
    /// How long a version of a document is kept after another one has taken its place.
    pub retain: Duration,
    /// Where the key is that seals the tenants' keys; `None`: nothing is encrypted.
    pub master_key: Option<MasterKeySource>,
}

/// Where the master key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MasterKeySource {
    /// In a file.
    File(PathBuf),
    /// In the environment, as [`MASTER_KEY_VARIABLE`].
    Environment(Secret),
}

/// The variable that may hold the master key itself. It is no setting: those are shown.
pub const MASTER_KEY_VARIABLE: &str = "IBID_MASTER_KEY";

/// Snapshots of the data folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshots {
    /// Where they are kept; `None`: nowhere.
    pub target: Option<Target>,
}

/// Threads for compute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compute {
    /// How many threads; at least 1.
    pub threads: usize,
    /// How many jobs may wait for them.
    pub jobs_max: usize,
}

/// Which models, from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Models {
    /// Folders of models given in the configuration; the usual places come after them.
    pub roots: Vec<PathBuf>,
    /// The embedder of collections that name none.
    pub embedder: ModelId,
    /// Embedders that collections may name besides.
    pub embedders: Vec<ModelId>,
    /// The cross-encoder that has the last word.
    pub reranker: ModelId,
    /// The one that goes first; `None`: there is none.
    pub reranker_small: Option<ModelId>,
    /// What they compute on.
    pub device: Device,
    /// What encoders on the processor compute in.
    pub numbers: Numbers,
    /// Tokens of one forward pass.
    pub batch_tokens_max: usize,
}

/// What a search does that says nothing of reranking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rerank {
    /// How many candidates are reranked; 0: none.
    pub depth: usize,
    /// Time for it; `None`: until the deadline.
    pub budget: Option<Duration>,
}

/// What an answer does that says nothing of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The least relevance of a source; `None`: any.
    pub relevance_floor: Option<f32>,
    /// The least rerank logit of a source; `None`: any.
    pub rerank_logit_floor: Option<f32>,
    /// The least cosine of a source that was not reranked; `None`: any.
    pub cosine_floor: Option<f32>,
    /// Text of all sources of an answer together.
    pub sources_bytes_max: usize,
}

/// A language model.
#[derive(Debug, Clone, PartialEq)]
pub struct Generator {
    /// The name that requests give.
    pub name: String,
    /// Where it runs.
    pub runs: Runs,
}

/// Where a language model runs.
#[derive(Debug, Clone, PartialEq)]
pub enum Runs {
    /// Elsewhere, behind OpenAI's protocol.
    There {
        /// The address before `/chat/completions`.
        base_url: String,
        /// What the provider calls the model.
        model: String,
        /// The provider's key; `None` where it wants none.
        api_key: Option<Secret>,
    },
    /// In this process.
    Here {
        /// A GGUF file of the Llama architecture.
        gguf: PathBuf,
        /// Where its randomness starts.
        seed: u64,
        /// How freely it chooses words, 0 for the most likely; `None`: as the request says.
        temperature: Option<f32>,
        /// The share of probability that it chooses from.
        top_p: f32,
    },
}

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is no TOML.
    #[error("{} is not valid TOML: {detail}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and why.
        detail: String,
    },
    /// There is no such setting.
    #[error("{origin} sets {key:?}, which is no setting; {}", nearest_hint(nearest.as_deref()))]
    UnknownKey {
        /// Where it was set.
        origin: Origin,
        /// What was set.
        key: String,
        /// The setting with the nearest name, if one is near.
        nearest: Option<String>,
    },
    /// A value that a setting cannot have.
    #[error("{key} {problem} ({origin})")]
    Value {
        /// The setting.
        key: String,
        /// What is wrong, and what was expected.
        problem: String,
        /// Where it was set.
        origin: Origin,
    },
    /// Keys and documents would travel in plain text.
    #[error(
        "server.listen is {listen}, which others can reach, and keys would travel there in plain text; \
         set server.tls_cert and server.tls_key, or listen on 127.0.0.1"
    )]
    PlainText {
        /// The address.
        listen: SocketAddr,
    },
}

fn nearest_hint(nearest: Option<&str>) -> String {
    match nearest {
        Some(nearest) => format!("did you mean {nearest:?}?"),
        None => "`ibid config` lists them all".to_owned(),
    }
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// The configuration file.
    File(PathBuf),
    /// An environment variable.
    Environment(String),
    /// The command line.
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(path) => write!(f, "file {}", path.display()),
            Origin::Environment(variable) => write!(f, "environment {variable}"),
            Origin::Flag => f.write_str("flag"),
        }
    }
}

/// What a configuration is made from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file named on the command line.
    pub file: Option<PathBuf>,
    /// The environment, by variable.
    pub environment: BTreeMap<String, String>,
    /// Values given on the command line, by key.
    pub flags: BTreeMap<String, String>,
}

impl Sources {
    /// This process's environment, and what its command line gave. Variables that are not UTF-8 are left out.
    pub fn of_this_process(file: Option<PathBuf>, flags: BTreeMap<String, String>) -> Sources {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Sources { file, environment: std::env::vars_os().filter_map(text).collect(), flags }
    }

    /// The file to read: the one named, or [`FILE`] in the working folder if it is there.
    fn file(&self) -> Option<PathBuf> {
        let named = self.file.clone().or_else(|| self.environment.get(FILE_VARIABLE).map(PathBuf::from));
        named.or_else(|| Some(PathBuf::from(FILE)).filter(|file| file.exists()))
    }
}

impl Config {
    /// Reads and checks a configuration.
    ///
    /// # Errors
    /// [`ConfigError`], the first one found.
    pub fn load(sources: &Sources) -> Result<Config, ConfigError> {
        Config::of(&read(sources)?, &sources.environment)
    }

    /// The value of every setting, and where it came from, in the order of [`SETTINGS`]; then the generators by name.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn explain(sources: &Sources) -> Result<Vec<Explained>, ConfigError> {
        let values = read(sources)?;
        Config::of(&values, &sources.environment)?;
        Ok(values.explain())
    }

    fn of(values: &Values, environment: &BTreeMap<String, String>) -> Result<Config, ConfigError> {
        let threads = match values.whole("compute.threads", 0, 1_024)? {
            0 => num_cpus::get(),
            threads => threads,
        };
        let server = Server { listen: values.address("server.listen")?, tls: tls(values)? };
        if server.tls.is_none() && !server.listen.ip().is_loopback() {
            return Err(ConfigError::PlainText { listen: server.listen });
        }
        Ok(Config {
            data_dir: values.path("data_dir")?,
            server,
            limits: Limits {
                document_bytes_max: values.whole("limits.document_bytes_max", 1 << 10, 64 << 20)?,
                pending_documents_max: values.whole("limits.pending_documents_max", 1, 10_000_000)?,
                upload_bytes_max: values.whole("limits.upload_bytes_max", 1 << 20, 1 << 40)?,
            },
            ledger: Ledger {
                erase_within: Duration::from_secs(values.whole("ledger.erase_within_s", 1, 30 * 24 * 3_600)? as u64),
                retain: Duration::from_secs(values.whole("ledger.retain_revisions_s", 0, 365 * 24 * 3_600)? as u64),
                master_key: master_key(values, environment)?,
            },
            snapshots: Snapshots { target: values.optional_target("snapshots.target")? },
            compute: Compute { threads, jobs_max: values.whole("compute.jobs_max", 16, 1_000_000)? },
            models: Models {
                roots: values.paths("models.roots")?,
                embedder: values.model("models.embedder")?,
                embedders: values.models("models.embedders")?,
                reranker: values.model("models.reranker")?,
                reranker_small: values.optional_model("models.reranker_small")?,
                device: values.device("models.device")?,
                numbers: values.numbers("models.numbers")?,
                batch_tokens_max: values.whole("models.batch_tokens_max", 64, 1 << 20)?,
            },
            rerank: Rerank {
                depth: values.whole("rerank.depth", 0, 200)?,
                budget: match values.whole("rerank.budget_ms", 0, 60_000)? {
                    0 => None,
                    ms => Some(Duration::from_millis(ms as u64)),
                },
            },
            answer: Answer {
                relevance_floor: values.number("answer.relevance_floor", 0.0, 1.0)?,
                rerank_logit_floor: values.number("answer.rerank_logit_floor", -1_000.0, 1_000.0)?,
                cosine_floor: values.number("answer.cosine_floor", -1.0, 1.0)?,
                sources_bytes_max: values.whole("answer.sources_bytes_max", 1 << 10, 1 << 20)?,
            },
            generators: values.generators(environment)?,
        })
    }
}

fn master_key(values: &Values, environment: &BTreeMap<String, String>) -> Result<Option<MasterKeySource>, ConfigError> {
    let setting = "ledger.master_key_file";
    let given = environment.get(MASTER_KEY_VARIABLE).filter(|text| !text.is_empty());
    match (values.optional_path(setting)?, given) {
        (None, None) => Ok(None),
        (Some(file), None) => Ok(Some(MasterKeySource::File(file))),
        (None, Some(text)) => Ok(Some(MasterKeySource::Environment(Secret::new(text.clone())))),
        (Some(_), Some(_)) => {
            Err(values.refuse(setting, format!("is set, and so is the variable {MASTER_KEY_VARIABLE}: set one")))
        }
    }
}

fn tls(values: &Values) -> Result<Option<Tls>, ConfigError> {
    match (values.optional_path("server.tls_cert")?, values.optional_path("server.tls_key")?) {
        (None, None) => Ok(None),
        (Some(cert), Some(key)) => Ok(Some(Tls { cert, key })),
        (Some(_), None) => Err(values.refuse("server.tls_key", "is empty, and server.tls_cert is set: set both")),
        (None, Some(_)) => Err(values.refuse("server.tls_cert", "is empty, and server.tls_key is set: set both")),
    }
}

fn read(sources: &Sources) -> Result<Values, ConfigError> {
    let mut values = Values::defaults();
    if let Some(path) = sources.file() {
        let text = std::fs::read_to_string(&path).map_err(|source| ConfigError::Read { path: path.clone(), source })?;
        values.add_file(&path, &text)?;
    }
    values.add_environment(&sources.environment);
    values.add_flags(&sources.flags)?;
    Ok(values)
}

/// A path in a home folder, written with `~/`.
fn expand(path: &str, home: Option<&Path>) -> PathBuf {
    match (path.strip_prefix("~/"), home) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(path),
    }
}

#[cfg(test)]
mod tests;

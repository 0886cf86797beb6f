//! Why a gateway was not built.

/// Why a gateway was not built. Each is repaired in the configuration.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// Nothing could generate.
    #[error("no generator is given, expected at least one")]
    NoRoute,
    /// A public name that leads nowhere.
    #[error("generator {name:?} has no deployment, expected at least one")]
    NoDeployment {
        /// The name.
        name: String,
    },
    /// Two generators or two deployments, one name.
    #[error("two are called {name:?}, expected a name each")]
    DuplicateName {
        /// The name.
        name: String,
    },
    /// A name that means "the default one" in a request.
    #[error("a generator or deployment has an empty name, expected one that requests can give")]
    EmptyName,
    /// A name that nobody has.
    #[error("{place} names {name:?}, which is neither a generator nor a deployment")]
    UnknownName {
        /// The name.
        name: String,
        /// Where it stands.
        place: String,
    },
    /// Whoever stands in without being paid for must not cost anything.
    #[error("last_resort.extractive names {name:?}, expected generators in this process that cost nothing")]
    NotFree {
        /// The name.
        name: String,
    },
    /// A number that means nothing.
    #[error("{key} of {name:?} is out of range, expected {expected}")]
    OutOfRange {
        /// The deployment.
        name: String,
        /// The key.
        key: &'static str,
        /// What it may be.
        expected: &'static str,
    },
    /// An address that cannot be called. The address itself is not shown: people put keys there.
    #[error("base_url of {name:?} {problem}")]
    BaseUrl {
        /// The deployment.
        name: String,
        /// What is wrong and what is expected.
        problem: &'static str,
    },
    /// A key that no HTTP header can carry.
    #[error("api_key of {name:?} has characters that a header cannot carry, expected visible ASCII")]
    ApiKey {
        /// The deployment.
        name: String,
    },
    /// The HTTP client was not built; for `https` most often because the system has no CA certificates.
    #[error("make the HTTP client of {name:?}; for https the system's CA certificates must be installed")]
    Client {
        /// The deployment.
        name: String,
        /// What it says.
        #[source]
        source: reqwest::Error,
    },
    /// What was spent cannot be read or written.
    #[error("open the journal of budgets")]
    Journal {
        /// What the disk says.
        #[source]
        source: std::io::Error,
    },
}

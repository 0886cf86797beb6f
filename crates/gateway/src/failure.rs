//! Why a call failed, as the layers need to know it: what may be tried again, and where.

use std::time::Duration;

use ibid_core::ModelError;
use ibid_runtime::Stopped;

/// What went wrong. Each is a decision: wait, try again, go elsewhere, give up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nobody waits any more.
    Stopped,
    /// A rule of the operator's.
    Forbidden,
    /// The tenant's or the feature's own limit.
    OverRate,
    /// A ceiling of money.
    OverBudget,
    /// The provider says that it is asked too often.
    Throttled,
    /// There was no connection; the provider has seen nothing.
    Unreachable,
    /// It took too long.
    Late,
    /// The connection broke, or what came was nonsense.
    Broken,
    /// The provider says that it failed.
    ServerError,
    /// The provider does not know the key, the address or the model: no use trying again, but others may be fine.
    Misconfigured,
    /// The model cannot read so much.
    TooLong,
    /// The request itself is at fault.
    BadRequest,
    /// The deployment is left alone for a while, or nobody may be tried any more.
    Shut,
    /// A defect or a disk of ours.
    Ours,
}

/// A call that failed before its first piece.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) kind: Kind,
    pub(crate) error: ModelError,
    /// What the provider or a limit says of the next try.
    pub(crate) retry_after: Option<Duration>,
}

impl Failure {
    pub(crate) fn new(kind: Kind, error: ModelError) -> Failure {
        Failure { kind, error, retry_after: None }
    }

    /// `model` cannot be reached or answers nonsense.
    pub(crate) fn unavailable(kind: Kind, model: &str, detail: impl Into<String>) -> Failure {
        Failure::new(kind, ModelError::Unavailable { model: model.to_owned(), detail: detail.into() })
    }

    /// Whether the same deployment may do better a moment later.
    pub(crate) fn retries(&self) -> bool {
        match self.kind {
            Kind::Throttled | Kind::Unreachable | Kind::Late | Kind::Broken | Kind::ServerError => true,
            Kind::Stopped
            | Kind::Forbidden
            | Kind::OverRate
            | Kind::OverBudget
            | Kind::Misconfigured
            | Kind::TooLong
            | Kind::BadRequest
            | Kind::Shut
            | Kind::Ours => false,
        }
    }

    /// Whether another deployment may do better.
    pub(crate) fn goes_elsewhere(&self) -> bool {
        self.retries() || matches!(self.kind, Kind::Misconfigured | Kind::Shut)
    }

    /// Whether it says something of the deployment's health. A provider that asks for patience is not ill.
    pub(crate) fn is_illness(&self) -> bool {
        matches!(self.kind, Kind::Unreachable | Kind::Late | Kind::Broken | Kind::ServerError)
    }
}

impl From<Stopped> for Failure {
    fn from(stopped: Stopped) -> Failure {
        Failure::new(Kind::Stopped, ModelError::Stopped(stopped))
    }
}

/// What a generator in this process says, which knows of no kinds.
impl From<ModelError> for Failure {
    fn from(error: ModelError) -> Failure {
        let (kind, retry_after) = match &error {
            ModelError::Stopped(_) => (Kind::Stopped, None),
            ModelError::Overloaded { .. } => (Kind::Throttled, None),
            ModelError::RateLimited { retry_after, .. } => (Kind::Throttled, *retry_after),
            ModelError::OverBudget { retry_after, .. } => (Kind::OverBudget, *retry_after),
            ModelError::Forbidden { .. } => (Kind::Forbidden, None),
            ModelError::TooLong { .. } => (Kind::TooLong, None),
            ModelError::Refused { .. } => (Kind::BadRequest, None),
            ModelError::Unavailable { .. } => (Kind::ServerError, None),
            ModelError::Failed { .. } => (Kind::Ours, None),
        };
        Failure { kind, error, retry_after }
    }
}

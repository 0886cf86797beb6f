//! Errors to gRPC statuses: the one place where it is decided what a client reads of an error.
//!
//! A client reads names that it gave itself, fields, limits and the way out; never paths, other ids or document text.
//! Everything that is our fault reads "internal error" with a request id, and the log has the rest under that id.
//! Each status carries `google.rpc` details: an ErrorInfo with a stable reason in the domain `ibid`, and where they
//! help a BadRequest, ResourceInfo, RetryInfo or RequestInfo.

use std::collections::HashMap;
use std::error::Error;
use std::time::Duration;

use ibid_chunk::ParseError;
use ibid_core::{AuthError, ModelError, Scope};
use ibid_engine::snapshots::SnapshotError;
use ibid_engine::{EngineError, Invalid};
use ibid_retrieve::RetrieveError;
use ibid_runtime::{PoolError, Random, Stopped, SystemRandom};
use prost::Message;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::wire;

/// After which time an overloaded server may be asked again.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// After which time a provider or a disk may be well again.
const RETRY_LATER: Duration = Duration::from_secs(30);
/// The longest text of a message: details travel in HTTP/2 trailers, which clients accept up to 8 or 16 KiB.
const MESSAGE_BYTES_MAX: usize = 1_024;

/// An error that a client gets.
pub(crate) trait ToStatus {
    /// What the client reads. Logs what it does not.
    fn to_status(&self) -> Status;
}

/// `?` for errors that a client gets.
pub(crate) trait OrStatus<T> {
    /// The value, or the error as a status.
    fn or_status(self) -> Result<T, Status>;
}

impl<T, E: ToStatus> OrStatus<T> for Result<T, E> {
    fn or_status(self) -> Result<T, Status> {
        self.map_err(|error| error.to_status())
    }
}

impl ToStatus for Invalid {
    fn to_status(&self) -> Status {
        let (field, problem) = (short(&self.field), short(&self.problem));
        let details = ErrorDetails::with_bad_request_violation(field.clone(), problem.clone());
        status(Code::InvalidArgument, "INVALID_FIELD", format!("{field} {problem}"), details)
    }
}

impl ToStatus for AuthError {
    fn to_status(&self) -> Status {
        let reason = match self {
            AuthError::Missing => "KEY_MISSING",
            AuthError::Unknown => "KEY_UNKNOWN",
            AuthError::Revoked => "KEY_REVOKED",
            AuthError::Expired => "KEY_EXPIRED",
            AuthError::TenantDeleted => "TENANT_DELETED",
        };
        plain(Code::Unauthenticated, reason, self.to_string())
    }
}

impl ToStatus for EngineError {
    fn to_status(&self) -> Status {
        match self {
            EngineError::Invalid(invalid) => invalid.to_status(),
            EngineError::Unreadable(error) => unreadable(error),
            EngineError::OutOfRange(Invalid { field, problem }) => out_of_range(field, problem),
            EngineError::NotFound { kind, name } => resource(Code::NotFound, "NOT_FOUND", kind, name, self),
            EngineError::Exists { kind, name } => resource(Code::AlreadyExists, "ALREADY_EXISTS", kind, name, self),
            EngineError::Forbidden { .. } => plain(Code::PermissionDenied, "FORBIDDEN", self.to_string()),
            EngineError::Unfit(problem) => plain(Code::FailedPrecondition, "UNFIT", problem.clone()),
            EngineError::OtherModel { .. } => plain(Code::FailedPrecondition, "MODEL_MISSING", self.to_string()),
            EngineError::Overloaded(what) => overloaded(what),
            EngineError::Stopped(stopped) => stopped.to_status(),
            EngineError::DiskFull => {
                tracing::warn!("the disk is full; writes are refused");
                retry(Code::ResourceExhausted, "DISK_FULL", self.to_string(), RETRY_LATER)
            }
            EngineError::ReadOnly => {
                tracing::error!("the store takes no more writes after a failed sync; restart the server");
                plain(Code::Unavailable, "READ_ONLY", "the server takes no writes until it is restarted".to_owned())
            }
            EngineError::Damaged(_) => {
                let id = log(self);
                let mut details = ErrorDetails::new();
                details.set_request_info(id.clone(), "");
                let message = format!("stored data is damaged; tell the operator the request id {id}");
                status(Code::DataLoss, "DATA_DAMAGED", message, details)
            }
            EngineError::Rebuilding => retry(Code::Unavailable, "REBUILDING", self.to_string(), RETRY_AFTER),
            EngineError::Ledger(_) | EngineError::Lexical(_) | EngineError::Vector(_) | EngineError::Io { .. } => {
                internal(self)
            }
            EngineError::Snapshot(error) => error.to_status(),
            EngineError::Model(error) => error.to_status(),
            EngineError::Closing => retry(Code::Unavailable, "SHUTTING_DOWN", self.to_string(), RETRY_AFTER),
        }
    }
}

/// A document that cannot be read: which of the reasons a program may act upon, and for people what and where.
fn unreadable(error: &ParseError) -> Status {
    let reason = match error {
        ParseError::Encoding { .. } => "CONTENT_ENCODING",
        ParseError::Malformed { .. } => "CONTENT_MALFORMED",
        ParseError::Encrypted { .. } => "CONTENT_ENCRYPTED",
        ParseError::Scanned { .. } => "CONTENT_SCANNED",
        ParseError::TooLarge { .. } => "CONTENT_TOO_LARGE",
        ParseError::TooDeep { .. } => "CONTENT_TOO_DEEP",
        ParseError::NotBuiltIn { .. } => "FORMAT_NOT_BUILT_IN",
        ParseError::Stopped => "CONTENT_TOO_SLOW",
    };
    let problem = short(&error.to_string());
    let details = ErrorDetails::with_bad_request_violation("content", problem.clone());
    status(Code::InvalidArgument, reason, format!("content {problem}"), details)
}

impl ToStatus for SnapshotError {
    fn to_status(&self) -> Status {
        match self {
            SnapshotError::Store(error) => {
                tracing::warn!(error = error as &dyn Error, "the snapshot target failed");
                // Whoever may make snapshots runs the server.
                let message = format!("{error}: {}", error.source);
                retry(Code::Unavailable, "SNAPSHOT_TARGET", message, RETRY_LATER)
            }
            SnapshotError::NotFound { .. } | SnapshotError::Nothing => {
                plain(Code::NotFound, "NOT_FOUND", self.to_string())
            }
            SnapshotError::Manifest { .. }
            | SnapshotError::BlockMissing { .. }
            | SnapshotError::BlockDamaged { .. }
            | SnapshotError::KeyDamaged { .. } => plain(Code::DataLoss, "SNAPSHOT_DAMAGED", self.to_string()),
            SnapshotError::Newer { .. } | SnapshotError::NotEmpty => {
                plain(Code::FailedPrecondition, "UNFIT", self.to_string())
            }
            SnapshotError::Write { .. } | SnapshotError::Log(_) => internal(self),
            SnapshotError::Stopped(stopped) => stopped.to_status(),
        }
    }
}

impl ToStatus for RetrieveError {
    fn to_status(&self) -> Status {
        match self {
            RetrieveError::Invalid(invalid) => invalid.to_status(),
            RetrieveError::Engine(error) => error.to_status(),
            RetrieveError::Model(error) => error.to_status(),
            RetrieveError::Pool(error) => error.to_status(),
            RetrieveError::Stopped(stopped) => stopped.to_status(),
        }
    }
}

impl ToStatus for ModelError {
    fn to_status(&self) -> Status {
        match self {
            ModelError::Stopped(stopped) => stopped.to_status(),
            ModelError::Overloaded { .. } => overloaded(&self.to_string()),
            ModelError::RateLimited { retry_after, .. } => {
                let wait = retry_after.unwrap_or(RETRY_LATER);
                retry(Code::ResourceExhausted, "MODEL_RATE_LIMITED", self.to_string(), wait)
            }
            ModelError::OverBudget { retry_after, .. } => match retry_after {
                Some(wait) => retry(Code::ResourceExhausted, "OVER_BUDGET", self.to_string(), *wait),
                None => plain(Code::ResourceExhausted, "OVER_BUDGET", self.to_string()),
            },
            ModelError::Forbidden { .. } => plain(Code::PermissionDenied, "MODEL_FORBIDDEN", self.to_string()),
            ModelError::TooLong { .. } => plain(Code::FailedPrecondition, "PROMPT_TOO_LONG", self.to_string()),
            ModelError::Refused { .. } => plain(Code::FailedPrecondition, "MODEL_REFUSED", self.to_string()),
            ModelError::Unavailable { .. } => {
                tracing::warn!(error = self as &dyn Error, "a model is unavailable");
                retry(Code::Unavailable, "MODEL_UNAVAILABLE", self.to_string(), RETRY_LATER)
            }
            ModelError::Failed { .. } => internal(self),
        }
    }
}

impl ToStatus for PoolError {
    fn to_status(&self) -> Status {
        match self {
            PoolError::Full { .. } => overloaded("too much waits for the compute pool"),
            PoolError::Stopped(stopped) => stopped.to_status(),
            PoolError::Panicked { .. } => internal(self),
        }
    }
}

impl ToStatus for Stopped {
    fn to_status(&self) -> Status {
        match self {
            Stopped::Cancelled => plain(Code::Cancelled, "CANCELLED", self.to_string()),
            Stopped::Deadline => plain(Code::DeadlineExceeded, "DEADLINE", self.to_string()),
        }
    }
}

/// The key has not the scope.
pub(crate) fn scope_missing(scope: Scope) -> Status {
    let scope = wire::key::scope_name(scope);
    let mut details = ErrorDetails::new();
    details.set_error_info("SCOPE_MISSING", "ibid", HashMap::from([("scope".to_owned(), scope.to_owned())]));
    with_details(Code::PermissionDenied, format!("the key has not the scope {scope}"), details)
}

/// An operator's key where a tenant's is needed.
pub(crate) fn tenant_needed() -> Status {
    let message = "an operator's key belongs to no tenant; use a key of the tenant".to_owned();
    plain(Code::PermissionDenied, "TENANT_KEY_NEEDED", message)
}

/// Too much is on its way; the client may try again soon.
pub(crate) fn overloaded(what: &str) -> Status {
    retry(Code::ResourceExhausted, "OVERLOADED", format!("overloaded: {what}"), RETRY_AFTER)
}

/// A place behind the end.
pub(crate) fn out_of_range(field: &str, problem: &str) -> Status {
    let details = ErrorDetails::with_bad_request_violation(field, problem);
    status(Code::OutOfRange, "OUT_OF_RANGE", format!("{field} {problem}"), details)
}

/// A stream that does not keep to the contract and ends here.
pub(crate) fn out_of_step(problem: &str) -> Status {
    let details = ErrorDetails::with_bad_request_violation("step", problem);
    status(Code::InvalidArgument, "OUT_OF_STEP", format!("step {problem}"), details)
}

/// A status as a message within a stream.
pub(crate) fn to_rpc(status: &Status) -> tonic_types::Status {
    // Ours carry themselves whole in their details.
    tonic_types::Status::decode(status.details()).ok().filter(|own| own.code != 0).unwrap_or(tonic_types::Status {
        code: status.code().into(),
        message: status.message().to_owned(),
        details: Vec::new(),
    })
}

fn resource(code: Code, reason: &str, kind: &str, name: &str, error: &EngineError) -> Status {
    let mut details = ErrorDetails::new();
    details.set_resource_info(kind, name, "", "");
    status(code, reason, error.to_string(), details)
}

fn retry(code: Code, reason: &str, message: String, after: Duration) -> Status {
    let details = ErrorDetails::with_retry_info(Some(after));
    status(code, reason, message, details)
}

fn plain(code: Code, reason: &str, message: String) -> Status {
    status(code, reason, message, ErrorDetails::new())
}

/// Our fault.
fn internal(error: &(dyn Error + 'static)) -> Status {
    let id = log(error);
    let mut details = ErrorDetails::new();
    details.set_request_info(id.clone(), "");
    status(Code::Internal, "INTERNAL", format!("internal error, request id {id}"), details)
}

/// Logs what only the operator may read; the id by which it is found.
fn log(error: &(dyn Error + 'static)) -> String {
    let mut bytes = [0; 8];
    // Nothing is decided by it: it need not be reproducible.
    SystemRandom.fill(b"request id", &mut bytes);
    let request_id = format!("{:016x}", u64::from_le_bytes(bytes));
    tracing::error!(request_id, error, "a request failed");
    request_id
}

fn status(code: Code, reason: &str, message: String, mut details: ErrorDetails) -> Status {
    details.set_error_info(reason, "ibid", HashMap::new());
    with_details(code, message, details)
}

fn with_details(code: Code, message: String, details: ErrorDetails) -> Status {
    Status::with_error_details(code, short(&message), details)
}

/// The start of a text, as much as a status may carry.
fn short(text: &str) -> String {
    let end = text.floor_char_boundary(MESSAGE_BYTES_MAX);
    text[..end].to_owned()
}

/// tonic answers to a message that cannot be decoded, or is too large, before any method of ours sees it, and blames the
/// server (INTERNAL, OUT_OF_RANGE). It is the client's to mend: INVALID_ARGUMENT. The message names the protobuf field.
pub(crate) fn invalid_if_undecodable<B>(mut response: http::Response<B>) -> http::Response<B> {
    let headers = response.headers_mut();
    let status = headers.get("grpc-status").and_then(|status| status.to_str().ok());
    let said = headers.get("grpc-message").and_then(|message| message.to_str().ok());
    let said = said.unwrap_or_default().to_owned();
    let undecodable = status == Some("13") && said.starts_with("failed%20to%20decode%20Protobuf");
    let too_large = status == Some("11") && said.contains("message%20length%20too%20large");
    if undecodable || too_large {
        headers.insert("grpc-status", http::HeaderValue::from_static("3"));
    }
    if too_large {
        let hint = format!("{said};%20larger%20documents%20go%20by%20DocumentService.Ingest");
        if let Ok(hint) = http::HeaderValue::from_str(&hint) {
            headers.insert("grpc-message", hint);
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(status: &Status) -> String {
        status.get_details_error_info().expect("every status has a reason").reason
    }

    #[test]
    fn a_refused_field_is_named_in_message_and_details() {
        let status = Invalid::new("settings.top_k", "is 0, expected 1 to 1000").to_status();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(status.message(), "settings.top_k is 0, expected 1 to 1000");
        let violations = status.get_details_bad_request().unwrap().field_violations;
        assert_eq!(violations[0].field, "settings.top_k");
        assert_eq!(reason(&status), "INVALID_FIELD");
    }

    #[test]
    fn our_own_faults_say_nothing_but_an_id() {
        let source = std::io::Error::other("/srv/ibid/secret-tenant");
        for error in [EngineError::Io { doing: "open", source }, EngineError::Damaged("of tenant x".to_owned())] {
            let status = error.to_status();
            let id = status.get_details_request_info().unwrap().request_id;
            assert!(status.message().contains(&id), "{status}");
            assert!(!format!("{status:?}").contains("tenant"), "{status:?}");
        }
    }

    #[test]
    fn overload_says_when_to_come_back_and_absence_says_of_what() {
        let status = EngineError::Overloaded("9 documents wait".to_owned()).to_status();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "OVERLOADED"));
        assert_eq!(status.get_details_retry_info().unwrap().retry_delay, Some(RETRY_AFTER));
        let status = EngineError::Rebuilding.to_status();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "REBUILDING"));
        assert_eq!(status.get_details_retry_info().unwrap().retry_delay, Some(RETRY_AFTER));
        let status = EngineError::NotFound { kind: "document", name: "a.md".to_owned() }.to_status();
        let resource = status.get_details_resource_info().unwrap();
        assert_eq!((resource.resource_type.as_str(), resource.resource_name.as_str()), ("document", "a.md"));
        let status = scope_missing(Scope::Search);
        assert_eq!(status.get_details_error_info().unwrap().metadata["scope"], "SEARCH");
    }

    #[test]
    fn a_status_fits_into_trailers_and_travels_whole_in_a_stream() {
        let status = Invalid::new("ä".repeat(4_000), "is odd").to_status();
        assert!(status.message().len() <= MESSAGE_BYTES_MAX);
        let rpc = to_rpc(&status);
        assert_eq!((rpc.code, rpc.message.as_str()), (3, status.message()));
        assert_eq!(rpc.details.len(), 2);
        assert_eq!(to_rpc(&Status::internal("bare")).code, 13);
    }
}

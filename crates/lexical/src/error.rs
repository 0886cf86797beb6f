//! What can go wrong, by what the caller does about it.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use ibid_runtime::Stopped;
use tantivy::TantivyError;
use tantivy::directory::error::OpenReadError;

/// Why an index could not be opened, written or searched.
#[derive(Debug, thiserror::Error)]
pub enum LexicalError {
    /// The files are not what was written, or were written under another analysis: the way out is
    /// [`LexicalIndex::destroy`](crate::LexicalIndex::destroy) and a rebuild.
    #[error("lexical index is unusable ({detail}); delete it and rebuild it from the ledger")]
    Corrupt {
        /// What was found.
        detail: String,
    },
    /// The disk refused, or the index is open for writing elsewhere: try again later. After a failed write nobody knows
    /// whether the batch was committed; writing it again is harmless.
    #[error("could not {doing} the lexical index")]
    Failed {
        /// What was under way.
        doing: &'static str,
        /// What tantivy says.
        #[source]
        source: TantivyError,
    },
    /// The caller left or its deadline passed.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl LexicalError {
    pub(crate) fn corrupt(detail: impl Into<String>) -> LexicalError {
        LexicalError::Corrupt { detail: detail.into() }
    }

    /// Sorts what tantivy says into damage and everything else. For `map_err`.
    pub(crate) fn when(doing: &'static str) -> impl Fn(TantivyError) -> LexicalError {
        move |source| {
            if is_damage(&source) {
                LexicalError::corrupt(source.to_string())
            } else {
                LexicalError::Failed { doing, source }
            }
        }
    }

    pub(crate) fn read(source: impl Into<TantivyError>) -> LexicalError {
        LexicalError::when("read")(source.into())
    }
}

/// Runs `work` on an index's files so that a panic in it is an error: tantivy promises no more about damaged ones than either.
pub(crate) fn guarded<T>(
    doing: &'static str,
    work: impl FnOnce() -> Result<T, LexicalError>,
) -> Result<T, LexicalError> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(LexicalError::corrupt(format!("it panicked when it was to {doing}"))))
}

fn is_damage(error: &TantivyError) -> bool {
    use TantivyError::{DataCorruption, DeserializeError, ErrorInThread, IncompatibleIndex, IoError, SchemaError};
    use io::ErrorKind::{InvalidData, NotFound, UnexpectedEof};
    if let TantivyError::OpenReadError(OpenReadError::IoError { io_error, .. }) | IoError(io_error) = error {
        return matches!(io_error.kind(), InvalidData | NotFound | UnexpectedEof);
    }
    matches!(
        error,
        DataCorruption(_)
            | DeserializeError(_)
            | IncompatibleIndex(_)
            | SchemaError(_)
            // A thread of its own panicked over them.
            | ErrorInThread(_)
            | TantivyError::OpenReadError(OpenReadError::FileDoesNotExist(_) | OpenReadError::IncompatibleIndex(_))
    )
}

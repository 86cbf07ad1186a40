//! What the driver says went wrong, by what it means for the caller.

use scylla::errors::{DbError, ExecutionError, PrepareError, RequestAttemptError};

use crate::error::{Cause, StoreError};

/// Why a statement failed that was sent once at most. Of a write whose answer did not come nobody
/// knows whether it was done; a read can be asked again.
pub(super) fn failed(error: &ExecutionError, reads: bool) -> StoreError {
    let cause = Cause(error.to_string());
    match error {
        ExecutionError::EmptyPlan | ExecutionError::ConnectionPoolError(_) => {
            StoreError::Unavailable(cause)
        }
        ExecutionError::PrepareError(error) => unprepared(error),
        ExecutionError::LastAttemptError(error) => attempted(error, cause, reads),
        ExecutionError::RequestTimeout(_) => unanswered(cause, reads),
        ExecutionError::BadQuery(_) => StoreError::Rejected(cause),
        _ => unanswered(cause, reads),
    }
}

/// Why a statement could not be prepared: nothing of it was done.
pub(super) fn unprepared(error: &PrepareError) -> StoreError {
    let cause = Cause(error.to_string());
    match error {
        PrepareError::AllAttemptsFailed { first_attempt } => {
            match attempted(first_attempt, cause, true) {
                StoreError::Unknown(cause) => StoreError::Unavailable(cause),
                other => other,
            }
        }
        _ => StoreError::Unavailable(cause),
    }
}

fn attempted(error: &RequestAttemptError, cause: Cause, reads: bool) -> StoreError {
    match error {
        RequestAttemptError::UnableToAllocStreamId => StoreError::Unavailable(cause),
        RequestAttemptError::SerializationError(_)
        | RequestAttemptError::CqlRequestSerialization(_) => StoreError::Rejected(cause),
        RequestAttemptError::DbError(error, _) => match error {
            // Said before anything was begun.
            DbError::Unavailable { .. }
            | DbError::Overloaded
            | DbError::IsBootstrapping
            | DbError::RateLimitReached { .. }
            | DbError::Unprepared { .. } => StoreError::Unavailable(cause),
            DbError::SyntaxError
            | DbError::Invalid
            | DbError::AlreadyExists { .. }
            | DbError::AuthenticationError
            | DbError::Unauthorized
            | DbError::ConfigError
            | DbError::ProtocolError => StoreError::Rejected(cause),
            _ => unanswered(cause, reads),
        },
        _ => unanswered(cause, reads),
    }
}

fn unanswered(cause: Cause, reads: bool) -> StoreError {
    if reads { StoreError::Unavailable(cause) } else { StoreError::Unknown(cause) }
}

//! What the driver says went wrong, by what it means for the caller.

use scylla::errors::{
    ConnectionError, ConnectionPoolError, ConnectionSetupRequestErrorKind, DbError, ExecutionError,
    MetadataError, NewSessionError, PrepareError, RequestAttemptError,
};

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
        RequestAttemptError::DbError(error, said) => match error {
            // Said before anything was begun.
            DbError::Unavailable { .. } | DbError::IsBootstrapping | DbError::Unprepared { .. } => {
                StoreError::Unavailable(cause)
            }
            // One of the copies that is over its rate may not be the only one that was asked.
            DbError::Overloaded
            | DbError::RateLimitReached { rejected_by_coordinator: true, .. } => {
                StoreError::Unavailable(Cause(format!(
                    "the database is overloaded ({said}): lower `limits.cql_statements`, or add nodes"
                )))
            }
            DbError::Unauthorized => StoreError::Rejected(Cause(format!(
                "the database does not let `storage.cql.username` do all that it must ({said}): grant SELECT and \
                 MODIFY on the keyspace"
            ))),
            DbError::SyntaxError
            | DbError::Invalid
            | DbError::AlreadyExists { .. }
            | DbError::AuthenticationError
            | DbError::ConfigError
            | DbError::ProtocolError => StoreError::Rejected(cause),
            _ => unanswered(cause, reads),
        },
        _ => unanswered(cause, reads),
    }
}

/// Whether the server knows the statement no more.
pub(super) fn is_forgotten(error: &ExecutionError) -> bool {
    matches!(
        error,
        ExecutionError::LastAttemptError(RequestAttemptError::DbError(
            DbError::Unprepared { .. },
            _
        ))
    )
}

/// Why a login was not taken, if that is why nobody could be asked.
pub(super) fn login_refused(error: &NewSessionError) -> Option<String> {
    let NewSessionError::MetadataError(MetadataError::ConnectionPoolError(
        ConnectionPoolError::Broken {
            last_connection_error: ConnectionError::ConnectionSetupRequestError(error),
        },
    )) = error
    else {
        return None;
    };
    match &error.error {
        ConnectionSetupRequestErrorKind::DbError(DbError::AuthenticationError, said) => {
            Some(said.clone())
        }
        ConnectionSetupRequestErrorKind::MissingAuthentication => {
            Some("it asks for one".to_owned())
        }
        _ => None,
    }
}

fn unanswered(cause: Cause, reads: bool) -> StoreError {
    if reads { StoreError::Unavailable(cause) } else { StoreError::Unknown(cause) }
}

#[cfg(test)]
mod tests {
    use scylla::errors::{DbError, ExecutionError, OperationType, RequestAttemptError, WriteType};
    use scylla::statement::Consistency;

    use super::{failed, is_forgotten};
    use crate::error::StoreError;

    fn answered(error: DbError, reads: bool) -> StoreError {
        let error = RequestAttemptError::DbError(error, "so it says".to_owned());
        failed(&ExecutionError::LastAttemptError(error), reads)
    }

    #[test]
    fn what_an_overloaded_cluster_refuses_is_not_written_and_what_it_has_begun_nobody_knows() {
        let consistency = Consistency::Quorum;
        let refusals = [
            DbError::Overloaded,
            DbError::Unavailable { consistency, required: 2, alive: 1 },
            DbError::RateLimitReached {
                op_type: OperationType::Write,
                rejected_by_coordinator: true,
            },
        ];
        for error in refusals {
            for reads in [false, true] {
                let failure = answered(error.clone(), reads);
                assert!(matches!(failure, StoreError::Unavailable(_)), "{error}: {failure}");
                assert!(failure.to_string().contains("so it says"), "{failure}");
            }
        }
        let (received, required, numfailures) = (1, 2, 1);
        for write_type in [WriteType::Simple, WriteType::UnloggedBatch, WriteType::Cas] {
            let begun = [
                DbError::WriteTimeout {
                    consistency,
                    received,
                    required,
                    write_type: write_type.clone(),
                },
                DbError::WriteFailure { consistency, received, required, numfailures, write_type },
                DbError::RateLimitReached {
                    op_type: OperationType::Write,
                    rejected_by_coordinator: false,
                },
                DbError::ServerError,
            ];
            for error in begun {
                let failure = answered(error.clone(), false);
                assert!(matches!(failure, StoreError::Unknown(_)), "{error}: {failure}");
            }
        }
        let data_present = false;
        let unread = [
            DbError::ReadTimeout { consistency, received, required, data_present },
            DbError::ReadFailure { consistency, received, required, numfailures, data_present },
        ];
        for error in unread {
            let failure = answered(error.clone(), true);
            assert!(matches!(failure, StoreError::Unavailable(_)), "{error}: {failure}");
        }
    }

    #[test]
    fn only_a_statement_that_the_server_forgot_is_asked_again() {
        let failed = |error| {
            let error = RequestAttemptError::DbError(error, "so it says".to_owned());
            is_forgotten(&ExecutionError::LastAttemptError(error))
        };
        assert!(failed(DbError::Unprepared { statement_id: vec![1].into() }));
        assert!(!failed(DbError::Overloaded));
    }

    #[test]
    fn an_operator_is_told_what_to_do_about_overload_and_permissions() {
        let overload = answered(DbError::Overloaded, false).to_string();
        assert!(overload.contains("lower `limits.cql_statements`"), "{overload}");
        let denied = answered(DbError::Unauthorized, true);
        assert!(matches!(denied, StoreError::Rejected(_)), "{denied}");
        assert!(denied.to_string().contains("grant SELECT and MODIFY"), "{denied}");
    }
}

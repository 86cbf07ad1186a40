//! Errors as callers see them: one shape, one clear sentence, nothing internal.

use std::time::Duration;

use actors::contact::ContactFailure;
use actors::failure::{Failure, Full};
use actors::tenants::NotChanged;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use engine::channel::login::NotGiven;
use engine::conversation::Refused;
use engine::resource::{FieldError, Invalid};
use schemars::JsonSchema;
use serde::Serialize;
use storage::StoreError;
use storage::media::NotStored;

use crate::request_id;

/// What went wrong, for the caller.
#[derive(Debug)]
pub struct ApiError {
    pub status: StatusCode,
    /// A stable word.
    pub code: &'static str,
    /// A sentence that says what to do.
    pub message: String,
    pub details: Vec<FieldError>,
    pub retry_after: Option<Duration>,
}

/// The body of every error.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Error")]
pub struct ErrorBody {
    error: ErrorShape,
}

/// What went wrong.
#[derive(Serialize, JsonSchema)]
struct ErrorShape {
    /// A stable word in snake_case.
    code: &'static str,
    /// A sentence that says what to do.
    message: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    details: Vec<FieldError>,
    /// Names this request in the server's log.
    request_id: String,
}

impl ApiError {
    /// An error of this status.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        let (message, details) = (message.into(), Vec::new());
        Self { status, code, message, details, retry_after: None }
    }

    /// 401.
    pub fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "log in and send the token along")
    }

    /// 403.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", message)
    }

    /// 404 of a thing that is not there, or not for the caller.
    pub fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", format!("there is no such {what}"))
    }

    /// 409.
    pub fn conflict(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, message)
    }

    /// 422 about one field.
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Invalid::field(field, message).into()
    }

    /// 429.
    pub fn too_many(message: impl Into<String>, retry_after: Duration) -> Self {
        let error = Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", message);
        Self { retry_after: Some(retry_after), ..error }
    }

    /// 503.
    pub fn unavailable(message: impl Into<String>) -> Self {
        let error = Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message);
        Self { retry_after: Some(Duration::from_secs(1)), ..error }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = ErrorBody {
            error: ErrorShape {
                code: self.code,
                message: self.message,
                details: self.details,
                request_id: request_id::current(),
            },
        };
        let mut response = (self.status, axum::Json(body)).into_response();
        if let Some(wait) = self.retry_after {
            let seconds = wait.as_secs().max(1);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
        if self.status == StatusCode::UPGRADE_REQUIRED {
            // To what: RFC 9110, 15.5.22, and RFC 6455, 4.4.
            let headers = response.headers_mut();
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
        response
    }
}

impl From<Invalid> for ApiError {
    fn from(invalid: Invalid) -> Self {
        let message = match &invalid.details[..] {
            [one] => format!("`{}` {}", one.field, one.message),
            _ => "some fields are not valid: see the details".to_owned(),
        };
        let error = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", message);
        Self { details: invalid.details, ..error }
    }
}

impl From<NotGiven> for ApiError {
    fn from(not: NotGiven) -> Self {
        match not {
            NotGiven::Refused(error) | NotGiven::Stopped(error) => {
                let message = format!("the provider says no ({error}); mend it, and try again");
                Self::conflict("provider_refused", message)
            }
            NotGiven::Unanswered(reason) => Self::unavailable(format!("{reason}; try again")),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        tracing::warn!(%error, "the store failed");
        Self::unavailable("the store cannot take this now; try again shortly")
    }
}

impl From<NotStored> for ApiError {
    fn from(error: NotStored) -> Self {
        match error {
            NotStored::TooLarge => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "body_too_large",
                "the file is too large; send a smaller one",
            ),
            NotStored::Full => Self::conflict("media_full", error.to_string()),
            NotStored::Taken => Refused::KeyReused.into(),
            NotStored::Store(error) => error.into(),
        }
    }
}

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(refused) => refused.into(),
            Failure::Busy { full, retry_after } => {
                let message = format!("{} is full; try again shortly", full.words());
                let error = match full {
                    Full::Server
                    | Full::Memory
                    | Full::DeadLetters
                    | Full::Imports
                    | Full::Uploads
                    | Full::AccountCalls
                    | Full::Answers
                    | Full::WaitingServer
                    | Full::WaitingOrganization
                    | Full::WaitingConversation => {
                        Self { code: "overloaded", ..Self::unavailable(message) }
                    }
                    Full::Organization
                    | Full::OrganizationMemory
                    | Full::OrganizationUploads
                    | Full::OrganizationAccountCalls
                    | Full::OrganizationAnswers
                    | Full::Conversation
                    | Full::Account => Self::too_many(message, retry_after),
                };
                let field = "limit".to_owned();
                let details = vec![FieldError { field, message: full.words().to_owned() }];
                Self { details, retry_after: Some(retry_after), ..error }
            }
            Failure::Parked => {
                Self { code: "parked", ..Self::unavailable(Failure::Parked.to_string()) }
            }
            other @ (Failure::Unavailable | Failure::Panicked | Failure::Stopping) => {
                Self::unavailable(other.to_string())
            }
        }
    }
}

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
        let message = refused.to_string();
        match refused {
            Refused::NotFound | Refused::Moved(_) => Self::not_found("conversation"),
            Refused::NoSuchMessage => Self::new(StatusCode::NOT_FOUND, "not_found", message),
            Refused::NotReactable => Self::invalid("reaction.message_id", message),
            Refused::NotCurrent => Self::conflict("not_current", message),
            Refused::WindowClosed { at, has_templates } => {
                let plan = match (at, has_templates) {
                    (Some(at), true) => format!("free text until {at}, then a `template`"),
                    (Some(at), false) => {
                        format!("free text until {at}, then not before the customer writes again")
                    }
                    (None, true) => "a `template`: the customer has not written yet".to_owned(),
                    (None, false) => "nothing: the customer has not written yet".to_owned(),
                };
                let details = Invalid::field("window_expires_at", plan).details;
                Self { details, ..Self::conflict("window_closed", message) }
            }
            Refused::AccountInactive => Self::conflict("account_inactive", message),
            Refused::Automatic => Self::conflict("automatic", message),
            Refused::KeyReused => Self::conflict("idempotency_key_reused", message),
            Refused::Touched => Self::conflict("touched", message),
            Refused::TooManyTags => Self::invalid("tags", message),
            Refused::TooManyPending | Refused::TooManyParked => {
                Self::too_many(message, Duration::from_secs(5))
            }
        }
    }
}

impl From<ContactFailure> for ApiError {
    fn from(failure: ContactFailure) -> Self {
        match failure {
            ContactFailure::NotFound => Self::not_found("contact"),
            ContactFailure::Invalid(invalid) => invalid.into(),
            ContactFailure::Failed(failure) => failure.into(),
        }
    }
}

impl From<NotChanged<Self>> for ApiError {
    fn from(error: NotChanged<Self>) -> Self {
        match error {
            NotChanged::NoTenant => Self::unauthorized(),
            NotChanged::Refused(error) => error,
            NotChanged::Store(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use actors::failure::{Failure, Full};

    use super::ApiError;

    #[test]
    fn whose_share_is_full_waits_and_a_full_server_sheds() {
        for (full, status) in [
            (Full::Server, 503),
            (Full::Memory, 503),
            (Full::Imports, 503),
            (Full::Organization, 429),
            (Full::Conversation, 429),
            (Full::Account, 429),
        ] {
            let error = ApiError::from(Failure::busy(full));
            assert_eq!(error.status.as_u16(), status, "{full:?}");
            assert_eq!(error.details[0].message, full.words());
            assert!(error.retry_after.is_some());
        }
    }

    #[test]
    fn a_parked_conversation_is_refused_with_a_sentence_that_says_what_to_do() {
        let error = ApiError::from(Failure::Parked);
        assert_eq!((error.status.as_u16(), error.code), (503, "parked"));
        assert!(error.message.contains("retry its dead letter"), "{}", error.message);
    }
}

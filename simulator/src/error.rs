//! Errors as the Graph API answers them (Meta, "Error codes").

use std::borrow::Cow;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// An error in the Graph API's form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GraphError {
    pub(crate) http: u16,
    pub(crate) code: u32,
    pub(crate) subcode: Option<u32>,
    pub(crate) message: Cow<'static, str>,
    pub(crate) details: Cow<'static, str>,
}

impl GraphError {
    const fn new(http: u16, code: u32, message: &'static str, details: &'static str) -> Self {
        let (message, details) = (Cow::Borrowed(message), Cow::Borrowed(details));
        Self { http, code, subcode: None, message, details }
    }

    /// A parameter that is missing.
    pub(crate) fn missing(what: &str) -> Self {
        Self { details: format!("{what} is required.").into(), ..MISSING }
    }

    /// A parameter that is not what it must be.
    pub(crate) fn wrong(details: impl Into<Cow<'static, str>>) -> Self {
        Self { details: details.into(), ..WRONG }
    }

    /// A request that makes no sense.
    pub(crate) fn invalid(details: impl Into<Cow<'static, str>>) -> Self {
        Self { details: details.into(), ..INVALID }
    }

    /// The same with other details.
    pub(crate) fn because(self, details: impl Into<Cow<'static, str>>) -> Self {
        Self { details: details.into(), ..self }
    }

    /// The same with a subcode.
    pub(crate) const fn sub(mut self, subcode: u32) -> Self {
        self.subcode = Some(subcode);
        self
    }

    /// The error of this code; of one that is not listed, a plain 400.
    pub(crate) fn of_code(code: u32) -> Self {
        KNOWN.iter().find(|known| known.code == code).cloned().unwrap_or_else(|| Self {
            code,
            message: format!("(#{code}) Scripted error").into(),
            ..INVALID
        })
    }

    /// The answer, traced as `trace`.
    pub(crate) fn answer(&self, trace: &str) -> Response {
        let http = StatusCode::from_u16(self.http).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut error = json!({
            "message": self.message,
            "type": "OAuthException",
            "code": self.code,
            "error_data": {"messaging_product": "whatsapp", "details": self.details},
            "fbtrace_id": trace,
        });
        if let Some(subcode) = self.subcode {
            error["error_subcode"] = json!(subcode);
        }
        (http, Json(json!({"error": error}))).into_response()
    }
}

pub(crate) const UNKNOWN_OBJECT: GraphError = GraphError::new(
    400,
    100,
    "Unsupported request. The object does not exist or cannot be loaded",
    "No object has this id, or it does not take this request.",
)
.sub(33);
pub(crate) const INVALID: GraphError =
    GraphError::new(400, 100, "(#100) Invalid parameter", "A parameter is not valid.");
pub(crate) const TOKEN: GraphError = GraphError::new(
    401,
    190,
    "Error validating access token",
    "The access token has expired or is not valid for this account.",
);
pub(crate) const LOGIN: GraphError =
    GraphError::new(400, 100, "(#100) The login cannot be completed", "The code does not count.");
pub(crate) const NOT_AGREED: GraphError = GraphError::new(
    400,
    100,
    "(#100) No profile available for this user",
    "The person has not agreed that the business is told who they are.",
)
.sub(2_018_218);
pub(crate) const ATTACHMENT: GraphError = GraphError::new(
    400,
    546,
    "(#546) The attachment could not be taken",
    "The file has no bytes, or too many.",
);
pub(crate) const THROUGHPUT: GraphError = GraphError::new(
    400,
    130_429,
    "(#130429) Rate limit hit",
    "This number sends more messages than its throughput allows.",
);
pub(crate) const PAIR: GraphError = GraphError::new(
    400,
    131_056,
    "(#131056) (Business Account, Consumer Account) pair rate limit hit",
    "Too many messages to one recipient in a short time.",
);
pub(crate) const UNDELIVERABLE: GraphError = GraphError::new(
    400,
    131_026,
    "(#131026) Message undeliverable",
    "The recipient cannot be reached on WhatsApp.",
);
pub(crate) const WINDOW: GraphError = GraphError::new(
    400,
    131_047,
    "(#131047) Re-engagement message",
    "More than 24 hours have passed since the customer last wrote.",
);
pub(crate) const OUTSIDE_WINDOW: GraphError = GraphError::new(
    400,
    10,
    "(#10) This message is sent outside of allowed window.",
    "The customer has not written for longer than this may be answered.",
)
.sub(2_018_278);
pub(crate) const SERVER: GraphError = GraphError::new(
    500,
    131_000,
    "(#131000) Something went wrong",
    "The message could not be sent because of an unknown error.",
);
pub(crate) const RESTRICTED: GraphError = GraphError::new(
    403,
    368,
    "(#368) Temporarily blocked for policies violations",
    "The business account is restricted from sending messages.",
);
const MISSING: GraphError = GraphError::new(
    400,
    131_008,
    "(#131008) Required parameter is missing",
    "A required parameter is missing.",
);
const WRONG: GraphError = GraphError::new(
    400,
    131_009,
    "(#131009) Parameter value is not valid",
    "A parameter's value is not valid.",
);
pub(crate) const MEDIA: GraphError = GraphError::new(
    400,
    131_053,
    "(#131053) Media upload error",
    "The medium cannot be used: unknown, too large or of another type.",
);
pub(crate) const UNKNOWN_TEMPLATE: GraphError = GraphError::new(
    404,
    132_001,
    "(#132001) Template name does not exist in the translation",
    "No approved template has this name and language.",
);
pub(crate) const TEMPLATE_PARAMETERS: GraphError = GraphError::new(
    400,
    132_000,
    "(#132000) Number of parameters does not match the expected number of params",
    "The template takes another number of parameters.",
);
pub(crate) const TEMPLATE_PAUSED: GraphError = GraphError::new(
    400,
    132_015,
    "(#132015) Template is paused",
    "The template is paused because customers think little of it.",
);
pub(crate) const TEMPLATE_DISABLED: GraphError = GraphError::new(
    400,
    132_016,
    "(#132016) Template is disabled",
    "The template was paused too often and is disabled.",
);
pub(crate) const MANAGEMENT: GraphError = GraphError::new(
    400,
    80_007,
    "(#80007) There have been too many calls to this WhatsApp Business account",
    "Wait for the time that X-Business-Use-Case-Usage names.",
);
pub(crate) const NOT_REGISTERED: GraphError = GraphError::new(
    400,
    133_010,
    "(#133010) Account not registered",
    "The phone number is not registered.",
);
pub(crate) const PIN: GraphError = GraphError::new(
    400,
    133_005,
    "(#133005) Two step verification PIN Mismatch",
    "The pin is not the one of this number.",
);
pub(crate) const REGISTERED_TOO_OFTEN: GraphError = GraphError::new(
    400,
    133_016,
    "(#133016) Account register deregister rate limit exceeded",
    "A number is registered and deregistered at most ten times in 72 hours.",
);
pub(crate) const OPTED_OUT: GraphError = GraphError::new(
    400,
    131_050,
    "(#131050) User has stopped marketing messages",
    "The recipient wants no marketing messages of this business.",
);

/// Errors that can be asked for by their code.
static KNOWN: &[GraphError] = &[
    TOKEN,
    THROUGHPUT,
    PAIR,
    UNDELIVERABLE,
    WINDOW,
    SERVER,
    MISSING,
    WRONG,
    INVALID,
    MEDIA,
    UNKNOWN_TEMPLATE,
    TEMPLATE_PARAMETERS,
    TEMPLATE_PAUSED,
    TEMPLATE_DISABLED,
    MANAGEMENT,
    NOT_REGISTERED,
    RESTRICTED,
    PIN,
    REGISTERED_TOO_OFTEN,
    OPTED_OUT,
    GraphError::new(400, 1, "(#1) API Unknown", "Something is wrong with the request or here."),
    GraphError::new(503, 2, "(#2) API Service", "The service is down or has too much to do."),
    GraphError::new(500, 3, "(#3) API Method", "The app lacks a capability or a permission."),
    GraphError::new(400, 4, "(#4) API Too Many Calls", "The app has made too many calls."),
    GraphError::new(403, 10, "(#10) Permission Denied", "The permission is not there any more."),
    GraphError::new(403, 131_031, "(#131031) Account has been locked", "The account is locked."),
    GraphError::new(400, 131_042, "(#131042) Payment issue", "Something is wrong with payment."),
    GraphError::new(400, 131_048, "(#131048) Spam rate limit hit", "Too much was reported."),
    GraphError::new(400, 131_049, "(#131049) Not delivered", "Enough marketing for this user."),
    GraphError::new(400, 131_057, "(#131057) Account in maintenance mode", "Being upgraded."),
    GraphError::new(400, 132_012, "(#132012) Parameter format", "A parameter is of another kind."),
    GraphError::new(503, 133_004, "(#133004) Server Temporarily Unavailable", "Try again."),
];

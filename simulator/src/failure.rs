//! What happens to a send, by its recipient's last digits: the table in `failures.md`.

use std::collections::HashMap;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// Recipients whose tries are counted at once; beyond it counting starts anew.
const COUNTED: usize = 10_000;
const ALWAYS: u32 = u32::MAX;

/// An error in the Graph API's shape (Meta, "Error codes").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GraphError {
    pub(crate) http: u16,
    pub(crate) code: u32,
    pub(crate) message: &'static str,
    pub(crate) details: &'static str,
}

pub(crate) const TOKEN: GraphError = GraphError {
    http: 401,
    code: 190,
    message: "Error validating access token",
    details: "The access token has expired or is not valid for this account.",
};
pub(crate) const THROUGHPUT: GraphError = GraphError {
    http: 400,
    code: 130_429,
    message: "(#130429) Rate limit hit",
    details: "This number sends more messages than its throughput allows.",
};
pub(crate) const PAIR: GraphError = GraphError {
    http: 400,
    code: 131_056,
    message: "(#131056) (Business Account, Consumer Account) pair rate limit hit",
    details: "Too many messages to one recipient in a short time.",
};
pub(crate) const UNDELIVERABLE: GraphError = GraphError {
    http: 400,
    code: 131_026,
    message: "(#131026) Message undeliverable",
    details: "The recipient cannot be reached on WhatsApp.",
};
const WINDOW: GraphError = GraphError {
    http: 400,
    code: 131_047,
    message: "(#131047) Re-engagement message",
    details: "More than 24 hours have passed since the customer last wrote.",
};
const SERVER: GraphError = GraphError {
    http: 500,
    code: 131_000,
    message: "(#131000) Something went wrong",
    details: "The message could not be sent because of an unknown error.",
};

/// What happens to a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Accept,
    /// Accepted, and the answer never comes.
    Hang,
    /// Accepted, and a status says later that it failed.
    FailLater,
    Refuse(GraphError),
    /// A gateway's page instead of an answer.
    Html,
}

const TABLE: [(&str, Fate, u32); 10] = [
    ("000190", Fate::Refuse(TOKEN), ALWAYS),
    ("000429", Fate::Refuse(THROUGHPUT), 2),
    ("130429", Fate::Refuse(THROUGHPUT), ALWAYS),
    ("131056", Fate::Refuse(PAIR), 1),
    ("131026", Fate::Refuse(UNDELIVERABLE), ALWAYS),
    ("131047", Fate::Refuse(WINDOW), ALWAYS),
    ("000500", Fate::Refuse(SERVER), 2),
    ("000502", Fate::Html, ALWAYS),
    ("000408", Fate::Hang, ALWAYS),
    ("000131", Fate::FailLater, ALWAYS),
];

/// Counts tries by recipient.
#[derive(Debug, Default)]
pub(crate) struct Tries(HashMap<String, u32>);

impl Tries {
    /// What happens to the next send to this recipient.
    pub(crate) fn next(&mut self, to: &str) -> Fate {
        let Some(&(_, fate, limit)) = TABLE.iter().find(|(suffix, ..)| to.ends_with(suffix)) else {
            return Fate::Accept;
        };
        if limit == ALWAYS {
            return fate;
        }
        if self.0.len() >= COUNTED {
            self.0.clear();
        }
        let tries = self.0.entry(to.to_owned()).or_default();
        *tries += 1;
        if *tries <= limit {
            return fate;
        }
        self.0.remove(to);
        Fate::Accept
    }
}

impl GraphError {
    /// A request that the Graph API finds wrong.
    pub(crate) const fn invalid(code: u32, message: &'static str, details: &'static str) -> Self {
        Self { http: 400, code, message, details }
    }

    /// The answer, traced as `trace`.
    pub(crate) fn answer(self, trace: &str) -> Response {
        let http = StatusCode::from_u16(self.http).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = json!({"error": {
            "message": self.message,
            "type": "OAuthException",
            "code": self.code,
            "error_data": {"messaging_product": "whatsapp", "details": self.details},
            "fbtrace_id": trace,
        }});
        (http, Json(body)).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_in_the_documented_table() {
        for (suffix, _, limit) in TABLE {
            let row = crate::FAILURES
                .lines()
                .find(|line| line.starts_with(&format!("| {suffix}")))
                .unwrap();
            let tries = if limit == ALWAYS { "always".to_owned() } else { limit.to_string() };
            assert!(row.contains(&format!("| {tries:<6} |")), "{row}");
        }
    }

    #[test]
    fn a_throttled_recipient_is_let_through_on_the_third_try_and_counted_anew() {
        let mut tries = Tries::default();
        let fates: Vec<_> = (0..4).map(|_| tries.next("4915550000429")).collect();
        let refused = Fate::Refuse(THROUGHPUT);
        assert_eq!(fates, [refused, refused, Fate::Accept, refused]);
        assert_eq!(tries.next("4915551234567"), Fate::Accept);
    }
}

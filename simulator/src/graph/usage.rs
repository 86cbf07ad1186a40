//! How many management requests a business account may make in an hour, and what it is told of it
//! (Meta, "Rate limits").

use std::collections::HashMap;
use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::header::{HeaderName, HeaderValue, RETRY_AFTER};
use serde_json::json;

use crate::error::{self, GraphError};

const HOUR: Duration = Duration::from_hours(1);
/// Business accounts counted at once; beyond it those whose hour is over are forgotten.
const ACCOUNTS: usize = 10_000;
const OF_APP: HeaderName = HeaderName::from_static("x-app-usage");
const OF_ACCOUNT: HeaderName = HeaderName::from_static("x-business-use-case-usage");

/// What an answer says that refuses with this code: how long to wait.
pub(super) fn throttled(id: &str, code: u32, seconds: u64) -> HeaderMap {
    let minutes = seconds.div_ceil(60);
    let usage = json!({id: [{"type": "whatsapp", "call_count": 100, "total_cputime": 0,
        "total_time": 0, "estimated_time_to_regain_access": minutes}]});
    let (name, value) = match code {
        80_000..90_000 => (OF_ACCOUNT, usage.to_string()),
        _ => (RETRY_AFTER, seconds.to_string()),
    };
    HeaderValue::from_str(&value)
        .map(|value| HeaderMap::from_iter([(name, value)]))
        .unwrap_or_default()
}

/// Requests of one business account since its hour began.
#[derive(Clone, Copy, Debug)]
struct Hour {
    began: Duration,
    requests: u32,
}

/// Management requests, by business account.
#[derive(Debug)]
pub(super) struct Usage {
    limit: u32,
    hours: HashMap<String, Hour>,
}

impl Usage {
    pub(super) fn new(limit: u32) -> Self {
        Self { limit: limit.max(1), hours: HashMap::new() }
    }

    /// Counts one at `now`, simulated time: what its answer says of it, and whether it is too many.
    pub(super) fn count(
        &mut self,
        waba_id: &str,
        now: Duration,
    ) -> (HeaderMap, Result<(), GraphError>) {
        if self.hours.len() >= ACCOUNTS {
            self.hours.retain(|_, hour| hour.began + HOUR > now);
        }
        let fresh = Hour { began: now, requests: 0 };
        let hour = self.hours.entry(waba_id.to_owned()).or_insert(fresh);
        if hour.began + HOUR <= now {
            *hour = fresh;
        }
        hour.requests = hour.requests.saturating_add(1);
        let is_over = hour.requests > self.limit;
        let percent = u64::from(hour.requests.min(self.limit)) * 100 / u64::from(self.limit);
        let left = (hour.began + HOUR).saturating_sub(now).as_secs().div_ceil(60);
        let of_account = json!({waba_id: [{
            "type": "whatsapp_business_management",
            "call_count": percent,
            "total_cputime": 0,
            "total_time": 0,
            "estimated_time_to_regain_access": if is_over { left } else { 0 },
        }]});
        let of_app = json!({"call_count": percent, "total_cputime": 0, "total_time": 0});
        let mut headers = HeaderMap::new();
        for (name, value) in [(OF_APP, of_app), (OF_ACCOUNT, of_account)] {
            if let Ok(value) = HeaderValue::from_str(&value.to_string()) {
                headers.insert(name, value);
            }
        }
        (headers, if is_over { Err(error::MANAGEMENT) } else { Ok(()) })
    }
}

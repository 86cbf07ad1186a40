//! What an access token is, asked of itself.

use std::sync::Arc;

use serde_json::json;

use super::desk::Desk;
use super::routes::{Answered, Call, Reply};

/// The id under which it is asked.
pub(super) const NODE: &str = "debug_token";

/// A token that counts was given to a program, for good unless it was said when it ends.
pub(super) fn describe(desk: &Arc<Desk>, call: &Call) -> Answered {
    let asked = call.needed("input_token")?;
    let wanted = desk.options.access_token.as_ref();
    let is_valid = wanted.is_none_or(|wanted| *wanted == asked);
    Ok(Reply::Json(json!({"data": {
        "app_id": "8000",
        "application": "OmniStream",
        "type": "SYSTEM_USER",
        "is_valid": is_valid,
        "expires_at": desk.options.token_ends_at.unwrap_or(0),
        "data_access_expires_at": 0,
        "scopes": ["whatsapp_business_management", "whatsapp_business_messaging"],
    }})))
}

//! Files that are lent to a provider, which fetches what is sent by itself: whoever has the link gets
//! the file, and the link is not for long.

use axum::extract::State;
use axum::http::{HeaderValue, Method, header};
use axum::response::Response;
use engine::id::{MediaId, TenantId};
use engine::time::Timestamp;
use schemars::JsonSchema;
use serde::Deserialize;
use uuid::Uuid;

use super::media::whole;
use super::{Access, Route, route};
use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Id, Query};

pub fn routes() -> Vec<Route> {
    let title = "A file that is lent to a provider, by its link";
    let lent = route(Method::GET, "/lent/{id}", Access::Public, title, lend);
    vec![lent.query::<Link>().answers_file()]
}

/// The rest of the link.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Link {
    /// Whose file it is.
    #[serde(default)]
    org: Option<Uuid>,
    /// Until when it counts, in milliseconds since 1970.
    #[serde(default)]
    until: Option<i64>,
    #[serde(default)]
    proof: Option<String>,
}

async fn lend(
    State(app): State<App>,
    Id(id): Id<MediaId>,
    Query(link): Query<Link>,
) -> Result<Response, ApiError> {
    let gone = || ApiError::not_found("file");
    let Link { org: Some(org), until: Some(until), proof: Some(proof) } = link else {
        return Err(gone());
    };
    let (tenant, until) = (TenantId(org), Timestamp(until));
    if !app.lender.is_ours((tenant, id), until, &proof, app.tenants.now()) {
        return Err(gone());
    }
    let medium = app.media.get(tenant, id).await?.ok_or_else(gone)?;
    let mut answer = whole(&app, &medium).await?;
    let headers = answer.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    let nothing_runs = HeaderValue::from_static("default-src 'none'; sandbox");
    headers.insert(header::CONTENT_SECURITY_POLICY, nothing_runs);
    Ok(answer)
}

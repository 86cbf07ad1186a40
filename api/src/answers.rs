//! Long answers on their way: their bytes count until the client has taken them, tenant by tenant. A page of
//! mails may have tens of megabytes, and who asks for many of them need not read one.

use std::sync::Arc;

use actors::failure::{Failure, Full};
use actors::permits::{Amount, Marks, PermitLimits, Permits, Room};
use axum::body::{Body, HttpBody, to_bytes};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use config::Limits;
use engine::id::TenantId;

use crate::error::ApiError;

/// All of them.
pub struct Answers(Arc<Permits>);

/// Of shorter ones there is one at most for each connection.
const LONG: u64 = 64 << 10;

/// The bytes of an answer, and the room they take.
struct Counted {
    bytes: Bytes,
    _room: Room,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Answers {
    /// So many bytes at most, and of one tenant.
    pub fn new(limits: &Limits) -> Self {
        let bytes = |bytes| Amount { items: 0, bytes };
        Self(Permits::new(PermitLimits {
            node: bytes(limits.answers_node_bytes),
            tenant: bytes(limits.answers_tenant_bytes),
            thread: 0,
            marks: Marks { ephemeral: 100, receipts: 100, messages: 100 },
        }))
    }

    /// An answer for this tenant, or, where it is long and there is no room for it, that there is none.
    pub async fn counted(&self, tenant: TenantId, response: Response) -> Response {
        // What is read as it is sent does not say how long it is.
        let Some(LONG..) = response.body().size_hint().exact() else { return response };
        let (parts, body) = response.into_parts();
        let mut room = self.0.room(Some(tenant));
        let counted = match to_bytes(body, usize::MAX).await {
            Ok(bytes) => room.grow(bytes.len()).map(|()| Counted { bytes, _room: room }),
            Err(_) => {
                return ApiError::unavailable("this cannot be shown now; try again shortly")
                    .into_response();
            }
        };
        match counted {
            Ok(counted) => Response::from_parts(parts, Body::from(Bytes::from_owner(counted))),
            Err(full) => {
                let full = match full {
                    Full::OrganizationMemory => Full::OrganizationAnswers,
                    _ => Full::Answers,
                };
                ApiError::from(Failure::busy(full)).into_response()
            }
        }
    }

    /// Bytes of long answers on their way.
    pub fn bytes(&self) -> usize {
        self.0.taken().bytes
    }
}

//! Every queue, page, body, retry and cache has its number here.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The limits; `default.toml` has a sentence for each.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    pub connections: usize,
    #[serde(with = "crate::duration")]
    pub connection_stall: Duration,
    pub webhook_body_bytes: usize,
    pub rest_body_bytes: usize,
    #[serde(with = "crate::duration")]
    pub webhook_timeout: Duration,
    #[serde(with = "crate::duration")]
    pub rest_timeout: Duration,
    pub page_default: usize,
    pub page_max: usize,
    pub inflight_node: usize,
    pub inflight_node_bytes: usize,
    pub inflight_unproven_bytes: usize,
    pub inflight_tenant: usize,
    pub inflight_tenant_bytes: usize,
    pub inflight_conversation: usize,
    pub turns: usize,
    pub shed_ephemeral_percent: usize,
    pub shed_receipts_percent: usize,
    pub shed_messages_percent: usize,
    #[serde(with = "crate::duration")]
    pub webhook_patience: Duration,
    pub waiting_conversation: usize,
    pub waiting_conversation_bytes: usize,
    pub waiting_tenant: usize,
    pub waiting_tenant_bytes: usize,
    pub waiting_node: usize,
    pub waiting_node_bytes: usize,
    pub tenant_requests_per_second: u32,
    pub dead_letters_tenant: usize,
    pub dead_letter_bytes_tenant: usize,
    pub poison_attempts: u8,
    pub login_failures_account: u32,
    pub login_failures_address: u32,
    #[serde(with = "crate::duration")]
    pub login_window: Duration,
    pub registrations_per_minute: u32,
    pub password_hashes: usize,
    pub agents_per_tenant: usize,
    pub accounts_per_tenant: usize,
    pub rows_per_tenant: usize,
    pub sockets_per_user: usize,
    pub socket_queue_frames: usize,
    pub socket_queue_bytes: usize,
    pub socket_frame_bytes: usize,
    pub subscriptions_per_socket: usize,
    pub socket_commands_per_second: u32,
    pub socket_commands_burst: u32,
    pub handshakes_per_second: u32,
    #[serde(with = "crate::duration")]
    pub socket_hello_timeout: Duration,
    #[serde(with = "crate::duration")]
    pub socket_ping_every: Duration,
    #[serde(with = "crate::duration")]
    pub socket_pong_timeout: Duration,
    #[serde(with = "crate::duration")]
    pub socket_write_timeout: Duration,
    #[serde(with = "crate::duration")]
    pub socket_token_grace: Duration,
    pub replay_events: usize,
    pub replay_bytes: usize,
    pub live_actors: usize,
    #[serde(with = "crate::duration")]
    pub idle_passivation: Duration,
    pub recent_ids: usize,
    pub parked_receipts: usize,
    pub history_imports: usize,
    pub merge_suggestions: usize,
    pub pending_sends: usize,
    #[serde(with = "crate::duration::list")]
    pub send_ladder: Vec<Duration>,
    #[serde(with = "crate::duration::list")]
    pub pair_ladder: Vec<Duration>,
    pub send_rate_per_second: u32,
    pub send_rate_high_per_second: u32,
    pub pair_burst: u32,
    #[serde(with = "crate::duration")]
    pub pair_every: Duration,
    pub account_queue: usize,
    pub account_requests: usize,
    #[serde(with = "crate::duration")]
    pub provider_connect_timeout: Duration,
    #[serde(with = "crate::duration")]
    pub provider_timeout: Duration,
    pub provider_response_bytes: usize,
    pub group_bytes: usize,
    pub group_batches: usize,
    pub segment_bytes: usize,
    pub overlay_bytes: usize,
    pub tree_cache_bytes: usize,
    pub tree_memtable_bytes: usize,
    #[serde(with = "crate::duration")]
    pub tree_sync_every: Duration,
    #[serde(with = "crate::duration")]
    pub commit_stall: Duration,
}

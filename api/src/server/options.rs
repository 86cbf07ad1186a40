//! What the parts of a server take from its settings.

use std::time::Duration;

use actors::desk::DeskOptions;
use actors::downloads::{DownloadOptions, Downloads};
use actors::mailer::{Mailer, MailerOptions};
use actors::permits::{Amount, Marks, PermitLimits};
use actors::search::SearchOptions;
use actors::waiting::WaitingLimits;
use config::{Backend, Config};
use engine::conversation::Rules;
use engine::time::Timestamp;
use storage::dead_letters::LetterLimits;
use storage::embedded::TREE_STALLS;
use storage::media::BucketOptions;

use super::{NotStarted, not_started};

/// Whose actor is in memory is found in memory: so many handles stay for each that may be.
const HANDLES_OF_EACH: usize = 3;

pub(super) fn downloads(config: &Config) -> Result<Downloads, NotStarted> {
    Downloads::new(DownloadOptions {
        graph_url: config.meta.graph_url.clone(),
        resend_url: config.mail.resend_url.clone(),
        hosts: config.meta.media_hosts.clone(),
        connect_timeout: config.limits.provider_connect_timeout,
        timeout: config.limits.media_timeout,
    })
    .map_err(not_started)
}

/// The bucket where files lie, if it is one.
pub(super) fn bucket(config: &Config) -> Option<BucketOptions> {
    let secret = config.storage.s3.secret_access_key.as_ref();
    Some(BucketOptions {
        name: config.storage.s3.bucket.clone()?,
        endpoint: config.storage.s3.endpoint.clone(),
        region: config.storage.s3.region.clone(),
        prefix: config.storage.s3.prefix.clone(),
        access_key_id: config.storage.s3.access_key_id.clone()?,
        secret_access_key: secret?.expose().to_owned(),
        allow_http: config.storage.s3.allow_http,
        timeout: config.storage.s3.request_timeout,
        retries: config.storage.s3.retries,
    })
}

pub(super) fn mailer(config: &Config) -> Result<Mailer, NotStarted> {
    let limits = &config.limits;
    Mailer::new(MailerOptions {
        private: config.mail.private_servers.clone(),
        connect_timeout: limits.provider_connect_timeout,
        timeout: limits.provider_timeout,
        content_timeout: limits.mail_content_timeout,
        file_bytes: limits.mail_file_bytes as u64,
        files_timeout: limits.mail_files_timeout,
        with_files: limits.mails_with_files,
    })
    .map_err(not_started)
}

pub(super) fn search_options(config: &Config) -> SearchOptions {
    let limits = &config.limits;
    let directory = match config.storage.backend {
        Backend::Memory => None,
        Backend::Embedded | Backend::Cql => Some(config.storage.path.join("search")),
    };
    SearchOptions {
        directory,
        every: limits.search_every,
        // Whatever a commit waits for ends within this, or the process does: seldom more than once for the
        // tree. One of which nobody knows whether it came about is looked up within a minute.
        told_within: limits.commit_stall * TREE_STALLS * 2 + Duration::from_secs(100),
        marks: limits.search_marks,
        matches: limits.search_matches,
        conversations: limits.search_conversations,
    }
}

/// `newest`: nothing in the store was written later, unless the clock says that it is.
pub(super) fn desk_options(config: &Config, newest: Timestamp) -> DeskOptions {
    let limits = &config.limits;
    let amount = |items, bytes| Amount { items, bytes };
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    DeskOptions {
        rules: Rules {
            reopen_within: config.conversations.reopen_within,
            recent_ids: limits.recent_ids,
            send_ladder: limits.send_ladder.clone(),
            pair_ladder: limits.pair_ladder.clone(),
            pending_max: limits.pending_sends,
            parked_max: limits.parked_receipts,
        },
        permits: PermitLimits {
            node: amount(limits.inflight_node, limits.inflight_node_bytes),
            tenant: amount(limits.inflight_tenant, limits.inflight_tenant_bytes),
            thread: limits.inflight_conversation,
            marks: Marks {
                ephemeral: limits.shed_ephemeral_percent,
                receipts: limits.shed_receipts_percent,
                messages: limits.shed_messages_percent,
            },
        },
        turns: limits.turns,
        waiting: WaitingLimits {
            thread: amount(limits.waiting_conversation, limits.waiting_conversation_bytes),
            tenant: amount(limits.waiting_tenant, limits.waiting_tenant_bytes),
            node: amount(limits.waiting_node, limits.waiting_node_bytes),
        },
        patience: limits.webhook_patience,
        idle_after: limits.idle_passivation,
        live_actors: limits.live_actors,
        dead_letters: LetterLimits {
            letters: limits.dead_letters_tenant,
            bytes: limits.dead_letter_bytes_tenant,
        },
        imports: limits.history_imports,
        poison_attempts: limits.poison_attempts,
        decide: engine::conversation::decide,
        newest,
        known_handles: HANDLES_OF_EACH * limits.live_actors,
        merge_suggestions: limits.merge_suggestions,
        page_bytes: limits.page_cache_bytes,
        shards: cores * 4,
        seed: None,
    }
}

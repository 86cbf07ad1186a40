//! Rules that a type cannot say.

use std::net::IpAddr;
use std::time::Duration;

use toml::{Table, Value};

use crate::limits::Limits;
use crate::{Backend, Config, ConfigError, Storage};

/// Limits for which 0 means that there is none.
const MAY_BE_ZERO: [&str; 5] = [
    "tenant_requests_per_second",
    "agents_per_tenant",
    "accounts_per_tenant",
    "socket_hold",
    "page_cache_bytes",
];

/// No limit is higher: some count places that are made, or numbered, at the start.
const LIMIT_MAX: i64 = 1 << 40;

/// What a customer may get at once is full again after so long.
const PAIR_FULL_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// What waits for a message is recorded with it, in one commit of at most 256 facts.
const PARKED_RECEIPTS_MAX: usize = 240;

/// For a code its token is asked for, then whose it is; the account is looked at, subscribed and
/// registered.
const ACCOUNT_QUESTIONS: u32 = 5;

/// RFC 7518, 3.2: a key for HS256 is at least as long as its hash.
const JWT_SECRET_BYTES_MIN: usize = 32;

/// Beyond so many tries nobody waits any more.
const BUCKET_RETRIES_MAX: usize = 10;

/// The first rule that is broken.
pub(crate) fn check(config: &Config) -> Result<(), ConfigError> {
    let Config { server, storage, meta, mail, auth, log, limits, .. } = config;
    for (key, url) in [
        ("server.public_url", server.public_url.as_deref()),
        ("meta.graph_url", Some(meta.graph_url.as_str())),
        ("meta.instagram_url", Some(meta.instagram_url.as_str())),
        ("meta.instagram_auth_url", Some(meta.instagram_auth_url.as_str())),
        ("mail.resend_url", Some(mail.resend_url.as_str())),
        ("storage.s3.endpoint", storage.s3.endpoint.as_deref()),
        ("meta.login_url", Some(meta.login_url.as_str())),
        ("meta.instagram_login_url", Some(meta.instagram_login_url.as_str())),
    ] {
        rule(
            url.is_none_or(is_base_url),
            key,
            "must begin with http:// or https:// and end without a slash",
        )?;
    }
    rule(
        meta.redirect_url.as_deref().is_none_or(is_address),
        "meta.redirect_url",
        "must begin with http:// or https:// and hold neither ? nor #",
    )?;
    rule(
        !meta.graph_version.is_empty()
            && meta.graph_version.chars().all(|c| c.is_ascii_alphanumeric() || c == '.'),
        "meta.graph_version",
        "must be one path segment such as v23.0",
    )?;
    rule(
        meta.media_hosts.iter().all(|host| is_host(host)),
        "meta.media_hosts",
        "must be names such as files.example.com or *.example.com",
    )?;
    rule(
        mail.private_servers.iter().all(|server| has_port(server)),
        "mail.private_servers",
        "must be servers, each with its port as in 10.0.0.5:25",
    )?;
    rule(!storage.path.as_os_str().is_empty(), "storage.path", "must name a directory")?;
    bucket(storage)?;
    let cql = &storage.cql;
    rule(
        !cql.nodes.is_empty() && cql.nodes.iter().all(|node| has_port(node)),
        "storage.cql.nodes",
        "must name at least one node, each with its port as in 127.0.0.1:9042",
    )?;
    rule(
        is_keyspace(&cql.keyspace),
        "storage.cql.keyspace",
        "must be 1 to 48 lower-case letters, digits and underscores, beginning with a letter",
    )?;
    rule(cql.replication_factor > 0, "storage.cql.replication_factor", "must be at least 1")?;
    rule(
        cql.username.is_some() == cql.password.is_some(),
        "storage.cql.username",
        "and `storage.cql.password` must be given together",
    )?;
    rule(
        cql.lease > cql.request_timeout,
        "storage.cql.lease",
        "must be longer than `storage.cql.request_timeout`",
    )?;
    rule(
        auth.jwt_secret.as_ref().is_none_or(|secret| secret.expose().len() >= JWT_SECRET_BYTES_MIN),
        "auth.jwt_secret",
        "must be at least 32 bytes; leave it empty to have one made",
    )?;
    rule(!auth.token_ttl.is_zero(), "auth.token_ttl", "must be longer than nothing")?;
    rule(
        auth.session_ttl >= auth.token_ttl,
        "auth.session_ttl",
        "must be at least `auth.token_ttl`",
    )?;
    rule(!log.filter.is_empty(), "log.filter", "must name a level such as info")?;
    within_reason(&Table::try_from(limits).expect("limits are numbers, durations and lists"))?;
    rule(
        limits.page_default <= limits.page_max,
        "limits.page_default",
        "must be at most `limits.page_max`",
    )?;
    rule(
        limits.inflight_conversation <= limits.inflight_tenant
            && limits.inflight_tenant <= limits.inflight_node,
        "limits.inflight_tenant",
        "must lie between `limits.inflight_conversation` and `limits.inflight_node`",
    )?;
    under_load(limits)?;
    rule(
        limits.socket_hold <= limits.socket_write_timeout,
        "limits.socket_hold",
        "must be at most `limits.socket_write_timeout`",
    )?;
    rule(
        // A group has at least room for one batch, which is cut at 40 KiB.
        limits.group_bytes >= 65_536 && limits.group_bytes <= limits.segment_bytes / 2,
        "limits.group_bytes",
        "must be at least 65536 and at most half of `limits.segment_bytes`",
    )?;
    rule(
        // Smaller ones would be written out with nearly every group.
        limits.tree_memtable_bytes >= 1 << 20,
        "limits.tree_memtable_bytes",
        "must be at least 1048576",
    )?;
    rule(
        limits.pair_every.checked_mul(limits.pair_burst).is_some_and(|full| full <= PAIR_FULL_MAX),
        "limits.pair_burst",
        "must be full again within 7d, with one in `limits.pair_every`",
    )?;
    rule(
        limits.dead_letter_bytes_tenant >= 2 * limits.webhook_body_bytes,
        "limits.dead_letter_bytes_tenant",
        "must be at least twice `limits.webhook_body_bytes`",
    )?;
    rule(
        // The first panic while something is read may be a neighbour's.
        limits.poison_attempts >= 2,
        "limits.poison_attempts",
        "must be from 2 to 255",
    )?;
    rule(
        limits.parked_receipts <= PARKED_RECEIPTS_MAX,
        "limits.parked_receipts",
        "must be at most 240",
    )?;
    rule(
        limits.provider_connect_timeout <= limits.provider_timeout,
        "limits.provider_connect_timeout",
        "must be at most `limits.provider_timeout`",
    )?;
    rule(
        limits
            .provider_timeout
            .checked_mul(ACCOUNT_QUESTIONS)
            .is_some_and(|all| limits.account_timeout >= all.max(limits.rest_timeout)),
        "limits.account_timeout",
        "must be at least `limits.rest_timeout` and five times `limits.provider_timeout`",
    )?;
    rule(
        limits.account_calls_tenant <= limits.account_calls,
        "limits.account_calls_tenant",
        "must be at most `limits.account_calls`",
    )?;
    rule(
        limits.media_uploads_tenant <= limits.media_uploads,
        "limits.media_uploads_tenant",
        "must be at most `limits.media_uploads`",
    )?;
    rule(
        limits.media_fetches_waiting_tenant <= limits.media_fetches_waiting,
        "limits.media_fetches_waiting_tenant",
        "must be at most `limits.media_fetches_waiting`",
    )
}

/// Where files lie, if that is a bucket.
fn bucket(storage: &Storage) -> Result<(), ConfigError> {
    let s3 = &storage.s3;
    let names = [&s3.endpoint, &s3.prefix, &s3.access_key_id].into_iter().any(Option::is_some);
    rule(
        s3.bucket.is_some() || !(names || s3.secret_access_key.is_some()),
        "storage.s3.bucket",
        "must be given where other keys of `storage.s3` are; leave all empty to keep files in `storage.path`",
    )?;
    rule(
        s3.bucket.as_deref().is_none_or(is_bucket),
        "storage.s3.bucket",
        "must be 3 to 63 lower-case letters, digits, hyphens and dots",
    )?;
    rule(
        s3.bucket.is_none() || storage.backend != Backend::Memory,
        "storage.s3.bucket",
        "must be empty with `storage.backend` `memory`, which forgets what lies there",
    )?;
    for (key, is_given) in [
        ("storage.s3.access_key_id", s3.access_key_id.is_some()),
        ("storage.s3.secret_access_key", s3.secret_access_key.is_some()),
    ] {
        rule(s3.bucket.is_none() || is_given, key, "must be given with `storage.s3.bucket`")?;
    }
    let is_plain = |endpoint: &str| endpoint.starts_with("http://");
    rule(
        s3.allow_http || !s3.endpoint.as_deref().is_some_and(is_plain),
        "storage.s3.endpoint",
        "must begin with https://, unless `storage.s3.allow_http` is true",
    )?;
    rule(
        !s3.region.is_empty() && s3.region.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'),
        "storage.s3.region",
        "must be a name such as us-east-1",
    )?;
    rule(
        s3.prefix.as_deref().is_none_or(|prefix| prefix.split('/').all(is_segment)),
        "storage.s3.prefix",
        "must be names of letters, digits, hyphens, dots and underscores, with a slash between two",
    )?;
    rule(
        !s3.request_timeout.is_zero(),
        "storage.s3.request_timeout",
        "must be longer than nothing",
    )?;
    rule(s3.retries <= BUCKET_RETRIES_MAX, "storage.s3.retries", "must be at most 10")
}

/// What holds when there is too much.
fn under_load(limits: &Limits) -> Result<(), ConfigError> {
    rule(
        [limits.waiting_conversation, limits.waiting_tenant, limits.waiting_node].is_sorted(),
        "limits.waiting_tenant",
        "must lie between `limits.waiting_conversation` and `limits.waiting_node`",
    )?;
    rule(
        [limits.waiting_conversation_bytes, limits.waiting_tenant_bytes, limits.waiting_node_bytes]
            .is_sorted(),
        "limits.waiting_tenant_bytes",
        "must lie between `limits.waiting_conversation_bytes` and `limits.waiting_node_bytes`",
    )?;
    let bodies = [limits.webhook_body_bytes, limits.mail_body_bytes, limits.rest_body_bytes];
    let largest = bodies.into_iter().max().unwrap_or_default();
    rule(
        [largest, limits.inflight_tenant_bytes, limits.inflight_node_bytes].is_sorted(),
        "limits.inflight_tenant_bytes",
        "must lie between the largest body and `limits.inflight_node_bytes`",
    )?;
    rule(
        [largest, limits.inflight_unproven_bytes, limits.inflight_node_bytes].is_sorted(),
        "limits.inflight_unproven_bytes",
        "must lie between the largest body and `limits.inflight_node_bytes`",
    )?;
    rule(
        limits.answers_tenant_bytes <= limits.answers_node_bytes,
        "limits.answers_tenant_bytes",
        "must be at most `limits.answers_node_bytes`",
    )?;
    rule(
        [
            limits.shed_ephemeral_percent,
            limits.shed_receipts_percent,
            limits.shed_messages_percent,
            100,
        ]
        .is_sorted(),
        "limits.shed_receipts_percent",
        "must lie between `limits.shed_ephemeral_percent` and `limits.shed_messages_percent`, which is at most 100",
    )?;
    rule(
        limits.webhook_refusal_delay < limits.webhook_timeout.min(limits.mail_timeout),
        "limits.webhook_refusal_delay",
        "must be less than `limits.webhook_timeout` and `limits.mail_timeout`",
    )?;
    rule(
        limits.mail_fetch_timeout < limits.mail_timeout,
        "limits.mail_fetch_timeout",
        "must be less than `limits.mail_timeout`",
    )?;
    rule(
        limits.webhook_patience < limits.webhook_timeout.min(limits.mail_timeout),
        "limits.webhook_patience",
        "must be less than `limits.webhook_timeout` and `limits.mail_timeout`",
    )
}

fn rule(holds: bool, key: &str, reason: &str) -> Result<(), ConfigError> {
    let broken = || ConfigError::Invalid { key: key.to_owned(), reason: reason.to_owned() };
    holds.then_some(()).ok_or_else(broken)
}

fn within_reason(limits: &Table) -> Result<(), ConfigError> {
    for (name, value) in limits {
        let is_something = match value {
            Value::Integer(number) => *number > 0 || MAY_BE_ZERO.contains(&name.as_str()),
            Value::String(duration) => duration != "0s" || MAY_BE_ZERO.contains(&name.as_str()),
            Value::Array(items) => {
                !items.is_empty() && items.iter().all(|item| item.as_str() != Some("0s"))
            }
            _ => true,
        };
        let key = format!("limits.{name}");
        rule(is_something, &key, "must be more than nothing")?;
        let is_a_limit = value.as_integer().is_none_or(|number| number <= LIMIT_MAX);
        rule(is_a_limit, &key, "must be at most 1099511627776 (2^40)")?;
    }
    Ok(())
}

fn is_base_url(url: &str) -> bool {
    is_address(url) && !url.ends_with('/')
}

fn is_address(url: &str) -> bool {
    let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let plain = |c: char| c.is_ascii_graphic() && !"?#".contains(c);
    let is_host = |host: &str| !host.is_empty() && !host.starts_with('/');
    host.is_some_and(|host| is_host(host) && host.chars().all(plain))
}

/// A name of at least two parts; a star stands for what comes before.
fn is_host(host: &str) -> bool {
    let name = host.strip_prefix("*.").unwrap_or(host);
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let is_label = |label: &str| !label.is_empty() && label.chars().all(plain);
    name.contains('.') && name.split('.').all(is_label) && name.parse::<IpAddr>().is_err()
}

fn is_bucket(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    (3..=63).contains(&name.len()) && name.chars().all(plain)
}

/// A name that is part of a path, and not a way out of it.
fn is_segment(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    !name.is_empty() && name.chars().all(plain) && name.chars().any(|c| c != '.')
}

fn has_port(node: &str) -> bool {
    node.rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

fn is_keyspace(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    name.len() <= 48
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(plain)
}

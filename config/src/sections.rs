//! One struct for each concern but the limits.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Secret;

/// How the server is reached and how it stops.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    pub listen: SocketAddr,
    /// Without a slash at its end.
    #[serde(with = "crate::optional")]
    pub public_url: Option<String>,
    #[serde(with = "crate::duration")]
    pub drain: Duration,
    pub trusted_proxies: Vec<IpAddr>,
}

/// Where the data are.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Storage {
    pub backend: Backend,
    pub path: PathBuf,
    pub s3: S3,
    pub cql: Cql,
}

/// The kind of store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    Embedded,
    Memory,
    Cql,
}

/// The bucket where files lie.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct S3 {
    #[serde(with = "crate::optional")]
    pub bucket: Option<String>,
    /// Without a slash at its end.
    #[serde(with = "crate::optional")]
    pub endpoint: Option<String>,
    pub region: String,
    #[serde(with = "crate::optional")]
    pub prefix: Option<String>,
    #[serde(with = "crate::optional")]
    pub access_key_id: Option<String>,
    #[serde(with = "crate::optional")]
    pub secret_access_key: Option<Secret>,
    pub allow_http: bool,
    #[serde(with = "crate::duration")]
    pub request_timeout: Duration,
    pub retries: usize,
}

/// How ScyllaDB or Cassandra is reached.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Cql {
    pub nodes: Vec<String>,
    pub keyspace: String,
    pub replication_factor: u32,
    pub consistency: Consistency,
    #[serde(with = "crate::optional")]
    pub username: Option<String>,
    #[serde(with = "crate::optional")]
    pub password: Option<Secret>,
    #[serde(with = "crate::duration")]
    pub lease: Duration,
    #[serde(with = "crate::duration")]
    pub request_timeout: Duration,
}

/// How many copies answer a read or a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Consistency {
    One,
    LocalQuorum,
    Quorum,
}

/// Meta's APIs and webhooks.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Meta {
    pub graph_url: String,
    pub instagram_url: String,
    pub instagram_auth_url: String,
    pub media_hosts: Vec<String>,
    pub graph_version: String,
    #[serde(with = "crate::optional")]
    pub app_id: Option<String>,
    #[serde(with = "crate::optional")]
    pub app_secret: Option<Secret>,
    #[serde(with = "crate::optional")]
    pub instagram_app_id: Option<String>,
    #[serde(with = "crate::optional")]
    pub instagram_app_secret: Option<Secret>,
    #[serde(with = "crate::optional")]
    pub signup_config_id: Option<String>,
    pub login_url: String,
    pub instagram_login_url: String,
    #[serde(with = "crate::optional")]
    pub redirect_url: Option<String>,
    #[serde(with = "crate::optional")]
    pub verify_token: Option<Secret>,
}

/// Mail servers.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Mail {
    pub resend_url: String,
    pub private_servers: Vec<String>,
}

/// Logins and tokens.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    #[serde(with = "crate::optional")]
    pub jwt_secret: Option<Secret>,
    #[serde(with = "crate::duration")]
    pub token_ttl: Duration,
    #[serde(with = "crate::duration")]
    pub session_ttl: Duration,
}

/// What is logged, and how.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    pub format: LogFormat,
    pub filter: String,
}

/// For whom log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    Text,
    Json,
}

/// Where figures are shown.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    pub listen: SocketAddr,
}

/// How cases open and close.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Conversations {
    #[serde(with = "crate::duration")]
    pub reopen_within: Duration,
}

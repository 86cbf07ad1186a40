//! Layers, mistakes and secrets, through the one public door.

use std::path::PathBuf;
use std::time::Duration;

use config::{Backend, Config, ConfigError, DEFAULT_TOML, LoadOptions};

const NO_ENV: [(String, String); 0] = [];

fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn from_env(name: &str, value: &str) -> Result<Config, ConfigError> {
    Config::load(LoadOptions { cwd_file: None, file: None, env: env(&[(name, value)]) })
}

fn mistake(name: &str, value: &str) -> String {
    from_env(name, value).expect_err("a mistake").to_string()
}

struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path
    }
}

#[test]
fn the_built_in_settings_are_valid_and_complete() {
    let config =
        Config::load(LoadOptions { cwd_file: None, file: None, env: NO_ENV }).expect("valid");
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.server.public_url, None);
    assert_eq!(config.server.drain, Duration::from_secs(10));
    assert_eq!(config.storage.backend, Backend::Embedded);
    assert_eq!(config.storage.cql.nodes, ["127.0.0.1:9042"]);
    assert_eq!(config.conversations.reopen_within, Duration::from_secs(24 * 60 * 60));
    assert_eq!(config.limits.sockets_per_user, 10);
    assert_eq!(Config::default().masked_toml(), config.masked_toml());
}

#[test]
fn a_command_s_preset_replaces_what_nobody_changed() {
    let files = Files::new();
    let preset = "log.filter = \"warn\"";
    let beside = files.write("beside.toml", DEFAULT_TOML);
    let changed = files.write("changed.toml", "log.filter = \"debug\"");
    let asked = files.write("asked.toml", "log.filter = \"info\"");
    let filter = |cwd_file: Option<&PathBuf>, file: Option<&PathBuf>, env| {
        let options = LoadOptions { cwd_file: cwd_file.cloned(), file: file.cloned(), env };
        Config::load_over(preset, options).expect("valid").log.filter
    };
    let none = Vec::new;
    assert_eq!(filter(None, None, none()), "warn");
    assert_eq!(filter(Some(&beside), None, none()), "warn");
    assert_eq!(filter(Some(&changed), None, none()), "debug");
    assert_eq!(filter(Some(&beside), Some(&asked), none()), "info");
    assert_eq!(filter(None, None, env(&[("OMNISTREAM__LOG__FILTER", "info")])), "info");
}

#[test]
fn the_stronger_layer_wins_key_by_key() {
    let files = Files::new();
    let beside = files.write(
        "beside.toml",
        "[limits]\npage_max = 50\npage_default = 11\n[log]\nfilter = \"warn\"",
    );
    let asked = files.write("asked.toml", "limits.page_max = 60\nserver.drain = \"3s\"");
    let env =
        env(&[("OMNISTREAM__SERVER__DRAIN", "500ms"), ("PATH", "x"), ("OMNISTREAM_HOME", "y")]);
    let options = LoadOptions { cwd_file: Some(beside), file: Some(asked), env };
    let config = Config::load(options).expect("valid");
    assert_eq!((config.limits.page_default, config.limits.page_max), (11, 60));
    assert_eq!(config.log.filter, "warn");
    assert_eq!(config.server.drain, Duration::from_millis(500));
}

#[test]
fn the_environment_takes_commas_for_lists_and_nothing_for_none() {
    let nodes =
        from_env("OMNISTREAM__STORAGE__CQL__NODES", "a:1, b:2").expect("valid").storage.cql.nodes;
    assert_eq!(nodes, ["a:1", "b:2"]);
    let ladder =
        from_env("OMNISTREAM__LIMITS__SEND_LADDER", "1s,2m").expect("valid").limits.send_ladder;
    assert_eq!(ladder, [Duration::from_secs(1), Duration::from_secs(120)]);
    assert!(from_env("OMNISTREAM__AUTH__JWT_SECRET", "").expect("valid").auth.jwt_secret.is_none());
}

#[test]
fn an_unknown_key_is_named_with_its_layer_and_the_nearest_key() {
    assert_eq!(
        mistake("OMNISTREAM__SERVER__LISTN", "x"),
        "unknown key `server.listn` in the environment; did you mean `server.listen`?"
    );
    assert_eq!(
        mistake("OMNISTREAM__SERVER__SOCKETS_PER_USER", "1"),
        "unknown key `server.sockets_per_user` in the environment; did you mean `limits.sockets_per_user`?"
    );
    assert_eq!(mistake("OMNISTREAM__QQQ", "1"), "unknown key `qqq` in the environment");
    let files = Files::new();
    let file = files.write("own.toml", "[storage.cql.nodes]\nfirst = \"a:1\"");
    let shown = file.display().to_string();
    let error = Config::load(LoadOptions { cwd_file: None, file: Some(file), env: NO_ENV });
    let error = error.expect_err("unknown").to_string();
    assert!(
        error.starts_with(&format!("unknown key `storage.cql.nodes.first` in {shown}")),
        "{error}"
    );
}

#[test]
fn a_value_of_the_wrong_kind_is_named_with_its_key_and_layer() {
    for (name, value, key) in [
        ("OMNISTREAM__SERVER__LISTEN", "here", "server.listen"),
        ("OMNISTREAM__SERVER__DRAIN", "10", "server.drain"),
        ("OMNISTREAM__LIMITS__PAGE_MAX", "many", "limits.page_max"),
        ("OMNISTREAM__LIMITS__PAGE_MAX", "-1", "limits.page_max"),
        ("OMNISTREAM__STORAGE__BACKEND", "paper", "storage.backend"),
        ("OMNISTREAM__SERVER", "x", "server"),
    ] {
        let error = mistake(name, value);
        assert!(error.starts_with(&format!("`{key}` in the environment: ")), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn a_file_that_was_asked_for_must_be_there_and_be_toml() {
    let files = Files::new();
    let gone = files.0.path().join("gone.toml");
    let with = |cwd_file, file| Config::load(LoadOptions { cwd_file, file, env: NO_ENV });
    assert!(with(Some(gone.clone()), None).is_ok());
    let error = with(None, Some(gone)).expect_err("gone").to_string();
    assert!(error.contains("gone.toml cannot be read"), "{error}");
    let broken = files.write("broken.toml", "[log]\nfilter = \n");
    let error = with(None, Some(broken)).expect_err("broken").to_string();
    assert!(error.contains("broken.toml is not TOML: line 2: "), "{error}");
}

#[test]
fn each_rule_is_one_sentence_that_names_its_key() {
    for (name, value, key) in [
        ("AUTH__JWT_SECRET", "short", "auth.jwt_secret"),
        ("AUTH__SESSION_TTL", "1s", "auth.session_ttl"),
        ("SERVER__PUBLIC_URL", "example.org", "server.public_url"),
        ("META__GRAPH_URL", "https://example.org/", "meta.graph_url"),
        ("META__GRAPH_URL", "https://example.org?", "meta.graph_url"),
        ("META__GRAPH_URL", "https://two words", "meta.graph_url"),
        ("META__LOGIN_URL", "facebook.com", "meta.login_url"),
        ("META__INSTAGRAM_LOGIN_URL", "https://", "meta.instagram_login_url"),
        ("META__REDIRECT_URL", "https://example.org/?a=b", "meta.redirect_url"),
        ("META__REDIRECT_URL", "/connected", "meta.redirect_url"),
        ("META__GRAPH_VERSION", "v23/0", "meta.graph_version"),
        ("META__GRAPH_VERSION", "v 23", "meta.graph_version"),
        ("MAIL__PRIVATE_SERVERS", "10.0.0.5", "mail.private_servers"),
        ("STORAGE__PATH", "", "storage.path"),
        ("STORAGE__S3__BUCKET", "Files", "storage.s3.bucket"),
        ("STORAGE__S3__BUCKET", "files", "storage.s3.access_key_id"),
        ("STORAGE__S3__ENDPOINT", "https://example.org", "storage.s3.bucket"),
        ("STORAGE__S3__ENDPOINT", "example.org", "storage.s3.endpoint"),
        ("STORAGE__S3__SECRET_ACCESS_KEY", "short", "storage.s3.bucket"),
        ("STORAGE__S3__REGION", "", "storage.s3.region"),
        ("STORAGE__S3__REQUEST_TIMEOUT", "0s", "storage.s3.request_timeout"),
        ("STORAGE__S3__RETRIES", "11", "storage.s3.retries"),
        ("STORAGE__CQL__NODES", "localhost", "storage.cql.nodes"),
        ("STORAGE__CQL__NODES", "", "storage.cql.nodes"),
        ("STORAGE__CQL__KEYSPACE", "Omni Stream", "storage.cql.keyspace"),
        ("STORAGE__CQL__REPLICATION_FACTOR", "0", "storage.cql.replication_factor"),
        ("STORAGE__CQL__USERNAME", "me", "storage.cql.username"),
        ("STORAGE__CQL__LEASE", "1s", "storage.cql.lease"),
        ("LOG__FILTER", "", "log.filter"),
        ("LIMITS__SEND_LADDER", "", "limits.send_ladder"),
        ("LIMITS__SEND_LADDER", "1s,0s", "limits.send_ladder"),
        ("LIMITS__PAIR_LADDER", "", "limits.pair_ladder"),
        ("LIMITS__PAIR_BURST", "4294967295", "limits.pair_burst"),
        ("LIMITS__PAIR_EVERY", "0s", "limits.pair_every"),
        ("LIMITS__SOCKETS_PER_USER", "0", "limits.sockets_per_user"),
        ("LIMITS__SOCKET_HOLD", "11s", "limits.socket_hold"),
        ("LIMITS__PASSWORD_HASHES", "9223372036854775807", "limits.password_hashes"),
        ("LIMITS__INFLIGHT_NODE_BYTES", "1099511627777", "limits.inflight_node_bytes"),
        ("LIMITS__REST_TIMEOUT", "0s", "limits.rest_timeout"),
        ("LIMITS__PAGE_MAX", "5", "limits.page_default"),
        ("LIMITS__INFLIGHT_TENANT", "5", "limits.inflight_tenant"),
        ("LIMITS__GROUP_BYTES", "5", "limits.group_bytes"),
        ("LIMITS__DEAD_LETTER_BYTES_TENANT", "5", "limits.dead_letter_bytes_tenant"),
        ("LIMITS__POISON_ATTEMPTS", "1", "limits.poison_attempts"),
        ("LIMITS__POISON_ATTEMPTS", "256", "limits.poison_attempts"),
        ("LIMITS__PARKED_RECEIPTS", "241", "limits.parked_receipts"),
        ("LIMITS__SEARCH_EVERY", "0s", "limits.search_every"),
        ("LIMITS__MAIL_FETCH_TIMEOUT", "30s", "limits.mail_fetch_timeout"),
        ("LIMITS__PROVIDER_TIMEOUT", "1s", "limits.provider_connect_timeout"),
        ("LIMITS__PROVIDER_TIMEOUT", "37s", "limits.account_timeout"),
        ("LIMITS__REST_TIMEOUT", "4m", "limits.account_timeout"),
        ("LIMITS__ACCOUNT_CALLS_TENANT", "257", "limits.account_calls_tenant"),
    ] {
        let error = mistake(&format!("OMNISTREAM__{name}"), value);
        assert!(error.starts_with(&format!("`{key}` ")), "{name}={value}: {error}");
        assert!(!error.contains("short"), "{error}");
    }
    assert!(from_env("OMNISTREAM__LIMITS__AGENTS_PER_TENANT", "0").is_ok());
    assert!(from_env("OMNISTREAM__LIMITS__PAGE_CACHE_BYTES", "0").is_ok());
}

#[test]
fn a_bucket_is_told_whole_and_reached_in_the_clear_only_if_that_is_said() {
    let given = |more: &[(&str, &str)]| {
        let whole = [
            ("OMNISTREAM__STORAGE__S3__BUCKET", "files"),
            ("OMNISTREAM__STORAGE__S3__ACCESS_KEY_ID", "key"),
            ("OMNISTREAM__STORAGE__S3__SECRET_ACCESS_KEY", "secret"),
        ];
        let env = env(&[&whole[..], more].concat());
        Config::load(LoadOptions { cwd_file: None, file: None, env })
    };
    let mistake = |more: &[(&str, &str)]| given(more).expect_err("a mistake").to_string();
    assert_eq!(given(&[]).expect("valid").storage.s3.bucket.as_deref(), Some("files"));
    let secret = mistake(&[("OMNISTREAM__STORAGE__S3__SECRET_ACCESS_KEY", "")]);
    assert!(secret.starts_with("`storage.s3.secret_access_key` "), "{secret}");
    let clear = ("OMNISTREAM__STORAGE__S3__ENDPOINT", "http://example.org");
    assert!(mistake(&[clear]).starts_with("`storage.s3.endpoint` "));
    assert!(given(&[clear, ("OMNISTREAM__STORAGE__S3__ALLOW_HTTP", "true")]).is_ok());
    let unclear = mistake(&[("OMNISTREAM__STORAGE__S3__ALLOW_HTTP", "perhaps")]);
    assert!(unclear.contains("storage.s3.allow_http"), "{unclear}");
    let memory = mistake(&[("OMNISTREAM__STORAGE__BACKEND", "memory")]);
    assert!(memory.starts_with("`storage.s3.bucket` "), "{memory}");
    for prefix in ["/a", "a/", "a//b", "..", "a b"] {
        let prefix = mistake(&[("OMNISTREAM__STORAGE__S3__PREFIX", prefix)]);
        assert!(prefix.starts_with("`storage.s3.prefix` "), "{prefix}");
    }
    assert!(given(&[("OMNISTREAM__STORAGE__S3__PREFIX", "desk/files.1")]).is_ok());
}

#[test]
fn no_printed_form_shows_a_secret() {
    let secret = "an-example-of-thirty-two-bytes-or-more";
    let names = [
        "AUTH__JWT_SECRET",
        "META__APP_SECRET",
        "META__VERIFY_TOKEN",
        "STORAGE__CQL__PASSWORD",
        "STORAGE__S3__SECRET_ACCESS_KEY",
    ];
    let mut env: Vec<_> =
        names.iter().map(|name| (format!("OMNISTREAM__{name}"), secret.to_owned())).collect();
    for name in ["CQL__USERNAME", "S3__BUCKET", "S3__ACCESS_KEY_ID"] {
        env.push((format!("OMNISTREAM__STORAGE__{name}"), "somebody".to_owned()));
    }
    let config = Config::load(LoadOptions { cwd_file: None, file: None, env }).expect("valid");
    let printed = config.masked_toml();
    assert!(!printed.contains(secret) && !format!("{config:?}").contains(secret));
    assert_eq!(printed.matches("\"********\"").count(), names.len());
    assert_eq!(config.auth.jwt_secret.expect("given").expose(), secret);
}

#[test]
fn printed_settings_load_again() {
    let files = Files::new();
    let file = files.write("printed.toml", &Config::default().masked_toml());
    let again = Config::load(LoadOptions { cwd_file: None, file: Some(file), env: NO_ENV });
    assert_eq!(again.expect("valid").masked_toml(), Config::default().masked_toml());
}

#[test]
fn every_built_in_key_stands_below_a_sentence() {
    let lines: Vec<_> = DEFAULT_TOML.lines().collect();
    for pair in lines.windows(2).filter(|pair| pair[1].contains(" = ") && !pair[1].starts_with('#'))
    {
        assert!(
            pair[0].starts_with("# ") && pair[0].ends_with('.'),
            "no sentence above: {}",
            pair[1]
        );
    }
}

//! What can be wrong with settings, each as one sentence for the person who wrote them.

/// A mistake in the settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{path} cannot be read: {source}; name a file that is there and readable")]
    Unreadable { path: String, source: std::io::Error },
    #[error("{layer} is not TOML: {reason}")]
    Syntax { layer: String, reason: String },
    /// `hint` is empty or names the nearest key.
    #[error("unknown key `{key}` in {layer}{hint}")]
    UnknownKey { key: String, layer: String, hint: String },
    #[error("`{key}` in {layer}: {reason}")]
    WrongValue { key: String, layer: String, reason: String },
    #[error("`{key}` {reason}")]
    Invalid { key: String, reason: String },
}

//! Settings and limits: plain values that the other crates read. `default.toml` says what each key
//! does; this crate only merges the layers, names mistakes, and hides secrets.

mod duration;
mod error;
mod layers;
mod limits;
mod optional;
mod secret;
mod sections;
mod validate;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use error::ConfigError;
pub use limits::Limits;
pub use secret::Secret;
pub use sections::{
    Auth, Backend, Consistency, Conversations, Cql, Log, LogFormat, Mail, Meta, Metrics, S3,
    Server, Storage,
};

/// The built-in settings, each key with its sentence.
pub const DEFAULT_TOML: &str = include_str!("../default.toml");

/// The effective settings.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub server: Server,
    pub storage: Storage,
    pub meta: Meta,
    pub mail: Mail,
    pub auth: Auth,
    pub log: Log,
    pub metrics: Metrics,
    pub conversations: Conversations,
    pub limits: Limits,
}

/// Where settings come from besides the built-in ones, weakest first.
pub struct LoadOptions<E> {
    /// A file that counts when it is there: `./config/default.toml`.
    pub cwd_file: Option<PathBuf>,
    /// The file that was asked for; it must be there.
    pub file: Option<PathBuf>,
    /// The environment, as `std::env::vars` gives it. Other names than `OMNISTREAM__...` are none of ours.
    pub env: E,
}

impl Config {
    /// Merges the layers and checks the result.
    ///
    /// # Errors
    /// The first mistake, with the key and the layer that made it.
    pub fn load<E>(options: LoadOptions<E>) -> Result<Self, ConfigError>
    where
        E: IntoIterator<Item = (String, String)>,
    {
        layers::load("", options)
    }

    /// The same for a command whose built-in settings differ: `preset` is TOML that is part of the
    /// program, and replaces what nobody changed.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_over<E>(preset: &str, options: LoadOptions<E>) -> Result<Self, ConfigError>
    where
        E: IntoIterator<Item = (String, String)>,
    {
        layers::load(preset, options)
    }

    /// The settings as TOML, secrets masked.
    pub fn masked_toml(&self) -> String {
        toml::to_string(self).expect("tables, texts, numbers and lists are all TOML")
    }
}

impl Default for Config {
    /// The built-in settings.
    fn default() -> Self {
        toml::from_str(DEFAULT_TOML).expect("default.toml is part of the program and tested")
    }
}

//! Keys, tables, logs. `port` is what a backend does; everything above it is named questions.

mod behind;
mod check;
#[cfg(feature = "testing")]
pub mod conformance;
pub mod cql;
mod directory;
pub mod embedded;
mod error;
#[cfg(feature = "testing")]
pub mod faulty;
pub mod memory;
mod port;
#[cfg(feature = "testing")]
pub mod seed;
mod steps;
mod together;

pub use error::{Cause, StoreError};
pub use port::*;
pub use together::{Aside, Reads, together};

pub mod activity;
mod body;
pub mod contacts;
pub mod conversations;
pub mod dead_letters;
pub mod keys;
pub mod media;
pub mod moving;
pub mod names;
pub mod search;
pub mod settings;
pub mod tables;
pub mod waiting;
pub mod watched;

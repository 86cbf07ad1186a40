//! Keys, tables, logs. `port` is what a backend does; everything above it is named questions.

mod error;
mod port;

pub use error::{Cause, StoreError};
pub use port::*;

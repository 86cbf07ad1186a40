//! What can go wrong with a store, by what it means for the caller.

use std::fmt;

/// Why a call failed. What it means for a write is the whole difference.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// Certainly not written: answer 503, carry on.
    #[error("store unavailable: {0}")]
    Unavailable(Cause),
    /// Perhaps written: answer 503, then reload what was decided on it.
    #[error("outcome of a write unknown: {0}")]
    Unknown(Cause),
    /// Refused as wrong: a bug in the caller.
    #[error("store refused: {0}")]
    Rejected(Cause),
    /// What is stored cannot be read.
    #[error("stored data damaged: {0}")]
    Corrupt(Cause),
}

impl StoreError {
    /// The same of a write of which a part was done: what there is now is not known.
    pub(crate) fn of_a_part(self) -> Self {
        match self {
            Self::Unavailable(cause) | Self::Rejected(cause) => Self::Unknown(cause),
            other => other,
        }
    }
}

/// A reason in words, for logs and operators.
#[derive(Clone, Debug)]
pub struct Cause(pub String);

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for Cause {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<String> for Cause {
    fn from(text: String) -> Self {
        Self(text)
    }
}

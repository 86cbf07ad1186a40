//! Why something was not done, by what the caller can do about it.

use std::time::Duration;

use engine::conversation::Refused;
use storage::StoreError;

use crate::panics::Panicked;

/// Why a command has no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Failure {
    /// The rules say no; nothing was changed.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Something that is bounded is full; nothing was changed.
    #[error("{} is full; try again in {} s", full.words(), retry_after.as_secs())]
    Busy { full: Full, retry_after: Duration },
    /// The store did not answer as it should; perhaps changed: repeat with the same key.
    #[error("the store cannot take this now; try again shortly")]
    Unavailable,
    /// What comes now waits, or is refused, until the conversation's dead letter was tried again.
    #[error("the program fails on this conversation, which is parked; retry its dead letter first")]
    Parked,
    /// A bug of ours; nothing was changed.
    #[error("something went wrong here; try again shortly")]
    Panicked,
    /// The process is going down.
    #[error("the server is stopping; try again shortly")]
    Stopping,
}

/// What is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    Server,
    /// The server's, for request bodies.
    Memory,
    Organization,
    /// The organization's, for request bodies.
    OrganizationMemory,
    Conversation,
    /// The server's, for history that is imported.
    Imports,
    /// A channel account's way out.
    Account,
    /// What waits in the process,
    WaitingServer,
    /// of one tenant,
    WaitingOrganization,
    /// and of one thread.
    WaitingConversation,
    /// Files that are being brought,
    Uploads,
    /// and those of one tenant.
    OrganizationUploads,
    /// Requests that ask providers about accounts,
    AccountCalls,
    /// and those of one tenant.
    OrganizationAccountCalls,
    /// The server's, for long answers on their way.
    Answers,
    OrganizationAnswers,
    /// An organization's dead letters, all of them of parked conversations.
    DeadLetters,
}

impl Full {
    /// It in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Server => "the server's queue",
            Self::Memory => "the server's memory for request bodies",
            Self::Imports => "the server's queue of imports",
            Self::Organization => "the organization's queue",
            Self::OrganizationMemory => "the organization's memory for request bodies",
            Self::Conversation => "the conversation's queue",
            Self::Account => "the account's queue",
            Self::WaitingServer => "the server's waiting room",
            Self::WaitingOrganization => "the organization's waiting room",
            Self::WaitingConversation => "the conversation's waiting room",
            Self::Uploads => "the server's room for files on their way",
            Self::OrganizationUploads => "the organization's room for files on their way",
            Self::AccountCalls => "the server's room for requests about accounts",
            Self::OrganizationAccountCalls => "the organization's room for requests about accounts",
            Self::Answers => "the server's memory for long answers",
            Self::OrganizationAnswers => "the organization's memory for long answers",
            Self::DeadLetters => "the organization's room for dead letters",
        }
    }
}

impl Failure {
    /// Something is full; it is worth another try in a second.
    pub fn busy(full: Full) -> Self {
        metrics::counter!("omnistream_refused_total", "full" => full.words()).increment(1);
        Self::Busy { full, retry_after: Duration::from_secs(1) }
    }
}

impl From<Panicked> for Failure {
    fn from(_: Panicked) -> Self {
        Self::Panicked
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        tracing::warn!(%error, "the store failed");
        Self::Unavailable
    }
}

//! Messenger (Messenger Platform).

use super::setup::{Setup, digits};

/// What the config of an account holds.
pub(super) const SETUP: Setup = Setup {
    title: "Messenger",
    key: "page_id",
    read: digits,
    required: &["page_id", "access_token"],
    optional: &["app_secret", "verify_token", "send_read_marks"],
    switches: &["send_read_marks"],
    webhook: "/webhook/messenger",
};

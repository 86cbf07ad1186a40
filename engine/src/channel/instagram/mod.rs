//! Instagram (Instagram API with Instagram Login, and Messenger API for Instagram). Its webhooks are
//! read as Messenger's are.

use super::setup::{Setup, digits};

/// What the config of an account holds.
pub(super) const SETUP: Setup = Setup {
    title: "Instagram",
    key: "ig_user_id",
    read: digits,
    required: &["ig_user_id", "access_token"],
    optional: &["app_secret", "verify_token", "send_read_marks"],
    switches: &["send_read_marks"],
    webhook: "/webhook/instagram",
};

//! Quick replies: texts that are ready to be sent.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::channel::whatsapp::TEXT_CHARS_MAX;
use crate::id::QuickReplyId;
use crate::resource::{Invalid, Plain, SettingKind, name, trimmed};

/// A text that is ready to be sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct QuickReply {
    #[schemars(length(min = 1, max = 200))]
    pub title: String,
    #[schemars(length(min = 1, max = 4096))]
    pub text: String,
}

impl Plain for QuickReply {
    const KIND: SettingKind = SettingKind::QuickReply;
    const NAME: &'static str = "quick reply";
    type Id = QuickReplyId;

    fn check(&mut self) -> Result<(), Invalid> {
        self.title = name("title", &self.title)?;
        self.text = trimmed("text", &self.text, TEXT_CHARS_MAX)?;
        Ok(())
    }
}

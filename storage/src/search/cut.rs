//! Texts come into the index as words of their tenant.

use engine::id::TenantId;
use engine::search::WORDS_MAX;
use engine::words::{Word, words};
use tantivy::tokenizer::{Token, TokenStream, Tokenizer};

/// Cuts a text that its tenant's id stands before.
#[derive(Clone)]
pub(super) struct Cut;

/// The words of a text.
pub(super) struct Words<'a> {
    tenant: &'a str,
    words: Box<dyn Iterator<Item = Word> + 'a>,
    token: Token,
}

/// As long is a tenant's id before its words and texts.
const TENANT_BYTES: usize = 32;

impl Cut {
    /// Its name in the index.
    pub(super) const NAME: &str = "words";
}

impl Tokenizer for Cut {
    type TokenStream<'a> = Words<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> Words<'a> {
        let (tenant, text) = text.split_at_checked(TENANT_BYTES).unwrap_or((text, ""));
        let words = Box::new(words(text).take(WORDS_MAX));
        Words { tenant, words, token: Token::default() }
    }
}

impl TokenStream for Words<'_> {
    fn advance(&mut self) -> bool {
        let Some(word) = self.words.next() else { return false };
        let Token { position, text, .. } = &mut self.token;
        *position = position.wrapping_add(1);
        text.clear();
        text.push_str(self.tenant);
        text.push_str(&word.folded);
        true
    }

    fn token(&self) -> &Token {
        &self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        &mut self.token
    }
}

/// A tenant's word or text.
pub(super) fn own(tenant: TenantId, text: &str) -> String {
    format!("{}{text}", tenant.0.simple())
}

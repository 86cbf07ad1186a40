//! By which words messages and contacts are found: an index beside the store, derived from it, that can
//! be made anew from it at any time. It holds words and where messages lie, and no text.

mod behind;
mod contacts;
mod cut;
mod merges;
mod newest;
mod round;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use engine::channel::Channel;
use engine::id::{ContactId, ConversationId, TenantId};
use engine::message::Place;
use engine::search::{Phrase, Wanted};
use engine::time::Timestamp;
use tantivy::directory::MmapDirectory;
use tantivy::indexer::IndexWriterOptions;
use tantivy::query::{BooleanQuery, FuzzyTermQuery, PhraseQuery, Query, TermQuery};
use tantivy::schema::{
    BytesOptions, FAST, Field, IndexRecordOption, Schema, TextFieldIndexing, TextOptions,
};
use tantivy::{Index, IndexReader, IndexWriter, ReloadPolicy, TantivyDocument, TantivyError, Term};
use uuid::Uuid;

pub use self::behind::behind_all;
use self::cut::{Cut, own};
use self::merges::Merges;
use self::newest::{Kept, Lately, Newest};
pub use self::round::Round;
use self::round::{Change, Entry};

/// The index, to be asked. Clones are the same.
#[derive(Clone)]
pub struct SearchIndex {
    index: Index,
    fields: Fields,
    reader: IndexReader,
}

/// What puts messages and contacts into the index. There is one. While nothing is put it holds next to no memory.
pub struct SearchWriter {
    writer: IndexWriter,
    index: SearchIndex,
}

/// How far an index that lies there is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// When it opens.
    Opens,
    /// When each of its files has its checksum.
    Checked,
    /// Not at all: it is made anew.
    No,
}

/// Which messages are looked for.
#[derive(Clone, Debug)]
pub struct Question {
    pub tenant: TenantId,
    /// Of nothing all are found.
    pub wanted: Wanted,
    pub channel: Option<Channel>,
    /// Not before this.
    pub from: Option<Timestamp>,
    /// Before this.
    pub to: Option<Timestamp>,
    /// Only in these.
    pub within: Option<HashSet<ConversationId>>,
    /// The newest ones, so many.
    pub limit: usize,
}

/// Where a message lies that was found. The later one is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hit {
    pub at: Timestamp,
    pub conversation: ConversationId,
    pub place: Place,
}

/// The index did not do what it should. It can be opened again.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SearchError {
    #[error("the search index failed: {0}")]
    Failed(String),
    #[error("the search index panicked")]
    Panicked,
}

impl From<TantivyError> for SearchError {
    fn from(error: TantivyError) -> Self {
        Self::Failed(error.to_string())
    }
}

#[derive(Clone, Copy)]
struct Fields {
    words: Field,
    tenant: Field,
    message: Field,
    conversation: Field,
    at: Field,
    channel: Field,
    high: Field,
    low: Field,
    block: Field,
    ordinal: Field,
    // Of contacts, which have those of the last six in common with messages.
    contact: Field,
    name: Field,
    sign: Field,
}

/// An index of another format is made anew: words were cut in another way, say.
const FORMAT: &str = "3";
/// What is written takes so much memory, and a round of changes beside it: the least that the index can
/// do with.
const WRITER_BYTES: usize = 15_000_000;

impl SearchIndex {
    /// The index in this directory, or in memory. One that is not there, is damaged or is of another
    /// format is made anew, empty.
    pub fn open(at: Option<&Path>, trust: Trust) -> Result<(Self, SearchWriter), SearchError> {
        let Some(at) = at else { return Ok(Self::open_as_it_is(None)?) };
        if trust != Trust::No {
            match Self::open_as_it_is(Some(at)) {
                Ok(opened) if opened.0.is_sound(trust) => return Ok(opened),
                Ok(_) => tracing::warn!("the search index is damaged or old: it is made anew"),
                Err(error @ TantivyError::LockFailure(..)) => return Err(error.into()),
                Err(error) => {
                    tracing::warn!(%error, "the search index cannot be read: it is made anew");
                }
            }
        }
        match fs::remove_dir_all(at) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(SearchError::Failed(error.to_string()))
            }
            _ => Ok(Self::open_as_it_is(Some(at))?),
        }
    }

    fn open_as_it_is(at: Option<&Path>) -> Result<(Self, SearchWriter), TantivyError> {
        let (schema, fields) = schema();
        let index = match at {
            Some(at) => {
                fs::create_dir_all(at)?;
                Index::open_or_create(MmapDirectory::open(at)?, schema)?
            }
            None => Index::create_in_ram(schema),
        };
        index.tokenizers().register(Cut::NAME, Cut);
        let options = IndexWriterOptions::builder()
            .num_worker_threads(1)
            .num_merge_threads(1)
            .memory_budget_per_thread(WRITER_BYTES)
            .build();
        let writer = index.writer_with_options(options)?;
        writer.set_merge_policy(Box::new(Merges::default()));
        let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into()?;
        let index = Self { index, fields, reader };
        Ok((index.clone(), SearchWriter { writer, index }))
    }

    /// Whether it is empty or of this format, and as undamaged as it has to be.
    fn is_sound(&self, trust: Trust) -> bool {
        let is_readable = self.index.load_metas().is_ok_and(|metas| {
            metas.payload.is_none_or(|payload| payload.split(' ').next() == Some(FORMAT))
        });
        let is_whole = || self.index.validate_checksum().is_ok_and(|damaged| damaged.is_empty());
        is_readable && (trust != Trust::Checked || is_whole())
    }

    /// The newest messages that fit, newest first.
    pub fn find(&self, question: &Question) -> Result<Vec<Hit>, SearchError> {
        let query = self.query(question.tenant, &question.wanted);
        let found = self.newest(&*query, Newest::of(question))?;
        let hit = |Kept { at, id, place }| Hit { at, conversation: ConversationId(id), place };
        Ok(found.into_iter().map(hit).collect())
    }

    fn newest(&self, query: &dyn Query, newest: Newest) -> Result<Vec<Kept>, SearchError> {
        let limit = newest.limit;
        let mut found = self.reader.searcher().search(query, &newest)?;
        found.sort_unstable_by(|one, other| other.cmp(one));
        // One may be there twice that was brought in by two ways.
        found.dedup();
        found.truncate(limit);
        Ok(found)
    }

    /// The conversations of messages that fit, of the newest ones, so many.
    pub fn conversations(
        &self,
        question: &Question,
        most: usize,
    ) -> Result<Vec<ConversationId>, SearchError> {
        let query = self.query(question.tenant, &question.wanted);
        Ok(self.reader.searcher().search(&*query, &Lately::of(question, most))?)
    }

    /// The files of an index are many small ones that grow together: so many sets of them are open.
    pub fn segments(&self) -> usize {
        self.reader.searcher().segment_readers().len()
    }

    fn query(&self, tenant: TenantId, wanted: &Wanted) -> Box<dyn Query> {
        let of = |phrase| self.phrase(self.fields.words, tenant, phrase);
        match &wanted.phrases[..] {
            [] => is(Term::from_field_bytes(self.fields.tenant, tenant.0.as_bytes())),
            [phrase] => of(phrase),
            phrases => Box::new(BooleanQuery::intersection(phrases.iter().map(of).collect())),
        }
    }

    /// A tenant's words begin with its id, therefore nobody finds another one's.
    fn phrase(&self, field: Field, tenant: TenantId, phrase: &Phrase) -> Box<dyn Query> {
        let term = |word: &String| Term::from_field_text(field, &own(tenant, word));
        match &phrase.words[..] {
            [word] if phrase.begins => begins(term(word)),
            [word] => is(term(word)),
            words => Box::new(PhraseQuery::new(words.iter().map(term).collect())),
        }
    }

    fn document(&self, entry: &Entry) -> TantivyDocument {
        let Entry { tenant, channel, conversation, place, at, texts } = entry;
        let mut document = self.placed(*at, conversation.0, *place, number(*channel));
        for text in texts {
            document.add_text(self.fields.words, text);
        }
        document.add_bytes(self.fields.tenant, tenant.0.as_bytes());
        document.add_bytes(self.fields.message, &key(*conversation, *place));
        document.add_bytes(self.fields.conversation, conversation.0.as_bytes());
        document
    }

    /// What is found, and when it was: every document says it, also where it means nothing.
    fn placed(&self, at: Timestamp, id: Uuid, place: Place, channel: u64) -> TantivyDocument {
        let (fields, mut document) = (self.fields, TantivyDocument::new());
        let (high, low) = id.as_u64_pair();
        document.add_i64(fields.at, at.0);
        document.add_u64(fields.channel, channel);
        document.add_u64(fields.high, high);
        document.add_u64(fields.low, low);
        document.add_u64(fields.block, u64::from(place.block));
        document.add_u64(fields.ordinal, place.ordinal);
        document
    }
}

fn is(term: Term) -> Box<dyn Query> {
    Box::new(TermQuery::new(term, IndexRecordOption::Basic))
}

fn begins(term: Term) -> Box<dyn Query> {
    Box::new(FuzzyTermQuery::new_prefix(term, 0, false))
}

impl SearchWriter {
    /// Everything that was committed before this is in it; `None`: nothing need be.
    pub fn position(&self) -> Result<Option<Timestamp>, SearchError> {
        let payload = self.index.index.load_metas()?.payload;
        Ok(payload.and_then(|payload| Some(Timestamp(payload.split(' ').nth(1)?.parse().ok()?))))
    }

    /// What is brought in counts from now on, also after a stop; everything that was committed before
    /// the position is in the index then.
    pub fn write(&mut self, round: Round, position: Timestamp) -> Result<(), SearchError> {
        let Fields { message, conversation, contact, .. } = self.index.fields;
        for change in round.changes {
            match change {
                Change::Put(entry) => self.writer.add_document(self.index.document(&entry))?,
                Change::Remove(of, place) => {
                    self.writer.delete_term(Term::from_field_bytes(message, &key(of, place)))
                }
                Change::Clear(of) => {
                    self.writer.delete_term(Term::from_field_bytes(conversation, of.0.as_bytes()))
                }
                Change::PutContact(person) => {
                    self.writer.add_document(self.index.person(&person))?
                }
                Change::RemoveContact(ContactId(of)) => {
                    self.writer.delete_term(Term::from_field_bytes(contact, of.as_bytes()))
                }
            };
        }
        let mut commit = self.writer.prepare_commit()?;
        commit.set_payload(&format!("{FORMAT} {}", position.0));
        commit.commit()?;
        self.index.reader.reload()?;
        Ok(())
    }
}

fn schema() -> (Schema, Fields) {
    let mut schema = Schema::builder();
    let text = |tokenizer, option| {
        let indexing = TextFieldIndexing::default().set_tokenizer(tokenizer);
        let indexing = indexing.set_fieldnorms(false).set_index_option(option);
        TextOptions::default().set_indexing_options(indexing)
    };
    let words = text(Cut::NAME, IndexRecordOption::WithFreqsAndPositions);
    let indexed = BytesOptions::default().set_indexed();
    let fields = Fields {
        words: schema.add_text_field("words", words.clone()),
        tenant: schema.add_bytes_field("tenant", indexed.clone()),
        message: schema.add_bytes_field("message", indexed.clone()),
        conversation: schema.add_bytes_field("conversation", indexed.clone()),
        at: schema.add_i64_field("at", FAST),
        channel: schema.add_u64_field("channel", FAST),
        high: schema.add_u64_field("high", FAST),
        low: schema.add_u64_field("low", FAST),
        block: schema.add_u64_field("block", FAST),
        ordinal: schema.add_u64_field("ordinal", FAST),
        contact: schema.add_bytes_field("contact", indexed),
        name: schema.add_text_field("name", words),
        sign: schema.add_text_field("sign", text("raw", IndexRecordOption::Basic)),
    };
    (schema.build(), fields)
}

/// A message's own key in the index.
fn key(conversation: ConversationId, place: Place) -> [u8; 24] {
    let mut key = [0; 24];
    key[..16].copy_from_slice(conversation.0.as_bytes());
    key[16..].copy_from_slice(&place.ordinal.to_be_bytes());
    key
}

/// A channel's number in the index.
fn number(channel: Channel) -> u64 {
    match channel {
        Channel::Whatsapp => 0,
        Channel::Instagram => 1,
        Channel::Messenger => 2,
        Channel::Email => 3,
    }
}

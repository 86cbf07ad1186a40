//! Reads everything that an organization has, by REST.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep};

use crate::connection::Connection;
use crate::marks::Mark;

/// Whoever may read it all.
#[derive(Clone)]
pub(crate) struct Reader {
    pub(crate) address: SocketAddr,
    pub(crate) host: String,
    pub(crate) token: String,
    /// Counts the pages that have to be asked for again.
    pub(crate) again: Arc<AtomicU64>,
}

/// A conversation as it is listed.
#[derive(Deserialize)]
pub(crate) struct Conversation {
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) last_message: Option<Preview>,
}

/// How its newest message begins.
#[derive(Deserialize)]
pub(crate) struct Preview {
    #[serde(default)]
    pub(crate) text: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    seq: u64,
    #[serde(default)]
    provider_message_id: Option<String>,
    #[serde(default)]
    text: Option<String>,
}

impl Message {
    /// What is said to customers bears its mark in its text: its id is the provider's.
    fn number(&self, mark: &Mark) -> Option<u64> {
        let marked = [&self.provider_message_id, &self.text].into_iter().flatten();
        marked.filter_map(|text| mark.number(text.as_bytes())).next()
    }
}

/// Rows of a page.
const PAGE: usize = 100;
/// A page that does not come is asked for again, for so long.
const PATIENCE: Duration = Duration::from_secs(60);
const RETRY: Duration = Duration::from_millis(200);

/// A conversation as it is there.
pub(crate) struct Read {
    pub(crate) id: String,
    /// Its messages of the run, the oldest first: each one's place in the conversation and its number.
    pub(crate) messages: Vec<(u64, u64)>,
}

impl Read {
    /// The numbers of its messages of the run, the oldest first.
    pub(crate) fn numbers(&self) -> Vec<u64> {
        self.messages.iter().map(|(_, n)| *n).collect()
    }
}

impl Reader {
    /// Reads all conversations, and in them what a run has marked.
    pub(crate) async fn all(&self, mark: &Mark) -> io::Result<Vec<Read>> {
        let rows = self.conversations().await?;
        let left = RefCell::new(rows.into_iter().map(|row| row.id).collect::<VecDeque<_>>());
        let read = RefCell::new(Vec::new());
        let reading = async || {
            let mut connection = Connection::new(self.address);
            loop {
                let Some(id) = left.borrow_mut().pop_front() else { return Ok::<_, io::Error>(()) };
                let messages = self.messages(&mut connection, &id, mark).await?;
                read.borrow_mut().push(Read { id, messages });
            }
        };
        // So much at once.
        tokio::try_join!(reading(), reading(), reading(), reading())?;
        Ok(read.into_inner())
    }

    /// All conversations.
    pub(crate) async fn conversations(&self) -> io::Result<Vec<Conversation>> {
        let (mut connection, mut all) = (Connection::new(self.address), Vec::new());
        for page in 1.. {
            let path = format!("/api/conversations?page={page}&per_page={PAGE}");
            let rows: Vec<Conversation> = self.page(&mut connection, &path).await?;
            let is_last = rows.len() < PAGE;
            all.extend(rows);
            if is_last {
                break;
            }
        }
        Ok(all)
    }

    /// A conversation's messages of the run, the oldest first.
    async fn messages(
        &self,
        connection: &mut Connection,
        id: &str,
        mark: &Mark,
    ) -> io::Result<Vec<(u64, u64)>> {
        let (mut messages, mut before) = (Vec::new(), u64::MAX);
        loop {
            let path =
                format!("/api/conversations/{id}/messages?per_page={PAGE}&before_seq={before}");
            let rows: Vec<Message> = self.page(connection, &path).await?;
            messages.extend(rows.iter().filter_map(|row| Some((row.seq, row.number(mark)?))));
            match rows.last() {
                Some(oldest) if oldest.seq >= before => {
                    return Err(io::Error::other("pages of messages do not get older"));
                }
                Some(oldest) if rows.len() == PAGE => before = oldest.seq,
                _ => break,
            }
        }
        messages.reverse();
        Ok(messages)
    }

    async fn page<T: DeserializeOwned>(
        &self,
        connection: &mut Connection,
        path: &str,
    ) -> io::Result<T> {
        let until = Instant::now() + PATIENCE;
        loop {
            match connection.get(&self.host, path, &self.token).await {
                Ok(body) => return serde_json::from_slice(body).map_err(io::Error::other),
                Err(error) if Instant::now() >= until => return Err(error),
                Err(_) => {
                    self.again.fetch_add(1, Ordering::Relaxed);
                    sleep(RETRY).await;
                }
            }
        }
    }
}

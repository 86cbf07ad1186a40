//! Reads everything that an organization has, by REST, and compares it with a ledger.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::connection::Connection;
use crate::ledger::Comparison;
use crate::sender::Sender;

/// Whoever may read it all.
#[derive(Clone)]
pub(crate) struct Reader {
    pub(crate) address: SocketAddr,
    pub(crate) host: String,
    pub(crate) token: String,
}

#[derive(Deserialize)]
struct Conversation {
    id: String,
}

#[derive(Deserialize)]
struct Message {
    seq: u64,
    #[serde(default)]
    provider_message_id: Option<String>,
}

/// Rows of a page.
const PAGE: usize = 100;
/// Read at once.
const CONNECTIONS: usize = 4;
/// A page that does not come is asked for again, for so long.
const PATIENCE: Duration = Duration::from_secs(60);
const RETRY: Duration = Duration::from_millis(200);

impl Reader {
    /// Compares all conversations with a sender's ledger.
    pub(crate) async fn compare(&self, sender: &Rc<Sender>) -> io::Result<Comparison> {
        let left = Rc::new(RefCell::new(self.conversations().await?));
        let (read, mut readers) = (Rc::new(RefCell::new(Vec::new())), JoinSet::new());
        for _ in 0..CONNECTIONS {
            let (reader, left, read) = (self.clone(), left.clone(), read.clone());
            let sender = sender.clone();
            readers.spawn_local(async move {
                let mut connection = Connection::new(reader.address);
                loop {
                    let Some(id) = left.borrow_mut().pop_front() else { return Ok(()) };
                    let numbers = reader.messages(&mut connection, &id, &sender).await?;
                    read.borrow_mut().push(numbers);
                }
            });
        }
        while let Some(ended) = readers.join_next().await {
            ended.unwrap_or_else(|error| Err(io::Error::other(error)))?;
        }
        let ledger = sender.ledger.borrow();
        let mut comparing = ledger.compare();
        for numbers in read.borrow().iter() {
            comparing.conversation(numbers, |n| sender.bodies.customer(n));
        }
        Ok(comparing.end())
    }

    /// The ids of all conversations.
    async fn conversations(&self) -> io::Result<VecDeque<String>> {
        let (mut connection, mut ids) = (Connection::new(self.address), VecDeque::new());
        for page in 1.. {
            let path = format!("/api/conversations?page={page}&per_page={PAGE}");
            let rows: Vec<Conversation> = self.page(&mut connection, &path).await?;
            let is_last = rows.len() < PAGE;
            ids.extend(rows.into_iter().map(|row| row.id));
            if is_last {
                break;
            }
        }
        Ok(ids)
    }

    /// The numbers of a conversation's messages in the sender's ledger, the oldest first.
    async fn messages(
        &self,
        connection: &mut Connection,
        id: &str,
        sender: &Sender,
    ) -> io::Result<Vec<u64>> {
        let (mut numbers, mut before) = (Vec::new(), u64::MAX);
        loop {
            let path =
                format!("/api/conversations/{id}/messages?per_page={PAGE}&before_seq={before}");
            let rows: Vec<Message> = self.page(connection, &path).await?;
            let ids = rows.iter().filter_map(|row| row.provider_message_id.as_deref());
            numbers.extend(ids.filter_map(|id| sender.bodies.number(id)));
            match rows.last() {
                Some(oldest) if oldest.seq >= before => {
                    return Err(io::Error::other("pages of messages do not get older"));
                }
                Some(oldest) if rows.len() == PAGE => before = oldest.seq,
                _ => break,
            }
        }
        numbers.reverse();
        Ok(numbers)
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
                Err(_) => sleep(RETRY).await,
            }
        }
    }
}

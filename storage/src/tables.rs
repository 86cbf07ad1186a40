//! Every table, one list. Numbers are part of keys on the embedded store: append, never reuse.

use std::time::Duration;

use crate::port::{Kind, Order, Shape, Table, Writes};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a row is kept that somebody deletes, in a table whose other rows expire.
pub(crate) const FOR_EVER: Duration = Duration::from_secs(100 * 365 * DAY.as_secs());

/// Of a table whose rows come and go, and do no harm when they come back: they are looked at once more.
const GRACE: Duration = Duration::from_secs(3 * 60 * 60);

/// What every table begins from.
const PLAIN: Table = Table {
    number: 0,
    name: "",
    partition: &[],
    clustering: &[],
    order: Order::Ascending,
    writes: Writes::Plain,
    shape: Shape::Overwritten,
    expires: None,
    grace: None,
};

/// A conversation's log: `kind` 0, `n` = first seq: a commit; `kind` 1, `n` = ordinal: a message.
/// One table, so that a commit is one partition.
pub static LOG: Table = Table {
    number: 1,
    name: "conversation_log",
    partition: &[("conversation", Kind::Uuid), ("block", Kind::Int)],
    clustering: &[("kind", Kind::Int), ("n", Kind::Int)],
    shape: Shape::Appended,
    ..PLAIN
};

/// A thread: its contact, account and current case.
pub static THREADS: Table =
    Table { number: 2, name: "threads", partition: &[("thread", Kind::Uuid)], ..PLAIN };

/// A conversation's head, a snapshot: behind the log where a commit is not atomic with it.
pub static HEADS: Table =
    Table { number: 3, name: "conversations", partition: &[("conversation", Kind::Uuid)], ..PLAIN };

/// The newest provider ids of a thread, as of some seq of a conversation.
pub static RECENT: Table =
    Table { number: 4, name: "recent_ids", partition: &[("thread", Kind::Uuid)], ..PLAIN };

/// Where the message with a provider's id lies.
pub static REFS: Table = Table {
    number: 5,
    name: "message_refs",
    partition: &[("account", Kind::Uuid), ("external_id", Kind::Text)],
    shape: Shape::Appended,
    expires: Some(Duration::from_secs(60 * DAY.as_secs())),
    ..PLAIN
};

/// What an idempotency key made.
pub static KEYS: Table = Table {
    number: 6,
    name: "used_keys",
    partition: &[("key", Kind::Uuid)],
    shape: Shape::Appended,
    expires: Some(Duration::from_secs(8 * DAY.as_secs())),
    ..PLAIN
};

/// Up to which hour a shard has nothing left to look at; of the whole store, -1: in which it began.
pub static SWEPT: Table =
    Table { number: 8, name: "swept", partition: &[("shard", Kind::Int)], ..PLAIN };

/// Conversations that are not closed, by tenant.
pub static OPEN_SET: Table = Table {
    number: 9,
    name: "open_set",
    partition: &[("tenant", Kind::Uuid), ("slice", Kind::Int)],
    clustering: &[("conversation", Kind::Uuid)],
    ..PLAIN
};

/// Closed conversations by month of their last message, newest first; `view` is `all`, `none`
/// (nobody's) or an agent's id.
pub static ARCHIVE: Table = Table {
    number: 10,
    name: "archive",
    partition: &[("tenant", Kind::Uuid), ("view", Kind::Text), ("month", Kind::Int)],
    clustering: &[("last_message_at", Kind::Int), ("conversation", Kind::Uuid)],
    order: Order::Descending,
    ..PLAIN
};

/// Customers.
pub static CONTACTS: Table =
    Table { number: 11, name: "contacts", partition: &[("contact", Kind::Uuid)], ..PLAIN };

/// A tenant's contacts by month of their id, newest first.
pub static CONTACT_LIST: Table = Table {
    number: 12,
    name: "contact_list",
    partition: &[("tenant", Kind::Uuid), ("month", Kind::Int)],
    clustering: &[("contact", Kind::Uuid)],
    order: Order::Descending,
    shape: Shape::Appended,
    ..PLAIN
};

/// The conversations of a contact, newest first.
pub static CONTACT_CONVERSATIONS: Table = Table {
    number: 13,
    name: "contact_conversations",
    partition: &[("contact", Kind::Uuid)],
    clustering: &[("conversation", Kind::Uuid)],
    order: Order::Descending,
    shape: Shape::Appended,
    ..PLAIN
};

/// What may exist once: identities, addresses, slugs, account keys.
pub static NAMES: Table = Table {
    number: 14,
    name: "names",
    partition: &[("scope", Kind::Uuid), ("kind", Kind::Text), ("name", Kind::Text)],
    writes: Writes::Guarded,
    ..PLAIN
};

/// Every small aggregate of a tenant.
pub static SETTINGS: Table = Table {
    number: 15,
    name: "settings",
    partition: &[("tenant", Kind::Uuid)],
    clustering: &[("kind", Kind::Int), ("id", Kind::Uuid)],
    ..PLAIN
};

/// Logins, and whose an API key is.
pub static SESSIONS: Table = Table {
    number: 16,
    name: "sessions",
    partition: &[("session", Kind::Uuid)],
    expires: Some(DAY),
    ..PLAIN
};

/// What could not be understood, placed or decided, newest first; of the installation under the nil
/// tenant.
pub static DEAD_LETTERS: Table = Table {
    number: 17,
    name: "dead_letters",
    partition: &[("tenant", Kind::Uuid), ("month", Kind::Int)],
    clustering: &[("id", Kind::Uuid)],
    order: Order::Descending,
    shape: Shape::Appended,
    expires: Some(DEAD_LETTERS_KEPT),
    ..PLAIN
};

/// What could not be taken in time: a thread's items, numbered, by the hour in which each came.
pub static WAITING: Table = Table {
    number: 18,
    name: "waiting",
    partition: &[("shard", Kind::Int), ("hour", Kind::Int)],
    clustering: &[("thread", Kind::Uuid), ("n", Kind::Int)],
    shape: Shape::Appended,
    ..PLAIN
};

/// In which hours something came to a shard that may still wait.
pub static WAITING_HOURS: Table = Table {
    number: 19,
    name: "waiting_hours",
    partition: &[("shard", Kind::Int)],
    clustering: &[("hour", Kind::Int)],
    ..PLAIN
};

/// Threads that are parked, each with the dead letter that it waits for.
pub static PARKED: Table = Table {
    number: 20,
    name: "parked",
    partition: &[("shard", Kind::Int)],
    clustering: &[("thread", Kind::Uuid)],
    ..PLAIN
};

/// What people changed of their organization, newest first.
pub static ACTIVITY: Table = Table {
    number: 21,
    name: "activity",
    partition: &[("tenant", Kind::Uuid), ("month", Kind::Int)],
    clustering: &[("id", Kind::Uuid)],
    order: Order::Descending,
    shape: Shape::Appended,
    expires: Some(ACTIVITY_KEPT),
    ..PLAIN
};

/// How long it is known who changed what.
pub const ACTIVITY_KEPT: Duration = Duration::from_secs(366 * DAY.as_secs());

/// Files that are stored here: what they are. Their bytes lie elsewhere.
pub static MEDIA: Table = Table {
    number: 22,
    name: "media",
    partition: &[("tenant", Kind::Uuid), ("medium", Kind::Uuid)],
    shape: Shape::Appended,
    ..PLAIN
};

/// The messages that show a file, those of the newest conversations first.
pub static MEDIA_SHOWN: Table = Table {
    number: 23,
    name: "media_shown",
    partition: &[("medium", Kind::Uuid)],
    clustering: &[("conversation", Kind::Uuid), ("ordinal", Kind::Int)],
    order: Order::Descending,
    shape: Shape::Appended,
    ..PLAIN
};

/// How many bytes a tenant's files have in all.
pub static MEDIA_BYTES: Table =
    Table { number: 24, name: "media_bytes", partition: &[("tenant", Kind::Uuid)], ..PLAIN };

/// Messages of a shard with files that are still to be fetched from the provider.
pub static UNFETCHED: Table = Table {
    number: 25,
    name: "unfetched",
    partition: &[("shard", Kind::Int)],
    clustering: &[("conversation", Kind::Uuid), ("ordinal", Kind::Int)],
    shape: Shape::Appended,
    grace: Some(GRACE),
    ..PLAIN
};

/// Files that a provider has from an account, by the hash of their content; it keeps them for 30 days.
pub static UPLOADED: Table = Table {
    number: 26,
    name: "uploaded",
    partition: &[("account", Kind::Uuid), ("content", Kind::Text)],
    shape: Shape::Appended,
    expires: Some(Duration::from_secs(25 * DAY.as_secs())),
    ..PLAIN
};

/// Accounts for which something is to be done at their providers by itself, and from when on.
pub static ACCOUNTS_DUE: Table = Table {
    number: 27,
    name: "accounts_due",
    partition: &[("slice", Kind::Int)],
    clustering: &[("tenant", Kind::Uuid), ("account", Kind::Uuid)],
    ..PLAIN
};

/// Files of which nobody knows whether they show anywhere, by since when.
pub static LOOSE: Table = Table {
    number: 28,
    name: "loose_files",
    partition: &[("shard", Kind::Int)],
    clustering: &[("since", Kind::Int), ("medium", Kind::Uuid)],
    shape: Shape::Appended,
    grace: Some(GRACE),
    ..PLAIN
};

/// Contacts that were written in an hour: of which an index may have to be told.
pub static DIRTY_CONTACTS: Table = Table {
    number: 30,
    name: "dirty_contacts",
    partition: &[("shard", Kind::Int), ("hour", Kind::Int)],
    clustering: &[("contact", Kind::Uuid)],
    shape: Shape::Appended,
    ..PLAIN
};

/// Bytes of files that are on their way in or out: what a start looks at. A row that came back as it was
/// before it was known whose they are would take them from a file that has them by now: no `grace`.
pub static MEDIA_COMING: Table = Table {
    number: 31,
    name: "media_coming",
    partition: &[("shard", Kind::Int)],
    clustering: &[("object", Kind::Uuid)],
    ..PLAIN
};

/// Threads with commits in an hour, and the conversations of which these are; of a thread without one, the
/// nil id: what a start has to look at, and what an index may not know.
pub static DIRTY: Table = Table {
    number: 32,
    name: "dirty_conversations",
    partition: &[("shard", Kind::Int), ("hour", Kind::Int)],
    clustering: &[("thread", Kind::Uuid), ("conversation", Kind::Uuid)],
    shape: Shape::Appended,
    ..PLAIN
};

/// How long a dead letter is kept.
pub(crate) const DEAD_LETTERS_KEPT: Duration = Duration::from_secs(30 * DAY.as_secs());

/// Every table.
pub static ALL: [&Table; 30] = [
    &LOG,
    &THREADS,
    &HEADS,
    &RECENT,
    &REFS,
    &KEYS,
    &SWEPT,
    &OPEN_SET,
    &ARCHIVE,
    &CONTACTS,
    &CONTACT_LIST,
    &CONTACT_CONVERSATIONS,
    &NAMES,
    &SETTINGS,
    &SESSIONS,
    &DEAD_LETTERS,
    &WAITING,
    &WAITING_HOURS,
    &PARKED,
    &ACTIVITY,
    &MEDIA,
    &MEDIA_SHOWN,
    &MEDIA_BYTES,
    &UNFETCHED,
    &UPLOADED,
    &ACCOUNTS_DUE,
    &LOOSE,
    &DIRTY_CONTACTS,
    &MEDIA_COMING,
    &DIRTY,
];

#[cfg(test)]
mod tests {
    use super::ALL;

    /// Numbers of tables that are gone.
    const GONE: [u16; 2] = [7, 29];

    #[test]
    fn every_table_has_a_number_and_a_name_of_its_own() {
        let mut numbers = (1..).filter(|number| !GONE.contains(number));
        for (at, table) in ALL.iter().enumerate() {
            assert_eq!(Some(table.number), numbers.next(), "{}", table.name);
            assert!(ALL[..at].iter().all(|other| other.name != table.name), "{}", table.name);
        }
    }
}

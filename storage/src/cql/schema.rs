//! The keyspace and its tables: made by the program, once, and known by a version.

use std::collections::HashMap;
use std::fmt::Write;
use std::time::Duration;

use scylla::client::session::Session;
use scylla::errors::{DbError, ExecutionError, RequestAttemptError};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::statements::{column, names};
use super::{NotOpened, Options};
use crate::port::{Kind, Order, Shape, Table, Writes};

/// What this program knows: raised with every table that is added.
pub(super) const VERSION: u32 = 1;

/// What is true of the keyspace itself: the version of its tables, and who may write.
pub(super) static CLUSTER: Table = Table {
    number: 0,
    name: "cluster",
    partition: &[("name", Kind::Text)],
    clustering: &[],
    order: Order::Ascending,
    writes: Writes::Guarded,
    shape: Shape::Overwritten,
    expires: None,
    grace: None,
};

/// The identity of a keyspace's [`CLUSTER`]: two programs that make it at once make the same.
fn identity(keyspace: &str) -> Uuid {
    let hash: [u8; 32] = Sha256::digest(keyspace.as_bytes()).into();
    let mut id = [0; 16];
    id.copy_from_slice(&hash[..16]);
    uuid::Builder::from_custom_bytes(id).into_uuid()
}

/// Makes the keyspace and [`CLUSTER`], if they are not there.
pub(super) async fn begin(session: &Session, options: &Options) -> Result<(), NotOpened> {
    if !exists(session, &options.keyspace).await? {
        create_keyspace(session, options).await?;
    }
    complete(session, &[&CLUSTER], options).await
}

/// Makes the tables that are not there, and those that an older program made as they are described now; but
/// for [`CLUSTER`] only whoever holds the lease may. Where all are there, no permission is needed.
pub(super) async fn complete(
    session: &Session,
    tables: &[&Table],
    options: &Options,
) -> Result<(), NotOpened> {
    let found = session
        .query_unpaged(
            "SELECT table_name, gc_grace_seconds FROM system_schema.tables WHERE keyspace_name = ?",
            (&options.keyspace,),
        )
        .await
        .map_err(|error| failed(&error, options))?;
    let found = found.into_rows_result().map_err(not_read)?;
    let rows = found.rows::<(String, Option<i32>)>().map_err(not_read)?;
    let there: HashMap<String, Option<i32>> = rows.filter_map(Result::ok).collect();
    for table in tables {
        let Some(grace) = there.get(table.name) else {
            let id = (**table == CLUSTER).then(|| identity(&options.keyspace));
            run(session, &create(&options.keyspace, table, id), options).await?;
            continue;
        };
        if let Some(text) = shorten(&options.keyspace, table, *grace)
            && let Err(error) = session.query_unpaged(text, ()).await
        {
            // It serves as it is.
            tracing::warn!(
                table = table.name, %error,
                "the database keeps for longer than it need that rows were deleted, and may fail over them: grant \
                 ALTER to `storage.cql.username`, or let somebody who may start OmniStream once"
            );
        }
    }
    Ok(())
}

async fn exists(session: &Session, keyspace: &str) -> Result<bool, NotOpened> {
    let found = session
        .query_unpaged(
            "SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = ?",
            (keyspace,),
        )
        .await
        .map_err(|error| {
            NotOpened(format!("the cluster does not say which keyspaces it has: {error}"))
        })?;
    Ok(found.into_rows_result().map_err(not_read)?.rows_num() > 0)
}

async fn create_keyspace(session: &Session, options: &Options) -> Result<(), NotOpened> {
    let plain = format!(
        "CREATE KEYSPACE IF NOT EXISTS \"{}\" WITH replication = \
         {{'class': 'NetworkTopologyStrategy', 'replication_factor': {}}}",
        options.keyspace, options.replication_factor
    );
    // ScyllaDB before 2025.4 does not decide anything in a keyspace with tablets; others do not
    // know the word.
    let without_tablets = format!("{plain} AND tablets = {{'enabled': false}}");
    match session.query_unpaged(without_tablets, ()).await {
        Ok(_) => Ok(()),
        Err(error) if is_unknown_word(&error) => run(session, &plain, options).await,
        Err(error) => Err(failed(&error, options)),
    }
}

fn is_unknown_word(error: &ExecutionError) -> bool {
    matches!(
        error,
        ExecutionError::LastAttemptError(RequestAttemptError::DbError(
            DbError::SyntaxError | DbError::ConfigError | DbError::Invalid,
            _
        ))
    )
}

async fn run(session: &Session, text: &str, options: &Options) -> Result<(), NotOpened> {
    session.query_unpaged(text, ()).await.map_err(|error| failed(&error, options))?;
    Ok(())
}

fn failed(error: &ExecutionError, options: &Options) -> NotOpened {
    let keyspace = &options.keyspace;
    if let ExecutionError::LastAttemptError(RequestAttemptError::DbError(
        DbError::Unauthorized,
        said,
    )) = error
    {
        return NotOpened(format!(
            "the database does not let `storage.cql.username` make the keyspace `{keyspace}` and its tables \
             ({said}): grant CREATE, SELECT and MODIFY on it, or let somebody who may start OmniStream once"
        ));
    }
    NotOpened(format!("the keyspace `{keyspace}` and its tables cannot be made: {error}"))
}

fn not_read(error: impl std::fmt::Display) -> NotOpened {
    NotOpened(format!("what the database says of itself cannot be read: {error}"))
}

/// The text that makes a table.
fn create(keyspace: &str, table: &Table, id: Option<Uuid>) -> String {
    let mut text = format!("CREATE TABLE IF NOT EXISTS \"{keyspace}\".\"{}\" (", table.name);
    let columns = table.partition.iter().chain(table.clustering);
    for (name, kind) in columns {
        let _ = write!(text, "\"{name}\" {}, ", column(*kind));
    }
    let (partition, clustering) = (names(table.partition), names(table.clustering));
    let _ = write!(text, "body blob, PRIMARY KEY (({})", partition.join(", "));
    for name in &clustering {
        let _ = write!(text, ", {name}");
    }
    text.push_str("))");
    let mut properties = Vec::new();
    if table.order == Order::Descending {
        let falling: Vec<_> = clustering.iter().map(|name| format!("{name} DESC")).collect();
        properties.push(format!("CLUSTERING ORDER BY ({})", falling.join(", ")));
    }
    if let Some(id) = id {
        properties.push(format!("ID = {id}"));
    }
    if let Some(days) = window(table) {
        properties.push(format!(
            "compaction = {{'class': 'TimeWindowCompactionStrategy', \
             'compaction_window_unit': 'DAYS', 'compaction_window_size': {days}}}"
        ));
    }
    properties.extend(table.grace.map(keeps_deletions));
    if !properties.is_empty() {
        let _ = write!(text, " WITH {}", properties.join(" AND "));
    }
    text
}

/// The text that changes a table which keeps for so many seconds that a row was deleted, if that is longer
/// than it is to.
fn shorten(keyspace: &str, table: &Table, there: Option<i32>) -> Option<String> {
    let there = u64::try_from(there?).ok()?;
    let grace = table.grace.filter(|grace| grace.as_secs() < there)?;
    Some(format!("ALTER TABLE \"{keyspace}\".\"{}\" WITH {}", table.name, keeps_deletions(grace)))
}

fn keeps_deletions(grace: Duration) -> String {
    format!("gc_grace_seconds = {}", grace.as_secs())
}

/// Rows that are written once and expire lie by time, so that whole files expire: some twenty in all.
fn window(table: &Table) -> Option<u64> {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let expires = table.expires.filter(|_| table.shape == Shape::Appended)?;
    Some((expires.as_secs() / DAY.as_secs()).div_ceil(20).max(1))
}

#[cfg(test)]
mod tests {
    use super::{create, shorten};
    use crate::tables::{ALL, ARCHIVE, DEAD_LETTERS, LOOSE, UNFETCHED};

    #[test]
    fn a_table_is_made_as_it_is_described() {
        let archive = r#"CREATE TABLE IF NOT EXISTS "k"."archive" ("tenant" blob, "view" text, "month" bigint, "last_message_at" bigint, "conversation" blob, body blob, PRIMARY KEY (("tenant", "view", "month"), "last_message_at", "conversation")) WITH CLUSTERING ORDER BY ("last_message_at" DESC, "conversation" DESC)"#;
        assert_eq!(create("k", &ARCHIVE, None), archive);
        let letters = create("k", &DEAD_LETTERS, None);
        assert!(letters.contains("'compaction_window_size': 2"), "{letters}");
        for queue in [&UNFETCHED, &LOOSE] {
            let text = create("k", queue, None);
            assert!(text.ends_with(" WITH gc_grace_seconds = 10800"), "{text}");
        }
    }

    #[test]
    fn a_table_that_is_there_is_changed_only_where_it_keeps_deletions_for_too_long() {
        let changed = r#"ALTER TABLE "k"."unfetched" WITH gc_grace_seconds = 10800"#;
        assert_eq!(shorten("k", &UNFETCHED, Some(864_000)).as_deref(), Some(changed));
        for (table, there) in [
            (&UNFETCHED, Some(10_800)),
            (&UNFETCHED, Some(600)),
            (&UNFETCHED, None),
            (&ARCHIVE, Some(864_000)),
        ] {
            assert_eq!(shorten("k", table, there), None, "{} {there:?}", table.name);
        }
    }

    #[test]
    fn nothing_is_asked_of_a_server_that_not_all_have() {
        for table in ALL {
            let text = create("k", table, None).to_uppercase();
            for word in ["COUNTER", "INDEX", "VIEW ", "FROZEN", "LIST<", "SET<", "MAP<", "STATIC"] {
                assert!(!text.contains(word), "{text}");
            }
        }
    }
}

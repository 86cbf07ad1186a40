//! The statements: each table's few, as text, with what is bound to them. Identifiers are quoted,
//! so that no name of ours is a word of CQL's.

use scylla::cluster::metadata::ColumnType;
use scylla::serialize::SerializationError;
use scylla::serialize::value::SerializeValue;
use scylla::serialize::writers::{CellWriter, WrittenCellProof};

use crate::port::{Kind, Order, Part, Scan, Table};

/// What a statement does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Verb {
    Get,
    /// A `Get` that waits for what is being decided.
    Settle,
    Scan(Shape),
    /// All rows of a part of the ring, with what the server knows of them.
    Whole,
    Put,
    Delete,
    Clear,
    Claim,
    Replace,
    Remove,
}

/// Which bounds a scan has: how many columns each names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Shape {
    prefix: usize,
    after: usize,
    until: usize,
    reverse: bool,
}

impl Verb {
    /// Its word in metrics and logs.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Settle => "settle",
            Self::Scan(_) => "scan",
            Self::Whole => "whole",
            Self::Put => "put",
            Self::Delete => "delete",
            Self::Clear => "clear",
            Self::Claim => "claim",
            Self::Replace => "replace",
            Self::Remove => "remove",
        }
    }

    /// Whether it only reads.
    pub(super) const fn reads(self) -> bool {
        matches!(self, Self::Get | Self::Settle | Self::Scan(_) | Self::Whole)
    }

    /// Whether all replicas agree on its outcome before it is answered.
    pub(super) const fn decides(self) -> bool {
        matches!(self, Self::Claim | Self::Replace | Self::Remove)
    }

    /// The text over this table.
    pub(super) fn text(self, keyspace: &str, table: &Table) -> String {
        let name = format!("\"{keyspace}\".\"{}\"", table.name);
        let row = all(&columns(table));
        match self {
            Self::Get | Self::Settle => format!("SELECT body FROM {name} WHERE {row}"),
            Self::Scan(shape) => shape.text(&name, table),
            Self::Whole => {
                let token = format!("token({})", names(table.partition).join(", "));
                let wanted = columns(table).join(", ");
                format!(
                    "SELECT {wanted}, body, WRITETIME(body), TTL(body), toUnixTimestamp(now()) \
                     FROM {name} WHERE {token} > ? AND {token} <= ?"
                )
            }
            Self::Put => format!("{} USING TIMESTAMP ? AND TTL ?", insert(&name, table)),
            Self::Delete => format!("DELETE FROM {name} USING TIMESTAMP ? WHERE {row}"),
            Self::Clear => {
                let whole = all(&names(table.partition));
                format!("DELETE FROM {name} USING TIMESTAMP ? WHERE {whole}")
            }
            Self::Claim => format!("{} IF NOT EXISTS USING TTL ?", insert(&name, table)),
            Self::Replace => {
                format!("UPDATE {name} USING TTL ? SET body = ? WHERE {row} IF body = ?")
            }
            Self::Remove => format!("DELETE FROM {name} WHERE {row} IF body = ?"),
        }
    }
}

impl Shape {
    fn text(self, name: &str, table: &Table) -> String {
        let clustering = names(table.clustering);
        let mut wanted = clustering.clone();
        wanted.push("body".to_owned());
        let mut conditions = vec![all(&names(table.partition))];
        conditions.extend(clustering[..self.prefix].iter().map(|column| equals(column)));
        let rising = (table.order == Order::Ascending) != self.reverse;
        let (ahead, before) = if rising { (">", "<") } else { ("<", ">") };
        let open = &clustering[self.prefix..];
        // One column is compared as itself: not all servers take `=` beside a tuple.
        let alone = self.after.max(self.until) == 1;
        for (columns, sign) in [(self.after, ahead), (self.until, before)] {
            match columns {
                0 => {}
                1 if alone => conditions.push(format!("{} {sign} ?", open[0])),
                many => {
                    let marks = vec!["?"; many].join(", ");
                    conditions.push(format!("({}) {sign} ({marks})", open[..many].join(", ")));
                }
            }
        }
        let order = match (self.reverse, table.order) {
            (false, _) => String::new(),
            (true, order) => {
                let word = if order == Order::Ascending { "DESC" } else { "ASC" };
                let columns: Vec<_> =
                    clustering.iter().map(|column| format!("{column} {word}")).collect();
                format!(" ORDER BY {}", columns.join(", "))
            }
        };
        let (wanted, conditions) = (wanted.join(", "), conditions.join(" AND "));
        format!("SELECT {wanted} FROM {name} WHERE {conditions}{order} LIMIT ?")
    }
}

/// What a scan asks of the server; `None`: nothing can be there.
pub(super) fn scan(scan: &Scan) -> Option<(Verb, Vec<Value<'_>>)> {
    let rising = (scan.table.order == Order::Ascending) != scan.reverse;
    let (after, until) = (scan.after.as_deref(), scan.until.as_deref());
    let after = within(&scan.prefix, after, rising)?;
    let until = within(&scan.prefix, until, !rising)?;
    let mut values = parts(&scan.partition);
    values.extend(parts(&scan.prefix));
    values.extend(parts(after));
    values.extend(parts(until));
    values.push(Value::Count(i32::try_from(scan.limit).unwrap_or(i32::MAX)));
    let (prefix, reverse) = (scan.prefix.len(), scan.reverse);
    let shape = Shape { prefix, after: after.len(), until: until.len(), reverse };
    Some((Verb::Scan(shape), values))
}

/// What a bound says behind the prefix: nothing when all rows with the prefix lie on its open side,
/// `None` when none does. `above`: its open side is that of higher keys.
fn within<'a>(prefix: &[Part], bound: Option<&'a [Part]>, above: bool) -> Option<&'a [Part]> {
    let Some(bound) = bound.filter(|bound| !bound.is_empty()) else { return Some(&[]) };
    let shared = bound.len().min(prefix.len());
    match prefix[..shared].cmp(&bound[..shared]) {
        // Rows that only begin with the bound are beyond it too.
        std::cmp::Ordering::Equal => Some(&bound[shared..]).filter(|open| !open.is_empty()),
        order => (order.is_gt() == above).then_some(&[]),
    }
}

/// What is bound to a statement.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    Int(i64),
    Bytes(&'a [u8]),
    Text(&'a str),
    /// Seconds, rows.
    Count(i32),
}

/// The columns of a key as values.
pub(super) fn parts(parts: &[Part]) -> Vec<Value<'_>> {
    let value = |part| match part {
        &Part::Int(n) => Value::Int(n),
        Part::Uuid(id) => Value::Bytes(id),
        Part::Text(text) => Value::Text(text),
    };
    parts.iter().map(value).collect()
}

impl SerializeValue for Value<'_> {
    fn serialize<'b>(
        &self,
        kind: &ColumnType<'_>,
        writer: CellWriter<'b>,
    ) -> Result<WrittenCellProof<'b>, SerializationError> {
        match self {
            Self::Int(n) => n.serialize(kind, writer),
            Self::Bytes(bytes) => bytes.serialize(kind, writer),
            Self::Text(text) => text.serialize(kind, writer),
            Self::Count(n) => n.serialize(kind, writer),
        }
    }
}

/// The type of a column. Ids are compared by their bytes, which CQL's own type for them does not do.
pub(super) const fn column(kind: Kind) -> &'static str {
    match kind {
        Kind::Int => "bigint",
        Kind::Uuid => "blob",
        Kind::Text => "text",
    }
}

pub(super) fn names(columns: &[(&str, Kind)]) -> Vec<String> {
    columns.iter().map(|(name, _)| format!("\"{name}\"")).collect()
}

fn columns(table: &Table) -> Vec<String> {
    [names(table.partition), names(table.clustering)].concat()
}

fn equals(column: &str) -> String {
    format!("{column} = ?")
}

fn all(columns: &[String]) -> String {
    columns.iter().map(|column| equals(column)).collect::<Vec<_>>().join(" AND ")
}

fn insert(name: &str, table: &Table) -> String {
    let columns = columns(table);
    let marks = "?, ".repeat(columns.len());
    format!("INSERT INTO {name} ({}, body) VALUES ({marks}?)", columns.join(", "))
}

#[cfg(test)]
mod tests {
    use super::{Verb, scan};
    use crate::port::{Part, Scan};
    use crate::tables::{ALL, ARCHIVE, LOG, THREADS};

    fn text(of: &Scan) -> String {
        let (verb, _) = scan(of).expect("something may be there");
        verb.text("k", of.table)
    }

    #[test]
    fn statements_name_their_columns_in_order() {
        let put = Verb::Put.text("k", &THREADS);
        let expected = r#"INSERT INTO "k"."threads" ("thread", body) VALUES (?, ?) USING TIMESTAMP ? AND TTL ?"#;
        assert_eq!(put, expected);
        let of = Scan { reverse: true, ..Scan::of(&LOG, vec![], 1) };
        let of = Scan {
            prefix: vec![Part::Int(1)],
            after: Some(vec![Part::Int(1), Part::Int(7)]),
            ..of
        };
        let expected = r#"SELECT "kind", "n", body FROM "k"."conversation_log" WHERE "conversation" = ? AND "block" = ? AND "kind" = ? AND "n" < ? ORDER BY "kind" DESC, "n" DESC LIMIT ?"#;
        assert_eq!(text(&of), expected);
        let after = Some(vec![Part::Int(1), Part::Uuid([0; 16])]);
        let of = Scan { after, until: Some(vec![Part::Int(0)]), ..Scan::of(&ARCHIVE, vec![], 1) };
        let text = text(&of);
        assert!(text.contains(r#"("last_message_at", "conversation") < (?, ?)"#), "{text}");
        assert!(text.contains(r#"("last_message_at") > (?)"#), "{text}");
    }

    #[test]
    fn no_table_needs_a_tuple_behind_a_prefix() {
        for table in ALL {
            assert!(table.clustering.len() <= 2, "{}: see `Shape::text`", table.name);
        }
    }
}

//! What every backend promises, checked: one suite, run against each of them.

use std::borrow::Cow;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::error::StoreError;
use crate::port::{
    Batch, Change, Claim, Guarantees, Key, Kind, Order, Part, Pending, Row, Scan, Shape, Stamp,
    Store, Swap, Table, Writes,
};
use crate::together::together;

/// A store to be checked.
pub struct Subject {
    /// The backend. It may hold other rows; it has the tables of [`TABLES`].
    pub store: Arc<dyn Store>,
    /// Part of every partition key, so that runs on one store do not meet.
    pub run: String,
    /// Lets time pass on the store's clock.
    pub pass: Box<dyn Fn(Duration) -> Pending<'static, ()> + Send + Sync>,
}

const PLAIN: Table = Table {
    number: 0,
    name: "",
    partition: &[("run", Kind::Text), ("part", Kind::Int)],
    clustering: &[],
    order: Order::Ascending,
    writes: Writes::Plain,
    shape: Shape::Overwritten,
    expires: None,
    grace: None,
};

static ALONE: Table = Table { number: 60_001, name: "conformance_alone", ..PLAIN };

static RISING: Table = Table {
    number: 60_002,
    name: "conformance_rising",
    clustering: &[("n", Kind::Int), ("name", Kind::Text)],
    shape: Shape::Appended,
    ..PLAIN
};

static FALLING: Table = Table {
    number: 60_003,
    name: "conformance_falling",
    clustering: &[("n", Kind::Int), ("name", Kind::Text)],
    order: Order::Descending,
    ..PLAIN
};

static BY_ID: Table = Table {
    number: 60_004,
    name: "conformance_by_id",
    clustering: &[("id", Kind::Uuid)],
    order: Order::Descending,
    ..PLAIN
};

static FLEETING: Table = Table {
    number: 60_005,
    name: "conformance_fleeting",
    clustering: &[("n", Kind::Int)],
    expires: Some(Duration::from_secs(2)),
    ..PLAIN
};

static NAMES: Table =
    Table { number: 60_006, name: "conformance_names", writes: Writes::Guarded, ..PLAIN };

/// The tables that the suite uses.
pub static TABLES: [&Table; 6] = [&ALONE, &RISING, &FALLING, &BY_ID, &FLEETING, &NAMES];

/// Checks every promise of the port; panics with the broken one. `factory` gives a subject for
/// each case: a new store, or the same with another `run`.
pub async fn run<F, S>(factory: F)
where
    F: Fn() -> S,
    S: Future<Output = Subject>,
{
    a_row_is_found_whole(factory().await).await;
    rows_come_in_order(factory().await, &RISING).await;
    rows_come_in_order(factory().await, &FALLING).await;
    ids_come_by_their_bytes(factory().await).await;
    pages_join_without_gap(factory().await, &RISING).await;
    pages_join_without_gap(factory().await, &FALLING).await;
    bounds_may_name_the_first_columns(factory().await).await;
    partitions_do_not_mix(factory().await).await;
    the_higher_stamp_wins(factory().await).await;
    at_one_stamp_the_outcome_does_not_depend_on_order(factory().await).await;
    a_repeat_changes_nothing(factory().await).await;
    a_deletion_outlasts_older_writes(factory().await).await;
    a_clear_takes_what_is_older(factory().await).await;
    expired_rows_are_not_there(factory().await).await;
    of_several_rows_each_is_found_as_it_is_alone(factory().await).await;
    a_claim_is_won_once(factory().await).await;
    a_swap_compares(factory().await).await;
    claims_expire(factory().await).await;
    of_racing_claims_one_wins(factory().await).await;
    racing_swaps_lose_no_step(factory().await).await;
    wrong_calls_are_refused(factory().await).await;
    a_partition_changes_as_one(factory().await).await;
    a_batch_over_partitions_is_seen_as_one(factory().await).await;
}

impl Subject {
    fn key(&self, part: i64, clustering: Vec<Part>) -> Key {
        Key::new(self.partition(part), clustering)
    }

    fn partition(&self, part: i64) -> Vec<Part> {
        vec![text(&self.run), Part::Int(part)]
    }

    async fn apply(&self, stamp: i64, changes: Vec<Change>) {
        let batch = Batch { stamp: Stamp(stamp), changes };
        self.store.apply(batch).await.expect("a batch is applied");
    }

    async fn put(&self, stamp: i64, table: &'static Table, key: &Key, body: &str) {
        self.apply(stamp, vec![put(table, key, body)]).await;
    }

    async fn get(&self, table: &'static Table, key: &Key) -> Option<String> {
        let body = self.store.get(table, key).await.expect("a row is read");
        body.map(|body| String::from_utf8(body).expect("the suite writes text"))
    }

    fn whole(&self, table: &'static Table, part: i64) -> Scan {
        Scan {
            table,
            partition: self.partition(part),
            prefix: Vec::new(),
            after: None,
            until: None,
            reverse: false,
            limit: 1_000,
        }
    }

    async fn scan(&self, scan: Scan) -> Vec<Row> {
        self.store.scan(scan).await.expect("a page is read")
    }

    /// The bodies of a scan, separated by spaces.
    async fn bodies(&self, scan: Scan) -> String {
        let rows = self.scan(scan).await;
        let bodies: Vec<_> = rows.into_iter().map(|row| row.body).collect();
        String::from_utf8(bodies.join(&b' ')).expect("the suite writes text")
    }

    async fn pass(&self, time: Duration) {
        (self.pass)(time).await.expect("time passes");
    }
}

fn text(text: &str) -> Part {
    Part::Text(Cow::Owned(text.to_owned()))
}

fn place(n: i64, name: &str) -> Vec<Part> {
    vec![Part::Int(n), text(name)]
}

fn put(table: &'static Table, key: &Key, body: &str) -> Change {
    Change::Put { table, key: key.clone(), body: body.as_bytes().to_vec(), ttl: None }
}

fn delete(table: &'static Table, key: &Key) -> Change {
    Change::Delete { table, key: key.clone() }
}

async fn a_row_is_found_whole(lab: Subject) {
    let key = lab.key(1, vec![]);
    assert_eq!(lab.get(&ALONE, &key).await, None, "nothing is there before it was written");
    lab.put(1, &ALONE, &key, "a").await;
    assert_eq!(lab.get(&ALONE, &key).await.as_deref(), Some("a"));
    lab.put(2, &ALONE, &key, "").await;
    assert_eq!(lab.get(&ALONE, &key).await.as_deref(), Some(""), "an empty body is a row");
    let large = "x".repeat(30_000);
    lab.put(3, &ALONE, &key, &large).await;
    assert_eq!(lab.get(&ALONE, &key).await, Some(large));
    lab.apply(4, vec![delete(&ALONE, &key)]).await;
    assert_eq!(lab.get(&ALONE, &key).await, None, "a deleted row is gone");
    lab.put(5, &ALONE, &key, "b").await;
    assert_eq!(lab.get(&ALONE, &key).await.as_deref(), Some("b"), "and may come again");
}

/// Keys in rising order: signs, prefixes of one another, zero bytes, more than ASCII.
fn ladder() -> Vec<Vec<Part>> {
    let names = ["", "\0", "\0\0", "\0a", "a", "a\0", "a\0b", "aa", "b", "ä", "\u{10ffff}"];
    [i64::MIN, -256, -1, 0, 1, 255, 256, i64::MAX]
        .into_iter()
        .flat_map(|n| names.into_iter().map(move |name| place(n, name)))
        .collect()
}

async fn climb(lab: &Subject, table: &'static Table) -> Vec<Vec<Part>> {
    let keys = ladder();
    // Written in an order of its own: by the middle out.
    let mut order: Vec<usize> = (0..keys.len()).collect();
    order.sort_by_key(|at| (at * 37) % keys.len());
    for at in order {
        lab.put(1, table, &lab.key(1, keys[at].clone()), &at.to_string()).await;
    }
    keys
}

async fn rows_come_in_order(lab: Subject, table: &'static Table) {
    let mut keys = climb(&lab, table).await;
    for (at, key) in keys.iter().enumerate() {
        let body = lab.get(table, &lab.key(1, key.clone())).await;
        assert_eq!(body, Some(at.to_string()), "{key:?}");
    }
    if table.order == Order::Descending {
        keys.reverse();
    }
    for reverse in [false, true] {
        let rows = lab.scan(Scan { reverse, ..lab.whole(table, 1) }).await;
        let found: Vec<_> = rows.into_iter().map(|row| row.clustering).collect();
        assert_eq!(found, keys, "{} reverse {reverse}", table.name);
        keys.reverse();
    }
}

async fn ids_come_by_their_bytes(lab: Subject) {
    // The version is the same, as it is for all our ids.
    let id = |head: u8, tail: u8| {
        let mut id = [0; 16];
        (id[0], id[6], id[8], id[15]) = (head, 0x70, 0x80, tail);
        vec![Part::Uuid(id)]
    };
    let ids = [id(255, 0), id(128, 1), id(127, 255), id(1, 2), id(1, 1), id(0, 0)];
    for at in [3, 0, 5, 1, 4, 2] {
        lab.put(1, &BY_ID, &lab.key(1, ids[at].clone()), "").await;
    }
    let rows = lab.scan(lab.whole(&BY_ID, 1)).await;
    let found: Vec<_> = rows.into_iter().map(|row| row.clustering).collect();
    assert_eq!(found, ids);
}

async fn pages_join_without_gap(lab: Subject, table: &'static Table) {
    climb(&lab, table).await;
    for reverse in [false, true] {
        let all = lab.scan(Scan { reverse, ..lab.whole(table, 1) }).await;
        for limit in [1, 7] {
            let (mut joined, mut after) = (Vec::new(), None);
            loop {
                let page = lab.scan(Scan { reverse, limit, after, ..lab.whole(table, 1) }).await;
                assert!(page.len() <= limit, "a page holds at most its limit");
                let Some(last) = page.last() else { break };
                after = Some(last.clustering.clone());
                joined.extend(page);
            }
            assert_eq!(joined, all, "pages of {limit}, reverse {reverse}");
        }
        for (from, to) in [(0, 5), (3, 4), (10, 60), (9, 9), (20, 10)] {
            let bound = |at: usize| Some(all[at].clustering.clone());
            let scan =
                Scan { reverse, after: bound(from), until: bound(to), ..lab.whole(table, 1) };
            let expected = all.get(from + 1..to).unwrap_or_default();
            assert_eq!(lab.scan(scan).await, expected, "both bounds are exclusive");
        }
    }
    let none = Scan { limit: 0, ..lab.whole(table, 1) };
    assert_eq!(lab.scan(none).await, [], "a limit of nothing finds nothing");
}

async fn bounds_may_name_the_first_columns(lab: Subject) {
    for table in [&RISING, &FALLING] {
        for (n, name) in [(1, "a"), (1, "b"), (2, ""), (2, "a"), (2, "b"), (3, "a"), (3, "b")] {
            let key = lab.key(1, place(n, name));
            lab.put(1, table, &key, &format!("{n}{name}")).await;
        }
    }
    let first = |n: i64| Some(vec![Part::Int(n)]);
    for table in [&RISING, &FALLING] {
        for reverse in [false, true] {
            let rising = (table.order == Order::Ascending) != reverse;
            let expect = |bodies: &str| {
                let mut words: Vec<_> = bodies.split(' ').collect();
                if !rising {
                    words.reverse();
                }
                words.join(" ")
            };
            let scan = || Scan { reverse, ..lab.whole(table, 1) };
            let only = Scan { prefix: vec![Part::Int(2)], ..scan() };
            assert_eq!(lab.bodies(only.clone()).await, expect("2 2a 2b"), "a prefix");
            let (ahead, behind) = if rising { ("3a 3b", "1a 1b") } else { ("1a 1b", "3a 3b") };
            let after = Scan { after: first(2), ..scan() };
            assert_eq!(lab.bodies(after).await, expect(ahead), "behind all that begin so");
            let until = Scan { until: first(2), ..scan() };
            assert_eq!(lab.bodies(until).await, expect(behind), "before all that begin so");
            let within = Scan { after: Some(place(2, "a")), ..only.clone() };
            assert_eq!(lab.bodies(within).await, if rising { "2b" } else { "2" });
            let outside = Scan { after: first(if rising { 1 } else { 3 }), ..only.clone() };
            assert_eq!(lab.bodies(outside).await, expect("2 2a 2b"));
            let beyond = Scan { after: first(if rising { 3 } else { 1 }), ..only };
            assert_eq!(lab.bodies(beyond).await, "", "a bound beyond the prefix");
        }
    }
}

async fn partitions_do_not_mix(lab: Subject) {
    for part in [0, 1, -1, 256] {
        lab.put(1, &RISING, &lab.key(part, place(1, "a")), &part.to_string()).await;
    }
    lab.put(1, &FALLING, &lab.key(1, place(1, "a")), "another table").await;
    for part in [0, 1, -1, 256] {
        assert_eq!(lab.bodies(lab.whole(&RISING, part)).await, part.to_string());
    }
    assert_eq!(lab.bodies(lab.whole(&RISING, 2)).await, "");
}

async fn the_higher_stamp_wins(lab: Subject) {
    let key = lab.key(1, vec![]);
    lab.put(10, &ALONE, &key, "ten").await;
    lab.put(9, &ALONE, &key, "nine").await;
    assert_eq!(lab.get(&ALONE, &key).await.as_deref(), Some("ten"), "a late write loses");
    lab.put(11, &ALONE, &key, "eleven").await;
    assert_eq!(lab.get(&ALONE, &key).await.as_deref(), Some("eleven"));
    let (first, second) = (lab.key(2, vec![]), lab.key(3, vec![]));
    lab.put(20, &ALONE, &second, "newer").await;
    lab.apply(15, vec![put(&ALONE, &first, "taken"), put(&ALONE, &second, "older")]).await;
    assert_eq!(lab.get(&ALONE, &first).await.as_deref(), Some("taken"));
    assert_eq!(lab.get(&ALONE, &second).await.as_deref(), Some("newer"), "row by row");
}

async fn at_one_stamp_the_outcome_does_not_depend_on_order(lab: Subject) {
    let (one, two) = (lab.key(1, vec![]), lab.key(2, vec![]));
    lab.put(5, &ALONE, &one, "a").await;
    lab.put(5, &ALONE, &one, "b").await;
    lab.put(5, &ALONE, &two, "b").await;
    lab.put(5, &ALONE, &two, "a").await;
    assert_eq!(lab.get(&ALONE, &one).await, lab.get(&ALONE, &two).await);
    let (one, two) = (lab.key(3, vec![]), lab.key(4, vec![]));
    lab.apply(5, vec![put(&ALONE, &one, "a"), delete(&ALONE, &one)]).await;
    lab.apply(5, vec![delete(&ALONE, &two), put(&ALONE, &two, "a")]).await;
    assert_eq!(lab.get(&ALONE, &one).await, None, "at one stamp a deletion wins");
    assert_eq!(lab.get(&ALONE, &two).await, None, "at one stamp a deletion wins");
}

async fn a_repeat_changes_nothing(lab: Subject) {
    let (kept, gone, lost) = (lab.key(1, vec![]), lab.key(2, vec![]), lab.key(3, vec![]));
    lab.put(1, &ALONE, &gone, "old").await;
    let batch = vec![put(&ALONE, &kept, "a"), delete(&ALONE, &gone), put(&ALONE, &lost, "a")];
    lab.apply(2, batch.clone()).await;
    lab.put(3, &ALONE, &gone, "again").await;
    lab.apply(4, vec![delete(&ALONE, &lost)]).await;
    for _ in 0..2 {
        lab.apply(2, batch.clone()).await;
        assert_eq!(lab.get(&ALONE, &kept).await.as_deref(), Some("a"));
        assert_eq!(lab.get(&ALONE, &gone).await.as_deref(), Some("again"));
        assert_eq!(lab.get(&ALONE, &lost).await, None);
    }
    lab.apply(5, vec![]).await;
}

async fn a_deletion_outlasts_older_writes(lab: Subject) {
    let key = lab.key(1, vec![]);
    lab.apply(10, vec![delete(&ALONE, &key)]).await;
    lab.put(9, &ALONE, &key, "late").await;
    assert_eq!(lab.get(&ALONE, &key).await, None, "also where nothing was there to delete");
    lab.apply(8, vec![delete(&ALONE, &key)]).await;
    lab.put(9, &ALONE, &key, "late").await;
    assert_eq!(lab.get(&ALONE, &key).await, None, "an older deletion does not weaken it");
    lab.put(11, &ALONE, &key, "new").await;
    lab.apply(10, vec![delete(&ALONE, &key)]).await;
    assert_eq!(lab.get(&ALONE, &key).await.as_deref(), Some("new"), "a late deletion loses");
}

async fn a_clear_takes_what_is_older(lab: Subject) {
    let row = |n: i64| lab.key(1, place(n, "a"));
    let clear = |part| Change::Clear { table: &RISING, partition: lab.partition(part) };
    lab.put(1, &RISING, &row(1), "1").await;
    lab.put(5, &RISING, &row(5), "5").await;
    lab.put(9, &RISING, &row(9), "9").await;
    lab.put(1, &RISING, &lab.key(2, place(1, "a")), "other").await;
    lab.apply(5, vec![clear(1)]).await;
    assert_eq!(lab.bodies(lab.whole(&RISING, 1)).await, "9", "up to its stamp, not above");
    assert_eq!(lab.get(&RISING, &row(5)).await, None);
    assert_eq!(lab.bodies(lab.whole(&RISING, 2)).await, "other", "no other partition");
    lab.put(4, &RISING, &row(4), "4").await;
    lab.put(6, &RISING, &row(6), "6").await;
    lab.apply(3, vec![clear(1)]).await;
    assert_eq!(lab.bodies(lab.whole(&RISING, 1)).await, "6 9", "what is late stays cleared");
    lab.apply(10, vec![put(&RISING, &row(10), "10"), clear(1)]).await;
    lab.apply(11, vec![clear(2), put(&RISING, &row(11), "11")]).await;
    assert_eq!(lab.bodies(lab.whole(&RISING, 1)).await, "11", "a clear wins in its own batch");
    let alone = lab.key(3, vec![]);
    lab.put(1, &ALONE, &alone, "a").await;
    let change = Change::Clear { table: &ALONE, partition: lab.partition(3) };
    lab.apply(2, vec![change]).await;
    assert_eq!(lab.get(&ALONE, &alone).await, None, "a row that is a partition of its own");
    lab.put(1, &ALONE, &alone, "a").await;
    assert_eq!(lab.get(&ALONE, &alone).await, None);
    lab.put(3, &ALONE, &alone, "b").await;
    assert_eq!(lab.get(&ALONE, &alone).await.as_deref(), Some("b"));
}

async fn expired_rows_are_not_there(lab: Subject) {
    let row = |n: i64| lab.key(1, vec![Part::Int(n)]);
    let put = |n: i64, ttl: Option<u64>| Change::Put {
        table: &FLEETING,
        key: row(n),
        body: n.to_string().into_bytes(),
        ttl: ttl.map(Duration::from_secs),
    };
    lab.apply(1, vec![put(1, None), put(2, Some(600)), put(3, None), put(4, Some(700))]).await;
    assert_eq!(lab.bodies(lab.whole(&FLEETING, 1)).await, "1 2 3 4");
    lab.pass(Duration::from_secs(4)).await;
    assert_eq!(lab.get(&FLEETING, &row(1)).await, None, "by the table's expiry");
    assert_eq!(lab.get(&FLEETING, &row(2)).await.as_deref(), Some("2"), "the put's overrules");
    let page = Scan { limit: 2, ..lab.whole(&FLEETING, 1) };
    assert_eq!(lab.bodies(page).await, "2 4", "expired rows do not fill a page");
    lab.apply(2, vec![put(1, Some(600))]).await;
    assert_eq!(lab.get(&FLEETING, &row(1)).await.as_deref(), Some("1"), "and may come again");
}

async fn of_several_rows_each_is_found_as_it_is_alone(lab: Subject) {
    let row = |n: i64| lab.key(n, vec![]);
    let lasts = |n: i64| Change::Put {
        table: &ALONE,
        key: row(n),
        body: n.to_string().into_bytes(),
        ttl: (n % 5 == 0).then_some(Duration::from_secs(if n % 2 == 0 { 2 } else { 600 })),
    };
    // Each in a partition of its own, and every fourth absent.
    let there = (0..60).filter(|n| n % 4 != 3);
    lab.apply(2, there.map(lasts).collect()).await;
    lab.apply(3, vec![delete(&ALONE, &row(21)), put(&ALONE, &row(22), "newer")]).await;
    let clear = |n| Change::Clear { table: &ALONE, partition: lab.partition(n) };
    lab.apply(1, vec![clear(25)]).await;
    lab.apply(4, vec![clear(26)]).await;
    lab.pass(Duration::from_secs(4)).await;
    let rising: Vec<_> = (-1..62).map(row).collect();
    let apart: Vec<_> = (0..60).step_by(17).map(row).collect();
    let twice = vec![row(22), row(22)];
    let falling = rising.iter().rev().cloned().collect();
    for keys in [rising, apart, falling, twice, Vec::new()] {
        let mut each = Vec::new();
        for key in &keys {
            each.push(lab.store.get(&ALONE, key).await.expect("a row is read"));
        }
        let all = lab.store.get_all(&ALONE, &keys).await.expect("they are read");
        assert_eq!(all, each);
        let wanted = keys.clone();
        let read = async move |store: Arc<dyn Store>| store.get_all(&ALONE, &wanted).await;
        let all = together(&lab.store, read).await.expect("they are read at once");
        assert_eq!(all, each);
        assert_eq!(each.iter().flatten().count() > 30, keys.len() > 60, "most are there");
    }
}

async fn claim(lab: &Subject, key: &Key, body: &str) -> Claim {
    let body = body.as_bytes().to_vec();
    lab.store.claim(&NAMES, key.clone(), body, None).await.expect("a claim is decided")
}

async fn swap(lab: &Subject, key: &Key, expected: Option<&str>, body: Option<&str>) -> Swap {
    let bytes = |text: Option<&str>| text.map(|text| text.as_bytes().to_vec());
    let swap = lab.store.swap(&NAMES, key.clone(), bytes(expected), bytes(body));
    swap.await.expect("a swap is decided")
}

async fn a_claim_is_won_once(lab: Subject) {
    let key = lab.key(1, vec![]);
    assert_eq!(claim(&lab, &key, "a").await, Claim::Won);
    assert_eq!(claim(&lab, &key, "b").await, Claim::Lost(b"a".to_vec()));
    assert_eq!(claim(&lab, &key, "a").await, Claim::Lost(b"a".to_vec()), "also to a repeat");
    assert_eq!(lab.get(&NAMES, &key).await.as_deref(), Some("a"));
    assert_eq!(claim(&lab, &lab.key(2, vec![]), "b").await, Claim::Won, "another key is free");
}

async fn a_swap_compares(lab: Subject) {
    let key = lab.key(1, vec![]);
    assert_eq!(swap(&lab, &key, Some("x"), Some("a")).await, Swap::Stale(None));
    assert_eq!(swap(&lab, &key, None, None).await, Swap::Done, "nothing for nothing");
    assert_eq!(swap(&lab, &key, None, Some("a")).await, Swap::Done, "where nothing is");
    let stale = || Swap::Stale(Some(b"a".to_vec()));
    assert_eq!(swap(&lab, &key, None, Some("b")).await, stale());
    assert_eq!(swap(&lab, &key, Some("b"), Some("c")).await, stale());
    assert_eq!(lab.get(&NAMES, &key).await.as_deref(), Some("a"), "a stale one writes nothing");
    assert_eq!(swap(&lab, &key, Some("a"), Some("b")).await, Swap::Done);
    assert_eq!(lab.get(&NAMES, &key).await.as_deref(), Some("b"));
    assert_eq!(swap(&lab, &key, Some("b"), None).await, Swap::Done);
    assert_eq!(lab.get(&NAMES, &key).await, None, "swapped for nothing");
    assert_eq!(claim(&lab, &key, "c").await, Claim::Won, "and free again");
}

async fn claims_expire(lab: Subject) {
    let key = lab.key(1, vec![]);
    let brief = Some(Duration::from_secs(2));
    let won = lab.store.claim(&NAMES, key.clone(), b"a".to_vec(), brief).await;
    assert_eq!(won.expect("a claim is decided"), Claim::Won);
    lab.pass(Duration::from_secs(4)).await;
    assert_eq!(lab.get(&NAMES, &key).await, None);
    assert_eq!(claim(&lab, &key, "b").await, Claim::Won);
    lab.pass(Duration::from_secs(4)).await;
    assert_eq!(lab.get(&NAMES, &key).await.as_deref(), Some("b"), "without a ttl it stays");
}

async fn of_racing_claims_one_wins(lab: Subject) {
    let mut races = JoinSet::new();
    for part in 0..4 {
        for racer in 0..8_u8 {
            let (store, key) = (lab.store.clone(), lab.key(part, vec![]));
            races.spawn(async move {
                let claim = store.claim(&NAMES, key, vec![racer], None).await;
                (part, racer, claim.expect("a claim is decided"))
            });
        }
    }
    let answers = races.join_all().await;
    for part in 0..4 {
        let of = || answers.iter().filter(move |(at, ..)| *at == part);
        let won: Vec<_> = of().filter(|(.., claim)| *claim == Claim::Won).collect();
        assert_eq!(won.len(), 1, "one of the racers wins");
        let lost = Claim::Lost(vec![won[0].1]);
        assert_eq!(of().filter(|(.., claim)| *claim == lost).count(), 7, "all others hear who");
    }
}

async fn racing_swaps_lose_no_step(lab: Subject) {
    let mut races = JoinSet::new();
    for _ in 0..4 {
        let (store, key) = (lab.store.clone(), lab.key(1, vec![]));
        races.spawn(async move {
            let (mut steps, mut held) = (0, None::<Vec<u8>>);
            while steps < 10 {
                let next = held.as_ref().map_or(1, |body| body[0] + 1);
                let swap = store.swap(&NAMES, key.clone(), held.clone(), Some(vec![next]));
                held = match swap.await.expect("a swap is decided") {
                    Swap::Done => {
                        steps += 1;
                        Some(vec![next])
                    }
                    Swap::Stale(there) => there,
                };
            }
        });
    }
    races.join_all().await;
    let body = lab.store.get(&NAMES, &lab.key(1, vec![])).await.expect("a row is read");
    assert_eq!(body, Some(vec![40]), "every step that was done counts");
}

async fn wrong_calls_are_refused(lab: Subject) {
    fn refused<T>(answer: Result<T, StoreError>, why: &str) {
        assert!(matches!(answer, Err(StoreError::Rejected(_))), "{why}");
    }
    let store = &lab.store;
    let alone = lab.key(1, vec![]);
    let batch = |change| Batch { stamp: Stamp(1), changes: vec![change] };
    refused(store.apply(batch(put(&NAMES, &alone, "a"))).await, "a put on a guarded table");
    refused(store.apply(batch(delete(&NAMES, &alone))).await, "a delete on a guarded table");
    let clear = Change::Clear { table: &NAMES, partition: lab.partition(1) };
    refused(store.apply(batch(clear)).await, "a clear on a guarded table");
    refused(store.claim(&ALONE, alone.clone(), vec![], None).await, "a claim on a plain table");
    refused(store.swap(&ALONE, alone.clone(), None, None).await, "a swap on a plain table");
    let short = Key::new(vec![text("run")], vec![]);
    refused(store.get(&ALONE, &short).await, "a key without all its columns");
    refused(store.get(&RISING, &alone).await, "a key without clustering");
    let wrong = lab.key(1, vec![text("a"), Part::Int(1)]);
    refused(store.apply(batch(put(&RISING, &wrong, "a"))).await, "columns of other kinds");
    let endless = lab.key(1, place(1, &"x".repeat(70_000)));
    refused(store.get(&RISING, &endless).await, "a key that no backend takes");
    refused(store.apply(batch(put(&RISING, &endless, "a"))).await, "a key that no backend takes");
    let long = Scan { prefix: [place(1, "a"), place(1, "a")].concat(), ..lab.whole(&RISING, 1) };
    refused(store.scan(long).await, "a prefix longer than the key");
    let mixed = Batch {
        stamp: Stamp(1),
        changes: vec![put(&ALONE, &alone, "a"), put(&NAMES, &alone, "a")],
    };
    refused(store.apply(mixed).await, "a batch with one wrong change");
    assert_eq!(lab.get(&ALONE, &alone).await, None, "and nothing of it is written");
}

async fn a_partition_changes_as_one(lab: Subject) {
    let keys: Vec<_> = (0..5).map(|n| lab.key(1, place(n, "a"))).collect();
    let (store, changes) = (lab.store.clone(), move |round: i64| {
        keys.iter().map(|key| put(&FALLING, key, &round.to_string())).collect()
    });
    let writer = tokio::spawn(async move {
        for round in 1..60 {
            let batch = Batch { stamp: Stamp(round), changes: changes(round) };
            store.apply(batch).await.expect("a batch is applied");
        }
    });
    let mut last = 0;
    while !writer.is_finished() || last == 0 {
        let rows = lab.scan(lab.whole(&FALLING, 1)).await;
        assert!(rows.windows(2).all(|pair| pair[0].body == pair[1].body), "half a batch: {rows:?}");
        assert!(rows.is_empty() || rows.len() == 5, "half a batch: {rows:?}");
        tokio::task::yield_now().await;
        let Some(row) = rows.first() else { continue };
        let round = std::str::from_utf8(&row.body).expect("text").parse().expect("a number");
        assert!(last <= round, "a scan went back from {last} to {round}");
        last = round;
    }
    writer.await.expect("the writer ends");
}

async fn a_batch_over_partitions_is_seen_as_one(lab: Subject) {
    let Guarantees { atomic: true, .. } = lab.store.guarantees() else { return };
    let pair = [lab.key(1, vec![]), lab.key(2, vec![])];
    let (store, keys) = (lab.store.clone(), pair.clone());
    let writer = tokio::spawn(async move {
        for round in 1..60 {
            let body = format!("{round:02}");
            let changes = keys.iter().map(|key| put(&ALONE, key, &body)).collect();
            let batch = Batch { stamp: Stamp(round), changes };
            store.apply(batch).await.expect("a batch is applied");
        }
    });
    let mut turn = 0;
    while !writer.is_finished() {
        turn = 1 - turn;
        let earlier = lab.get(&ALONE, &pair[turn]).await;
        let later = lab.get(&ALONE, &pair[1 - turn]).await;
        assert!(earlier <= later, "{earlier:?} was seen before {later:?}");
        tokio::task::yield_now().await;
    }
    writer.await.expect("the writer ends");
}

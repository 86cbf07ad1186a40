//! What belongs to one organization is not there for another: asked of every row with an id.

use std::collections::BTreeMap;

use api::routes::Access;
use reqwest::Method;
use serde_json::Value;

use crate::access::{kind, name, path, rows, thing};
use crate::harness::Org;

#[tokio::test]
async fn another_organization_s_things_are_not_found_and_not_changed() {
    let (ours, other) = (Org::found().await, Org::found().await);
    let mut things = BTreeMap::new();
    for kind in rows().filter_map(|row| kind(&row)) {
        if !things.contains_key(kind) {
            things.insert(kind, thing(kind, &ours).await);
        }
    }
    let before = everything(&ours, &things).await;
    for row in rows() {
        let Some(kind) = kind(&row) else { continue };
        let path = path(&row, &things[kind]);
        let answer = other.admin.call(row.verb.clone(), &path, row.example.as_ref()).await;
        assert_eq!(answer.status, 404, "{}: {answer:?}", name(&row));
        assert_eq!(everything(&ours, &things).await, before, "{}", name(&row));
    }
}

/// All that the organization's admin can read.
async fn everything(org: &Org, things: &BTreeMap<&str, String>) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    for row in rows().filter(|row| row.verb == Method::GET) {
        // What is nobody's, and the token, which is new each time.
        if !matches!(row.access, Access::Member | Access::Permission(_)) {
            continue;
        }
        // What was made just before is found a little later.
        if row.path == "/api/messages/search" {
            continue;
        }
        let id = kind(&row).map_or("", |kind| &things[kind]);
        let path = path(&row, id);
        all.push((path.clone(), org.admin.get(&path).await.is(200)));
    }
    all
}

#[tokio::test]
async fn an_id_that_is_none_names_nothing() {
    let org = Org::found().await;
    for row in rows().filter(|row| kind(row).is_some()) {
        for id in ["no-id", "0", "00000000-0000-0000-0000-000000000000", "%00", "%ff"] {
            let path = path(&row, id);
            let answer = org.admin.call(row.verb.clone(), &path, row.example.as_ref()).await;
            assert_eq!(answer.status, 404, "{} {path}: {answer:?}", row.verb);
        }
    }
}

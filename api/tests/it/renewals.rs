//! Accounts that are connected already and whose people log in again, and access tokens that are
//! renewed by themselves.

use std::time::Duration;

use serde_json::Value;
use simulator::{Plan, Trouble};

use crate::harness::{Server, eventually, unique};
use crate::logins::{GRAM, gram, log_in, with};

const ALL: &str = "/api/integrations/accounts";
const YEAR: Duration = Duration::from_secs(365 * 24 * 3_600);

fn at(account: &Value) -> String {
    format!("{ALL}/{}", account["id"].as_str().unwrap())
}

fn asked(server: &Server, path: &str) -> usize {
    server.graph.requests().iter().filter(|one| one.path.contains(path)).count()
}

fn slow(id: &str, trouble: Trouble) -> Plan {
    Plan { id: Some(id.to_owned()), edge: Some(String::new()), times: 1, trouble }
}

#[tokio::test]
async fn a_token_that_ends_soon_is_renewed_by_a_start_that_nobody_asks_anything() {
    let (server, org) = with(|config| config.limits.token_warning = YEAR).await;
    let made = log_in(&org, &org.admin, GRAM, gram(&unique("17"))).await.is(201);
    let renewals = || asked(&server, "/refresh_access_token");
    let before = renewals();
    server.restart().await;
    eventually(async || (renewals() > before).then_some(())).await;
    let later = async || {
        let shown = org.admin.get(&at(&made)).await.is(200);
        (shown["token_expires_at"].as_str() > made["token_expires_at"].as_str()).then_some(())
    };
    eventually(later).await;
}

#[tokio::test]
async fn a_stop_does_not_wait_for_what_is_done_by_the_hour() {
    let (server, org) = with(|config| config.limits.token_warning = YEAR).await;
    log_in(&org, &org.admin, GRAM, gram(&unique("17"))).await.is(201);
    let renewals = || asked(&server, "/refresh_access_token");
    let before = renewals();
    server.graph.plan(slow("refresh_access_token", Trouble::HangAfter));
    server.restart().await;
    eventually(async || (renewals() > before).then_some(())).await;
    assert!(server.restart().await, "everything was finished in time");
}

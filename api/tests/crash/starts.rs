//! A start on a cluster that cannot work says what to do, and ends.

use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use simulator::{Cassandra, CassandraOptions};

use super::program::{Program, cluster, run};

/// Longer than anything that is awaited takes.
const PATIENCE: Duration = Duration::from_secs(60);
const USERNAME: &str = "OMNISTREAM__STORAGE__CQL__USERNAME";
const PASSWORD: &str = "OMNISTREAM__STORAGE__CQL__PASSWORD";
const REPLICAS: &str = "OMNISTREAM__STORAGE__CQL__REPLICATION_FACTOR";
const KEYSPACE: &str = "OMNISTREAM__STORAGE__CQL__KEYSPACE";

/// Who may do everything.
async fn administrator(node: &str) -> Session {
    let connecting = async {
        let mut again = tokio::time::interval(Duration::from_millis(100));
        loop {
            again.tick().await;
            let session = SessionBuilder::new().known_node(node).user("cassandra", "cassandra");
            // Its login is made a moment after the server answers.
            if let Ok(session) = session.build().await {
                return session;
            }
        }
    };
    tokio::time::timeout(PATIENCE, connecting).await.expect("there is a login")
}

/// A login that may do this, which is made.
async fn may(administrator: &Session, name: &str, grants: &[&str]) {
    let role = format!("CREATE ROLE {name} WITH LOGIN = true AND PASSWORD = 'its password'");
    let grants = grants.iter().map(|grant| format!("GRANT {grant} TO {name}"));
    for statement in [role].into_iter().chain(grants) {
        administrator.query_unpaged(statement, ()).await.unwrap();
    }
}

/// What a start says that ends by itself.
async fn refused(directory: &Path, env: &[(&str, &str)]) -> String {
    let started = tokio::time::timeout(PATIENCE, run(directory, env, &["serve"])).await;
    started.expect("it ends").unwrap_err()
}

/// Serves, and stops in order.
async fn serves(directory: &Path, env: &[(&str, &str)]) {
    let starting = Program::start(directory, env);
    let mut program = tokio::time::timeout(PATIENCE, starting).await.expect("it serves");
    program.signal(Signal::TERM);
    assert_eq!(program.ended().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_cannot_work_names_the_login_the_permission_or_the_setting_and_ends() {
    let options = CassandraOptions { logins: true, ..CassandraOptions::default() };
    let Some(database) = Cassandra::own_for_test(options).await else { return };
    let (directory, node) = (tempfile::tempdir().unwrap(), database.address().to_string());
    let here = cluster(Some(&node));
    let by = |name| [&here[..], &[(USERNAME, name), (PASSWORD, "its password")]].concat();
    let says = async |env: Vec<(&str, &str)>, words: &[&str]| {
        let said = refused(directory.path(), &env).await;
        assert!(words.iter().all(|word| said.contains(word)), "{words:?} in {said}");
        assert!(!said.contains("its password"), "{said}");
        eprint!("{said}");
    };
    let login = ["`storage.cql.username` and `storage.cql.password`"];
    says(here.clone(), &login).await;
    says(by("nobody"), &login).await;

    let administrator = administrator(&node).await;
    may(&administrator, "guest", &[]).await;
    says(by("guest"), &["`storage.cql.username`", "CREATE permission", "grant CREATE"]).await;
    may(&administrator, "founder", &["CREATE ON ALL KEYSPACES"]).await;
    let too_many = [&by("founder")[..], &[(REPLICAS, "3"), (KEYSPACE, "larger")]].concat();
    says(too_many, &["`larger`", "3 copies", "1 node"]).await;
    // Who makes something may do everything with it.
    serves(directory.path(), &by("founder")).await;

    let on = ["SELECT ON KEYSPACE omnistream", "MODIFY ON KEYSPACE omnistream"];
    may(&administrator, "reader", &on[..1]).await;
    says(by("reader"), &["MODIFY permission", "grant SELECT and MODIFY"]).await;
    may(&administrator, "writer", &on[1..]).await;
    says(by("writer"), &["SELECT permission", "grant SELECT and MODIFY"]).await;
    // Where all tables are there nobody needs to make any.
    may(&administrator, "worker", &on).await;
    serves(directory.path(), &by("worker")).await;

    drop(database);
    says(by("worker"), &["`storage.cql.nodes`", "start the database"]).await;
    let wrong = [&by("worker")[..], &[(KEYSPACE, "Omni Stream")]].concat();
    says(wrong, &["`storage.cql.keyspace`"]).await;
}

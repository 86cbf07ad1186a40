//! A store that is moved to another backend answers as it did.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use engine::time::Timestamp;
use rustix::process::Signal;
use simulator::{Cassandra, CommitLog, Graph, GraphOptions};
use storage::embedded::{Embedded, Options};
use storage::memory::Now;
use storage::moving;

use super::desk::Desk;
use super::program::{Program, cluster, run};
use super::world::{Channel, SECRET, writes};

const CUSTOMERS: usize = 4;
/// Longer than anything that is awaited takes.
const PATIENCE: Duration = Duration::from_secs(60);

async fn write(desk: &Desk, name: &str) {
    for n in 0..3 {
        for customer in 0..CUSTOMERS {
            let post = writes(customer, &format!("{name}-{n}"), None);
            assert_eq!(desk.deliver(&post).await, Some(true));
        }
    }
}

/// A desk at which customers wrote and were answered.
async fn busy(program: &Program) -> Desk {
    let desk = Desk::found(program).await;
    for channel in Channel::ALL {
        desk.connect(&channel.account("smtp://127.0.0.1:9")).await;
    }
    write(&desk, "first").await;
    assert_eq!(desk.say(0, "answer").await, Some(true));
    let sent = async {
        let mut again = tokio::time::interval(Duration::from_millis(10));
        while !desk.messages(0).await.unwrap().iter().any(|message| message["status"] == "sent") {
            again.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, sent).await.unwrap();
    desk
}

async fn stop(mut program: Program) {
    program.signal(Signal::TERM);
    assert_eq!(program.ended().await, Some(0));
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// An import that ends in the middle.
async fn begin(path: &Path, file: &[u8]) {
    let now: Now = Arc::new(|| Timestamp(0));
    let store = Embedded::open(Options::new(path, now.clone()), |cause| panic!("{cause}")).unwrap();
    let export = moving::check(file).await.unwrap();
    let half = &file[..file.len() / 2];
    moving::import(half, &export, &store, &now, |_| {}).await.unwrap_err();
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_moved_answers_as_it_did_and_whatever_is_no_whole_export_changes_nothing() {
    let [from, to] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let options = GraphOptions { app_secret: SECRET.to_owned(), ..GraphOptions::default() };
    let graph = Graph::start(options).await.unwrap();
    let url = graph.url();
    let env = [("OMNISTREAM__META__GRAPH_URL", &*url)];
    let program = Program::start(from.path(), &env).await;
    let desk = busy(&program).await;
    let before = desk.sight().await;
    let file = from.path().join("store.export");
    let export = ["export", "--to", text(&file)];
    let refused = run(from.path(), &env, &export).await.unwrap_err();
    assert!(refused.contains("is in use"), "{refused}");
    stop(program).await;
    assert!(!file.exists());
    let said = run(from.path(), &env, &export).await.unwrap();
    assert!(said.contains("rows of") && said.contains("Files"), "{said}");
    let refused = run(from.path(), &env, &export).await.unwrap_err();
    assert!(refused.contains("is there already"), "{refused}");

    let half = from.path().join("half.export");
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&half, &bytes[..bytes.len() / 2]).unwrap();
    let import_half = ["import", "--from", text(&half)];
    let refused = run(to.path(), &env, &import_half).await.unwrap_err();
    assert!(refused.contains("ends in the middle"), "{refused}");
    assert!(!to.path().join("data").exists(), "nothing was begun");
    let import = ["import", "--from", text(&file)];
    let refused = run(from.path(), &env, &import).await.unwrap_err();
    assert!(refused.contains("holds other things"), "{refused}");

    begin(&to.path().join("data"), &bytes).await;
    for arguments in [&["serve"][..], &["export", "--to", text(&half.with_extension("other"))]] {
        let refused = run(to.path(), &env, arguments).await.unwrap_err();
        assert!(refused.contains("not finished"), "{refused}");
    }
    run(to.path(), &env, &import).await.unwrap();
    let program = Program::start(to.path(), &env).await;
    desk.moved_to(&program);
    assert_eq!(desk.sight().await, before);
    desk.finds(0, "first-2").await;
    write(&desk, "second").await;
    let after = desk.sight().await;
    stop(program).await;
    let said = run(to.path(), &env, &import).await.unwrap();
    assert!(said.contains("nothing was changed"), "{said}");
    let program = Program::start(to.path(), &env).await;
    desk.moved_to(&program);
    assert_eq!(desk.sight().await, after);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_desk_grows_into_a_cluster_and_comes_back() {
    let Some(database) = Cassandra::own_for_test(CommitLog::Periodic).await else { return };
    let [from, to] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let options = GraphOptions { app_secret: SECRET.to_owned(), ..GraphOptions::default() };
    let graph = Graph::start(options).await.unwrap();
    let (url, node) = (graph.url(), database.address().to_string());
    let here = vec![("OMNISTREAM__META__GRAPH_URL", &*url)];
    let there = [here.clone(), cluster(Some(&node))].concat();
    let program = Program::start(from.path(), &here).await;
    let desk = busy(&program).await;
    let before = desk.sight().await;
    stop(program).await;
    let file = from.path().join("grows.export");
    run(from.path(), &here, &["export", "--to", text(&file)]).await.unwrap();
    run(from.path(), &there, &["import", "--from", text(&file)]).await.unwrap();
    let mut program = Program::start(from.path(), &there).await;
    desk.moved_to(&program);
    assert_eq!(desk.sight().await, before);
    desk.finds(0, "first-2").await;
    write(&desk, "second").await;

    let back = from.path().join("back.export");
    let export = ["export", "--to", text(&back)];
    let refused = run(from.path(), &there, &export).await.unwrap_err();
    assert!(refused.contains("another process serves"), "{refused}");
    program.kill();
    let refused = run(from.path(), &there, &export).await.unwrap_err();
    assert!(refused.contains("did not end in order"), "{refused}");
    let program = Program::start(from.path(), &there).await;
    desk.moved_to(&program);
    let after = desk.sight().await;
    stop(program).await;
    run(from.path(), &there, &export).await.unwrap();
    run(to.path(), &here, &["import", "--from", text(&back)]).await.unwrap();
    let program = Program::start(to.path(), &here).await;
    desk.moved_to(&program);
    assert_eq!(desk.sight().await, after);
    write(&desk, "third").await;
}

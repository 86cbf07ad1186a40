//! A store that is moved to another backend answers as it did.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use engine::time::Timestamp;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::Signal;
use simulator::{Cassandra, CommitLog, Graph, GraphOptions};
use storage::embedded::{Embedded, Options};
use storage::memory::Now;
use storage::moving;

use super::desk::Desk;
use super::program::{Program, begin, cluster, output, run};
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

/// Each customer writes at length: an export is longer than what is on its way in a pipe.
async fn write_much(desk: &Desk) {
    for n in 0..30 {
        for customer in 0..CUSTOMERS {
            let post = writes(customer, &format!("{n} {}", "long ".repeat(140)), None);
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
async fn begin_here(path: &Path, file: &[u8]) {
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

    begin_here(&to.path().join("data"), &bytes).await;
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
    // The one before may have been killed before it came to the index of what was there.
    assert!(!to.path().join("data/search").exists());
    let program = Program::start(to.path(), &env).await;
    desk.moved_to(&program);
    assert_eq!(desk.sight().await, after);
}

/// An import into the store of these settings that is killed in the middle: its file is a pipe, and of what
/// comes when it is read again only a half does.
async fn killed(directory: &Path, env: &[(&str, &str)], file: &[u8]) {
    // What a pipe holds by itself is less than that half: who has given it has been heard.
    assert!(file.len() > 2 * 64 * 1024 + 4096, "{} bytes", file.len());
    let [pipe, next] = ["pipe", "next"].map(|name| directory.join(name));
    for pipe in [&pipe, &next] {
        mknodat(CWD, pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    }
    let mut importing = begin(directory, env, &["import", "--from", text(&pipe)]);
    let (file, path) = (file.to_owned(), pipe.clone());
    let (tell, given) = tokio::sync::oneshot::channel();
    // Where nobody reads it waits for ever.
    std::thread::spawn(move || {
        let open = || File::options().write(true).open(&path).unwrap();
        // It is checked whole before anything is begun.
        let mut whole = open();
        whole.write_all(&file).unwrap();
        std::fs::rename(next, &path).unwrap();
        drop(whole);
        let mut half = open();
        half.write_all(&file[..file.len() / 2]).unwrap();
        tell.send(half).unwrap();
    });
    let _half = tokio::time::timeout(PATIENCE, given).await.expect("it reads").unwrap();
    importing.kill().unwrap();
    assert_eq!(importing.wait().unwrap().code(), None, "it did not end by itself");
    std::fs::remove_file(pipe).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_to_standard_output_is_one_like_others_and_an_import_that_is_killed_is_ended_by_the_next()
 {
    let [from, to] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let options = GraphOptions { app_secret: SECRET.to_owned(), ..GraphOptions::default() };
    let graph = Graph::start(options).await.unwrap();
    let url = graph.url();
    let env = [("OMNISTREAM__META__GRAPH_URL", &*url)];
    let program = Program::start(from.path(), &env).await;
    let desk = busy(&program).await;
    write_much(&desk).await;
    let before = desk.sight().await;
    let to_stdout = ["export", "--to", "-"];
    let refused = output(from.path(), &env, &to_stdout).await;
    assert!(!refused.status.success() && refused.stdout.is_empty(), "it is in use");
    stop(program).await;
    let exported = output(from.path(), &env, &to_stdout).await;
    let said = String::from_utf8(exported.stderr).unwrap();
    assert!(exported.status.success() && said.contains("rows of"), "{said}");
    assert!(!from.path().join("-").exists());

    killed(to.path(), &env, &exported.stdout).await;
    let refused = run(to.path(), &env, &["serve"]).await.unwrap_err();
    assert!(refused.contains("not finished"), "{refused}");
    let file = to.path().join("whole.export");
    std::fs::write(&file, &exported.stdout).unwrap();
    run(to.path(), &env, &["import", "--from", text(&file)]).await.unwrap();
    let program = Program::start(to.path(), &env).await;
    desk.moved_to(&program);
    assert_eq!(desk.sight().await, before);
    desk.finds(0, "first-2").await;
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
    write_much(&desk).await;
    let before = desk.sight().await;
    stop(program).await;
    let file = from.path().join("grows.export");
    run(from.path(), &here, &["export", "--to", text(&file)]).await.unwrap();
    killed(from.path(), &there, &std::fs::read(&file).unwrap()).await;
    let refused = run(from.path(), &there, &["serve"]).await.unwrap_err();
    assert!(refused.contains("not finished"), "{refused}");
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

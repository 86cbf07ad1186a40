//! Files in a bucket: what was acknowledged is there after a kill, and nothing else.

use simulator::{Bucket, BucketOptions, Graph, GraphOptions};

use super::desk::Desk;
use super::program::Program;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_kill_breaks_off_on_its_way_into_a_bucket_is_aborted_by_the_next_start() {
    let bucket = Bucket::start(BucketOptions::default()).await.unwrap();
    let graph = Graph::start(GraphOptions::default()).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (options, provider, address) = (bucket.options(), graph.url(), bucket.url());
    let env = [
        ("OMNISTREAM__META__GRAPH_URL", &*provider),
        ("OMNISTREAM__STORAGE__S3__BUCKET", &options.name),
        ("OMNISTREAM__STORAGE__S3__ENDPOINT", &address),
        ("OMNISTREAM__STORAGE__S3__ALLOW_HTTP", "true"),
        ("OMNISTREAM__STORAGE__S3__ACCESS_KEY_ID", &options.access_key_id),
        ("OMNISTREAM__STORAGE__S3__SECRET_ACCESS_KEY", &options.secret_access_key),
    ];
    let start = async || Program::start(directory.path(), &env).await;
    let mut program = start().await;
    let desk = Desk::found(&program).await;
    let bytes: Vec<u8> = b"\x89PNG\r\n\x1a\n".repeat(750_000);
    let kept = desk.bring("one", &bytes).await.unwrap().expect("it is taken");
    let half = (desk.clone(), bytes.clone());
    let bringing = tokio::spawn(async move { half.0.begin_to_bring(&half.1).await });
    bucket.until(|held| held.uploads.values().any(|upload| upload.parts.len() == 1)).await;
    program.kill();
    bringing.await.unwrap();
    let program = start().await;
    let held = bucket.held();
    assert_eq!((held.uploads.len(), held.objects.len()), (0, 1), "{:?}", held.requests);
    desk.moved_to(&program);
    assert!(desk.file(&kept).await == bytes);
}

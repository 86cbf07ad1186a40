//! Where files lie: the same is true of them in a directory and in a bucket; and what a bucket that is
//! not there costs.

use std::sync::Arc;
use std::time::Duration;

use config::Config;
use serde_json::json;
use simulator::{Bucket, BucketOptions, GraphOptions, Held, Mood};

use crate::caller::Answer;
use crate::files::{PNG, beside, is_stored, until};
use crate::harness::{Org, RUNTIME, Server, eventually, graph, unique};
use crate::media::read;

/// Where the files of a test lie.
pub(crate) enum Place {
    Directory,
    Bucket(Bucket),
}

/// Each of these tests with files in a directory and in a bucket.
macro_rules! wherever {
    ($($test:ident)*) => {
        mod in_a_directory {
            $(
                #[tokio::test]
                async fn $test() {
                    super::$test($crate::places::Place::Directory).await;
                }
            )*
        }
        mod in_a_bucket {
            $(
                #[tokio::test]
                async fn $test() {
                    super::$test($crate::places::Place::bucket().await).await;
                }
            )*
        }
    };
}
pub(crate) use wherever;

impl Place {
    /// A new one.
    pub(crate) async fn bucket() -> Self {
        let bucket = RUNTIME.spawn(Bucket::start(BucketOptions::default())).await;
        Self::Bucket(bucket.unwrap().unwrap())
    }

    /// Settings of a server whose files lie there.
    pub(crate) fn set(&self, config: &mut Config) {
        let Self::Bucket(bucket) = self else { return };
        let options = bucket.options().clone();
        let s3 = &mut config.storage.s3;
        s3.bucket = Some(options.name);
        s3.endpoint = Some(bucket.url());
        s3.access_key_id = Some(options.access_key_id);
        s3.secret_access_key = Some(options.secret_access_key.into());
        s3.allow_http = true;
    }

    /// A server of its own.
    pub(crate) async fn server(&self, differ: impl FnOnce(&mut Config)) -> Arc<Server> {
        Server::start(|config| {
            self.set(config);
            differ(config);
        })
        .await
    }

    /// The same with a provider that behaves like this, and an organization.
    pub(crate) async fn beside(&self, options: GraphOptions) -> (Arc<Server>, Org) {
        beside(options, |config| self.set(config)).await
    }

    /// An organization, perhaps beside others.
    pub(crate) async fn org(&self) -> Org {
        match self {
            Self::Directory => Org::found().await,
            Self::Bucket(_) => Org::on(&self.server(|_| {}).await).await,
        }
    }

    /// How many files lie there, whole or not.
    pub(crate) fn stored(&self, server: &Server) -> usize {
        match self {
            Self::Directory => stored(&server.config.storage.path.join("media")),
            Self::Bucket(bucket) => bucket.held().objects.len() + bucket.held().uploads.len(),
        }
    }
}

fn stored(directory: &std::path::Path) -> usize {
    let entries = std::fs::read_dir(directory).into_iter().flatten();
    let count = |path: std::path::PathBuf| if path.is_dir() { stored(&path) } else { 1 };
    entries.map(|entry| count(entry.unwrap().path())).sum()
}

/// A bucket, and a server that does not wait for it for long.
async fn hasty() -> (Bucket, Arc<Server>, Org) {
    let place = Place::bucket().await;
    let hasty = |config: &mut Config| {
        place.set(config);
        config.storage.s3.request_timeout = Duration::from_millis(300);
    };
    let (server, org) = beside(graph(), hasty).await;
    let Place::Bucket(bucket) = place else { unreachable!("it was made") };
    (bucket, server, org)
}

#[tokio::test]
async fn a_bucket_that_does_not_answer_or_cannot_costs_files_and_nothing_else() {
    let (bucket, _server, org) = hasty().await;
    let file = org.admin.brings("a.png", "image/png", PNG).await.is(201);
    for mood in [Mood::Silent, Mood::Busy] {
        bucket.set_mood(mood);
        for _ in 0..2 {
            let refused = org.admin.brings("b.png", "image/png", PNG).await;
            assert!(!refused.text.contains("files") && !refused.text.contains("S3"));
            refused.refused(503, "unavailable");
            read(&org.admin, &file, &[]).await.refused(503, "unavailable");
        }
        let id = org.hears(&unique("1555"), "Hello").await;
        let path = format!("/api/conversations/{id}/messages");
        org.admin.post(&path, json!({"text": "Hello"})).await.is(201);
        bucket.set_mood(Mood::Well);
        let brings = async || org.admin.brings("b.png", "image/png", PNG).await;
        eventually(async || (brings().await.status == 201).then_some(())).await;
        assert_eq!(read(&org.admin, &file, &[]).await.bytes, PNG);
    }
}

#[tokio::test]
async fn a_customer_s_file_comes_when_the_bucket_is_there_again() {
    let (bucket, server, org) = hasty().await;
    bucket.set_mood(Mood::Silent);
    let (picture, phone) = (server.graph.add_medium("image/png", PNG.to_vec()), unique("1555"));
    org.gets(&unique("wamid."), &phone, "image", json!({"id": picture})).await;
    // The trial of the start, and two tries that get no answer.
    let writes =
        |held: &Held| held.requests.iter().filter(|asked| asked.starts_with("PUT")).count();
    bucket.until(|held| writes(held) == 3).await;
    bucket.set_mood(Mood::Well);
    let shown = until(&org, &phone, is_stored).await;
    let path = format!("/api/media/{}", shown[0]["attachments"][0]["media_id"].as_str().unwrap());
    assert_eq!(Answer::of(org.admin.request(reqwest::Method::GET, &path)).await.bytes, PNG);
}

/// Whether a server starts with these settings beside those of a bucket: its own words if not.
async fn starts(place: &Place, differ: impl FnOnce(&mut Config)) -> Result<(), String> {
    let directory = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    config.server.listen = ([127, 0, 0, 1], 0).into();
    config.metrics.listen = ([127, 0, 0, 1], 0).into();
    config.storage.path = directory.path().join("data");
    place.set(&mut config);
    differ(&mut config);
    let server = RUNTIME.spawn(api::server::Server::start(config)).await.unwrap();
    let server = server.map_err(|error| error.to_string())?;
    RUNTIME.spawn(server.stop()).await.unwrap();
    Ok(())
}

#[tokio::test]
async fn a_start_refuses_a_bucket_that_refuses_it_and_goes_on_without_one_that_is_not_there() {
    let place = Place::bucket().await;
    starts(&place, |_| {}).await.unwrap();
    let wrong = starts(&place, |config| config.storage.s3.access_key_id = Some("x".into())).await;
    assert!(wrong.unwrap_err().contains("InvalidAccessKeyId"));
    let secret = "another secret".to_owned();
    let secret_is = |config: &mut Config| config.storage.s3.secret_access_key = Some(secret.into());
    let wrong = starts(&place, secret_is).await.unwrap_err();
    assert!(
        wrong.contains("storage.s3.secret_access_key") && !wrong.contains("another"),
        "{wrong}"
    );
    let wrong = starts(&place, |config| config.storage.s3.bucket = Some("other".into())).await;
    assert!(wrong.unwrap_err().contains("there is no bucket `other`"));
    // A port that was free a moment ago may be another test's by now.
    let nobody = Some("http://127.0.0.1:1".to_owned());
    starts(&place, |config| config.storage.s3.endpoint = nobody).await.unwrap();
}

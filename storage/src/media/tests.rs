//! What a stop leaves of files, whenever it comes and wherever their bytes lie; and how a bucket is
//! spoken to.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use engine::id::{AccountId, AgentId, MediaId, TenantId};
use engine::media::{Medium, Origin};
use engine::time::Timestamp;
use futures_util::TryStreamExt;
use simulator::{Bucket, Held, Mood};
use tempfile::TempDir;
use uuid::Uuid;

use super::bucket::LARGE_BYTES;
use super::objects::Objects;
use super::{BucketOptions, Draft, Incoming, Loose, Media, MediaLimits, NotReached, NotStored};
use crate::error::StoreError;
use crate::faulty::{Call, Fate, Faulty};
use crate::memory::Memory;
use crate::port::{Stamp, Store};

const TENANT: TenantId = TenantId(Uuid::from_u128(1));
/// The largest file: a bucket takes it in three parts.
const MOST: usize = 12_000_000;
const LIMITS: MediaLimits = MediaLimits { tenant: 2 * MOST as u64, reserve: 0 };
static STAMPS: AtomicI64 = AtomicI64::new(1);

/// Where bytes lie, over restarts.
enum Place {
    Directory(TempDir),
    Bucket(Bucket),
}

impl Place {
    fn directory() -> Self {
        Self::Directory(tempfile::tempdir().unwrap())
    }

    async fn bucket() -> Self {
        Self::Bucket(Bucket::start(simulator::BucketOptions::default()).await.unwrap())
    }

    fn open(&self, store: &Arc<dyn Store>) -> Media {
        let stamp = || Stamp(STAMPS.fetch_add(1, Ordering::Relaxed));
        let opened = match self {
            Self::Directory(directory) => {
                Media::local(store.clone(), directory.path(), LIMITS, stamp)
            }
            Self::Bucket(bucket) => Media::in_bucket(store.clone(), of(bucket), LIMITS, stamp),
        };
        opened.unwrap()
    }

    /// What lies there, finished or not.
    fn files(&self) -> usize {
        match self {
            Self::Directory(directory) => files(directory.path()),
            Self::Bucket(bucket) => bucket.held().objects.len() + bucket.held().uploads.len(),
        }
    }

    /// In the background it comes to so many.
    async fn comes_to(&self, so_many: usize) {
        while self.files() != so_many {
            tokio::task::yield_now().await;
        }
    }
}

/// How this bucket is spoken to.
fn of(bucket: &Bucket) -> BucketOptions {
    let simulator::BucketOptions { name, region, access_key_id, secret_access_key, .. } =
        bucket.options().clone();
    BucketOptions {
        name,
        endpoint: Some(bucket.url()),
        region,
        prefix: Some("desk/files".to_owned()),
        access_key_id,
        secret_access_key,
        allow_http: true,
        timeout: Duration::from_secs(60),
        retries: 0,
    }
}

fn in_bucket(options: BucketOptions) -> Media {
    let stamp = || Stamp(STAMPS.fetch_add(1, Ordering::Relaxed));
    Media::in_bucket(store(), options, LIMITS, stamp).unwrap()
}

fn store() -> Arc<dyn Store> {
    Arc::new(Memory::new(Arc::new(|| Timestamp(0))))
}

/// The same, of whose writes the nth and all later ones end like this.
fn ends(store: &Arc<dyn Store>, nth: usize, fate: Fate) -> Arc<dyn Store> {
    let mut writes = 0;
    let decide = move |call: &Call<'_>| {
        writes += usize::from(matches!(call, Call::Write(_)));
        if writes < nth { Fate::Done } else { fate }
    };
    Arc::new(Faulty::new(store.clone(), decide))
}

async fn coming(media: &Media, n: u128, bytes: &[u8]) -> Incoming {
    let mut incoming = media.begin(TENANT, Uuid::from_u128(n), MOST as u64).await.unwrap();
    incoming.write(bytes).await.unwrap();
    incoming
}

fn draft(n: u128) -> Draft {
    Draft {
        id: MediaId(Uuid::from_u128(n)),
        mime_type: "text/plain".to_owned(),
        filename: None,
        origin: Origin::Uploaded { by: AgentId(Uuid::from_u128(9)) },
        at: Timestamp(5),
    }
}

async fn read(media: &Media, medium: &Medium) -> Vec<u8> {
    part(media, medium, 0..medium.size).await
}

async fn part(media: &Media, medium: &Medium, range: std::ops::Range<u64>) -> Vec<u8> {
    let mut stream = media.read(medium, range).await.unwrap();
    let mut all = Vec::new();
    while let Some(piece) = stream.try_next().await.unwrap() {
        all.extend_from_slice(&piece);
    }
    all
}

fn files(directory: &Path) -> usize {
    let entries = std::fs::read_dir(directory).into_iter().flatten();
    let count = |path: std::path::PathBuf| if path.is_dir() { files(&path) } else { 1 };
    entries.map(|entry| count(entry.unwrap().path())).sum()
}

async fn a_file_is_read_as_it_came_and_counted_until_it_is_removed(place: Place) {
    let store = store();
    let media = place.open(&store);
    let bytes = b"0123456789abcdef0".repeat(MOST / 17);
    let medium = coming(&media, 1, &bytes).await.keep(draft(2)).await.unwrap();
    assert_eq!(medium.size, bytes.len() as u64);
    assert_eq!(media.bytes(TENANT).await.unwrap(), medium.size);
    assert_eq!(media.get(TENANT, medium.id).await.unwrap(), Some(medium.clone()));
    assert_eq!(media.get(TenantId(Uuid::from_u128(2)), medium.id).await.unwrap(), None);
    assert!(read(&media, &medium).await == bytes);
    let (first, last) = (5_242_878, 5_242_883);
    let some = part(&media, &medium, first as u64..last as u64).await;
    assert_eq!(some, &bytes[first..last], "from one part to the next");
    let small = coming(&media, 3, b"small").await.keep(draft(3)).await.unwrap();
    let none = media.begin(TENANT, Uuid::from_u128(4), 0).await.unwrap();
    let none = none.keep(draft(4)).await.unwrap();
    let media = place.open(&store);
    assert_eq!(media.settle().await.unwrap(), (0, 0));
    assert!(read(&media, &medium).await == bytes);
    assert_eq!(read(&media, &small).await, b"small");
    assert_eq!(read(&media, &none).await, b"");
    for medium in [&medium, &small, &none] {
        media.remove(medium).await.unwrap();
        media.remove(medium).await.unwrap();
    }
    assert_eq!((place.files(), media.bytes(TENANT).await.unwrap()), (0, 0));
    assert_eq!(media.get(TENANT, medium.id).await.unwrap(), None);
}

async fn what_is_too_large_or_has_no_room_leaves_nothing(place: Place) {
    let media = place.open(&store());
    let mut large = coming(&media, 1, &vec![0; MOST]).await;
    assert!(matches!(large.write(b"x").await, Err(NotStored::TooLarge)));
    drop(large);
    place.comes_to(0).await;
    let one = coming(&media, 2, &vec![0; MOST]).await;
    let two = coming(&media, 3, &vec![1; MOST]).await;
    let three = coming(&media, 4, &[2; 1]).await;
    one.keep(draft(2)).await.unwrap();
    two.keep(draft(3)).await.unwrap();
    assert!(matches!(three.keep(draft(4)).await, Err(NotStored::Full)));
    assert!(matches!(media.begin(TENANT, Uuid::from_u128(5), 1).await, Err(NotStored::Full)));
    assert_eq!(place.files(), 2);
}

async fn a_start_keeps_what_has_a_row_and_sweeps_what_has_none(place: Place) {
    let store = store();
    let media = place.open(&store);
    // The process ended in the middle of the bytes,
    std::mem::forget(coming(&media, 1, &vec![7; MOST]).await);
    // before the row,
    let lost = place.open(&ends(&store, 2, Fate::Lost));
    assert!(coming(&lost, 2, b"no row").await.keep(draft(2)).await.is_err());
    // and between the row and word that nothing is to be looked at, where these are not one.
    let torn = place.open(&ends(&store, 2, Fate::Torn(2)));
    assert!(coming(&torn, 3, b"kept").await.keep(draft(3)).await.is_err());
    assert_eq!(place.files(), 3);
    let media = place.open(&store);
    assert_eq!(media.settle().await.unwrap(), (1, 2));
    assert_eq!(place.files(), 1);
    let medium = media.get(TENANT, draft(3).id).await.unwrap().unwrap();
    assert_eq!(read(&media, &medium).await, b"kept");
    assert_eq!(media.settle().await.unwrap(), (0, 0));
}

async fn a_file_is_written_down_once_before_it_comes_and_then_its_row(place: Place) {
    let (store, writes) = (store(), Arc::new(AtomicI64::new(0)));
    let counted = writes.clone();
    let count = move |call: &Call<'_>| {
        counted.fetch_add(i64::from(matches!(call, Call::Write(_))), Ordering::Relaxed);
        Fate::Done
    };
    let media = place.open(&(Arc::new(Faulty::new(store, count).promising_as_below()) as _));
    for (n, bytes) in [(1, 5), (2, MOST)] {
        writes.store(0, Ordering::Relaxed);
        let bytes = vec![7; bytes];
        let medium = coming(&media, n, &bytes).await.keep(draft(n)).await.unwrap();
        assert_eq!(read(&media, &medium).await, bytes);
        assert_eq!(writes.load(Ordering::Relaxed), 2, "{} bytes", bytes.len());
    }
}

async fn a_large_file_is_there_whatever_became_of_its_row(place: Place) {
    for (nth, fate, is_there) in [
        (3, Fate::Torn(2), true),
        (3, Fate::Torn(1), false),
        (3, Fate::Applied, true),
        (4, Fate::Lost, true),
    ] {
        let store = store();
        let media = place.open(&ends(&store, nth, fate));
        let large = vec![7; MOST];
        assert!(coming(&media, 1, &large).await.keep(draft(1)).await.is_err());
        let media = place.open(&store);
        media.settle().await.unwrap();
        let medium = media.get(TENANT, draft(1).id).await.unwrap();
        assert_eq!((medium.is_some(), place.files()), (is_there, usize::from(is_there)));
        if let Some(medium) = medium {
            assert_eq!(read(&media, &medium).await, large, "{fate:?}");
            media.remove(&medium).await.unwrap();
        }
    }
}

async fn a_file_whose_keeper_left_while_its_row_was_written_is_there(place: Place) {
    let store = store();
    let (stepped, mut writes) = Faulty::stepped(store.clone());
    let media = place.open(&(Arc::new(stepped) as Arc<dyn Store>));
    let keeping = tokio::spawn(async move {
        coming(&media, 1, b"kept").await.keep(draft(1)).await.unwrap();
    });
    writes.next().await.unwrap().meet(Fate::Done).await;
    let row = writes.next().await.unwrap();
    keeping.abort();
    assert!(keeping.await.unwrap_err().is_cancelled());
    row.meet(Fate::Done).await;
    let media = place.open(&store);
    media.settle().await.unwrap();
    let medium = media.get(TENANT, draft(1).id).await.unwrap().unwrap();
    assert_eq!(read(&media, &medium).await, b"kept");
}

async fn a_row_that_lands_after_its_bytes_are_gone_names_no_file(place: Place) {
    let mut writes = 0;
    let decide = move |call: &Call<'_>| {
        let is_write = matches!(call, Call::Write(_));
        writes += usize::from(is_write);
        if is_write && writes == 2 { Fate::Late(usize::MAX) } else { Fate::Done }
    };
    let faulty = Arc::new(Faulty::new(store(), decide));
    let store: Arc<dyn Store> = faulty.clone();
    assert!(coming(&place.open(&store), 1, b"kept").await.keep(draft(1)).await.is_err());
    let media = place.open(&store);
    assert_eq!(media.settle().await.unwrap(), (0, 1));
    assert_eq!(faulty.land().await, 1);
    assert_eq!(media.get(TENANT, draft(1).id).await.unwrap(), None);
    assert_eq!(place.open(&store).bytes(TENANT).await.unwrap(), 0);
    let again = coming(&media, 2, b"kept").await.keep(draft(1)).await.unwrap();
    assert_eq!(read(&media, &again).await, b"kept");
    assert_eq!((place.files(), media.settle().await.unwrap()), (1, (0, 0)));
}

async fn of_a_file_that_was_being_removed_nothing_stays_or_all_does(place: Place) {
    for (nth, fate, left) in [
        (4, Fate::Applied, 1),
        (4, Fate::Lost, 1),
        (5, Fate::Applied, 0),
        (5, Fate::Lost, 1),
        (5, Fate::Torn(1), 0),
        (5, Fate::Behind(1), 1),
    ] {
        let store = store();
        // The process ends when it is written down that its bytes go, or when its row goes, which is so
        // or not.
        let media = place.open(&ends(&store, nth, fate));
        let medium = coming(&media, 1, b"kept").await.keep(draft(1)).await.unwrap();
        assert!(media.remove(&medium).await.is_err());
        let media = place.open(&store);
        media.settle().await.unwrap();
        assert_eq!(place.files(), left);
        if left == 1 {
            assert_eq!(read(&media, &medium).await, b"kept");
            let shard = medium.id.0.as_bytes()[15];
            let loose = media.loose(shard, Timestamp(i64::MAX), None, 9).await.unwrap();
            assert_eq!(loose.len(), 1, "it is looked at again: {nth} {fate:?}");
        }
    }
}

async fn the_same_file_under_the_same_id_is_kept_once_and_another_is_refused(place: Place) {
    let media = place.open(&store());
    let one = coming(&media, 1, b"one").await.keep(draft(1)).await.unwrap();
    let again = coming(&media, 2, b"one").await.keep(draft(1)).await.unwrap();
    assert_eq!(one, again);
    let other = coming(&media, 3, b"two").await.keep(draft(1)).await;
    assert!(matches!(other, Err(NotStored::Taken)));
    assert_eq!((place.files(), media.bytes(TENANT).await.unwrap()), (1, 3));
}

async fn what_is_lent_is_read_and_goes(place: Place) {
    let media = place.open(&store());
    for is_told in [true, false] {
        let lent = coming(&media, 1, b"lent").await.lend().await.unwrap();
        let all: Vec<_> = lent.read().await.unwrap().try_collect().await.unwrap();
        assert_eq!((all.concat(), place.files()), (b"lent".to_vec(), 1));
        if is_told {
            lent.discard().await;
            assert_eq!(place.files(), 0);
        }
    }
    place.comes_to(0).await;
}

/// Each of these tests with files in a directory and in a bucket.
macro_rules! wherever {
    ($($test:ident)*) => {
        mod in_a_directory {
            $(#[tokio::test] async fn $test() { super::$test(super::Place::directory()).await; })*
        }
        mod in_a_bucket {
            $(#[tokio::test] async fn $test() { super::$test(super::Place::bucket().await).await; })*
        }
    };
}

wherever! {
    a_file_is_read_as_it_came_and_counted_until_it_is_removed
    what_is_too_large_or_has_no_room_leaves_nothing
    a_start_keeps_what_has_a_row_and_sweeps_what_has_none
    a_file_is_written_down_once_before_it_comes_and_then_its_row
    a_large_file_is_there_whatever_became_of_its_row
    a_file_whose_keeper_left_while_its_row_was_written_is_there
    a_row_that_lands_after_its_bytes_are_gone_names_no_file
    of_a_file_that_was_being_removed_nothing_stays_or_all_does
    the_same_file_under_the_same_id_is_kept_once_and_another_is_refused
    what_is_lent_is_read_and_goes
}

#[tokio::test]
async fn what_an_older_program_left_is_taken_up() {
    let (store, directory) = (store(), tempfile::tempdir().unwrap());
    let stamp = || Stamp(STAMPS.fetch_add(1, Ordering::Relaxed));
    let media = Media::local(store, directory.path(), LIMITS, stamp).unwrap();
    let medium = coming(&media, 1, b"kept").await.keep(draft(1)).await.unwrap();
    let (object, tenant) = (medium.object.to_string(), TENANT.to_string());
    let incoming = directory.path().join("incoming").join(&tenant);
    let unplaced = incoming.join(medium.id.to_string()).join(&object);
    let orphan = incoming.join(Uuid::from_u128(7).to_string()).join(Uuid::nil().to_string());
    let arriving = directory.path().join("arriving").join(&tenant);
    for path in [unplaced.parent().unwrap(), orphan.parent().unwrap(), &arriving] {
        std::fs::create_dir_all(path).unwrap();
    }
    std::fs::rename(directory.path().join(&tenant).join("01").join(&object), &unplaced).unwrap();
    std::fs::write(orphan, "no row").unwrap();
    std::fs::write(arriving.join(Uuid::from_u128(9).to_string()), "no name").unwrap();
    std::fs::write(arriving.join(format!("{}#1", Uuid::from_u128(10))), "half").unwrap();
    assert_eq!(media.settle().await.unwrap(), (1, 1));
    assert_eq!(files(directory.path()), 1);
    assert_eq!(read(&media, &medium).await, b"kept");
    assert_eq!(media.settle().await.unwrap(), (0, 0));
}

#[tokio::test]
async fn what_left_a_folder_is_looked_at_until_no_power_cut_brings_it_back() {
    let (store, directory) = (store(), tempfile::tempdir().unwrap());
    let stamp = || Stamp(STAMPS.fetch_add(1, Ordering::Relaxed));
    // It is of use behind the removal alone.
    let fails = |folder: &Path| match files(folder) {
        0 => Err(io::Error::other("the disk is gone")),
        _ => Ok(()),
    };
    let objects = Objects::local(directory.path(), fails).unwrap();
    let media = Media::of(store.clone(), objects, LIMITS, Box::new(stamp));
    let removed = coming(&media, 1, b"removed").await.keep(draft(1)).await.unwrap();
    let lent = coming(&media, 2, b"lent").await.lend().await.unwrap();
    media.remove(&removed).await.unwrap();
    lent.discard().await;
    assert_eq!(files(directory.path()), 0);
    // The power is cut.
    let name = media.0.objects.name(TENANT, removed.object);
    std::fs::write(directory.path().join(name.as_ref()), "removed").unwrap();
    let media = Media::local(store, directory.path(), LIMITS, stamp).unwrap();
    assert_eq!(media.settle().await.unwrap(), (0, 2));
    assert_eq!(files(directory.path()), 0);
    assert_eq!(media.settle().await.unwrap(), (0, 0));
}

#[tokio::test]
async fn what_is_removed_where_no_folder_is_any_more_is_gone() {
    let (store, place) = (store(), Place::directory());
    let media = place.open(&store);
    let medium = coming(&media, 1, b"removed").await.keep(draft(1)).await.unwrap();
    let Place::Directory(directory) = &place else { unreachable!() };
    std::fs::remove_dir_all(directory.path().join(TENANT.to_string())).unwrap();
    media.remove(&medium).await.unwrap();
    assert_eq!(place.open(&store).settle().await.unwrap(), (0, 0));
}

#[tokio::test]
async fn a_bucket_is_asked_once_for_a_small_file_in_parts_for_a_large_one_and_for_ranges() {
    let Place::Bucket(bucket) = Place::bucket().await else { unreachable!() };
    let media = in_bucket(of(&bucket));
    let small = coming(&media, 1, b"small").await.keep(draft(1)).await.unwrap();
    let name = format!("desk/files/{TENANT}/01/{}", small.object);
    assert_eq!(bucket.held().requests, [format!("PUT {name}")]);
    part(&media, &small, 1..3).await;
    assert_eq!(bucket.held().requests[1..], [format!("GET {name} bytes=1-2")]);
    media.remove(&small).await.unwrap();
    assert_eq!(bucket.held().requests[2..], [format!("DELETE {name}")]);
    let large = coming(&media, 2, &vec![1; MOST]).await.keep(draft(2)).await.unwrap();
    let name = format!("desk/files/{TENANT}/02/{}", large.object);
    let methods = ["POST", "PUT", "PUT", "PUT", "POST"];
    assert_eq!(bucket.held().requests[3..], methods.map(|method| format!("{method} {name}")));
}

#[tokio::test]
async fn what_is_given_up_is_aborted_and_after_a_kill_by_the_next_start() {
    let (store, place) = (store(), Place::bucket().await);
    let Place::Bucket(bucket) = &place else { unreachable!() };
    let media = place.open(&store);
    let begun = |held: &Held| held.uploads.values().map(|upload| upload.parts.len()).sum::<usize>();
    let given_up = coming(&media, 1, &vec![1; MOST]).await;
    assert_eq!(begun(&bucket.held()), 2);
    drop(given_up);
    bucket.until(|held| held.uploads.is_empty()).await;
    std::mem::forget(coming(&media, 2, &vec![1; MOST]).await);
    // A start that finds nobody leaves it to the next one.
    bucket.set_mood(Mood::Busy);
    assert_eq!(place.open(&store).settle().await.unwrap(), (0, 0));
    bucket.set_mood(Mood::Well);
    assert_eq!(begun(&bucket.held()), 2);
    assert_eq!(place.open(&store).settle().await.unwrap(), (0, 1));
    assert_eq!(place.files(), 0);
}

#[tokio::test]
async fn a_bucket_that_does_not_answer_is_not_waited_for_by_everybody() {
    let Place::Bucket(bucket) = Place::bucket().await else { unreachable!() };
    let media = in_bucket(BucketOptions { timeout: Duration::from_secs(1), ..of(&bucket) });
    let failed = async |n| match coming(&media, n, b"x").await.keep(draft(n)).await {
        Err(NotStored::Store(StoreError::Unavailable(cause))) => cause.0,
        other => panic!("{other:?}"),
    };
    bucket.set_mood(Mood::Silent);
    assert!(failed(1).await.contains("failed"));
    assert!(failed(2).await.contains("just now"));
    assert_eq!(bucket.held().requests.len(), 1);
    bucket.set_mood(Mood::Well);
    while coming(&media, 3, b"x").await.keep(draft(3)).await.is_err() {
        tokio::task::yield_now().await;
    }
    // One that answers is asked, whatever it says, and again where that may help.
    let media = in_bucket(BucketOptions { retries: 2, ..of(&bucket) });
    let before = bucket.held().requests.len();
    bucket.set_mood(Mood::Busy);
    for n in 4..6 {
        assert!(coming(&media, n, b"x").await.keep(draft(n)).await.is_err());
    }
    assert!(bucket.held().requests.len() >= before + 6);
}

#[tokio::test]
async fn what_is_large_may_be_on_its_way_for_longer_than_a_bucket_may_be_silent() {
    let Place::Bucket(bucket) = Place::bucket().await else { unreachable!() };
    let media = in_bucket(BucketOptions { timeout: Duration::from_secs(1), ..of(&bucket) });
    bucket.set_mood(Mood::Silent);
    let large = coming(&media, 1, &vec![7; LARGE_BYTES + 1]).await;
    let keeping = tokio::spawn(large.keep(draft(1)));
    bucket.until(|held| held.requests.len() == 1).await;
    assert!(coming(&media, 2, b"x").await.keep(draft(2)).await.is_err(), "as long as that takes");
    bucket.set_mood(Mood::Well);
    assert_eq!(keeping.await.unwrap().unwrap().size, LARGE_BYTES as u64 + 1);
    // It was there all the while.
    coming(&media, 3, b"x").await.keep(draft(3)).await.unwrap();
}

#[tokio::test]
async fn why_a_bucket_takes_no_files_is_one_sentence_without_the_secret() {
    let Place::Bucket(bucket) = Place::bucket().await else { unreachable!() };
    let options = || BucketOptions { timeout: Duration::from_secs(2), ..of(&bucket) };
    in_bucket(options()).reach().await.unwrap();
    assert!(bucket.held().objects.is_empty());
    let no = || "none".to_owned();
    let closed = "127.0.0.1:1";
    for (options, named) in [
        (BucketOptions { name: no(), ..options() }, "NoSuchBucket"),
        (BucketOptions { access_key_id: no(), ..options() }, "InvalidAccessKeyId"),
        (BucketOptions { secret_access_key: no(), ..options() }, "SignatureDoesNotMatch"),
        (BucketOptions { region: no(), ..options() }, "AuthorizationHeaderMalformed"),
    ] {
        let Err(NotReached::Refused(said)) = in_bucket(options).reach().await else {
            panic!("{named} is not refused")
        };
        assert!(said.contains(named) && !said.contains("a secret"), "{said}");
    }
    let gone = BucketOptions { endpoint: Some(format!("http://{closed}")), ..options() };
    let http = BucketOptions { allow_http: false, ..options() };
    for media in [in_bucket(gone), in_bucket(http), in_bucket(options())] {
        bucket.set_mood(Mood::Busy);
        let Err(NotReached::Silent(said)) = media.reach().await else { panic!("it is there") };
        assert!(said.contains("cannot be reached") && said.lines().count() == 1, "{said}");
    }
}

#[tokio::test]
async fn a_file_is_loose_from_when_it_is_kept_until_somebody_has_looked() {
    let place = Place::directory();
    let media = place.open(&store());
    // Of one shard: an id's last byte.
    let ids = [0x107, 0x207, 0x307];
    for (n, id) in ids.into_iter().enumerate() {
        let at = Timestamp(n as i64);
        let draft = Draft { at, ..draft(id) };
        coming(&media, id, b"loose").await.keep(draft).await.unwrap();
    }
    let origin = Origin::Mailed { account: AccountId(Uuid::from_u128(1)), mail: "m".to_owned() };
    let mailed = Draft { origin, ..draft(0x407) };
    coming(&media, 0x407, b"of a mail").await.keep(mailed).await.unwrap();
    let loose = async |before, behind: Option<&Loose>, limit| {
        media.loose(7, Timestamp(before), behind, limit).await.unwrap()
    };
    let all = loose(100, None, 100).await;
    assert_eq!(all.iter().map(|one| one.medium.0.as_u128()).collect::<Vec<_>>(), ids);
    assert_eq!(loose(2, None, 100).await, all[..2], "it is not time for the last");
    assert_eq!(loose(100, None, 1).await, all[..1]);
    assert_eq!(loose(100, Some(&all[0]), 100).await, all[1..]);
    let looks = media.look();
    // Something happens to one of them meanwhile.
    media.apply(vec![all[0].put()]).await.unwrap();
    media.looked_at(&all[..2], looks).await.unwrap();
    assert_eq!(loose(100, None, 100).await, [all[0], all[2]]);
    assert_eq!(media.loose(8, Timestamp(100), None, 100).await.unwrap(), []);
    let medium = media.get(TENANT, all[2].medium).await.unwrap().unwrap();
    media.apply(vec![Loose::of_deleted(TENANT, medium.id).put()]).await.unwrap();
    media.remove(&medium).await.unwrap();
    assert_eq!(loose(100, None, 100).await, all[..1], "nothing is left of what is gone");
}

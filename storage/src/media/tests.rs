//! What a stop leaves of files, whenever it comes.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use engine::id::{AccountId, AgentId, MediaId, TenantId};
use engine::media::{Medium, Origin};
use engine::time::Timestamp;
use futures_util::TryStreamExt;
use uuid::Uuid;

use super::{Draft, Incoming, Loose, Media, MediaLimits, NotStored};
use crate::faulty::{Call, Fate, Faulty};
use crate::memory::Memory;
use crate::port::{Stamp, Store};

const TENANT: TenantId = TenantId(Uuid::from_u128(1));
const LIMITS: MediaLimits = MediaLimits { tenant: 1_000_000, reserve: 0 };

fn open(store: &Arc<dyn Store>, directory: &Path) -> Media {
    let next = AtomicI64::new(1);
    let stamp = move || Stamp(next.fetch_add(1, Ordering::Relaxed));
    Media::local(store.clone(), directory, LIMITS, stamp).unwrap()
}

fn store() -> Arc<dyn Store> {
    Arc::new(Memory::new(Arc::new(|| Timestamp(0))))
}

async fn coming(media: &Media, n: u128, bytes: &[u8]) -> Incoming {
    let mut incoming = media.begin(TENANT, Uuid::from_u128(n), 500_000).await.unwrap();
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
    let stream = media.read(medium, 0..medium.size).await.unwrap();
    stream.try_fold(Vec::new(), async |all, piece| Ok([&all[..], &piece].concat())).await.unwrap()
}

fn files(directory: &Path) -> usize {
    let entries = std::fs::read_dir(directory).into_iter().flatten();
    let count = |path: std::path::PathBuf| if path.is_dir() { files(&path) } else { 1 };
    entries.map(|entry| count(entry.unwrap().path())).sum()
}

#[tokio::test]
async fn a_file_is_read_as_it_came_and_counted_until_it_is_removed() {
    let (store, directory) = (store(), tempfile::tempdir().unwrap());
    let media = open(&store, directory.path());
    let bytes = b"0123456789".repeat(40_000);
    let medium = coming(&media, 1, &bytes).await.keep(draft(2)).await.unwrap();
    assert_eq!((medium.size, media.bytes(TENANT).await.unwrap()), (400_000, 400_000));
    assert_eq!(media.get(TENANT, medium.id).await.unwrap(), Some(medium.clone()));
    assert_eq!(media.get(TenantId(Uuid::from_u128(2)), medium.id).await.unwrap(), None);
    assert!(read(&media, &medium).await == bytes);
    assert!(read(&open(&store, directory.path()), &medium).await == bytes);
    media.remove(&medium).await.unwrap();
    assert_eq!((files(directory.path()), media.bytes(TENANT).await.unwrap()), (0, 0));
    assert_eq!(media.get(TENANT, medium.id).await.unwrap(), None);
}

#[tokio::test]
async fn what_is_too_large_or_has_no_room_leaves_nothing() {
    let (store, directory) = (store(), tempfile::tempdir().unwrap());
    let media = open(&store, directory.path());
    let mut large = coming(&media, 1, &[0; 500_000]).await;
    assert!(matches!(large.write(b"x").await, Err(NotStored::TooLarge)));
    drop(large);
    let one = coming(&media, 2, &[0; 500_000]).await;
    let two = coming(&media, 3, &[1; 500_000]).await;
    let three = coming(&media, 4, &[2; 1]).await;
    one.keep(draft(2)).await.unwrap();
    two.keep(draft(3)).await.unwrap();
    assert!(matches!(three.keep(draft(4)).await, Err(NotStored::Full)));
    assert!(matches!(media.begin(TENANT, Uuid::from_u128(5), 1).await, Err(NotStored::Full)));
    // The file that was given up goes in the background.
    while files(directory.path()) > 2 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_start_takes_up_what_has_a_row_and_sweeps_what_has_none() {
    let (store, directory) = (store(), tempfile::tempdir().unwrap());
    let media = open(&store, directory.path());
    // The process ended between the row and the place where it belongs,
    let medium = coming(&media, 1, b"kept").await.keep(draft(1)).await.unwrap();
    let incoming = directory.path().join("incoming").join(TENANT.to_string());
    let placed =
        directory.path().join(TENANT.to_string()).join("01").join(medium.object.to_string());
    let unplaced = incoming.join(medium.id.to_string()).join(medium.object.to_string());
    std::fs::create_dir_all(unplaced.parent().unwrap()).unwrap();
    std::fs::rename(&placed, &unplaced).unwrap();
    assert_eq!(read(&media, &medium).await, b"kept", "it is read there, too");
    // before the row, before the name that leads to it, and in the middle of the bytes.
    let orphan = incoming.join(Uuid::from_u128(7).to_string());
    std::fs::create_dir_all(&orphan).unwrap();
    std::fs::write(orphan.join(Uuid::from_u128(8).to_string()), "no row").unwrap();
    let arriving = directory.path().join("arriving").join(TENANT.to_string());
    std::fs::create_dir_all(&arriving).unwrap();
    std::fs::write(arriving.join(Uuid::from_u128(9).to_string()), "no name").unwrap();
    std::fs::write(arriving.join(format!("{}#1", Uuid::from_u128(10))), "half").unwrap();
    let media = open(&store, directory.path());
    assert_eq!(media.settle().await.unwrap(), (1, 2));
    assert_eq!(files(directory.path()), 1);
    assert!(placed.exists());
    assert_eq!(read(&media, &medium).await, b"kept");
    assert_eq!(media.settle().await.unwrap(), (0, 0));
}

#[tokio::test]
async fn of_a_file_that_was_being_removed_nothing_stays_or_all_does() {
    for (fate, left) in [(Fate::Applied, 0), (Fate::Lost, 1)] {
        let (store, directory) = (store(), tempfile::tempdir().unwrap());
        // It comes, and the process ends when its row goes, which is so or not.
        let mut writes = 0;
        let decide = move |call: &Call<'_>| {
            writes += usize::from(matches!(call, Call::Write(_)));
            if writes < 2 { Fate::Done } else { fate }
        };
        let ends: Arc<dyn Store> = Arc::new(Faulty::new(store.clone(), decide));
        let media = open(&ends, directory.path());
        let medium = coming(&media, 1, b"kept").await.keep(draft(1)).await.unwrap();
        assert!(media.remove(&medium).await.is_err());
        let media = open(&store, directory.path());
        media.settle().await.unwrap();
        assert_eq!(files(directory.path()), left);
        if left == 1 {
            assert_eq!(read(&media, &medium).await, b"kept");
        }
    }
}

#[tokio::test]
async fn the_same_file_under_the_same_id_is_kept_once_and_another_is_refused() {
    let (store, directory) = (store(), tempfile::tempdir().unwrap());
    let media = open(&store, directory.path());
    let one = coming(&media, 1, b"one").await.keep(draft(1)).await.unwrap();
    let again = coming(&media, 2, b"one").await.keep(draft(1)).await.unwrap();
    assert_eq!(one, again);
    let other = coming(&media, 3, b"two").await.keep(draft(1)).await;
    assert!(matches!(other, Err(NotStored::Taken)));
    assert_eq!((files(directory.path()), media.bytes(TENANT).await.unwrap()), (1, 3));
}

#[tokio::test]
async fn a_file_is_loose_from_when_it_is_kept_until_somebody_has_looked() {
    let (store, directory) = (store(), tempfile::tempdir().unwrap());
    let media = open(&store, directory.path());
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
    media.looked_at(&all[1]).await.unwrap();
    assert_eq!(loose(100, None, 100).await, [all[0], all[2]]);
    assert_eq!(media.loose(8, Timestamp(100), None, 100).await.unwrap(), []);
}

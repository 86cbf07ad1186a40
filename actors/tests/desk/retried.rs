//! Dead letters that are tried again: what is understood by now is taken, once.

use std::sync::atomic::{AtomicUsize, Ordering};

use actors::letters::NotRetried;
use engine::channel::Inbound;
use futures_util::future::join_all;
use storage::dead_letters::Source;
use tokio::task::yield_now;

use crate::bench::{TENANT, account};
use crate::poison::{bench, letters, message, retry_with, said, takes};

#[tokio::test(start_paused = true)]
async fn what_was_not_understood_is_taken_once_it_is_and_stays_with_its_reason_until_then() {
    let bench = bench().await;
    let (reason, raw) = ("it is odd".to_owned(), "{\"odd\": true}".to_owned());
    takes(&bench, vec![Inbound::Dead { reason, raw: raw.clone() }]).await;
    let letter = letters(&bench).await.remove(0);
    assert_eq!((letter.source, &*letter.reason), (Source::Decode, "it is odd"));
    let dead = |reason: &str| Inbound::Dead { reason: reason.to_owned(), raw: String::new() };
    let half = |_: &str| vec![message("1", "understood"), dead("half of it is odd")];
    let account = account();
    let still = retry_with(&bench, &letter, Some(&account), half).await.unwrap();
    assert_eq!((still.attempts, &*still.reason, &still.raw), (1, "half of it is odd", &raw));
    assert_eq!(letters(&bench).await, std::slice::from_ref(&still));
    let gone = retry_with(&bench, &still, None, |_| Vec::new()).await.unwrap();
    assert_eq!(gone.reason, "its channel account is not there any more");
    let all = |_: &str| vec![message("1", "understood"), message("1", "now")];
    assert_eq!(retry_with(&bench, &gone, Some(&account), all).await, None);
    assert_eq!(said(&bench, "1").await.0, ["understood", "now"]);
    assert_eq!(letters(&bench).await, []);
}

#[tokio::test(start_paused = true)]
async fn of_those_who_retry_a_letter_at_once_one_does_it_and_the_others_are_told() {
    let bench = bench().await;
    let (reason, raw) = ("it is odd".to_owned(), "{\"odd\": true}".to_owned());
    takes(&bench, vec![Inbound::Dead { reason, raw }]).await;
    let letter = letters(&bench).await.remove(0);
    let (account, tried) = (account(), AtomicUsize::new(0));
    let all_try = async |understood: bool| {
        join_all((0..8).map(async |_| {
            let retrying = bench.desk.take_up(TENANT, letter.id).await?;
            // The store of tests answers at once: here the others come in between.
            yield_now().await;
            let decode = |_: &str| {
                tried.fetch_add(1, Ordering::Relaxed);
                let (reason, raw) = ("still odd".to_owned(), String::new());
                let item = message("1", "once");
                vec![if understood { item } else { Inbound::Dead { reason, raw } }]
            };
            Ok::<_, NotRetried>(bench.desk.retry(retrying, Some(&account), decode).await.unwrap())
        }))
        .await
    };
    for understood in [false, true] {
        let answers = all_try(understood).await;
        let done: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().ok()).collect();
        assert_eq!(done.len(), 1, "{answers:?}");
        assert_eq!(done[0].as_ref().map(|still| still.attempts), (!understood).then_some(1));
        let told = |answer: &Result<_, _>| matches!(answer, Err(NotRetried::UnderWay));
        assert_eq!(answers.iter().filter(|answer| told(answer)).count(), 7, "{answers:?}");
    }
    assert_eq!(tried.load(Ordering::Relaxed), 2);
    assert!(matches!(bench.desk.take_up(TENANT, letter.id).await, Err(NotRetried::Gone)));
    assert_eq!(said(&bench, "1").await.0, ["once"]);
}

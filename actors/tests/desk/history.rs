//! History is imported beside everything else, so many webhooks at once.

use actors::failure::{Failure, Full};
use engine::channel::{Import, Imported};
use engine::fact::ConversationStatus;
use engine::message::{Content, MessageStatus};
use engine::time::Timestamp;

use crate::bench::{Bench, account, phone};

fn part(digits: &str, ids: std::ops::Range<usize>) -> Import {
    let past = |n: usize| Imported {
        provider_id: format!("{digits}-{n}"),
        sent_at: Some(Timestamp::from_secs(1_780_000_000 + i64::try_from(n).unwrap())),
        is_ours: n % 2 == 1,
        author: None,
        status: MessageStatus::Read,
        content: Content::text(n.to_string()),
        reply_to: None,
        forwarded: false,
    };
    Import { customer: vec![phone(digits)], phase: Some(0), messages: ids.map(past).collect() }
}

#[tokio::test(start_paused = true)]
async fn one_webhook_with_history_too_many_is_delivered_again() {
    let bench = Bench::new().await;
    let ingress = bench.desk.ingress();
    let account = account();
    let parts = |digits| vec![part(digits, 0..64), part(digits, 64..100)];
    let (first, second) =
        tokio::join!(ingress.import(&account, parts("1")), ingress.import(&account, parts("2")),);
    first.unwrap();
    let Err(Failure::Busy { full, .. }) = second else { panic!("{second:?}") };
    assert_eq!(full, Full::Imports);
    for _ in 0..2 {
        ingress.import(&account, parts("2")).await.unwrap();
    }
    for contact in bench.contacts().await {
        let ids = bench.conversations().of_contact(contact.id, None, 10).await.unwrap();
        let [id] = ids[..] else { panic!("{ids:?}") };
        let head = bench.conversations().head(id).await.unwrap().unwrap();
        assert_eq!((head.messages, head.unread), (100, 0));
        assert_eq!(head.status, ConversationStatus::Resolved);
    }
    assert_eq!((bench.contacts().await.len(), bench.open().await.len()), (2, 0));
}

//! History is imported beside everything else, so many webhooks at once.

use std::collections::HashSet;
use std::sync::Arc;

use actors::clock::Clock;
use actors::failure::{Failure, Full};
use engine::channel::{Import, Imported};
use engine::fact::ConversationStatus;
use engine::message::{Content, MessageStatus};
use engine::time::Timestamp;
use storage::faulty::{Fate, Faulty};
use storage::memory::Memory;

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
    handed_over(&Bench::new().await).await;
}

#[tokio::test(start_paused = true)]
async fn all_of_it_is_kept_where_heads_are_written_now_and_then() {
    let clock = Clock::standing_at(Timestamp(1_790_000_000_000));
    let memory = Arc::new(Memory::new(Arc::new(|| Timestamp(1_790_000_000_000))));
    let store = Faulty::new(memory, |_| Fate::Done);
    handed_over(&Bench::over(Arc::new(store), clock).await).await;
}

async fn handed_over(bench: &Bench) {
    let ingress = bench.desk.ingress();
    let account = account();
    let parts = |digits| {
        [0..64, 64..100, 100..150].into_iter().map(|ids| part(digits, ids)).collect::<Vec<_>>()
    };
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
        assert_eq!((head.messages, head.unread), (150, 0));
        let rows = bench.conversations().messages(&head, (u64::MAX, 0), 1_000).await.unwrap();
        let texts: HashSet<_> = rows.iter().map(|row| row.message.text.as_deref()).collect();
        assert_eq!((rows.len(), texts.len()), (150, 150), "none took another one's place");
        assert_eq!(head.status, ConversationStatus::Resolved);
    }
    assert_eq!((bench.contacts().await.len(), bench.open().await.len()), (2, 0));
}

//! First messages, duplicates, restarts, identities.

use engine::channel::Handle;
use engine::conversation::{Command, Refused};
use engine::id::TenantId;
use engine::permission::Viewer;
use proptest::prelude::*;
use uuid::Uuid;

use crate::bench::{Bench, TENANT, account, account_of, admin, block_on, bsuid, phone, says};

async fn deliver(bench: &Bench, times: usize, count: usize) {
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..times {
        for n in 0..count {
            let desk = bench.desk.clone();
            all.spawn(async move {
                let item = says(vec![phone("15550001")], &format!("m{n}"), &format!("text {n}"));
                desk.ingest(&account(), vec![item]).await
            });
        }
    }
    for answer in all.join_all().await {
        answer.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn two_hundred_first_messages_at_once_make_one_contact_and_one_conversation() {
    let mut bench = Bench::new().await;
    for round in 0..3 {
        if round == 2 {
            bench.restart().await;
        }
        deliver(&bench, if round == 1 { 3 } else { 1 }, 200).await;
        let (contacts, open) = (bench.contacts().await, bench.open().await);
        assert_eq!((contacts.len(), open.len()), (1, 1), "round {round}");
        assert_eq!(contacts[0].name.as_deref(), Some("Ines"));
        assert_eq!(open[0].messages, 200, "round {round}");
        assert_eq!(open[0].unread, 200);
        assert_eq!(open[0].contact_name.as_deref(), Some("Ines"));
        assert_eq!(open[0].contact_phone.as_deref(), Some("15550001"));
        let mut texts = bench.texts(open[0].id).await;
        texts.sort();
        texts.dedup();
        assert_eq!(texts.len(), 200);
    }
}

#[tokio::test(start_paused = true)]
async fn items_of_one_webhook_keep_their_order() {
    let bench = Bench::new().await;
    let items =
        (0..150).map(|n| says(vec![phone("1")], &format!("m{n}"), &n.to_string())).collect();
    bench.desk.ingest(&account(), items).await.unwrap();
    let open = bench.open().await;
    let wanted: Vec<_> = (0..150).map(|n| n.to_string()).collect();
    assert_eq!(bench.texts(open[0].id).await, wanted);
    let commits = bench.heard.commits.lock().unwrap();
    let seqs: Vec<_> =
        commits.iter().flat_map(|c| c.commit.numbered().map(|(seq, _)| seq)).collect();
    assert_eq!(seqs, (1..=151).collect::<Vec<_>>(), "facts are heard without a gap");
}

#[tokio::test(start_paused = true)]
async fn a_webhook_with_more_items_than_may_be_under_way_waits_for_its_own() {
    let bench = Bench::new().await;
    let items = (0..2_500).map(|n| says(vec![phone("1")], &format!("m{n}"), "hello")).collect();
    bench.desk.ingest(&account(), items).await.unwrap();
    assert_eq!(bench.open().await[0].messages, 2_500);
}

#[tokio::test(start_paused = true)]
async fn an_idle_thread_leaves_memory_and_comes_back_as_it_was() {
    let bench = Bench::new().await;
    deliver(&bench, 1, 5).await;
    assert_eq!(bench.desk.actors(), 2, "the thread and its contact");
    bench.desk.emptied().await;
    deliver(&bench, 1, 6).await;
    let open = bench.open().await;
    assert_eq!((open.len(), open[0].messages), (1, 6));
}

#[tokio::test(start_paused = true)]
async fn more_customers_than_fit_into_memory_are_all_served() {
    let bench = Bench::new().await;
    for round in 0..3 {
        for n in 0..200 {
            let item = says(vec![phone(&n.to_string())], &format!("m{n}-{round}"), "hello");
            bench.desk.ingest(&account(), vec![item]).await.unwrap();
        }
        // Each look is a turn of everybody; no time passes, so that nobody leaves by being idle.
        let mut looks = 0;
        while bench.desk.actors() > 100 {
            looks += 1;
            assert!(looks < 1_000, "too many actors stay in memory");
            tokio::task::yield_now().await;
        }
    }
    let open = bench.open().await;
    assert_eq!(open.len(), 200);
    assert!(open.iter().all(|head| head.messages == 3 && head.seq >= 3));
}

#[tokio::test(start_paused = true)]
async fn another_tenants_conversation_is_not_found() {
    let bench = Bench::new().await;
    deliver(&bench, 1, 1).await;
    let id = bench.open().await[0].id;
    assert!(bench.desk.ask(admin(), id, None, Command::Look).await.is_ok());
    let stranger = Viewer { tenant: TenantId(Uuid::from_u128(9)), ..admin() };
    let refused = bench.desk.ask(stranger, id, None, Command::Look).await.unwrap_err();
    assert_eq!(refused.to_string(), Refused::NotFound.to_string());
}

#[tokio::test(start_paused = true)]
async fn one_phone_number_on_two_accounts_is_one_contact_in_two_conversations() {
    let bench = Bench::new().await;
    for n in [2, 3] {
        let item = says(vec![phone("1")], "m1", "hello");
        bench.desk.ingest(&account_of(TENANT, n), vec![item]).await.unwrap();
    }
    assert_eq!((bench.contacts().await.len(), bench.open().await.len()), (1, 2));
}

/// What a customer's payloads name it by: phone, business-scoped id, or both.
fn handles(which: usize) -> Vec<Handle> {
    match which {
        0 => vec![phone("15550001")],
        1 => vec![bsuid("b-1")],
        _ => vec![bsuid("b-1"), phone("15550001")],
    }
}

/// Delivers payloads, those of one step at once, and last the one that names both.
async fn meet(steps: &[Vec<usize>]) {
    let bench = Bench::new().await;
    let mut n = 0;
    for step in steps.iter().chain([&vec![2]]) {
        let mut all = tokio::task::JoinSet::new();
        for which in step {
            n += 1;
            let (desk, item) = (bench.desk.clone(), says(handles(*which), &format!("m{n}"), "x"));
            all.spawn(async move { desk.ingest(&account(), vec![item]).await });
        }
        for answer in all.join_all().await {
            answer.unwrap();
        }
    }
    let (made, open) = (bench.made().await, bench.open().await);
    assert_eq!((made.len(), open.len()), (1, 1), "{steps:?}");
    let contact = &bench.contacts().await[0];
    assert_eq!(contact.identities.len(), 2, "{steps:?}");
    assert_eq!(open[0].contact, contact.id);
    let all = bench.conversations().of_contact(contact.id, None, 100).await.unwrap();
    assert!(all.contains(&open[0].id));
}

#[tokio::test(start_paused = true)]
async fn handles_that_prove_to_be_one_customer_end_in_one_open_conversation() {
    for steps in [
        vec![vec![0], vec![1]],
        vec![vec![1], vec![0]],
        vec![vec![2]],
        vec![vec![0, 1]],
        vec![vec![0, 1, 2]],
        vec![vec![2, 1, 0, 2]],
        vec![vec![0, 2], vec![1]],
    ] {
        meet(&steps).await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn whatever_races_one_customer_is_one_contact_with_one_open_conversation(
        steps in prop::collection::vec(prop::collection::vec(0_usize..3, 1..5), 1..4)
    ) {
        block_on(meet(&steps));
    }
}

//! Acknowledged means durable: the real program is killed at seeded moments, started again on the
//! same directory, and compared with a ledger of what it had acknowledged.

#[cfg(test)]
mod program;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};
    use serde_json::{Value, json};

    use super::program::{Desk, Followed, Program};

    const KILLS: u32 = 20;
    const CUSTOMERS: usize = 8;

    /// What was acknowledged, by customer, in order.
    #[derive(Clone, Default)]
    struct Ledger {
        received: BTreeMap<usize, Vec<String>>,
        said: BTreeMap<usize, Vec<String>>,
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn nothing_acknowledged_is_lost_or_doubled_however_often_the_program_is_killed() {
        let seed = std::env::vars()
            .find(|(name, _)| name == "CRASH_SEED")
            .and_then(|(_, seed)| seed.parse().ok())
            .unwrap_or_else(|| u64::from(std::process::id()));
        eprintln!("CRASH_SEED={seed}");
        let mut random = StdRng::seed_from_u64(seed);
        let directory = tempfile::tempdir().unwrap();
        let ledger = Arc::new(Mutex::new(Ledger::default()));
        let mut program = Program::start(directory.path()).await;
        let desk = Desk::found(&program).await;
        let mut followed: Vec<_> = (0..CUSTOMERS).map(|_| Followed::default()).collect();
        for kill in 0..KILLS {
            let moment = Duration::from_millis(random.random_range(5..400));
            let mut writers = tokio::task::JoinSet::new();
            for customer in 0..CUSTOMERS {
                let (ledger, desk) = (ledger.clone(), desk.clone());
                writers.spawn(async move { write(&desk, customer, kill, &ledger).await });
            }
            tokio::time::sleep(moment).await;
            program.kill();
            writers.join_all().await;
            program = Program::start(directory.path()).await;
            desk.moved_to(&program);
            let known = ledger.lock().unwrap().clone();
            compare(&desk, &known.received, &known.said).await;
            for newest in known.received.values().filter_map(|texts| texts.last()) {
                desk.finds(newest).await;
            }
            for (customer, followed) in followed.iter_mut().enumerate() {
                desk.resume(customer, followed).await;
                // How far a reply got goes on meanwhile.
                let lasting = |message: &Value| {
                    ["seq", "id", "direction", "text"].map(|name| message[name].clone())
                };
                let oldest = followed.oldest;
                let told = followed.messages.range(oldest..);
                let told: Vec<_> = told.map(|(_, message)| lasting(message)).collect();
                let listed = desk.messages(customer).await.unwrap_or_default();
                let newer = |message: &&Value| message["seq"].as_u64() >= Some(oldest);
                let listed: Vec<_> = listed.iter().filter(newer).map(lasting).collect();
                assert!(told == listed, "customer {customer}: {} told", told.len());
            }
        }
        let known = ledger.lock().unwrap().clone();
        let total: usize = known.received.values().map(Vec::len).sum();
        let said: usize = known.said.values().map(Vec::len).sum();
        eprintln!("{total} webhooks and {said} replies were acknowledged over {KILLS} kills");
        assert!(total > 100 && said > 0, "the program was given time to acknowledge something");
    }

    /// Writes until the program does not answer any more; each message is delivered again until it
    /// is acknowledged or the program is gone.
    async fn write(desk: &Desk, customer: usize, kill: u32, ledger: &Mutex<Ledger>) {
        for n in 0.. {
            let text = format!("{customer}-{kill}-{n}");
            match desk.deliver(customer, &format!("wamid.{text}"), &text).await {
                Some(true) => {
                    let mut ledger = ledger.lock().unwrap();
                    ledger.received.entry(customer).or_default().push(text.clone());
                }
                Some(false) => {}
                None => return,
            }
            if n % 5 == 4 {
                let reply = format!("reply {text}");
                match desk.say(customer, &reply).await {
                    Some(true) => {
                        let mut ledger = ledger.lock().unwrap();
                        ledger.said.entry(customer).or_default().push(reply);
                    }
                    Some(false) => {}
                    None => return,
                }
            }
        }
    }

    /// What was acknowledged is there once and in order; facts are numbered without a hole.
    async fn compare(
        desk: &Desk,
        received: &BTreeMap<usize, Vec<String>>,
        said: &BTreeMap<usize, Vec<String>>,
    ) {
        for customer in 0..CUSTOMERS {
            let Some(messages) = desk.messages(customer).await else {
                assert!(!received.contains_key(&customer), "customer {customer} is lost");
                continue;
            };
            let seqs: Vec<_> = messages.iter().map(|message| message["seq"].as_u64()).collect();
            assert!(seqs.is_sorted_by(|one, two| one < two), "{seqs:?}");
            for (direction, wanted) in [("inbound", received), ("outbound", said)] {
                let of = |message: &&Value| message["direction"] == direction;
                let texts: Vec<_> =
                    messages.iter().filter(of).map(|message| &message["text"]).collect();
                let mut found = texts.iter();
                for text in wanted.get(&customer).into_iter().flatten() {
                    let times = texts.iter().filter(|found| **found == &json!(text)).count();
                    assert_eq!(times, 1, "customer {customer}: {text} in {texts:?}");
                    assert!(found.any(|found| *found == &json!(text)), "{text} is out of order");
                }
            }
        }
    }
}

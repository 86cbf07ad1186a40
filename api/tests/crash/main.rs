//! Acknowledged means durable: the real program is killed at seeded moments, started again on the
//! same directory, and compared with a ledger of what it had acknowledged, of all channels and files.

#[cfg(test)]
mod bucket;
#[cfg(test)]
mod desk;
#[cfg(test)]
mod encryption;
#[cfg(test)]
mod moving;
#[cfg(test)]
mod program;
#[cfg(test)]
mod scarce;
#[cfg(test)]
mod standby;
#[cfg(test)]
mod starts;
#[cfg(test)]
mod world;

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::path::Path;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};
    use serde_json::Value;
    use simulator::{
        Cassandra, CommitLog, Graph, GraphOptions, MailServer, MailServerOptions, Wire, WireFaults,
    };

    use super::desk::{Desk, Followed};
    use super::program::{Program, cluster};
    use super::world::{Channel, SECRET, echoes, handle, picture, shown, writes};

    const KILLS: u32 = 20;
    /// Longer than anything that is awaited takes.
    const PATIENCE: Duration = Duration::from_secs(60);
    const CUSTOMERS: usize = 8;
    /// Whoever is refused comes again after a while.
    const REFUSED: Duration = Duration::from_millis(50);
    /// Every so many messages of a customer somebody answers; another one shows a file, and another is
    /// followed by an answer from the channel's own inbox.
    const ANSWERED: u32 = 5;

    /// What was acknowledged, by customer, in order; and files, by what was brought.
    #[derive(Clone, Default)]
    struct Ledger {
        received: BTreeMap<usize, Vec<String>>,
        said: BTreeMap<usize, Vec<String>>,
        echoed: BTreeMap<usize, Vec<String>>,
        brought: BTreeMap<String, String>,
    }

    /// Something that was on its way when the program was killed.
    enum Open {
        Written(String),
        Echoed(String),
        Said(String),
    }

    type Shared = Arc<Mutex<Ledger>>;

    async fn provider() -> Arc<Graph> {
        let options = GraphOptions { app_secret: SECRET.to_owned(), ..GraphOptions::default() };
        Arc::new(Graph::start(options).await.unwrap())
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn nothing_acknowledged_is_lost_or_doubled_however_often_the_program_is_killed() {
        is_killed(KILLS, None).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn nor_in_a_cluster_that_is_killed_too() {
        let Some(database) = Cassandra::own_for_test(CommitLog::Batch).await else { return };
        is_killed(KILLS / 2, Some(database)).await;
    }

    /// The program is killed so often, over its directory or this database; and every other time the
    /// database before it.
    async fn is_killed(kills: u32, mut database: Option<Cassandra>) {
        let seed = std::env::vars()
            .find(|(name, _)| name == "CRASH_SEED")
            .and_then(|(_, seed)| seed.parse().ok())
            .unwrap_or_else(|| u64::from(std::process::id()));
        eprintln!("CRASH_SEED={seed}");
        let mut random = StdRng::seed_from_u64(seed);
        let directory = tempfile::tempdir().unwrap();
        let (ledger, graph) = (Shared::default(), provider().await);
        let mail = MailServer::start(MailServerOptions::default()).await.unwrap();
        let (graph_url, mail_server) = (graph.url(), mail.address().to_string());
        let wire = match &database {
            Some(database) => Some(Wire::start(database.address()).await.unwrap()),
            None => None,
        };
        let node = wire.as_ref().map(|wire| wire.address().to_string());
        let mut env = vec![
            ("OMNISTREAM__META__GRAPH_URL", &*graph_url),
            ("OMNISTREAM__MAIL__PRIVATE_SERVERS", &*mail_server),
        ];
        env.extend(cluster(node.as_deref()));
        let start = async || Program::start(directory.path(), &env).await;
        let mut program = start().await;
        let desk = Desk::found(&program).await;
        for channel in Channel::ALL {
            desk.connect(&channel.account(&mail.url())).await;
        }
        let mut followed: Vec<_> = (0..CUSTOMERS).map(|_| Followed::default()).collect();
        // Less is done in a while where each commit is several writes to a cluster.
        let longest = if database.is_some() { 1_600 } else { 400 };
        for kill in 0..kills {
            // What becomes of our sends is told to whoever runs.
            graph.deliver_to(&format!("{}/webhook", program.url));
            let moment = Duration::from_millis(random.random_range(5..longest));
            let mut writers = tokio::task::JoinSet::new();
            for customer in 0..CUSTOMERS {
                let (ledger, desk, graph) = (ledger.clone(), desk.clone(), graph.clone());
                let writing = async move {
                    let open = write(&desk, &graph, customer, kill, &ledger).await;
                    (customer, open)
                };
                writers.spawn(writing);
            }
            let bringing = tokio::spawn(bring(desk.clone(), kill, ledger.clone()));
            tokio::time::sleep(moment).await;
            if let Some(database) = database.as_mut().filter(|_| kill % 2 == 0) {
                database.kill().await;
                // Refused, and not acknowledged.
                program.is(503).await;
                database.restart().await.unwrap();
                program.is(200).await;
                tokio::time::sleep(moment).await;
            } else if let Some(wire) = &wire {
                // It is done, and nobody hears of it.
                wire.set_faults(WireFaults { lose_answers: true, ..WireFaults::default() });
                wire.lost_when(wire.lost() + 5).await;
                wire.set_faults(WireFaults::default());
                tokio::time::sleep(moment).await;
            }
            program.kill();
            let open = writers.join_all().await;
            let unbrought = bringing.await.unwrap();
            program = start().await;
            desk.moved_to(&program);
            // Whoever had no answer comes again: it may have been taken.
            for (customer, open) in open {
                again(&desk, &graph, customer, open, &ledger).await;
            }
            let id = desk.bring(&unbrought, &picture(&unbrought)).await.unwrap().unwrap();
            ledger.lock().unwrap().brought.insert(unbrought, id);
            let known = ledger.lock().unwrap().clone();
            compare(&desk, &known).await;
            for (customer, texts) in &known.received {
                if let Some(newest) = texts.last() {
                    desk.finds(*customer, newest).await;
                }
            }
            for (customer, followed) in followed.iter_mut().enumerate() {
                is_followed(&desk, customer, followed).await;
            }
        }
        let known = ledger.lock().unwrap().clone();
        files_are_whole(&desk, &known, directory.path()).await;
        is_sent_once(&graph);
        mails_leave_once(&desk, &known, &mail).await;
        let total: usize = known.received.values().map(Vec::len).sum();
        let said: usize = known.said.values().map(Vec::len).sum();
        let brought = known.brought.len();
        eprintln!("{total} webhooks, {said} replies, {brought} files over {kills} kills");
        for channel in Channel::ALL {
            let of = |customer: &usize| Channel::of(*customer) == channel;
            let of = known.received.iter().filter(|(customer, _)| of(customer));
            let count: usize = of.map(|(_, texts)| texts.len()).sum();
            assert!(count > 25, "{channel:?} was given time: {count}");
        }
        assert!(said > 0 && brought > 0, "and so were people at the desk");
    }

    /// Writes until the program does not answer any more; answers what was on its way then.
    async fn write(
        desk: &Desk,
        graph: &Graph,
        customer: usize,
        kill: u32,
        ledger: &Shared,
    ) -> Open {
        for n in 0.. {
            let text = format!("{kill}-{n}");
            // Whoever is refused comes again.
            loop {
                match deliver(desk, graph, customer, &text).await {
                    None => return Open::Written(text),
                    Some(true) => break,
                    Some(false) => tokio::time::sleep(REFUSED).await,
                }
            }
            note(ledger, |ledger| ledger.received.entry(customer).or_default(), &text);
            if let (2, Some(post)) = (n % ANSWERED, echoes(customer, &format!("echo {text}"))) {
                let echo = format!("echo {text}");
                loop {
                    match desk.deliver(&post).await {
                        None => return Open::Echoed(echo),
                        Some(true) => break,
                        Some(false) => tokio::time::sleep(REFUSED).await,
                    }
                }
                note(ledger, |ledger| ledger.echoed.entry(customer).or_default(), &echo);
            }
            if n % ANSWERED == 4 {
                let reply = format!("reply {text}");
                // What was refused may be there all the same: it comes again by its key.
                loop {
                    match desk.say(customer, &reply).await {
                        None => return Open::Said(reply),
                        Some(true) => break,
                        Some(false) => tokio::time::sleep(REFUSED).await,
                    }
                }
                note(ledger, |ledger| ledger.said.entry(customer).or_default(), &reply);
            }
        }
        unreachable!("numbers do not end")
    }

    fn note(ledger: &Shared, of: impl FnOnce(&mut Ledger) -> &mut Vec<String>, text: &str) {
        of(&mut ledger.lock().unwrap()).push(text.to_owned());
    }

    /// Whether a message of a customer shows a file.
    fn shows_a_file(text: &str) -> bool {
        let n: u32 = text.split('-').nth(1).unwrap().parse().unwrap();
        n % ANSWERED == 1
    }

    async fn deliver(desk: &Desk, graph: &Graph, customer: usize, text: &str) -> Option<bool> {
        let file = shows_a_file(text)
            .then(|| shown(graph, customer, picture(&format!("{customer} {text}"))));
        desk.deliver(&writes(customer, text, file.as_deref())).await
    }

    /// Brings files until the program does not answer any more; answers which it was then.
    async fn bring(desk: Desk, kill: u32, ledger: Shared) -> String {
        for n in 0.. {
            let key = format!("file {kill}-{n}");
            // What was refused may be there all the same: it comes again by its key.
            let id = loop {
                match desk.bring(&key, &picture(&key)).await {
                    None => return key,
                    Some(Some(id)) => break id,
                    Some(None) => tokio::time::sleep(REFUSED).await,
                }
            };
            ledger.lock().unwrap().brought.insert(key, id);
        }
        unreachable!("numbers do not end")
    }

    /// What had no answer is tried until it is taken: so much may wait to be sent by then that more
    /// is refused for a while.
    async fn again(desk: &Desk, graph: &Graph, customer: usize, open: Open, ledger: &Shared) {
        let began = tokio::time::Instant::now();
        loop {
            let taken = match &open {
                Open::Written(text) => deliver(desk, graph, customer, text).await,
                Open::Echoed(text) => desk.deliver(&echoes(customer, text).unwrap()).await,
                Open::Said(text) => desk.say(customer, text).await,
            };
            if taken == Some(true) {
                break;
            }
            assert!(began.elapsed() < PATIENCE, "customer {customer}: it is not taken");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let mut ledger = ledger.lock().unwrap();
        let (of, text) = match open {
            Open::Written(text) => (ledger.received.entry(customer), text),
            Open::Echoed(text) => (ledger.echoed.entry(customer), text),
            Open::Said(text) => (ledger.said.entry(customer), text),
        };
        of.or_default().push(text);
    }

    /// What was acknowledged is there once and in order; facts are numbered without a hole.
    async fn compare(desk: &Desk, known: &Ledger) {
        let Ledger { received, said, echoed, .. } = known;
        let mut heard = 0;
        for customer in 0..CUSTOMERS {
            for told in [received, echoed] {
                if let Some(newest) = told.get(&customer).and_then(|texts| texts.last()) {
                    desk.has(customer, newest).await;
                }
            }
            let Some(messages) = desk.messages(customer).await else {
                assert!(!received.contains_key(&customer), "customer {customer} is lost");
                continue;
            };
            heard += 1;
            let seqs: Vec<_> = messages.iter().map(|message| message["seq"].as_u64()).collect();
            assert!(seqs.is_sorted_by(|one, two| one < two), "{seqs:?}");
            // What people say does not wait behind what waits on the disk: each has its own order.
            for (direction, wanted) in
                [("inbound", received), ("outbound", said), ("outbound", echoed)]
            {
                let of = |message: &&Value| message["direction"] == direction;
                let texts: Vec<_> = messages
                    .iter()
                    .filter(of)
                    .filter_map(|message| message["text"].as_str())
                    .collect();
                let mut times = BTreeMap::new();
                for text in &texts {
                    *times.entry(*text).or_insert(0) += 1;
                }
                let mut found = texts.iter();
                for text in wanted.get(&customer).into_iter().flatten() {
                    let times = times.get(text.as_str());
                    assert_eq!(times, Some(&1), "customer {customer}: {text} in {texts:?}");
                    assert!(found.any(|found| *found == text.as_str()), "{text} is out of order");
                }
            }
        }
        assert_eq!(desk.counts().await, (heard, heard), "nobody is there twice");
    }

    /// A client that goes on from where it was is told what is listed.
    async fn is_followed(desk: &Desk, customer: usize, followed: &mut Followed) {
        desk.resume(customer, followed).await;
        // How far a reply got goes on meanwhile.
        let lasting =
            |message: &Value| ["seq", "id", "direction", "text"].map(|name| message[name].clone());
        let oldest = followed.oldest;
        let told = followed.messages.range(oldest..);
        let told: Vec<_> = told.map(|(_, message)| lasting(message)).collect();
        let listed = desk.messages(customer).await.unwrap_or_default();
        let newer = |message: &&Value| message["seq"].as_u64() >= Some(oldest);
        let listed: Vec<_> = listed.iter().filter(newer).map(lasting).collect();
        assert!(told == listed, "customer {customer}: {} told", told.len());
    }

    /// Files that were brought and files that customers show are there with all their bytes, and
    /// nothing else lies where files are.
    async fn files_are_whole(desk: &Desk, known: &Ledger, directory: &Path) {
        let mut ids = BTreeSet::new();
        for (key, id) in &known.brought {
            assert!(desk.file(id).await == picture(key), "{key} is whole");
            ids.insert(id.clone());
        }
        for (customer, texts) in &known.received {
            for text in texts.iter().filter(|text| shows_a_file(text)) {
                let id = fetched(desk, *customer, text).await;
                assert!(desk.file(&id).await == picture(&format!("{customer} {text}")), "{text}");
                assert!(ids.insert(id), "each is a file of its own");
            }
        }
        let stored = || files(&directory.join("data/media"));
        let settled = async {
            while stored() != ids.len() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let settled = tokio::time::timeout(Duration::from_secs(30), settled).await;
        assert!(settled.is_ok(), "{} files of {}", stored(), ids.len());
    }

    /// The file of a message, once it was fetched.
    async fn fetched(desk: &Desk, customer: usize, text: &str) -> String {
        let fetched = async {
            loop {
                let messages = desk.messages(customer).await.unwrap();
                let message = messages.iter().find(|message| message["text"] == text).unwrap();
                let file = &message["attachments"][0];
                assert!(file["error"].is_null(), "{message}");
                if let Some(id) = file["media_id"].as_str() {
                    return id.to_owned();
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), fetched).await.expect("it is fetched")
    }

    /// How many files there are below a directory.
    fn files(directory: &Path) -> usize {
        let entries = std::fs::read_dir(directory).into_iter().flatten();
        entries
            .map(|entry| entry.unwrap().path())
            .map(|path| if path.is_dir() { files(&path) } else { 1 })
            .sum()
    }

    /// Each reply by mail left at most once, and is shown as what became of it: one that is `sent` came
    /// under the id that it is known by. What was on its way at a kill may be `unknown`.
    async fn mails_leave_once(desk: &Desk, known: &Ledger, mail: &MailServer) {
        let is_mail = |customer: &usize| Channel::of(*customer) == Channel::Email;
        let mut replies = BTreeMap::new();
        for (customer, texts) in known.said.iter().filter(|(customer, _)| is_mail(customer)) {
            for text in texts {
                replies
                    .insert((handle(*customer), text.clone()), ended(desk, *customer, text).await);
            }
        }
        let mut came = BTreeMap::new();
        for letter in mail.letters() {
            let raw = String::from_utf8(letter.raw.clone()).unwrap();
            let (_, text) = raw.split_once("\r\n\r\n").unwrap();
            let reply = (letter.to[0].clone(), text.trim().to_owned());
            let id = letter.header("Message-ID").unwrap();
            let before = came.insert(reply.clone(), id);
            assert!(before.is_none(), "{reply:?} came as {before:?} too");
        }
        for (reply, message) in &replies {
            let id = message["provider_message_id"].as_str().map(|id| format!("<{id}>"));
            match message["status"].as_str().unwrap() {
                "sent" => assert_eq!(came.get(reply), id.as_ref(), "{message}"),
                status => assert_eq!((status, id), ("unknown", None), "{message}"),
            }
        }
        let sent = replies.values().filter(|message| message["status"] == "sent").count();
        eprintln!("{sent} of {} replies by mail sent, {} came", replies.len(), came.len());
        assert!(sent > 0, "a kill costs what was on its way, and no more");
        assert!(came.keys().all(|reply| replies.contains_key(reply)), "each that came was said");
    }

    /// A reply, once it is known what became of it.
    async fn ended(desk: &Desk, customer: usize, text: &str) -> Value {
        let ending = async {
            loop {
                let messages = desk.messages(customer).await.unwrap();
                let message = messages.into_iter().find(|message| message["text"] == text);
                let message = message.unwrap();
                if !["queued", "sending"].iter().any(|status| message["status"] == *status) {
                    return message;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), ending).await.expect("it is sent")
    }

    /// The provider got no reply twice, however often the program was killed while it sent.
    fn is_sent_once(graph: &Graph) {
        let mut texts = BTreeSet::new();
        for sent in &graph.sends().sends {
            let said = (sent.to.clone(), sent.text.clone());
            assert!(texts.insert(said), "{} was sent twice: {:?}", sent.to, sent.text);
        }
        assert!(!texts.is_empty(), "something was sent");
    }
}

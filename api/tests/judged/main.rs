//! The load test is to be believed: the real program breaks its word once, and it is found out, with the
//! message; the same program without a fault is not blamed.

#[cfg(test)]
mod tests {
    use std::path::Path;

    use loadtest::result::RunResult;
    use loadtest::scenarios::scenario::{Scenario, Written};
    use loadtest::scenarios::{Plan, Programs, Provider, Subject, play};
    use simulator::{Graph, GraphOptions};

    /// Two customers write, and two agents watch both. (What is delivered once more would be stored
    /// after all.)
    const SCENARIO: &str = r#"
        name = "faults"
        about = "A few customers write, and all of it is watched."
        [people]
        tenants = 1
        customers = 2
        channels = { whatsapp = 1, messenger = 0, instagram = 0, email = 0 }
        [load]
        duplicates = 0
        connections = 4
        [subscribers]
        count = 2
        conversations = 2
        lists = true
        [phases]
        warm_up = 0
        rates = [150]
        seconds = 3
    "#;
    /// What is lost is waited for no longer.
    const SHORT: f64 = 8.0;

    async fn judged(fault: &str, customers: u64) -> RunResult {
        let mut scenario = Scenario::parse(SCENARIO).unwrap();
        scenario.people.customers = customers;
        if fault == "drop" {
            scenario.phases.patience = SHORT;
        }
        if fault == "skip" {
            // As often as sockets can end and come back.
            scenario.subscribers.reconnects = 500.0;
        }
        let scratch = tempfile::tempdir().unwrap();
        let graph = Graph::start(GraphOptions::default()).await.unwrap();
        let programs = Programs {
            server: Path::new(env!("CARGO_BIN_EXE_omnistream")).to_owned(),
            provider: Provider::At(graph.url()),
            scratch: scratch.path().to_owned(),
            environment: vec![("OMNISTREAM_FAULT".to_owned(), fault.to_owned())],
        };
        let written = Written { scenario, text: SCENARIO.to_owned() };
        let result = play(Plan { written, subject: Subject::Own(programs) }, |_| {}).await.unwrap();
        assert!(result.ledger.acknowledged > 400, "{fault}: {:?}", result.ledger);
        assert_eq!(result.is_kept(), fault == "none", "{fault}: {:?}", result.violations);
        result
    }

    /// Whether a violation says this of a message, by its name.
    fn names_a_message(result: &RunResult, how: &str) {
        let is_so = |sentence: &String| sentence.contains("wamid.") && sentence.contains(how);
        assert!(result.violations.iter().any(is_so), "{how}: {:?}", result.violations);
    }

    #[tokio::test]
    async fn a_server_that_breaks_its_word_once_is_found_out_and_one_that_keeps_it_is_not() {
        let (kept, dropped, doubled, swapped, skipped, dropped_first) = tokio::join!(
            judged("none", 2),
            judged("drop", 2),
            judged("double", 2),
            judged("swap", 2),
            judged("skip", 2),
            // It is somebody's first message.
            judged("drop", 300),
        );
        let counts = |result: &RunResult| {
            (result.ledger.lost, result.ledger.doubled, result.ledger.out_of_order)
        };
        assert_eq!((counts(&kept), kept.violations.len()), ((0, 0, 0), 0));
        for dropped in [dropped, dropped_first] {
            assert_eq!(counts(&dropped), (1, 0, 0));
            names_a_message(&dropped, "was acknowledged and is not there");
        }
        assert_eq!(counts(&doubled), (0, 1, 0));
        names_a_message(&doubled, "came again to a subscriber");
        assert_eq!(counts(&swapped), (0, 0, 1));
        names_a_message(&swapped, "came to a subscriber after a later one");
        assert_eq!(counts(&skipped), (1, 0, 0));
        let is_so = |sentence: &String| sentence.contains("was gone on with from");
        assert!(skipped.violations.iter().any(is_so), "{:?}", skipped.violations);
    }
}

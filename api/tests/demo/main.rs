//! The demo as a person starts it: the real program, what it prints, and what can be pasted.

#[cfg(test)]
mod paste;
#[cfg(test)]
mod program;

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use actors::clock::Stamps;
    use futures_util::SinkExt;
    use serde_json::{Value, json};
    use simulator::{Cassandra, CommitLog};
    use storage::Stamp;
    use storage::cql::{self, Cql, Lease};
    use tokio::sync::watch;
    use tokio_tungstenite::connect_async;
    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::tungstenite::client::IntoClientRequest;
    use tokio_tungstenite::tungstenite::http::HeaderValue;
    use uuid::Uuid;

    use super::paste::Shell;
    use super::program::Demo;

    #[tokio::test]
    async fn it_ends_by_itself_and_what_it_prints_can_be_pasted() {
        let mut demo = Demo::start(&["--for", "5"]);
        let url = demo.listening().await;
        demo.line("Live").await;
        let mut shell = Shell::new();
        let pasted: Vec<String> =
            demo.seen().iter().filter(|line| line.contains(&url)).cloned().collect();
        let with = |part: &str| pasted.iter().find(|line| line.contains(part)).unwrap();

        shell.set("TOKEN", shell.curl(with("/api/auth/login")).await["token"].as_str());
        demo.line("  WhatsApp   ").await;
        let listed = shell.curl(with("per_page=3")).await;
        assert!(!listed.as_array().unwrap().is_empty());
        let listed = shell.curl(with("ID=")).await;
        let on_whatsapp = |one: &&Value| one["contact_channel"] == "whatsapp";
        let newest = listed.as_array().unwrap().iter().find(on_whatsapp).unwrap();
        shell.set("ID", newest["id"].as_str());
        let sent = shell.curl(with("/messages")).await;
        assert_eq!((&sent["status"], &sent["sender"]["name"]), (&"queued".into(), &"Admin".into()));
        demo.line("Admin: Hello from curl  ✓").await;

        shell.assign(demo.seen().iter().find(|line| line.contains("BODY=")).unwrap());
        shell.sign(demo.seen().iter().find(|line| line.contains("SIGNATURE=")).unwrap());
        assert_eq!(shell.curl(with("/webhook")).await, Value::Null);
        demo.line("Hello from a shell").await;

        for part in ["Summary, after 5 s", "messages of customers", "sent, ", "p99"] {
            demo.line(part).await;
        }
        assert_eq!(demo.ended().await, (Some(0), 1));
    }

    #[tokio::test]
    async fn a_second_run_on_the_same_directory_has_the_same_logins_and_goes_on() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().to_str().unwrap();
        let mut known = Vec::new();
        for _ in 0..2 {
            let mut demo = Demo::start(&["--data", data]);
            demo.listening().await;
            for channel in ["  WhatsApp   ", "  Instagram  ", "  Messenger  ", "  Email      "] {
                demo.line(channel).await;
            }
            let shell = Shell::new();
            let login = demo.seen().iter().find(|line| line.contains("/api/auth/login")).unwrap();
            known.push(shell.curl(login).await["agent"]["id"].clone());
            demo.terminate();
            demo.line("Summary").await;
            assert_eq!(demo.ended().await, (Some(0), 1));
        }
        assert!(known[0].is_string());
        assert_eq!(known[0], known[1], "the organization is the one of the first run");
    }

    #[tokio::test]
    async fn the_feed_goes_on_after_its_connection_was_lost() {
        let one = ("OMNISTREAM__LIMITS__SOCKETS_PER_USER", "1");
        let mut demo = Demo::start_with(&[], &[one]);
        let url = demo.listening().await;
        demo.line("→").await;
        let mut shell = Shell::new();
        let login = demo.seen().iter().find(|line| line.contains("/api/auth/login")).unwrap();
        let login = login
            .replace("admin@corner.example", "noor@corner.example")
            .replace("demo-admin", "demo-noor");
        let token = shell.curl(&login).await["token"].take();
        // The newer socket of the same person closes the older one, which is the feed's.
        let ws = format!("{}/api/ws", url.replace("http", "ws"));
        let mut request = ws.into_client_request().unwrap();
        let protocol = HeaderValue::from_static("omnistream.v1.json");
        request.headers_mut().insert("sec-websocket-protocol", protocol);
        let (mut socket, _) = connect_async(request).await.unwrap();
        let hello = json!({"id": 1, "op": "hello", "token": token});
        socket.send(Message::text(hello.to_string())).await.unwrap();
        demo.line("the live feed was interrupted").await;
        shell.assign(demo.seen().iter().find(|line| line.contains("BODY=")).unwrap());
        shell.sign(demo.seen().iter().find(|line| line.contains("SIGNATURE=")).unwrap());
        shell.curl(demo.seen().iter().find(|line| line.contains("/webhook")).unwrap()).await;
        demo.line("Hello from a shell").await;
        demo.terminate();
        assert_eq!(demo.ended().await, (Some(0), 1));
    }

    #[tokio::test]
    async fn a_stop_in_the_middle_of_the_start_is_obeyed() {
        let mut demo = Demo::start(&[]);
        demo.line("Logins").await;
        demo.terminate();
        let (code, lines) = demo.ended().await;
        assert_eq!(code, Some(0));
        assert!(lines <= 1);
    }

    #[tokio::test]
    async fn a_directory_that_cannot_be_written_ends_it_with_one_sentence() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut demo = Demo::start(&["--data", file.path().join("below").to_str().unwrap()]);
        demo.line("name another directory with --data").await;
        assert_eq!(demo.ended().await, (Some(2), 0));
        assert_eq!(demo.seen().len(), 1);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_run_that_was_replaced_while_it_slept_ends() {
        let Some(database) = Cassandra::own_for_test(CommitLog::Periodic).await else { return };
        let node = database.address().to_string();
        let env = [
            ("OMNISTREAM__STORAGE__BACKEND", "cql"),
            ("OMNISTREAM__STORAGE__CQL__NODES", &*node),
            ("OMNISTREAM__STORAGE__CQL__LEASE", "4s"),
            ("OMNISTREAM__STORAGE__CQL__REQUEST_TIMEOUT", "3s"),
        ];
        let mut demo = Demo::start_with(&[], &env);
        demo.listening().await;
        demo.signal("-STOP");
        let options = cql::Options {
            nodes: vec![node.clone()],
            keyspace: "omnistream".to_owned(),
            replication_factor: 1,
            consistency: cql::Consistency::Quorum,
            login: None,
            request_timeout: Duration::from_secs(30),
            statements: 16,
            slow: Duration::from_secs(60),
        };
        let cluster = Cql::open(options).await.unwrap();
        let (stamps, waits) = (Stamps::above(Stamp(0)), watch::Sender::new(false));
        let (owner, now) = (Uuid::from_u128(1), Arc::new(move || stamps.next()));
        Lease::take(cluster, owner, now, Duration::from_secs(60), waits).await.unwrap();
        demo.signal("-CONT");
        demo.line("another process has taken over").await;
        assert_eq!(demo.ended().await, (Some(2), 1));
    }
}

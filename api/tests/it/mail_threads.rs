//! Mails as they were sent: each lands where a person would look for it, and none goes in a circle.

use engine::id::ConversationId;
use serde_json::{Value, json};

use crate::mail::Inbox;

const MEI: &str = "Mei Lin <mei@example.org>";
const BO: &str = "Bo <bo@example.org>";

impl Inbox {
    /// A mail with these headers, and its id as its text.
    async fn raw(&self, id: &str, head: &str) {
        self.raw_with(id, head, &format!("Content-Type: text/plain\n\n{id}")).await;
    }

    /// The same with a body of its own.
    async fn raw_with(&self, id: &str, head: &str, body: &str) {
        let recipient = head.lines().find_map(|line| line.strip_prefix("To: "));
        let recipient = recipient.unwrap_or(&self.address);
        let raw = format!("Message-ID: <{id}@example.org>\n{}\n{body}", head.trim());
        let raw = raw.replace('\n', "\r\n");
        self.posts(&json!({"email": raw, "recipient": recipient})).await.is(200);
    }

    /// The conversation that begins with this text, and its messages.
    async fn that_begins(&self, text: &str) -> (Value, Vec<Value>) {
        for conversation in self.conversations().await {
            let messages = self.messages(&conversation).await;
            if messages[0]["text"] == text {
                return (conversation, messages);
            }
        }
        panic!("no conversation begins with {text}")
    }
}

fn from(who: &str) -> String {
    format!("From: {who}\nSubject: Boots\n")
}

/// By ids of mails as `raw` makes them.
fn ids(ids: &[&str]) -> String {
    ids.iter().map(|id| format!("<{id}@example.org>")).collect::<Vec<_>>().join(" ")
}

fn answers(who: &str, to: &str) -> String {
    format!("{}In-Reply-To: {}\n", from(who), ids(&[to]))
}

#[tokio::test]
async fn an_answer_is_where_what_it_answers_is_by_whichever_of_its_headers() {
    let inbox = Inbox::new().await;
    inbox.raw("m1", &from(MEI)).await;
    inbox.raw("m2", &format!("{}References: {}\n", answers(MEI, "m1"), ids(&["m1"]))).await;
    inbox.raw("m3", &answers(MEI, "m2")).await;
    // Without what it answers, and with the middle left out.
    inbox.raw("m4", &format!("{}References: {}\n", from(MEI), ids(&["m1", "m3"]))).await;
    // Of all that it names only the oldest is known.
    let odd = format!("{}References: {}\n", answers(MEI, "lost"), ids(&["m1", "lost-too"]));
    inbox.raw("m5", &odd).await;
    inbox.raw("m6", &answers(MEI, "m5").replace("Boots", "Something else altogether")).await;
    assert_eq!(inbox.threads().await, [["m1", "m2", "m3", "m4", "m5", "m6"]]);
    let (_, messages) = inbox.that_begins("m1").await;
    assert_eq!(messages[5]["subject"], "Something else altogether");
    assert_eq!(messages[1]["reply_to_message_id"], messages[0]["id"]);
}

#[tokio::test]
async fn the_same_subject_and_a_sent_again_beginning_are_matters_of_their_own() {
    let inbox = Inbox::new().await;
    inbox.raw("m1", &from(MEI)).await;
    inbox.raw("m2", &from(MEI).replace("Boots", "Re: Boots")).await;
    inbox.raw("b1", &from(BO).replace("Boots", "Re: Boots")).await;
    assert_eq!(inbox.threads().await, [["b1"], ["m1"], ["m2"]]);
    let contacts = inbox.org.admin.get("/api/contacts").await.is(200);
    assert_eq!(contacts.as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn what_is_forwarded_is_whoever_forwards_it_s_and_not_in_the_thread_that_it_shows() {
    let inbox = Inbox::new().await;
    inbox.raw("m1", &from(MEI)).await;
    let shown = format!(
        "Message-ID: {}\nFrom: {MEI}\nIn-Reply-To: {}\nReferences: {}\nSubject: Boots\n\nm1",
        ids(&["m1"]),
        ids(&["m0"]),
        ids(&["m0"]),
    );
    let body = format!(
        "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=f\n\n--f\nContent-Type: text/plain\n\nLook\n\
         --f\nContent-Type: message/rfc822\n\n{shown}\n--f--\n"
    );
    inbox.raw_with("f1", &from(BO).replace("Boots", "Fwd: Boots"), &body).await;
    // Some programs name what they forward: then it is where that is, by somebody else.
    let named =
        format!("{}References: {}\n", from(BO).replace("Boots", "Fwd: Boots"), ids(&["m1"]));
    inbox.raw("f2", &named).await;
    // Whoever is asked about it goes on in either.
    inbox.raw("f3", &answers(BO, "f1")).await;
    assert_eq!(inbox.threads().await, [["Look", "f3"], ["m1", "f2"]]);
    let (first, messages) = inbox.that_begins("m1").await;
    assert_eq!(
        (&first["contact_name"], &messages[1]["sender"]["name"]),
        (&json!("Mei Lin"), &json!("Bo"))
    );
    let (other, _) = inbox.that_begins("Look").await;
    assert_eq!(other["contact_name"], "Bo");
}

#[tokio::test]
async fn two_customers_in_one_thread_stay_two_and_what_each_begins_stays_theirs() {
    let inbox = Inbox::new().await;
    inbox.raw("m1", &from(MEI)).await;
    inbox.raw("b1", &answers(BO, "m1")).await;
    inbox.raw("m2", &answers(MEI, "b1")).await;
    inbox
        .raw("b2", &format!("{}References: {}\n", answers(BO, "m2"), ids(&["m1", "b1", "m2"])))
        .await;
    inbox.raw("b3", &from(BO)).await;
    assert_eq!(inbox.threads().await, [vec!["b3"], vec!["m1", "b1", "m2", "b2"]]);
    let (thread, messages) = inbox.that_begins("m1").await;
    let senders: Vec<_> = messages.iter().map(|message| message["sender"]["id"].clone()).collect();
    assert_eq!((&senders[0], &senders[1]), (&senders[2], &senders[3]));
    assert_ne!(senders[0], senders[1]);
    assert_eq!(thread["contact_id"], senders[0]);
    let (own, _) = inbox.that_begins("b3").await;
    assert_eq!(own["contact_id"], senders[1], "who writes in another's thread is the same person");
    let contacts = inbox.org.admin.get("/api/contacts").await.is(200);
    let contacts = contacts.as_array().unwrap();
    assert_eq!(contacts.len(), 2);
    assert!(contacts.iter().all(|contact| contact.get("merge_suggestions").is_none()));
}

#[tokio::test]
async fn an_automatic_answer_is_marked_where_what_it_answers_is() {
    let inbox = Inbox::new().await;
    inbox.raw("m1", &from(MEI)).await;
    let (thread, _) = inbox.that_begins("m1").await;
    let id: ConversationId = serde_json::from_value(thread["id"].clone()).unwrap();
    let reply = inbox.org.server.reply_address(&inbox.address, id).await;
    let away = format!(
        "From: {MEI}\nTo: {reply}\nSubject: Automatic reply: Boots\nAuto-Submitted: auto-replied\n"
    );
    let path = format!("/api/conversations/{id}");
    inbox.org.admin.patch(&format!("{path}/status"), json!({"status": "resolved"})).await.is(200);
    inbox.raw("away", &away).await;
    let shown = inbox.org.admin.get(&path).await.is(200);
    assert_eq!((&shown["status"], &shown["unread_count"]), (&json!("resolved"), &json!(1)));
    assert_eq!(shown["last_message"]["text"], "away");
    let list = format!("{}Precedence: list\nList-Id: <all.example.org>\n", answers(BO, "m1"));
    inbox.raw("list", &list).await;
    assert_eq!(inbox.threads().await, [["m1", "away", "list"]]);
    let (_, messages) = inbox.that_begins("m1").await;
    let marked: Vec<_> = messages.iter().map(|message| message["automatic"] == true).collect();
    assert_eq!(marked, [false, true, true]);
    let shown = inbox.org.admin.get(&path).await.is(200);
    assert_eq!((&shown["status"], &shown["unread_count"]), (&json!("open"), &json!(2)));
}

#[tokio::test]
async fn what_came_back_of_nothing_of_ours_is_shown_once_and_as_what_a_program_wrote() {
    let inbox = Inbox::new().await;
    let report = "MIME-Version: 1.0\nContent-Type: multipart/report; report-type=delivery-status; boundary=d\n\n\
         --d\nContent-Type: text/plain\n\nIt did not arrive.\n\
         --d\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx.example.org\n\n\
         Final-Recipient: rfc822; mei@example.org\nAction: failed\nStatus: 5.1.1\n\n\
         --d\nContent-Type: text/rfc822-headers\n\nMessage-ID: <elsewhere@example.org>\n\n--d--\n";
    let head = "From: MAILER-DAEMON@mx.example.org\nReturn-Path: <>\nSubject: Undelivered\n";
    for _ in 0..2 {
        inbox.raw_with("d1", head, report).await;
    }
    let (_, messages) = inbox.that_begins("It did not arrive.").await;
    assert_eq!((messages.len(), &messages[0]["automatic"]), (1, &json!(true)));
}

#[tokio::test]
async fn mails_that_answer_each_other_or_themselves_are_taken_once_each() {
    let inbox = Inbox::new().await;
    inbox.raw("m1", &answers(MEI, "m2")).await;
    inbox.raw("m2", &answers(MEI, "m1")).await;
    inbox.raw("m3", &answers(MEI, "m3")).await;
    inbox.raw("m2", &answers(MEI, "m1")).await;
    // An inbox that writes to itself, to be answered by itself.
    inbox.raw("o1", &from(&inbox.address)).await;
    inbox.raw("o2", &answers(&inbox.address, "o1")).await;
    assert_eq!(inbox.threads().await, [vec!["m1", "m2"], vec!["m3"], vec!["o1", "o2"]]);
    let (_, own) = inbox.that_begins("o1").await;
    assert!(own.iter().all(|message| message["automatic"] == true));
}

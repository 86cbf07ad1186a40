//! The feed's rows and figures from what a server says, without a server.

use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::*;

const CASE: &str = "01890000-0000-7000-8000-0000000000c1";
const AGENT: &str = "01890000-0000-7000-8000-0000000000a1";
const START: Timestamp = Timestamp(1_790_000_000_000);

fn board() -> (Board, mpsc::Sender<(String, Instant)>) {
    let (tell, written) = mpsc::channel(8);
    let people = HashMap::from([(AGENT.to_owned(), "Amara Osei".to_owned())]);
    (Board::new(START, people, Figures::new(written)), tell)
}

fn conversation(status: &str, assignee: Option<&str>) -> Value {
    let at = START.to_string();
    let mut view = json!({
        "id": CASE, "contact_id": CASE, "account_id": CASE, "status": status, "seq": 1,
        "last_message_at": at, "created_at": at, "updated_at": at, "unread_count": 1,
        "contact_channel": "whatsapp", "contact_name": "Grace", "tags": ["vip"],
    });
    if let Some(assignee) = assignee {
        view["assigned_agent_id"] = json!(assignee);
    }
    view
}

fn message(n: u64, direction: &str, status: &str, text: &str) -> Value {
    let sender = match direction {
        "inbound" => json!({"type": "contact"}),
        _ => json!({"type": "agent", "name": "Amara Osei"}),
    };
    json!({
        "id": format!("01890000-0000-7000-8000-{n:012}"), "conversation_id": CASE, "seq": n,
        "rev": n, "direction": direction, "kind": "text", "status": status, "sender": sender,
        "created_at": START.to_string(), "text": text, "provider_message_id": format!("wamid.{n}"),
    })
}

fn event(off: u64, kind: &str, data: Value) -> Value {
    json!({"t": "ev", "s": format!("c:{CASE}"), "off": off, "k": kind, "ts": START.0, "d": data})
}

fn upsert(status: &str) -> Value {
    let data = conversation(status, None);
    json!({"t": "ev", "s": "i:all", "off": 1, "k": "conversation.upsert", "ts": START.0, "d": data})
}

fn snapshot(off: u64, messages: &[Value]) -> Value {
    let snap = json!({"conversation": conversation("open", None), "messages": messages});
    json!({"s": format!("c:{CASE}"), "epoch": "1", "off": off, "recovered": false, "snap": snap})
}

/// Mark, text and tail of the rows since the last look.
fn rows(board: &mut Board) -> Vec<String> {
    let (rows, _) = board.taken();
    let line = |row: Row| format!("{} {}: {} {}", row.mark, row.who, row.text, row.tail);
    rows.into_iter().map(|row| line(row).trim().to_owned()).collect()
}

fn followed(board: &mut Board) -> Vec<Wish> {
    board.taken().1
}

#[test]
fn a_new_conversation_is_followed_once_and_its_first_messages_are_shown_in_order() {
    let (mut board, tell) = board();
    tell.try_send(("wamid.2".to_owned(), Instant::now())).unwrap();
    board.pushed(upsert("open"));
    board.pushed(upsert("open"));
    assert_eq!(followed(&mut board), [Wish::Follow(format!("c:{CASE}"))]);
    let (hi, there) =
        (message(2, "inbound", "received", "Hi"), message(3, "inbound", "received", "there"));
    board.subscribed(&snapshot(3, &[there.clone(), hi]));
    assert_eq!(rows(&mut board), ["→ Grace: Hi", "→ Grace: there"]);
    board.pushed(event(3, "message.received", there));
    assert!(rows(&mut board).is_empty(), "it was in the snapshot");
    assert_eq!(board.figures.received, 2);
    assert!(board.figures.to_string().contains("p50"), "{}", board.figures);
}

#[test]
fn what_was_there_before_is_not_shown() {
    let (mut board, _tell) = board();
    let mut old = message(2, "inbound", "received", "long ago");
    old["created_at"] = json!((START - std::time::Duration::from_secs(60)).to_string());
    board.subscribed(&snapshot(2, &[old]));
    assert!(rows(&mut board).is_empty());
}

#[test]
fn a_reply_is_shown_when_it_is_sent_and_then_its_ticks() {
    let (mut board, _tell) = board();
    board.subscribed(&snapshot(1, &[]));
    for (off, status, kind) in [
        (2, "queued", "message.updated"),
        (3, "sending", "message.updated"),
        (4, "sent", "message.sent"),
        (5, "delivered", "message.delivered"),
        (6, "read", "message.read"),
    ] {
        let mut data = message(2, "outbound", status, "Good morning");
        data["rev"] = json!(off);
        board.pushed(event(off, kind, data));
    }
    let wanted = [
        "← Grace: Amara Osei: Good morning ✓",
        "✓✓ Grace: delivered: Good morning",
        "✓✓ Grace: read: Good morning",
    ];
    assert_eq!(rows(&mut board), wanted);
    let Figures { sent, delivered, read, .. } = board.figures;
    assert_eq!((sent, delivered, read), (1, 1, 1));
}

#[test]
fn a_reply_that_was_read_at_once_counts_as_sent_and_delivered_too() {
    let (mut board, _tell) = board();
    board.subscribed(&snapshot(2, &[message(2, "outbound", "read", "Done")]));
    assert_eq!(rows(&mut board), ["← Grace: Amara Osei: Done ✓✓"]);
    let Figures { sent, delivered, read, .. } = board.figures;
    assert_eq!((sent, delivered, read), (1, 1, 1));
}

#[test]
fn a_reply_that_failed_is_shown_with_the_provider_s_words() {
    let (mut board, _tell) = board();
    board.subscribed(&snapshot(1, &[]));
    let mut failed = message(2, "outbound", "failed", "Hello");
    failed["error"] = json!({"code": "131026", "message": "undeliverable"});
    board.pushed(event(2, "message.failed", failed));
    assert_eq!(rows(&mut board), ["✗ Grace: Amara Osei: Hello (failed: undeliverable)"]);
    assert_eq!(board.figures.failed, 1);
}

#[test]
fn pictures_places_and_choices_are_named_and_each_message_counts_once() {
    let (mut board, _tell) = board();
    let mut photo = message(2, "inbound", "received", "Like this one");
    photo["kind"] = json!("image");
    photo["attachments"] = json!([{"kind": "image", "caption": "Like this one"}]);
    let mut place = message(3, "inbound", "received", "");
    place["text"] = Value::Null;
    place["attachments"] = json!([{"kind": "location", "latitude": 48.5, "longitude": 11.25}]);
    let mut chosen = message(4, "inbound", "received", "Yes");
    chosen["kind"] = json!("interactive");
    let mut order = message(5, "inbound", "received", "");
    (order["text"], order["kind"]) = (Value::Null, json!("order"));
    board.subscribed(&snapshot(1, &[]));
    for (off, one) in (2..).zip([photo, place, chosen.clone(), order]) {
        board.pushed(event(off, "message.received", one));
    }
    chosen["rev"] = json!(6);
    board.pushed(event(6, "message.updated", chosen));
    let wanted = [
        "→ Grace: [photo] Like this one",
        "→ Grace: [place: 48.500, 11.250]",
        "→ Grace: [chose] Yes",
        "→ Grace: [order]",
    ];
    assert_eq!(rows(&mut board), wanted);
    assert_eq!(board.figures.received, 4);
}

#[test]
fn edits_deletions_and_reactions_are_shown_as_what_they_are() {
    let (mut board, _tell) = board();
    let mut theirs = message(2, "inbound", "received", "Helo");
    let mut ours = message(3, "outbound", "sent", "Good morning");
    board.subscribed(&snapshot(3, &[ours.clone(), theirs.clone()]));
    rows(&mut board);
    theirs["text"] = json!("Hello");
    theirs["edited_at"] = json!(START.to_string());
    board.pushed(event(4, "message.updated", theirs.clone()));
    ours["reactions"] = json!([{"emoji": "👍", "sender": {"type": "contact"}}]);
    board.pushed(event(5, "message.updated", ours.clone()));
    ours["reactions"] = json!([]);
    board.pushed(event(6, "message.updated", ours));
    theirs["text"] = Value::Null;
    theirs["deleted_at"] = json!(START.to_string());
    board.pushed(event(7, "message.deleted", theirs));
    let wanted = [
        "~ Grace: edited: Hello",
        "+ Grace: 👍 to: Good morning",
        "+ Grace: no reaction any more to: Good morning",
        "~ Grace: deleted a message",
    ];
    assert_eq!(rows(&mut board), wanted);
    assert_eq!((board.figures.received, board.figures.amended), (1, 4));
}

#[test]
fn who_takes_a_conversation_and_how_it_ends_is_shown() {
    let (mut board, _tell) = board();
    board.subscribed(&snapshot(1, &[]));
    let mine = |status| conversation(status, Some(AGENT));
    board.pushed(event(2, "conversation.assigned", mine("open")));
    board.pushed(event(3, "conversation.tags_changed", mine("open")));
    board.pushed(event(4, "conversation.read", mine("open")));
    board.pushed(event(5, "conversation.resolved", mine("resolved")));
    board.pushed(event(6, "conversation.reopened", mine("open")));
    let wanted = [
        "◆ Grace: Amara Osei takes care of it",
        "# Grace: vip",
        "■ Grace: resolved by Amara Osei",
        "□ Grace: open again",
    ];
    assert_eq!(rows(&mut board), wanted);
}

#[test]
fn pings_are_answered_tokens_renewed_and_lost_streams_asked_for_again() {
    let (mut board, _tell) = board();
    for push in [
        json!({"t": "ping", "now": 1}),
        json!({"t": "expiring", "in_ms": 60_000}),
        json!({"t": "reset", "s": "i:all", "reason": "lag"}),
        json!({"t": "skip", "s": "i:all", "off": 9}),
        json!({"t": "something new"}),
    ] {
        board.pushed(push);
    }
    let wanted = [Wish::Pong, Wish::Renew, Wish::Follow("i:all".to_owned())];
    assert_eq!(followed(&mut board), wanted);
}

#[test]
fn after_a_reconnect_everything_open_is_followed_again_and_shown_from_where_it_was() {
    let (mut board, _tell) = board();
    let first = message(2, "inbound", "received", "Hi");
    board.subscribed(&snapshot(2, std::slice::from_ref(&first)));
    rows(&mut board);
    board.reconnected();
    board.pushed(upsert("open"));
    assert_eq!(followed(&mut board), [Wish::Follow(format!("c:{CASE}"))]);
    let second = message(3, "inbound", "received", "Still there?");
    board.subscribed(&snapshot(3, &[second, first]));
    assert_eq!(rows(&mut board), ["→ Grace: Still there?"]);
}

#[test]
fn closed_conversations_make_room_when_too_many_are_followed() {
    let (mut board, _tell) = board();
    let named = |n: usize, status: &str| {
        let mut push = upsert(status);
        push["d"]["id"] = json!(format!("01890000-0000-7000-8000-{n:012}"));
        push
    };
    for n in 0..FOLLOWED_MAX {
        board.pushed(named(n, "open"));
    }
    board.pushed(named(7, "resolved"));
    assert_eq!(followed(&mut board).len(), FOLLOWED_MAX);
    board.pushed(named(FOLLOWED_MAX, "open"));
    let left = Wish::Leave(format!("c:01890000-0000-7000-8000-{:012}", 7));
    assert_eq!(followed(&mut board).last(), Some(&left));
}

//! What is found, and what is not.

use std::fs;
use std::path::Path;

use engine::channel::Channel;
use engine::id::{ConversationId, MessageId, TenantId};
use engine::message::{
    Attachment, Direction, MessageKind, MessageRow, MessageStatus, Place, Sender, SenderKind,
};
use engine::search::Wanted;
use engine::time::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use super::{Question, Round, SearchIndex, SearchWriter, Trust, behind_all};
use crate::body::{decode, encode};

pub(super) const OURS: TenantId = TenantId(Uuid::from_u128(1));
pub(super) const OTHER: TenantId = TenantId(Uuid::from_u128(2));

pub(super) fn open(at: Option<&Path>) -> (SearchIndex, SearchWriter) {
    behind_all(|| SearchIndex::open(at, Trust::Opens)).unwrap()
}

/// Ours, as they are now.
fn round(rows: &[MessageRow]) -> Round {
    let mut round = Round::default();
    rows.iter().for_each(|row| round.put(OURS, Channel::Whatsapp, row, false));
    round
}

pub(super) fn write(writer: &mut SearchWriter, round: Round) {
    behind_all(|| writer.write(round, Timestamp(17))).unwrap();
}

/// What every message has; the rest is left out.
#[derive(Serialize)]
struct Said<'a> {
    id: MessageId,
    conversation_id: ConversationId,
    seq: u64,
    rev: u64,
    direction: Direction,
    kind: MessageKind,
    status: MessageStatus,
    sender: Sender,
    created_at: Timestamp,
    text: &'a str,
}

pub(super) fn row(conversation: u128, ordinal: u64, text: &str) -> MessageRow {
    let said = Said {
        id: MessageId(Uuid::from_u128(u128::from(ordinal))),
        conversation_id: ConversationId(Uuid::from_u128(conversation)),
        seq: ordinal,
        rev: ordinal,
        direction: Direction::Inbound,
        kind: MessageKind::Text,
        status: MessageStatus::Received,
        sender: Sender { kind: SenderKind::Contact, id: None, name: None },
        created_at: Timestamp(i64::try_from(ordinal).unwrap()),
        text,
    };
    MessageRow::new(decode(&encode(&said)).unwrap(), Place { block: 0, ordinal })
}

pub(super) fn asked(typed: &str) -> Question {
    let (tenant, wanted) = (OURS, Wanted::of(typed));
    let (channel, from, to, within) = (None, None, None, None);
    Question { tenant, wanted, channel, from, to, within, limit: 10 }
}

/// The ordinals of what is found, newest first.
fn found(index: &SearchIndex, question: &Question) -> Vec<u64> {
    index.find(question).unwrap().into_iter().map(|hit| hit.place.ordinal).collect()
}

fn filled(texts: &[&str]) -> (SearchIndex, SearchWriter) {
    let (index, mut writer) = open(None);
    let rows: Vec<_> = (1..).zip(texts).map(|(ordinal, text)| row(7, ordinal, text)).collect();
    write(&mut writer, round(&rows));
    (index, writer)
}

#[test]
fn words_of_any_script_are_found_newest_first() {
    let (index, _writer) = filled(&[
        "Berapa harganya, kak?",
        "What is the price of the blue one?",
        "请问这个手机的价格是多少",
        "Harga café: 価格 ราคาเท่าไหร่ नमस्ते",
    ]);
    for (typed, wanted) in [
        ("harga", &[4, 1][..]),
        ("HARGANYA", &[1]),
        ("price blue", &[2]),
        ("blue-price", &[]),
        ("blue one?", &[2]),
        ("价格", &[3]),
        ("格价", &[]),
        ("手机 价格", &[3]),
        ("cafe", &[4]),
        ("価格", &[4]),
        ("ราคา", &[4]),
        ("नमस्ते", &[4]),
        ("pr", &[]),
        ("the", &[2]),
        ("price yellow", &[]),
        ("", &[4, 3, 2, 1]),
    ] {
        assert_eq!(found(&index, &asked(typed)), wanted, "{typed}");
    }
}

#[test]
fn signs_are_what_is_typed_and_no_orders() {
    let (index, _writer) = filled(&["words:a OR b", "something else"]);
    for typed in ["words:a OR b", "\"words", "words AND", "(((words", "words~2", "[a TO b]", "*"] {
        // Nothing fails, and nothing of it widens what is found.
        let all = found(&index, &asked(typed));
        assert!(typed == "*" || !all.contains(&2), "{typed}: {all:?}");
    }
    assert_eq!(found(&index, &asked("words:a OR b")), [1]);
    assert_eq!(found(&index, &asked("words AND something")), [0; 0]);
}

#[test]
fn another_tenant_s_messages_are_never_found() {
    let (index, mut writer) = open(None);
    let mut both = round(&[row(8, 2, "secretly")]);
    both.put(OTHER, Channel::Whatsapp, &row(7, 1, "secret secrets"), true);
    write(&mut writer, both);
    for typed in ["", "secret", "secretly", "secret secrets", &OTHER.0.simple().to_string()] {
        let all = found(&index, &asked(typed));
        assert!(all.iter().all(|ordinal| *ordinal == 2), "{typed}: {all:?}");
    }
    assert_eq!(found(&index, &Question { tenant: OTHER, ..asked("secret") }), [1]);
}

#[test]
fn an_edit_replaces_and_a_deletion_removes() {
    let (index, mut writer) = filled(&["before", "stays"]);
    assert_eq!(found(&index, &asked("before")), [1]);
    write(&mut writer, round(&[row(7, 1, "after")]));
    assert_eq!(found(&index, &asked("before")), [0; 0]);
    assert_eq!(found(&index, &asked("after")), [1]);
    let mut deleted = row(7, 1, "after");
    deleted.message.deleted_at = Some(Timestamp(9));
    write(&mut writer, round(&[deleted]));
    assert_eq!(found(&index, &asked("")), [2]);
    let mut cleared = Round::default();
    cleared.clear(ConversationId(Uuid::from_u128(7)));
    write(&mut writer, cleared);
    assert_eq!(found(&index, &asked("")), [0; 0]);
}

#[test]
fn what_is_brought_in_by_two_ways_is_found_once_and_removed_once() {
    let (index, mut writer) = open(None);
    let mut twice = Round::default();
    (0..2).for_each(|_| twice.put(OURS, Channel::Whatsapp, &row(7, 1, "hello"), true));
    write(&mut writer, twice);
    assert_eq!(found(&index, &asked("hello")), [1]);
    write(&mut writer, round(&[row(7, 1, "goodbye")]));
    assert_eq!(found(&index, &asked("hello")), [0; 0]);
    assert_eq!(found(&index, &asked("goodbye")), [1]);
}

#[test]
fn names_of_what_a_message_carries_are_found_but_not_across_texts() {
    let (index, mut writer) = open(None);
    let mut carries = row(7, 1, "see this");
    let filename = Some("Invoice March.pdf".to_owned());
    carries.message.attachments = vec![Attachment { filename, ..Attachment::default() }];
    carries.message.subject = Some("Your order".to_owned());
    carries.message.html = Some("<p>see <b>that</b> &amp; this</p><style>p{hidden}</style>".into());
    write(&mut writer, round(&[carries]));
    assert_eq!(found(&index, &asked("invoice-march.pdf")), [1]);
    assert_eq!(found(&index, &asked("this-invoice")), [0; 0]);
    assert_eq!(found(&index, &asked("order this")), [1]);
    assert_eq!(found(&index, &asked("order-see")), [0; 0]);
    assert_eq!(found(&index, &asked("see-that")), [1]);
    for nothing in ["amp", "style", "hidden"] {
        assert_eq!(found(&index, &asked(nothing)), [0; 0], "{nothing}");
    }
    assert_eq!(found(&index, &asked("this invoice")), [1]);
}

#[test]
fn channel_time_and_conversations_narrow_what_is_found() {
    let (index, mut writer) = open(None);
    let mut all = Round::default();
    for (conversation, ordinal, channel) in
        [(7, 1, Channel::Whatsapp), (7, 2, Channel::Email), (8, 3, Channel::Email)]
    {
        all.put(OURS, channel, &row(conversation, ordinal, "hello"), true);
    }
    write(&mut writer, all);
    let email = Some(Channel::Email);
    assert_eq!(found(&index, &Question { channel: email, ..asked("hello") }), [3, 2]);
    let from = Some(Timestamp(2));
    assert_eq!(found(&index, &Question { from, ..asked("hello") }), [3, 2]);
    assert_eq!(found(&index, &Question { to: from, ..asked("hello") }), [1]);
    let within = Some([ConversationId(Uuid::from_u128(7))].into());
    assert_eq!(found(&index, &Question { within, ..asked("hello") }), [2, 1]);
    let within = Some([].into());
    assert_eq!(found(&index, &Question { within, ..asked("hello") }), [0; 0]);
    assert_eq!(found(&index, &Question { limit: 2, ..asked("hello") }), [3, 2]);
}

#[test]
fn conversations_are_those_of_the_newest_messages_that_fit_each_once() {
    let (index, mut writer) = open(None);
    // In two segments, and more than are kept of one at once.
    for half in [1..=30, 31..=60] {
        let say = |n| row(u128::from(n % 20), n, "hello");
        write(&mut writer, round(&half.map(say).collect::<Vec<_>>()));
    }
    write(&mut writer, round(&[row(99, 61, "goodbye")]));
    let newest = |most, question: &Question| {
        let found = index.conversations(question, most).unwrap();
        found.into_iter().map(|of| of.0.as_u128()).collect::<Vec<_>>()
    };
    assert_eq!(newest(3, &asked("hello")), [0, 19, 18]);
    assert_eq!(newest(100, &asked("hello")).len(), 20);
    assert_eq!(newest(100, &asked("goodbye")), [99]);
    let to = Some(Timestamp(15));
    assert_eq!(newest(2, &Question { to, ..asked("hello") }), [14, 13]);
    let within = Some([ConversationId(Uuid::from_u128(4))].into());
    assert_eq!(newest(2, &Question { within, ..asked("hello") }), [4]);
    assert_eq!(newest(2, &Question { tenant: OTHER, ..asked("hello") }), [0; 0]);
}

#[test]
fn what_was_committed_is_there_after_a_stop_with_its_position() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path().join("search");
    let (index, mut writer) = open(Some(&at));
    assert_eq!(writer.position().unwrap(), None);
    write(&mut writer, round(&[row(7, 1, "hello")]));
    drop((index, writer));
    let (index, writer) = open(Some(&at));
    assert_eq!(writer.position().unwrap(), Some(Timestamp(17)));
    assert_eq!(found(&index, &asked("hello")), [1]);
}

#[test]
fn an_index_that_is_damaged_or_of_another_format_is_made_anew() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path().join("search");
    let fill = || write(&mut open(Some(&at)).1, round(&[row(7, 1, "hello")]));
    let is_new = |what: &str, trust| {
        let (index, writer) = SearchIndex::open(Some(&at), trust).unwrap();
        assert_eq!(writer.position().unwrap(), None, "{what}");
        assert_eq!(found(&index, &asked("")), [0; 0], "{what}");
    };
    let words = || {
        let files = fs::read_dir(&at).unwrap().map(|file| file.unwrap().path());
        files.filter(|path| path.extension().is_some_and(|kind| kind == "idx")).collect::<Vec<_>>()
    };
    fill();
    let meta = at.join("meta.json");
    let other = fs::read_to_string(&meta).unwrap().replace("\"3 17\"", "\"2 17\"");
    fs::write(&meta, other).unwrap();
    is_new("another format", Trust::Opens);
    fill();
    fs::write(&meta, "no meta").unwrap();
    is_new("no meta", Trust::Opens);
    fill();
    words().iter().for_each(|words| fs::remove_file(words).unwrap());
    is_new("a file is gone", Trust::Opens);
    fill();
    for words in words() {
        let mut bytes = fs::read(&words).unwrap();
        bytes[0] ^= 1;
        fs::write(&words, bytes).unwrap();
    }
    assert!(open(Some(&at)).1.position().unwrap().is_some(), "nobody looked at the file");
    is_new("a file says something else", Trust::Checked);
    fill();
    let (index, _) = SearchIndex::open(Some(&at), Trust::Checked).unwrap();
    assert_eq!(found(&index, &asked("hello")), [1], "it is as it should be");
    drop(index);
    is_new("it is not believed", Trust::No);
}

#[test]
fn many_commits_leave_few_files() {
    let (index, mut writer) = open(None);
    for ordinal in 1..=100 {
        write(&mut writer, round(&[row(7, ordinal, "hello")]));
    }
    // They become one behind the commits.
    let mut ordinal = 100;
    while index.segments() > 16 {
        ordinal += 1;
        assert!(ordinal < 100_000, "{} segments", index.segments());
        write(&mut writer, round(&[row(7, ordinal, "hello")]));
    }
    let all = Question { limit: 1_000_000, ..asked("hello") };
    assert_eq!(found(&index, &all).len() as u64, ordinal);
}

#[test]
fn a_round_takes_so_much_and_no_more() {
    let mut many = Round::default();
    let mut count = 0;
    while !many.is_full() {
        many.put(OURS, Channel::Whatsapp, &row(7, 1, "short"), true);
        count += 1;
    }
    assert_eq!(count, super::round::CHANGES_MAX);
    let (mut long, text) = (Round::default(), "long ".repeat(200_000));
    while !long.is_full() {
        long.put(OURS, Channel::Whatsapp, &row(7, 1, &text), true);
    }
    assert_eq!(long.messages(), 5);
}

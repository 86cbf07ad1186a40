//! Reactions: what is taken for one, and how it is said.

use engine::channel::{Channel, Handle, Opaque, Outbound, Outgoing, whatsapp};
use engine::contact::IdentityKind;
use engine::id::{ConversationId, MessageId, ThreadId};
use engine::message::Place;
use engine::saying::{Asked, NewMessage};
use serde_json::json;
use uuid::Uuid;

#[test]
fn a_reaction_names_its_message_and_is_known_again() {
    let opaque = Opaque {
        thread: ThreadId(Uuid::from_u128(1)),
        conversation: ConversationId(Uuid::from_u128(2)),
        place: Place { block: 0, ordinal: 1 },
        reaction: Some(MessageId(Uuid::from_u128(3))),
    };
    for (emoji, said) in [(Some("👍".to_owned()), "👍"), (None, "")] {
        let to = vec![Handle { kind: IdentityKind::Phone, value: "15550001".into() }];
        let what = Outgoing::Reaction { message: "wamid.A1".into(), emoji };
        let request =
            whatsapp::message(&Outbound { to, is_late: false, what, opaque }, "7001", "token");
        let request = request.unwrap().body.unwrap();
        assert_eq!(request["type"], "reaction");
        assert_eq!(request["reaction"], json!({"message_id": "wamid.A1", "emoji": said}));
        let known = request["biz_opaque_callback_data"].as_str().unwrap();
        assert_eq!(Opaque::decode(known), Some(opaque));
    }
}

#[test]
fn a_reaction_is_one_emoji_or_none() {
    let emoji = |emoji: &str| {
        let body = json!({"reaction": {"message_id": Uuid::nil(), "emoji": emoji}});
        let body: NewMessage = serde_json::from_value(body).unwrap();
        let Ok(Asked::Reaction(reaction)) = body.asked(Channel::Whatsapp, &[]) else {
            panic!("a reaction")
        };
        whatsapp::check_reaction(&reaction)
    };
    for good in ["", "👍", "❤️", "👨‍👩‍👧‍👦", "1️⃣", "🏴󠁧󠁢󠁥󠁮󠁧󠁿"]
    {
        assert_eq!(emoji(good), Ok(()), "{good}");
    }
    for bad in [" ", "a", "ok", "é", ":)", "👍 👍", "👍\n", &"👍".repeat(17)] {
        assert!(emoji(bad).is_err(), "{bad}");
    }
}

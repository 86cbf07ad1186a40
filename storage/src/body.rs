//! Bodies of rows: MessagePack with named fields, so that fields may be added. (Only what never gets
//! more, a place, is without names.)

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::StoreError;

/// A body of a value.
pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut body = Vec::with_capacity(1024);
    let mut to = rmp_serde::Serializer::new(&mut body).with_struct_map();
    value.serialize(&mut to).expect("writing to memory does not fail");
    body
}

/// The value of a body.
pub(crate) fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, StoreError> {
    rmp_serde::from_slice(body)
        .map_err(|error| StoreError::Corrupt(format!("a row cannot be read: {error}").into()))
}

#[cfg(test)]
mod tests {
    use engine::channel::Channel;
    use engine::conversation::{Conversation, Thread};
    use engine::id::{AccountId, AgentId, ContactId, ConversationId, TenantId, ThreadId};
    use engine::message::Place;
    use engine::time::Timestamp;
    use serde::{Deserialize, Serialize};
    use uuid::Uuid;

    use super::{decode, encode};

    /// A place as it was written once, and is still read by what wrote it so.
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Named {
        block: u32,
        ordinal: u64,
    }

    #[test]
    fn a_place_is_two_numbers_and_is_read_with_their_names_too() {
        let (place, named) = (Place { block: 3, ordinal: 1600 }, Named { block: 3, ordinal: 1600 });
        assert_eq!(encode(&place).len(), 5);
        assert_eq!(decode::<Place>(&encode(&place)).unwrap(), place);
        assert_eq!(decode::<Place>(&encode(&named)).unwrap(), place);
        assert_eq!(decode::<Named>(&encode(&place)).unwrap(), named);
    }

    #[test]
    fn a_head_takes_no_room_for_what_is_empty_and_is_read_as_it_was() {
        let id = Uuid::from_u128(7);
        let account = (AccountId(id), Channel::Whatsapp);
        let thread = Thread::new(ThreadId(id), TenantId(id), account, ContactId(id));
        let empty = Conversation::blank(ConversationId(id), &thread);
        let full = Conversation {
            contact_name: Some("Ines".to_owned()),
            assignee: Some(AgentId(id)),
            closed_at: Some(Timestamp(1)),
            unread_at: vec![
                (1, Place { block: 0, ordinal: 1 }),
                (300, Place { block: 1, ordinal: 200 }),
                (u64::MAX, Place { block: u32::MAX, ordinal: u64::MAX }),
                (2, Place { block: 0, ordinal: 0 }),
            ],
            unsettled: vec![Place { block: 0, ordinal: 1 }],
            touched: true,
            clean: true,
            ..empty.clone()
        };
        for head in [&empty, &full] {
            assert_eq!(decode::<Conversation>(&encode(head)).unwrap(), *head);
        }
        #[derive(Serialize)]
        struct Once {
            #[serde(flatten)]
            head: Conversation,
            unread_at: Vec<(u64, Place)>,
        }
        let (head, unread_at) = (empty.clone(), full.unread_at.clone());
        let read = decode::<Conversation>(&encode(&Once { head, unread_at })).unwrap();
        assert_eq!(read.unread_at, full.unread_at, "as it was written once");
        let names = |head| String::from_utf8_lossy(&encode(head)).matches("unsettled").count();
        assert_eq!((names(&empty), names(&full)), (0, 1));
    }
}

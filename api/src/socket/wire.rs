//! Frames of `omnistream.v1`, in both encodings: ready to be written, made once for all sockets.

use actors::feed::{Encoding, Event, Passing, Stream, Wire};
use axum::body::Bytes;
use serde::Serialize;
use serde_json::Value;
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use super::push::Push;

/// A whole websocket frame (RFC 6455, 5.2): header and payload.
#[derive(Clone, Debug)]
pub struct Frame {
    bytes: Bytes,
    /// How long its header is.
    header: usize,
}

/// The longest header of a frame without a mask.
const HEADER_MAX: usize = 10;
/// MessagePack that lies deeper in itself than this is none of ours.
const DEPTH_MAX: usize = 64;

impl Frame {
    /// A value as one message.
    pub(super) fn of(encoding: Encoding, value: &impl Serialize) -> Self {
        // The header's place is before what it counts.
        let mut bytes = vec![0; HEADER_MAX];
        // A vector has room for everything, and every key is a text: nothing here fails.
        let written = match encoding {
            Encoding::Json => serde_json::to_writer(&mut bytes, value).is_ok(),
            Encoding::MessagePack => {
                let mut to =
                    rmp_serde::Serializer::new(&mut bytes).with_struct_map().with_human_readable();
                value.serialize(&mut to).is_ok()
            }
        };
        let kind = match encoding {
            Encoding::Json => Data::Text,
            Encoding::MessagePack => Data::Binary,
        };
        let head = FrameHeader { opcode: OpCode::Data(kind), ..FrameHeader::default() };
        let payload = (bytes.len() - HEADER_MAX) as u64;
        let header = head.len(payload);
        let begin = HEADER_MAX - header;
        let headed = head.format(payload, &mut &mut bytes[begin..HEADER_MAX]).is_ok();
        debug_assert!(written && headed, "a push can be written");
        bytes.shrink_to_fit();
        Self { bytes: Bytes::from(bytes).slice(begin..), header }
    }

    /// The frame as it is written.
    pub(super) fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// What it says, in its encoding.
    pub fn payload(&self) -> &[u8] {
        &self.bytes[self.header..]
    }
}

impl Wire for Frame {
    fn events(encoding: Encoding, events: &[Event<'_>]) -> Self {
        match &Push::events(events)[..] {
            [one] => Self::of(encoding, one),
            many => Self::of(encoding, &many),
        }
    }

    fn passing(encoding: Encoding, stream: Stream, what: Passing) -> Self {
        Self::of(encoding, &Push::passing(stream, what))
    }

    fn recoded(&self, to: Encoding) -> Self {
        let value = value(to.other(), self.payload()).unwrap_or_default();
        Self::of(to, &value)
    }

    fn bytes(&self) -> usize {
        self.bytes.len()
    }
}

/// What a message says; `None`: it is not one value in this encoding.
pub fn value(encoding: Encoding, mut message: &[u8]) -> Option<Value> {
    match encoding {
        Encoding::Json => serde_json::from_slice(message).ok(),
        Encoding::MessagePack => {
            let mut from = rmp_serde::Deserializer::new(&mut message);
            from.set_max_depth(DEPTH_MAX);
            let value = serde::Deserialize::deserialize(&mut from).ok();
            value.filter(|_| message.is_empty())
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_is_the_same_in_both_encodings() {
        for length in [0, 1, 100, 120, 200, 40_000, 70_000] {
            let said = json!({"id": 1, "text": "é".repeat(length), "of": [null, true, -1, 1.5]});
            let json = Frame::of(Encoding::Json, &said);
            let msgpack = Frame::of(Encoding::MessagePack, &said);
            assert_eq!(value(Encoding::Json, json.payload()), Some(said.clone()));
            assert_eq!(value(Encoding::MessagePack, msgpack.payload()), Some(said));
            assert_eq!(json.recoded(Encoding::MessagePack).bytes, msgpack.bytes);
            assert_eq!(msgpack.recoded(Encoding::Json).bytes, json.bytes);
        }
    }

    #[test]
    fn what_is_not_one_value_is_none() {
        let deep = [vec![0x91; 200], vec![0xC0]].concat();
        // Two values, half of one, bytes, and one that promises more than there is.
        for wrong in [&[0xC0, 0xC0][..], &[0x92, 0xC0], &[0xC4, 1, 0], &[0xDD, 255, 255, 255, 255]]
        {
            assert_eq!(value(Encoding::MessagePack, wrong), None, "{wrong:?}");
        }
        assert_eq!(value(Encoding::MessagePack, &deep), None);
        assert_eq!(value(Encoding::Json, b"{} {}"), None);
    }
}

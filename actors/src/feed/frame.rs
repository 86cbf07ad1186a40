//! A frame in each encoding that somebody uses, made once for all who do.

use std::sync::OnceLock;

use super::Wire;

/// How frames are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Json,
    MessagePack,
}

/// How many use which encoding.
#[derive(Clone, Copy, Debug)]
pub(super) struct Users {
    json: usize,
    msgpack: usize,
    /// What the last one used: what is kept for those who come back is kept in it.
    last: Encoding,
}

/// A frame that sessions share.
#[derive(Debug)]
pub(super) struct Shared<W> {
    json: OnceLock<W>,
    msgpack: OnceLock<W>,
}

impl Encoding {
    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::Json => Self::MessagePack,
            Self::MessagePack => Self::Json,
        }
    }
}

impl Users {
    /// Nobody yet.
    pub(super) const NONE: Self = Self { json: 0, msgpack: 0, last: Encoding::Json };

    pub(super) fn add(&mut self, encoding: Encoding) {
        *self.of(encoding) += 1;
        self.last = encoding;
    }

    pub(super) fn remove(&mut self, encoding: Encoding) {
        let users = self.of(encoding);
        *users = users.saturating_sub(1);
    }

    fn of(&mut self, encoding: Encoding) -> &mut usize {
        match encoding {
            Encoding::Json => &mut self.json,
            Encoding::MessagePack => &mut self.msgpack,
        }
    }
}

impl<W: Wire> Shared<W> {
    /// Made by `encode` in each encoding that is used.
    pub(super) fn new(users: Users, encode: impl Fn(Encoding) -> W) -> Self {
        let made = |encoding, users: usize| match users {
            0 => OnceLock::new(),
            _ => OnceLock::from(encode(encoding)),
        };
        let Users { json, msgpack, last } = users;
        let is_last = |encoding| usize::from(json + msgpack == 0 && last == encoding);
        Self {
            json: made(Encoding::Json, json + is_last(Encoding::Json)),
            msgpack: made(Encoding::MessagePack, msgpack + is_last(Encoding::MessagePack)),
        }
    }

    /// In this encoding: whoever is the first to use it makes it of the other.
    pub(super) fn of(&self, encoding: Encoding) -> &W {
        self.place(encoding).get_or_init(|| {
            let other = self.place(encoding.other()).get();
            other.expect("a frame is made in one encoding at least").recoded(encoding)
        })
    }

    /// How much memory it takes now.
    pub(super) fn bytes(&self) -> usize {
        let bytes = |made: &OnceLock<W>| made.get().map_or(0, Wire::bytes);
        bytes(&self.json) + bytes(&self.msgpack)
    }

    fn place(&self, encoding: Encoding) -> &OnceLock<W> {
        match encoding {
            Encoding::Json => &self.json,
            Encoding::MessagePack => &self.msgpack,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::{Event, Passing, Stream};
    use super::*;

    #[derive(Clone, Debug, PartialEq)]
    struct Made(Encoding, bool);

    impl Wire for Made {
        fn events(encoding: Encoding, _: &[Event<'_>]) -> Self {
            Self(encoding, false)
        }
        fn passing(encoding: Encoding, _: Stream, _: Passing) -> Self {
            Self(encoding, false)
        }
        fn recoded(&self, to: Encoding) -> Self {
            Self(to, true)
        }
        fn bytes(&self) -> usize {
            1
        }
    }

    fn shared(users: Users) -> (Shared<Made>, usize) {
        let encoded = AtomicUsize::new(0);
        let shared = Shared::new(users, |encoding| {
            encoded.fetch_add(1, Ordering::Relaxed);
            Made(encoding, false)
        });
        (shared, encoded.into_inner())
    }

    #[test]
    fn a_frame_is_encoded_once_in_what_somebody_uses() {
        let (json, msgpack) = (Encoding::Json, Encoding::MessagePack);
        let mut users = Users::NONE;
        users.add(msgpack);
        users.add(msgpack);
        let (frame, encoded) = shared(users);
        assert_eq!((encoded, frame.bytes()), (1, 1));
        assert_eq!(frame.of(msgpack), &Made(msgpack, false));
        assert_eq!(frame.of(json), &Made(json, true), "for one who comes later, of the other");
        assert_eq!(frame.bytes(), 2);
        users.add(json);
        assert_eq!(shared(users).1, 2);
        users.remove(msgpack);
        users.remove(msgpack);
        assert_eq!(shared(users).1, 1);
    }

    #[test]
    fn what_nobody_uses_now_is_kept_as_the_last_one_used_it() {
        let (json, msgpack) = (Encoding::Json, Encoding::MessagePack);
        let mut users = Users::NONE;
        users.add(json);
        users.add(msgpack);
        users.remove(msgpack);
        users.remove(json);
        let (frame, encoded) = shared(users);
        assert_eq!((encoded, frame.of(msgpack)), (1, &Made(msgpack, false)));
    }
}

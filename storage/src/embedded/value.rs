//! A row's value as the log, the overlay and the tree hold it: format (1 byte), stamp (8), the
//! second in which it expires (4; 0: never), body.

use byteview::ByteView;
use engine::time::Timestamp;
use fjall::Slice;

use crate::error::StoreError;
use crate::port::Stamp;

const HEAD: usize = 13;

/// What a value says of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// A row.
    Row = 1,
    /// A plain row was deleted; kept for a while, so that an older write does not bring it back.
    Deleted = 2,
    /// The key is a partition's: its rows up to the stamp were cleared. Kept for a while, too.
    Cleared = 3,
    /// A guarded row is gone. Never in the tree.
    Gone = 4,
}

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Value(Slice);

/// In seconds since 1970; 0: never.
pub(super) type Expiry = u32;

/// The second in which what has this long to live expires.
pub(super) fn expiry(now: Timestamp, ttl: std::time::Duration) -> Expiry {
    let at = (now + ttl).0.saturating_add(999) / 1_000;
    Expiry::try_from(at.max(1)).unwrap_or(Expiry::MAX)
}

/// Whether it is over at this time.
pub(super) fn expired(expires: Expiry, now: Timestamp) -> bool {
    expires != 0 && i64::from(expires) * 1_000 <= now.0
}

impl Value {
    /// A row.
    pub(super) fn row(stamp: Stamp, expires: Expiry, body: &[u8]) -> Self {
        Self::new(Format::Row, stamp, expires, body)
    }

    /// A plain row's deletion, to be remembered until it expires.
    pub(super) fn deleted(stamp: Stamp, expires: Expiry) -> Self {
        Self::new(Format::Deleted, stamp, expires, &[])
    }

    /// A partition's clearing, to be remembered until it expires.
    pub(super) fn cleared(stamp: Stamp, expires: Expiry) -> Self {
        Self::new(Format::Cleared, stamp, expires, &[])
    }

    /// A guarded row's end.
    pub(super) fn gone() -> Self {
        Self::new(Format::Gone, Stamp(0), 0, &[])
    }

    fn new(format: Format, stamp: Stamp, expires: Expiry, body: &[u8]) -> Self {
        let mut head = [0; HEAD];
        head[0] = format as u8;
        head[1..9].copy_from_slice(&stamp.0.to_le_bytes());
        head[9..].copy_from_slice(&expires.to_le_bytes());
        // The bytes of a `Vec` would be copied once more.
        Self(ByteView::fused(&head, body).into())
    }

    /// What was read from a disk.
    pub(super) fn read(bytes: Slice) -> Result<Self, StoreError> {
        if bytes.len() < HEAD || !(1..=4).contains(&bytes[0]) {
            return Err(StoreError::Corrupt("a value is of no known format".into()));
        }
        Ok(Self(bytes))
    }

    /// All of it.
    pub(super) fn bytes(&self) -> &Slice {
        &self.0
    }

    pub(super) fn format(&self) -> Format {
        match self.0[0] {
            1 => Format::Row,
            2 => Format::Deleted,
            3 => Format::Cleared,
            _ => Format::Gone,
        }
    }

    pub(super) fn stamp(&self) -> Stamp {
        Stamp(i64::from_le_bytes(*self.0[1..9].as_array().expect("eight bytes")))
    }

    pub(super) fn expires(&self) -> Expiry {
        Expiry::from_le_bytes(*self.0[9..HEAD].as_array().expect("four bytes"))
    }

    pub(super) fn body(&self) -> &[u8] {
        &self.0[HEAD..]
    }

    /// Whether it is a row that is there at this time.
    pub(super) fn lives(&self, now: Timestamp) -> bool {
        self.format() == Format::Row && !expired(self.expires(), now)
    }

    /// Of two writes to one key: the higher stamp, then the deletion, then the higher body.
    pub(super) fn beats(&self, other: &Self) -> bool {
        let rank = |value: &Self| (value.stamp(), value.format() != Format::Row);
        (rank(self), self.body()) > (rank(other), other.body())
    }
}

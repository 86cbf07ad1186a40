//! What a build for tests does wrong when it is asked to, so that what looks for it can be seen to find
//! it: `OMNISTREAM_FAULT` is `drop`, `double`, `swap` or `skip`. There is nothing of this in a release.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};

use actors::feed::Started;

use crate::socket::Frame;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// A message is acknowledged and not stored.
    Drop,
    /// A live event is sent twice.
    Double,
    /// Two live events of a conversation are swapped.
    Swap,
    /// Who goes on from where they were goes on from the newest event.
    Skip,
}

/// What a socket holds back, and which socket.
static HELD: Mutex<Option<(usize, Frame)>> = Mutex::new(None);

#[expect(clippy::disallowed_methods, reason = "no setting: nobody may ask a server for it")]
static FAULT: LazyLock<Option<Fault>> = LazyLock::new(|| match std::env::var("OMNISTREAM_FAULT") {
    Ok(fault) if fault == "drop" => Some(Fault::Drop),
    Ok(fault) if fault == "double" => Some(Fault::Double),
    Ok(fault) if fault == "swap" => Some(Fault::Swap),
    Ok(fault) if fault == "skip" => Some(Fault::Skip),
    _ => None,
});

/// It happens once, with what comes after so many others.
const AFTER: u64 = 200;
static SEEN: AtomicU64 = AtomicU64::new(0);

/// Whether this webhook is to be acknowledged and forgotten.
pub(crate) fn drops(body: &[u8]) -> bool {
    *FAULT == Some(Fault::Drop) && says(body, r#""messages":["#) && is_due()
}

/// How following a stream is to begin in place of this.
pub(crate) fn started(mut started: Started<Frame>) -> Started<Frame> {
    if *FAULT == Some(Fault::Skip) && started.count > 0 && is_due() {
        started.offset += std::mem::take(&mut started.count);
        started.missed = Some(Vec::new());
    }
    started
}

/// What a socket is to write in place of a frame of live events.
pub(crate) fn frames(frame: Frame, socket: usize) -> Vec<Frame> {
    // One event alone: a list would break the word once for each.
    let is_new = |frame: &Frame| {
        let said = frame.payload();
        said.starts_with(b"{")
            && says(said, r#""k":"message.received""#)
            && conversation(frame).is_some()
    };
    match *FAULT {
        Some(Fault::Double) if is_new(&frame) && is_due() => vec![frame.clone(), frame],
        Some(Fault::Swap) => {
            let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
            if is_new(&frame) && is_due() {
                *held = Some((socket, frame));
                return Vec::new();
            }
            let is_next = |(of, held): &mut (usize, Frame)| {
                *of == socket && conversation(held) == conversation(&frame)
            };
            let before = held.take_if(is_next).map(|(_, before)| before);
            [frame].into_iter().chain(before).collect()
        }
        _ => vec![frame],
    }
}

fn is_due() -> bool {
    SEEN.fetch_add(1, Ordering::Relaxed) == AFTER
}

/// The name of the conversation's stream that a frame is of.
fn conversation(frame: &Frame) -> Option<&str> {
    let text = std::str::from_utf8(frame.payload()).ok()?;
    let (_, name) = text.split_once(r#""s":"c:"#)?;
    name.split('"').next()
}

fn says(bytes: &[u8], what: &str) -> bool {
    bytes.windows(what.len()).any(|window| window == what.as_bytes())
}

//! What is said on the live feed's websocket, as far as a subscriber has to know it.

use std::io;

use memchr::memmem;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::follow::Follow;

/// Something that the server says.
pub(super) enum Frame<'a> {
    Answer(Answer<'a>),
    Event {
        stream: &'a str,
        offset: u64,
        /// The message that it is about, if it is about one: where that lies, and all of it.
        message: Option<(u64, &'a [u8])>,
        /// Whether a customer's message is new by it.
        is_received: bool,
    },
    Skip {
        stream: &'a str,
        offset: u64,
    },
    Reset(&'a str),
    Ping,
    /// What passes.
    Other,
}

/// An answer to a command.
#[derive(Deserialize)]
pub(super) struct Answer<'a> {
    #[serde(borrow, default)]
    ok: Option<Done<'a>>,
    #[serde(borrow, default)]
    err: Option<&'a RawValue>,
}

/// Where a stream begins.
pub(super) struct Begun<'a> {
    pub(super) stream: &'a str,
    pub(super) at: At<'a>,
}

/// How a stream begins.
#[derive(Debug, PartialEq)]
pub(super) enum At<'a> {
    /// In this run of offsets, at this offset.
    Here(&'a str, u64),
    /// It cannot be gone on with.
    Anew,
    /// It is to be asked for by itself.
    Alone,
}

#[derive(Deserialize)]
struct Done<'a> {
    #[serde(borrow, default)]
    subs: Vec<Started<'a>>,
    /// Of a stream that was asked for alone.
    #[serde(borrow, flatten)]
    alone: Started<'a>,
}

#[derive(Deserialize)]
struct Started<'a> {
    #[serde(borrow, default)]
    s: Option<&'a str>,
    #[serde(borrow, default)]
    epoch: Option<&'a str>,
    #[serde(default)]
    off: Option<u64>,
    #[serde(default)]
    err: Option<Refused>,
}

#[derive(Deserialize)]
struct Refused {
    code: u32,
    msg: String,
}

#[derive(Deserialize)]
struct Said<'a> {
    #[serde(borrow, default)]
    t: Option<&'a str>,
    #[serde(borrow, default)]
    s: Option<&'a str>,
    #[serde(borrow, default)]
    k: Option<&'a str>,
    #[serde(default)]
    off: u64,
    #[serde(borrow, default)]
    d: Option<&'a RawValue>,
}

/// The code of a position that cannot be gone on with.
const TAKE_A_SNAPSHOT: u32 = 112;
/// The code of what is too much for one answer.
const TOO_MUCH: u32 = 111;

/// What is said first: who comes, and what is followed, each from where it was.
pub(super) fn hello(token: &str, follows: &[Follow]) -> String {
    let subs: Vec<_> = follows.iter().map(asked).collect();
    json!({"op": "hello", "id": 1, "token": token, "subs": subs}).to_string()
}

/// What is said of one of them by itself.
pub(super) fn alone(id: u64, follow: &Follow) -> String {
    let mut sub = asked(follow);
    (sub["op"], sub["id"]) = ("sub".into(), id.into());
    sub.to_string()
}

fn asked(follow: &Follow) -> Value {
    match follow.begun {
        true => json!({"s": follow.stream, "since": {"epoch": follow.epoch, "off": follow.last}}),
        false => json!({"s": follow.stream}),
    }
}

/// A stream is followed from now on.
pub(super) fn sub(id: u64, stream: &str) -> String {
    json!({"op": "sub", "id": id, "s": stream}).to_string()
}

impl<'a> Frame<'a> {
    /// All that one text says.
    pub(super) fn all(text: &'a [u8]) -> serde_json::Result<Vec<Self>> {
        if text.starts_with(b"[") {
            let all: Vec<Said<'_>> = serde_json::from_slice(text)?;
            return Ok(all.into_iter().map(Self::of).collect());
        }
        let said: Said<'_> = serde_json::from_slice(text)?;
        match said.t {
            None => Ok(vec![Self::Answer(serde_json::from_slice(text)?)]),
            Some(_) => Ok(vec![Self::of(said)]),
        }
    }

    fn of(said: Said<'a>) -> Self {
        let offset = said.off;
        match (said.t, said.s) {
            (Some("ev"), Some(stream)) => {
                let name = said.k.unwrap_or_default();
                let message = said.d.filter(|_| name.starts_with("message."));
                let message = message.map(|d| d.get().as_bytes());
                let message = message.and_then(|raw| Some((place(raw)?, raw)));
                Self::Event { stream, offset, message, is_received: name == "message.received" }
            }
            (Some("skip"), Some(stream)) => Self::Skip { stream, offset },
            (Some("reset" | "unsub"), Some(stream)) => Self::Reset(stream),
            (Some("ping"), _) => Self::Ping,
            _ => Self::Other,
        }
    }
}

/// Where a message lies: it says so before anything that people have written.
fn place(message: &[u8]) -> Option<u64> {
    const KEY: &[u8] = b"\"seq\":";
    let digits = &message[memmem::find(message, KEY)? + KEY.len()..];
    let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
}

impl<'a> Answer<'a> {
    /// The streams that begin by it. Fails if it refuses anything but to go on from a position.
    pub(super) fn begun(self) -> io::Result<Vec<Begun<'a>>> {
        let refused = |why: &str| io::Error::other(format!("the server refuses: {why}"));
        if let Some(why) = self.err {
            return Err(refused(why.get()));
        }
        let Some(Done { subs, alone }) = self.ok else { return Ok(Vec::new()) };
        let mut begun = Vec::new();
        for Started { s, epoch, off, err } in subs.into_iter().chain([alone]) {
            let Some(stream) = s else { continue };
            match err {
                Some(Refused { code: TOO_MUCH, .. }) => {
                    begun.push(Begun { stream, at: At::Alone });
                }
                Some(Refused { code, msg }) if code != TAKE_A_SNAPSHOT => {
                    return Err(refused(&format!("{stream}: {msg}")));
                }
                _ => {
                    let here = epoch.zip(off).map(|(epoch, off)| At::Here(epoch, off));
                    begun.push(Begun { stream, at: here.unwrap_or(At::Anew) });
                }
            }
        }
        Ok(begun)
    }
}

#[cfg(test)]
mod tests {
    use super::super::follow::Follow;
    use super::{Frame, alone, hello};
    use serde_json::{Value, json};

    fn frames(text: &str) -> Vec<Frame<'_>> {
        Frame::all(text.as_bytes()).unwrap()
    }

    /// The streams that begin, each with its run of offsets and its offset.
    fn begun(text: &str) -> std::io::Result<Vec<String>> {
        let Frame::Answer(answer) = frames(text).remove(0) else { panic!("{text}") };
        let begun = answer.begun()?.into_iter();
        Ok(begun.map(|begun| format!("{} {:?}", begun.stream, begun.at)).collect())
    }

    #[test]
    fn an_answer_says_where_each_stream_begins_and_which_cannot_be_gone_on_with() {
        let text = r#"{"id":1,"ok":{"session":"x","subs":[{"s":"c:1","epoch":"e","off":7,"recovered":true,"n":3},
            {"s":"i:all","err":{"code":112,"msg":"take a snapshot"}},
            {"s":"c:2","err":{"code":111,"msg":"too much"}}]}}"#;
        assert_eq!(begun(text).unwrap(), [r#"c:1 Here("e", 7)"#, "i:all Anew", "c:2 Alone"]);
        let one = begun(r#"{"id":2,"ok":{"s":"i:all","epoch":"f","off":0}}"#).unwrap();
        assert_eq!(one, [r#"i:all Here("f", 0)"#]);
    }

    #[test]
    fn what_is_refused_is_told_in_the_servers_words() {
        let all = begun(r#"{"id":1,"err":{"code":101,"msg":"log in"}}"#).unwrap_err().to_string();
        assert!(all.contains("log in"), "{all}");
        let one =
            r#"{"id":1,"ok":{"subs":[{"s":"c:1","err":{"code":102,"msg":"no such stream"}}]}}"#;
        assert!(begun(one).unwrap_err().to_string().contains("c:1: no such stream"));
    }

    #[test]
    fn events_tell_where_their_message_lies_whatever_people_write() {
        let text = r#"[{"t":"ev","s":"c:1","off":7,"k":"message.received","ts":1,"d":{"id":"a",
            "seq":7,"text":"\"seq\":9,"}},{"t":"skip","s":"c:1","off":8},
            {"t":"ev","s":"i:all","off":2,"k":"conversation.upsert","ts":1,"d":{"seq":5}}]"#;
        let all = frames(text);
        assert!(matches!(
            all[0],
            Frame::Event { stream: "c:1", offset: 7, message: Some((7, _)), is_received: true }
        ));
        assert!(matches!(all[1], Frame::Skip { stream: "c:1", offset: 8 }));
        assert!(matches!(
            all[2],
            Frame::Event { offset: 2, message: None, is_received: false, .. }
        ));
        assert!(matches!(frames(r#"{"t":"ping","now":1}"#)[0], Frame::Ping));
        assert!(matches!(frames(r#"{"t":"new","of":1}"#)[0], Frame::Other));
        assert!(matches!(
            frames(r#"{"t":"reset","s":"c:1","reason":"lag"}"#)[0],
            Frame::Reset("c:1")
        ));
    }

    #[test]
    fn a_hello_names_each_stream_with_where_it_was() {
        let (mut known, new) = (Follow::new("c:1".to_owned()), Follow::new("c:2".to_owned()));
        known.began("e", 5);
        known.event(6, None).unwrap();
        let one: Value = serde_json::from_str(&alone(3, &known)).unwrap();
        let since = json!({"epoch": "e", "off": 6});
        assert_eq!(one, json!({"op": "sub", "id": 3, "s": "c:1", "since": since}));
        let said: Value = serde_json::from_str(&hello("t", &[known, new])).unwrap();
        assert_eq!(said["subs"][0], json!({"s": "c:1", "since": {"epoch": "e", "off": 6}}));
        assert_eq!(said["subs"][1], json!({"s": "c:2"}));
    }
}

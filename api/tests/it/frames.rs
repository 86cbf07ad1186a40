//! The websocket below the live feed (RFC 6455), byte by byte.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::Org;

const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;
/// The last piece of a message.
const LAST: u8 = 0x80;

/// A connection on which a handshake was made.
struct Raw {
    tcp: TcpStream,
    /// What was answered.
    head: String,
}

impl Raw {
    /// With these lines of the handshake beside its key.
    async fn shakes(org: &Org, lines: &str) -> Self {
        let url = org.admin.url();
        let mut tcp = TcpStream::connect(url.strip_prefix("http://").unwrap()).await.unwrap();
        let head = format!(
            "GET /api/ws HTTP/1.1\r\nHost: x\r\n{lines}Sec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        tcp.write_all(head.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(tcp.read_u8().await.unwrap());
        }
        Self { tcp, head: String::from_utf8(head).unwrap().to_lowercase() }
    }

    async fn open(org: &Org) -> Self {
        Self::shakes(org, "Connection: Upgrade\r\nUpgrade: websocket\r\n").await
    }

    async fn writes(&mut self, bytes: &[u8]) {
        self.tcp.write_all(bytes).await.unwrap();
    }

    /// The next frame: its first byte, and what it carries.
    async fn reads(&mut self) -> (u8, Vec<u8>) {
        let (first, length) =
            (self.tcp.read_u8().await.unwrap(), self.tcp.read_u8().await.unwrap());
        let length = match length {
            126 => self.tcp.read_u16().await.unwrap().into(),
            127 => panic!("nothing here is so long"),
            short => usize::from(short),
        };
        let mut payload = vec![0; length];
        self.tcp.read_exact(&mut payload).await.unwrap();
        (first, payload)
    }

    /// What it says next.
    async fn says(&mut self) -> Value {
        let (first, payload) = self.reads().await;
        assert_eq!(first, LAST | TEXT);
        serde_json::from_slice(&payload).unwrap()
    }

    /// The code of the close that comes next.
    async fn closes(&mut self) -> Option<u16> {
        let (first, payload) = self.reads().await;
        assert_eq!(first, LAST | CLOSE);
        payload.first_chunk().map(|code| u16::from_be_bytes(*code))
    }
}

/// A client's frame.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [7, 0, 200, 31];
    let masked = payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask);
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    let length = if payload.len() < 126 { &length[1..] } else { &[&[126][..], &length].concat() };
    let mut bytes = [&[first], length, &MASK].concat();
    bytes[1] |= 0x80;
    bytes.extend(masked);
    bytes
}

#[tokio::test]
async fn a_handshake_is_taken_however_its_lists_are_written_and_no_extension_is() {
    let org = Org::found().await;
    for lines in [
        "Connection: Upgrade\r\nUpgrade: websocket\r\n",
        "Connection: keep-alive, upgrade\r\nUpgrade: WebSocket\r\n",
        "Connection: keep-alive\r\nUpgrade: h2c, websocket\r\nConnection: Upgrade\r\n",
    ] {
        let lines = format!(
            "{lines}Sec-WebSocket-Extensions: permessage-deflate\r\n\
             Sec-WebSocket-Protocol: chat,omnistream.v1.json\r\n\
             Sec-WebSocket-Protocol: omnistream.v1.msgpack\r\n"
        );
        let head = Raw::shakes(&org, &lines).await.head;
        assert!(head.starts_with("http/1.1 101 switching protocols\r\n"), "{head}");
        for line in [
            "connection: upgrade",
            "upgrade: websocket",
            "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=",
            "sec-websocket-protocol: omnistream.v1.json",
        ] {
            assert!(head.lines().any(|other| other == line), "{line} in {head}");
        }
        assert!(!head.contains("sec-websocket-extensions"), "{head}");
    }
    let silent = Raw::open(&org).await.head;
    assert!(!silent.contains("sec-websocket-protocol"), "{silent}");
}

#[tokio::test]
async fn a_message_comes_in_pieces_and_a_ping_in_between_is_answered() {
    let org = Org::found().await;
    let mut raw = Raw::open(&org).await;
    let hello = json!({"id": 1, "op": "hello", "token": org.admin.token, "note": "né"});
    let hello = hello.to_string().into_bytes();
    // Within a letter.
    let (begin, rest) = hello.split_at(hello.iter().position(|byte| !byte.is_ascii()).unwrap() + 1);
    raw.writes(&frame(TEXT, begin)).await;
    raw.writes(&frame(LAST | PING, &[b'?'; 125])).await;
    assert_eq!(raw.reads().await, (LAST | PONG, vec![b'?'; 125]));
    raw.writes(&frame(LAST, rest)).await;
    let answer = raw.says().await;
    assert!(answer["ok"].is_object(), "{answer}");
}

#[tokio::test]
async fn frames_that_break_the_rules_end_the_socket_with_the_code_for_it() {
    let org = Org::found().await;
    let two = |first: Vec<u8>, second: Vec<u8>| [first, second].concat();
    let hello = json!({"id": 1, "op": "hello", "token": org.admin.token}).to_string();
    for (what, wrong, code) in [
        ("no mask", vec![LAST | TEXT, 2, b'{', b'}'], 1002),
        ("a reserved bit", frame(LAST | 0x40 | TEXT, b"{}"), 1002),
        ("a reserved kind", frame(LAST | 0x3, b"{}"), 1002),
        ("a reserved control", frame(LAST | 0xB, b""), 1002),
        ("a ping in pieces", frame(PING, b""), 1002),
        ("a long ping", frame(LAST | PING, &[0; 126]), 1002),
        ("a rest of nothing", frame(LAST, b"{}"), 1002),
        ("another begin", two(frame(TEXT, b"{"), frame(LAST | BINARY, b"}")), 1002),
        ("half a code", frame(LAST | CLOSE, &[3]), 1002),
        ("no UTF-8", frame(LAST | TEXT, &[0xFF]), 1007),
        ("no UTF-8 in pieces", two(frame(TEXT, &[0xC3]), frame(LAST, b"(")), 1007),
        ("no UTF-8 in a close", frame(LAST | CLOSE, &[0x3, 0xE8, 0xFF]), 1007),
    ] {
        for greets in [false, true] {
            let mut raw = Raw::open(&org).await;
            if greets {
                raw.writes(&frame(LAST | TEXT, hello.as_bytes())).await;
                assert!(raw.says().await["ok"].is_object());
            }
            raw.writes(&wrong).await;
            let bye = raw.says().await;
            assert_eq!((&bye["t"], &bye["code"]), (&json!("bye"), &json!(code)), "{what}");
            assert_eq!(raw.closes().await, Some(code), "{what}");
        }
    }
}

#[tokio::test]
async fn a_close_is_answered_and_the_connection_ends() {
    let org = Org::found().await;
    // A code that no frame may carry is no code to be answered.
    for (said, answered) in
        [(Some(1000), Some(1000)), (Some(4321), Some(4321)), (None, None), (Some(1005), Some(1002))]
    {
        let mut raw = Raw::open(&org).await;
        raw.writes(&frame(
            LAST | CLOSE,
            &said.map_or(vec![], |code: u16| code.to_be_bytes().to_vec()),
        ))
        .await;
        assert_eq!(raw.closes().await, answered);
        assert_eq!(raw.tcp.read(&mut [0]).await.unwrap(), 0, "it ends");
    }
}

//! A wire on which things go wrong, before a server that says again what it hears.

use std::net::SocketAddr;
use std::time::Duration;

use simulator::{Wire, WireFaults};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

/// A server, and what it hears.
async fn echo() -> (SocketAddr, mpsc::UnboundedReceiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (hears, heard) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let hears = hears.clone();
            tokio::spawn(async move {
                let mut piece = vec![0; 1024];
                // Until it is cut.
                while let Ok(read @ 1..) = stream.read(&mut piece).await {
                    let _ = hears.send(piece[..read].to_vec());
                    let _ = stream.write_all(&piece[..read]).await;
                }
            });
        }
    });
    (address, heard)
}

/// A connection on which something has been said and answered.
async fn talking(wire: &Wire) -> TcpStream {
    let mut stream = TcpStream::connect(wire.address()).await.unwrap();
    assert_eq!(say(&mut stream, b"hello").await, b"hello");
    stream
}

/// What is answered; nothing when the connection ends.
async fn say(stream: &mut TcpStream, words: &[u8]) -> Vec<u8> {
    // One that has ended takes no more.
    let _ = stream.write_all(words).await;
    let mut answer = vec![0; words.len()];
    match stream.read_exact(&mut answer).await {
        Ok(_) => answer,
        Err(_) => Vec::new(),
    }
}

#[tokio::test]
async fn it_carries_both_ways_to_the_end() {
    let (server, _heard) = echo().await;
    let wire = Wire::start(server).await.unwrap();
    let mut stream = talking(&wire).await;
    let words = vec![7; 1_000_000];
    let (mut read, mut write) = stream.split();
    let mut answer = Vec::new();
    let (written, answered) = tokio::join!(
        async {
            write.write_all(&words).await?;
            write.shutdown().await
        },
        read.read_to_end(&mut answer),
    );
    written.unwrap();
    answered.unwrap();
    assert!(answer == words);
}

#[tokio::test]
async fn a_cut_ends_what_is_there_and_nothing_else() {
    let (server, _heard) = echo().await;
    let wire = Wire::start(server).await.unwrap();
    let mut streams = [talking(&wire).await, talking(&wire).await];
    wire.cut();
    for stream in &mut streams {
        assert_eq!(say(stream, b"still there?").await, b"");
    }
    let mut stream = talking(&wire).await;
    drop(wire);
    assert_eq!(say(&mut stream, b"still there?").await, b"");
}

#[tokio::test]
async fn who_comes_while_it_refuses_is_not_let_in() {
    let (server, mut heard) = echo().await;
    let wire = Wire::start(server).await.unwrap();
    let mut before = talking(&wire).await;
    heard.recv().await.unwrap();
    wire.set_faults(WireFaults { refuse: true, ..WireFaults::default() });
    let mut refused = TcpStream::connect(wire.address()).await.unwrap();
    assert_eq!(say(&mut refused, b"hello").await, b"");
    assert!(heard.try_recv().is_err());
    assert_eq!(say(&mut before, b"on").await, b"on");
    wire.set_faults(WireFaults::default());
    talking(&wire).await;
}

#[tokio::test(start_paused = true)]
async fn what_it_delays_comes_late_or_when_the_delay_ends() {
    let (server, _heard) = echo().await;
    let wire = Wire::start(server).await.unwrap();
    let mut stream = talking(&wire).await;
    let hour = Duration::from_hours(1);
    wire.set_faults(WireFaults { delay: hour, ..WireFaults::default() });
    let began = Instant::now();
    assert_eq!(say(&mut stream, b"late").await, b"late");
    // There and back, and a moment for what timers round.
    let took = began.elapsed();
    assert!(took >= 2 * hour && took < 3 * hour, "{took:?}");

    stream.write_all(b"later").await.unwrap();
    let mut answer = [0; 5];
    timeout(hour / 2, stream.read_exact(&mut answer)).await.unwrap_err();
    let began = Instant::now();
    wire.set_faults(WireFaults::default());
    stream.read_exact(&mut answer).await.unwrap();
    assert!(began.elapsed() < hour / 2, "{:?}", began.elapsed());
}

#[tokio::test]
async fn an_answer_is_lost_with_its_connection_after_the_server_heard_what_was_asked() {
    let (server, mut heard) = echo().await;
    let wire = Wire::start(server).await.unwrap();
    let mut stream = talking(&wire).await;
    assert_eq!(heard.recv().await.unwrap(), b"hello");
    wire.set_faults(WireFaults { lose_answers: true, ..WireFaults::default() });
    assert_eq!(say(&mut stream, b"write").await, b"");
    assert_eq!(heard.recv().await.unwrap(), b"write");
    wire.lost_when(1).await;
    wire.set_faults(WireFaults::default());
    talking(&wire).await;
}

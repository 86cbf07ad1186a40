//! A real Cassandra: started, killed, and gone with whoever started it. What it is asked is CQL in
//! its frames, as far as that takes a string.

use std::env;
use std::net::SocketAddr;
use std::process::Stdio;

use simulator::{Cassandra, CommitLog};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

use crate::program::program;

const STARTUP: u8 = 1;
const READY: u8 = 2;
const QUERY: u8 = 7;
const RESULT: u8 = 8;

/// What a server answers to a frame: its opcode, and its body.
async fn ask(stream: &mut TcpStream, opcode: u8, body: &[u8]) -> (u8, Vec<u8>) {
    stream.write_all(&[4, 0, 0, 0, opcode]).await.unwrap();
    stream.write_u32(body.len().try_into().unwrap()).await.unwrap();
    stream.write_all(body).await.unwrap();
    let mut header = [0; 5];
    stream.read_exact(&mut header).await.unwrap();
    let mut answer = vec![0; stream.read_u32().await.unwrap().try_into().unwrap()];
    stream.read_exact(&mut answer).await.unwrap();
    (header[4], answer)
}

async fn connect(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let options = b"\0\x01\0\x0bCQL_VERSION\0\x053.0.0";
    assert_eq!(ask(&mut stream, STARTUP, options).await.0, READY);
    stream
}

/// What a statement that is taken answers.
async fn query(stream: &mut TcpStream, statement: &str) -> Vec<u8> {
    let mut body = u32::try_from(statement.len()).unwrap().to_be_bytes().to_vec();
    body.extend(statement.as_bytes());
    // Consistency ONE, no flags.
    body.extend([0, 1, 0]);
    let (opcode, answer) = ask(stream, QUERY, &body).await;
    assert_eq!(opcode, RESULT, "{statement}: {}", String::from_utf8_lossy(&answer));
    answer
}

/// Waits until a connection is no more.
async fn closed(stream: &mut TcpStream) {
    // Whether it was ended or reset does not matter.
    assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn what_it_has_acknowledged_outlives_kills() {
    let Some(mut cassandra) = Cassandra::own_for_test(CommitLog::Batch).await else { return };
    let mut stream = connect(cassandra.address()).await;
    let replication = "{'class': 'SimpleStrategy', 'replication_factor': 1}";
    query(&mut stream, &format!("CREATE KEYSPACE desk WITH replication = {replication}")).await;
    query(&mut stream, "CREATE TABLE desk.names (name text PRIMARY KEY)").await;
    for name in ["mei", "otto"] {
        query(&mut stream, &format!("INSERT INTO desk.names (name) VALUES ('{name}')")).await;
        cassandra.kill().await;
        closed(&mut stream).await;
        assert!(TcpStream::connect(cassandra.address()).await.is_err());
        cassandra.restart().await.unwrap();
        stream = connect(cassandra.address()).await;
    }
    let rows = query(&mut stream, "SELECT name FROM desk.names").await;
    for name in ["mei", "otto"] {
        assert!(rows.windows(name.len()).any(|part| part == name.as_bytes()), "{name}");
    }
}

#[tokio::test]
async fn it_ends_with_the_program_that_started_it_though_that_is_killed() {
    // Says what is missing, where something is.
    let Some(other) = Cassandra::for_test(CommitLog::Periodic).await else { return };
    let arguments = ["cassandra", "--port", "0"];
    let mut running = program(&arguments).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(running.stdout.take().unwrap()).lines();
    let line = lines.next_line().await.unwrap().unwrap();
    let address = line.strip_prefix("listening on ").unwrap().split(' ').next().unwrap();
    let mut stream = connect(address.parse().unwrap()).await;
    running.kill().await.unwrap();
    closed(&mut stream).await;
    // One beside it does not mind.
    connect(other.address()).await;
}

/// Whether a test passes that is run by itself with more of an environment, and what it says.
async fn run(test: &str, env: &[(&str, &str)]) -> (bool, String) {
    let mut tests = Command::new(env::current_exe().unwrap());
    tests.args(["--exact", test]).env_remove("TEST_CQL").env_remove("TEST_REQUIRE_ALL");
    let output = tests.envs(env.iter().copied()).kill_on_drop(true).output().await.unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

#[tokio::test]
async fn a_test_without_one_says_so_and_fails_where_all_are_required() {
    let test = "cassandra::it_ends_with_the_program_that_started_it_though_that_is_killed";
    // Neither Java nor Maven.
    let nothing = ("PATH", "");
    let (passed, said) = run(test, &[nothing]).await;
    assert!(passed && said.contains(&format!("\nSKIPPED {test}: ")), "{said}");
    let (passed, said) = run(test, &[nothing, ("TEST_REQUIRE_ALL", "1")]).await;
    assert!(!passed && said.contains("install it"), "{said}");
    // Whoever names one wants that one.
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let (passed, said) = run(test, &[("TEST_CQL", &nobody)]).await;
    assert!(!passed && said.contains(&format!("TEST_CQL={nobody}")), "{said}");
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let output = program(&["cassandra", "--port", &port.to_string()]).output().await.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    // Or what is missing anyway.
    assert!(said.contains(&format!("port {port}: ")) || said.contains("install it"), "{said}");
}

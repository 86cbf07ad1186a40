//! The simulator as a person starts it.

use std::process::Stdio;

use simulator::{CONTROL, FAILURES};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::engine::client;

pub(crate) fn program(arguments: &[&str]) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_simulator"));
    program.args(arguments).kill_on_drop(true);
    program
}

#[tokio::test]
async fn its_help_tells_what_fails_and_what_it_can_be_told() {
    for arguments in [&["--help"][..], &["graph", "--help"]] {
        let output = program(arguments).output().await.unwrap();
        let help = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success());
        // Clap ends lines its own way.
        for line in FAILURES.lines().chain(CONTROL.lines()).filter(|line| line.starts_with("| ")) {
            assert!(help.contains(line.trim_end()), "{line}");
        }
    }
}

#[tokio::test]
async fn it_says_where_it_serves_and_is_asked_there() {
    let arguments = [
        "graph",
        "--listen",
        "127.0.0.1:0",
        "--secret",
        "secret",
        "--pace",
        "60",
        "--latency",
        "0..1",
        "--faults",
        r#"{"repeats": 0.5}"#,
    ];
    let mut running = program(&arguments).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(running.stdout.take().unwrap()).lines();
    let line = lines.next_line().await.unwrap().unwrap();
    let url = line.strip_prefix("listening on ").unwrap();
    let asked = client().get(format!("{url}/_sim")).send().await.unwrap();
    assert_eq!(asked.text().await.unwrap(), CONTROL);
}

#[tokio::test]
async fn a_wrong_argument_is_named() {
    for (argument, value) in
        [("--faults", r#"{"repeat": 1}"#), ("--latency", "5..1"), ("--pace", "-1")]
    {
        let wrong = format!("{argument}={value}");
        let output = program(&["graph", "--secret", "s", &wrong]).output().await.unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(said.contains(argument), "{said}");
    }
}

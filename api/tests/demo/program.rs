//! The real program, read line by line.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

/// What does not come after this long does not come at all.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running demo. It is killed when this goes.
pub(crate) struct Demo {
    child: Child,
    out: Lines<BufReader<ChildStdout>>,
    err: Lines<BufReader<ChildStderr>>,
    seen: Vec<String>,
    /// How many lines stdout had.
    told: usize,
}

impl Demo {
    /// `omnistream demo` with these arguments, on free ports.
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::start_with(args, &[])
    }

    /// The same with more of an environment.
    pub(crate) fn start_with(args: &[&str], env: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_omnistream"))
            .arg("demo")
            .args(args)
            .env("OMNISTREAM__SERVER__LISTEN", "127.0.0.1:0")
            .env("OMNISTREAM__METRICS__LISTEN", "127.0.0.1:0")
            .envs(env.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap()).lines();
        let err = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, out, err, seen: Vec::new(), told: 0 }
    }

    /// Where it listens, once it says so.
    pub(crate) async fn listening(&mut self) -> String {
        let line = tokio::time::timeout(PATIENCE, self.out.next_line()).await;
        let line = line.unwrap().unwrap().unwrap();
        self.told += 1;
        line.strip_prefix("listening on ").unwrap().to_owned()
    }

    /// Waits for a line of stderr with this in it, which may have been there before.
    pub(crate) async fn line(&mut self, part: &str) {
        let found = async {
            while !self.seen.iter().any(|line| line.contains(part)) {
                let line = self.err.next_line().await.unwrap();
                let line = line.unwrap_or_else(|| panic!("it ended without `{part}`"));
                self.seen.push(line);
            }
        };
        let found = tokio::time::timeout(PATIENCE, found).await;
        assert!(found.is_ok(), "no `{part}` in {:#?}", self.seen);
    }

    /// The lines of stderr so far.
    pub(crate) fn seen(&self) -> &[String] {
        &self.seen
    }

    pub(crate) fn terminate(&self) {
        self.signal("-TERM");
    }

    /// A signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().unwrap().to_string();
        let sent = std::process::Command::new("kill").args([name, &id]).status().unwrap();
        assert!(sent.success());
    }

    /// Its exit code, once it has ended, and how many lines it wrote to stdout.
    pub(crate) async fn ended(&mut self) -> (Option<i32>, usize) {
        let ended = async {
            while self.out.next_line().await.unwrap().is_some() {
                self.told += 1;
            }
            while let Some(line) = self.err.next_line().await.unwrap() {
                self.seen.push(line);
            }
            self.child.wait().await.unwrap().code()
        };
        let code = tokio::time::timeout(PATIENCE, ended).await.unwrap();
        (code, self.told)
    }
}

//! The real program over a directory.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A running program. It is killed when this goes.
pub(crate) struct Program {
    child: Child,
    pub(crate) url: String,
}

impl Program {
    /// Over this directory, with more of an environment.
    pub(crate) async fn start(directory: &Path, env: &[(&str, &str)]) -> Self {
        let directory = directory.to_owned();
        let env: Vec<_> =
            env.iter().map(|(key, value)| [*key, *value].map(str::to_owned)).collect();
        tokio::task::spawn_blocking(move || {
            let mut child = Command::new(env!("CARGO_BIN_EXE_omnistream"))
                .arg("serve")
                .env("OMNISTREAM__SERVER__LISTEN", "127.0.0.1:0")
                .env("OMNISTREAM__METRICS__LISTEN", "127.0.0.1:0")
                .env("OMNISTREAM__STORAGE__PATH", directory.join("data"))
                .envs(env.into_iter().map(Into::into))
                .env("OMNISTREAM__LOG__FILTER", "error")
                // What one life acknowledges is resumed in the next.
                .env("OMNISTREAM__LIMITS__REPLAY_EVENTS", "100000")
                .env("OMNISTREAM__LIMITS__REPLAY_BYTES", "100000000")
                .current_dir(&directory)
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut line = String::new();
            BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
            let url = line.trim().strip_prefix("listening on ").unwrap().to_owned();
            Self { child, url }
        })
        .await
        .unwrap()
    }

    /// SIGKILL: nothing is finished, nothing is flushed.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

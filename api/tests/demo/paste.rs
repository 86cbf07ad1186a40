//! Enough of a shell, and of curl, for the lines that the demo prints.

use std::collections::HashMap;

use serde_json::Value;

/// Somebody who pastes.
pub(crate) struct Shell {
    client: reqwest::Client,
    variables: HashMap<String, String>,
}

impl Shell {
    pub(crate) fn new() -> Self {
        let _chosen = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { client, variables: HashMap::new() }
    }

    pub(crate) fn set(&mut self, name: &str, value: Option<&str>) {
        self.variables.insert(name.to_owned(), value.unwrap().to_owned());
    }

    /// `NAME='...'`
    pub(crate) fn assign(&mut self, line: &str) {
        let (name, value) = line.trim().split_once('=').unwrap();
        let value = self.words(&value.replace("$(date +%s)", "1790000000")).concat();
        self.set(name, Some(&value));
    }

    /// `SIGNATURE=$(... openssl dgst -sha256 -hmac SECRET ...)` over `$BODY`.
    pub(crate) fn sign(&mut self, line: &str) {
        let secret = line.split_once("-hmac ").unwrap().1.split(' ').next().unwrap();
        let signature = engine::channel::signature::sign(secret, self.variables["BODY"].as_bytes());
        self.set("SIGNATURE", Some(&hex::encode(signature)));
    }

    /// What the curl of a line is answered, as JSON; what follows it in a pipe is left out.
    pub(crate) async fn curl(&self, line: &str) -> Value {
        let command = line.split_once("curl ").unwrap().1.split(" | ").next().unwrap();
        let mut words = self.words(command.trim_end_matches(')')).into_iter();
        let (mut url, mut body, mut headers) = (None, None, Vec::new());
        while let Some(word) = words.next() {
            match word.as_str() {
                "-s" => {}
                "-w" => drop(words.next()),
                "-d" => body = words.next(),
                "-H" => headers.extend(words.next()),
                _ => url = Some(word),
            }
        }
        let url = url.unwrap();
        let mut request = match body {
            Some(body) => self.client.post(url).body(body),
            None => self.client.get(url),
        };
        for header in headers {
            let (name, value) = header.split_once(": ").unwrap();
            request = request.header(name, value);
        }
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_success(), "{line}: {}", answer.status());
        serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default()
    }

    /// Splits at spaces outside of quotes; in double quotes variables have their values.
    fn words(&self, text: &str) -> Vec<String> {
        let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
        for c in text.chars() {
            match (quote, c) {
                (None, ' ') => words.push(std::mem::take(&mut word)),
                (None, '\'' | '"') => quote = Some(c),
                (Some(open), c) if open == c => quote = None,
                _ => word.push(c),
            }
            if quote == Some('"') || c == '"' {
                for (name, value) in &self.variables {
                    word = word.replace(&format!("${name}"), value);
                }
            }
        }
        words.push(word);
        words
    }
}

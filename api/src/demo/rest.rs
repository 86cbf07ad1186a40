//! The REST API as a caller from outside uses it.

use std::fmt;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// A request without an answer ends after this long.
const PATIENCE: Duration = Duration::from_secs(15);

/// Somebody who calls, once logged in with a token.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    http: reqwest::Client,
    /// `http://ADDRESS:PORT`.
    url: String,
    token: String,
}

/// What came instead of what was asked for.
#[derive(Debug)]
pub(super) struct Failure {
    /// None: no answer at all.
    pub(super) status: Option<StatusCode>,
    what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl Failure {
    /// The token, or the login it is of, is over.
    pub(super) fn is_unauthorized(&self) -> bool {
        self.status == Some(StatusCode::UNAUTHORIZED)
    }
}

impl Caller {
    /// Nobody yet.
    pub(super) fn new(url: &str) -> Result<Self, String> {
        // Another part of the process may have chosen a provider before; either will do.
        let _chosen = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build();
        let http = http.map_err(|error| format!("no HTTP client: {error}"))?;
        Ok(Self { http, url: url.to_owned(), token: String::new() })
    }

    /// Logs in, as another one of the same server.
    pub(super) async fn login(&self, email: &str, password: &str) -> Result<Self, Failure> {
        let body = json!({"email": email, "password": password});
        let answer = self.post("/api/auth/login", &body).await?;
        Ok(self.with_token(&answer))
    }

    /// The same caller with the token of an answer.
    pub(super) fn with_token(&self, answer: &Value) -> Self {
        Self { token: answer["token"].as_str().unwrap_or_default().to_owned(), ..self.clone() }
    }

    pub(super) fn token(&self) -> &str {
        &self.token
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.call(self.request(Method::GET, path)).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.call(self.request(Method::POST, path).json(body)).await
    }

    /// The same key does it once, however often it is called.
    pub(super) async fn post_once(
        &self,
        path: &str,
        body: &Value,
        key: &str,
    ) -> Result<Value, Failure> {
        self.call(self.request(Method::POST, path).header("idempotency-key", key).json(body)).await
    }

    pub(super) async fn patch(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.call(self.request(Method::PATCH, path).json(body)).await
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url));
        if self.token.is_empty() { request } else { request.bearer_auth(&self.token) }
    }

    async fn call(&self, request: reqwest::RequestBuilder) -> Result<Value, Failure> {
        let answer = request.send().await.map_err(unanswered)?;
        let (status, path) = (answer.status(), answer.url().path().to_owned());
        let body = answer.bytes().await.map_err(unanswered)?;
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        if status.is_success() {
            return Ok(body);
        }
        let words = body["error"]["message"].as_str();
        let what = format!("{path} was answered {status}: {}", words.unwrap_or("without words"));
        Err(Failure { status: Some(status), what })
    }
}

fn unanswered(error: reqwest::Error) -> Failure {
    Failure { status: None, what: format!("no answer: {error}") }
}

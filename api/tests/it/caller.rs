//! Somebody who calls the API, and what is promised of every answer.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};

use crate::harness::Server;

pub(crate) const PASSWORD: &str = "correct horse";

/// Anybody: with a token somebody who is logged in.
#[derive(Clone)]
pub(crate) struct Caller {
    http: Client,
    server: Arc<Server>,
    pub(crate) token: Option<String>,
    /// The agent's id.
    pub(crate) id: String,
    pub(crate) email: String,
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    /// JSON; null where it is none.
    pub(crate) body: Value,
    pub(crate) text: String,
    pub(crate) bytes: Vec<u8>,
    call: String,
}

impl Caller {
    /// Somebody without a token.
    pub(crate) fn of(server: Arc<Server>) -> Self {
        // Whoever comes second finds it installed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = Client::builder().no_proxy().timeout(Duration::from_secs(30)).build().unwrap();
        Self { http, server, token: None, id: String::new(), email: String::new() }
    }

    pub(crate) fn with_token(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self.clone() }
    }

    /// The same person without the token.
    pub(crate) fn nobody(&self) -> Self {
        Self { token: None, ..self.clone() }
    }

    /// Logs in with the usual password.
    pub(crate) async fn login(&self, email: &str) -> Self {
        let answer = self.nobody().post("/api/auth/login", login(email, PASSWORD)).await.is(200);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let (token, id) = (Some(text(&answer["token"])), text(&answer["agent"]["id"]));
        Self { token, id, email: email.to_owned(), ..self.clone() }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.call(Method::POST, path, Some(&body)).await
    }

    pub(crate) async fn patch(&self, path: &str, body: Value) -> Answer {
        self.call(Method::PATCH, path, Some(&body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.call(Method::DELETE, path, None).await
    }

    pub(crate) async fn call(&self, verb: Method, path: &str, body: Option<&Value>) -> Answer {
        let request = self.request(verb, path);
        Answer::of(match body {
            Some(body) => request.json(body),
            None => request,
        })
        .await
    }

    /// A form of these parts, each what stands behind `form-data; ` and its content.
    pub(crate) fn form(&self, path: &str, parts: &[(&str, &[u8])]) -> RequestBuilder {
        let mut body = Vec::new();
        for (head, content) in parts {
            body.extend(b"--edge\r\nContent-Disposition: form-data; ");
            body.extend(head.bytes().chain(*b"\r\n\r\n"));
            body.extend(content.iter().chain(b"\r\n"));
        }
        body.extend(b"--edge--\r\n");
        let kind = "multipart/form-data; boundary=edge";
        self.request(Method::POST, path).header("content-type", kind).body(body)
    }

    /// Brings a file, said to be of this type.
    pub(crate) async fn brings(&self, filename: &str, mime_type: &str, bytes: &[u8]) -> Answer {
        let head = format!("name=\"file\"; filename=\"{filename}\"\r\nContent-Type: {mime_type}");
        Answer::of(self.form("/api/media", &[(&head, bytes)])).await
    }

    /// With an `Idempotency-Key`.
    pub(crate) async fn once(&self, verb: Method, path: &str, key: &str, body: Value) -> Answer {
        let request = self.request(verb, path).header("idempotency-key", key);
        Answer::of(request.json(&body)).await
    }

    pub(crate) async fn post_once(&self, path: &str, key: &str, body: Value) -> Answer {
        self.once(Method::POST, path, key, body).await
    }

    /// Where it calls.
    pub(crate) fn url(&self) -> String {
        self.server.url()
    }

    /// A request that is not like the others.
    pub(crate) fn request(&self, verb: Method, path: &str) -> RequestBuilder {
        let url = format!("{}{path}", self.server.url());
        let request = self.http.request(verb, url);
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }
}

pub(crate) fn login(email: &str, password: &str) -> Value {
    json!({"email": email, "password": password})
}

impl Answer {
    /// Sends a request; whatever is answered keeps what is promised of all answers.
    pub(crate) async fn of(request: RequestBuilder) -> Self {
        let response: Response = request.send().await.unwrap();
        let call = response.url().to_string();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = response.bytes().await.unwrap().to_vec();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let body = serde_json::from_str(&text).unwrap_or_default();
        let answer = Self { status, headers, body, text, bytes, call };
        answer.keeps_promises();
        answer
    }

    #[track_caller]
    fn keeps_promises(&self) {
        let request_id = self.headers["x-request-id"].to_str().unwrap();
        assert!(!request_id.is_empty());
        assert_eq!(self.headers["x-content-type-options"], "nosniff");
        assert!(self.status < 500 || self.status == 503, "{self:?}");
        if self.status < 400 {
            return;
        }
        let error = &self.body["error"];
        let is_snake = |code: &str| code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        assert!(error["code"].as_str().is_some_and(is_snake), "{self:?}");
        assert!(error["message"].as_str().is_some_and(|text| text.len() > 5), "{self:?}");
        assert_eq!(error["request_id"], request_id, "{self:?}");
        let waits = self.headers.contains_key("retry-after");
        assert_eq!(waits, matches!(self.status, 429 | 503), "{self:?}");
        assert_eq!(self.headers.contains_key("www-authenticate"), self.status == 401, "{self:?}");
        let is_told = error["code"] == "overloaded" || error["code"] == "window_closed";
        let detailed = self.status == 422 || is_told;
        // Of what is too much, what is full is named where something is.
        if self.status != 429 {
            assert_eq!(error["details"].is_array(), detailed, "{self:?}");
        }
    }

    /// The body of an answer with this status.
    #[track_caller]
    pub(crate) fn is(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}: {}", self.call, self.body);
        self.body
    }

    /// The error of an answer with this status and code.
    #[track_caller]
    pub(crate) fn refused(self, status: u16, code: &str) -> Value {
        let error = self.is(status)["error"].take();
        assert_eq!(error["code"], code, "{error}");
        error
    }

    /// The names of the fields that it finds wrong.
    #[track_caller]
    pub(crate) fn invalid(self) -> Vec<String> {
        let error = self.refused(422, "invalid");
        let details = error["details"].as_array().unwrap().iter();
        details.map(|detail| detail["field"].as_str().unwrap().to_owned()).collect()
    }
}

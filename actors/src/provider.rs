//! Requests to providers, and how much an error proves.

use std::time::Duration;

use bytes::Bytes;
use engine::account::MASK;
use engine::channel::{Answered, Api, Call, Method, Upload, whatsapp};
use futures_util::StreamExt;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE};
use reqwest::redirect::Policy;
use reqwest::{Body, Client, RequestBuilder, Response};
use serde_json::Value;
use storage::media::Pieces;
use tracing::debug;
use uuid::Uuid;

/// Speaks to the Graph API. Clones share connections.
#[derive(Clone)]
pub struct Provider {
    client: Client,
    /// Bases with the version, without a slash at their end.
    graph: String,
    instagram: String,
    /// Those without one.
    instagram_tokens: String,
    instagram_login: String,
    answer_bytes: usize,
    upload_timeout: Duration,
}

/// Shorter tokens than any provider's: they may be words of what it says.
const TOKEN_BYTES_MIN: usize = 16;

/// How a provider is reached.
#[derive(Clone, Debug)]
pub struct ProviderOptions {
    pub graph_url: String,
    pub instagram_url: String,
    pub instagram_auth_url: String,
    pub graph_version: String,
    pub connect_timeout: Duration,
    /// Of the whole request.
    pub timeout: Duration,
    /// Of one that takes a file there.
    pub upload_timeout: Duration,
    /// The largest answer that is read.
    pub answer_bytes: usize,
}

impl Provider {
    /// # Errors
    /// When TLS cannot be set up on this machine.
    pub fn new(options: ProviderOptions) -> Result<Self, reqwest::Error> {
        // A second call finds it installed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .connect_timeout(options.connect_timeout)
            .timeout(options.timeout)
            .redirect(Policy::none())
            // HTTP/2 came into the program with what speaks to buckets. Nothing here waits behind another.
            .http1_only()
            .build()?;
        let version = &options.graph_version;
        let plain = |url: &str| url.trim_end_matches('/').to_owned();
        let base = |url: &str| format!("{}/{version}", plain(url));
        Ok(Self {
            client,
            graph: base(&options.graph_url),
            instagram: base(&options.instagram_url),
            instagram_tokens: plain(&options.instagram_url),
            instagram_login: plain(&options.instagram_auth_url),
            answer_bytes: options.answer_bytes,
            upload_timeout: options.upload_timeout,
        })
    }

    /// Performs a request once. Only a connection that never came about proves that nothing was
    /// sent.
    pub async fn perform(&self, call: Call) -> Answered {
        // What stands behind it may be a secret.
        let path = call.path.split('?').next();
        debug!(path, "asks the provider");
        let answered = self.ask(call).await;
        match &answered {
            Answered::With { status, .. } => debug!(status, "the provider answered"),
            Answered::NotSent(reason) | Answered::PerhapsSent(reason) => {
                debug!(reason, "the provider did not answer");
            }
        }
        answered
    }

    /// Takes a file of so many bytes to the provider, piece by piece. No line of it is `boundary`.
    pub async fn upload(
        &self,
        upload: Upload,
        boundary: Uuid,
        size: u64,
        pieces: Pieces,
    ) -> Answered {
        debug!(path = upload.path, size, "takes a file to the provider");
        let boundary = boundary.simple().to_string();
        let mut head = String::new();
        for (name, value) in &upload.fields {
            let disposition = format!("Content-Disposition: form-data; name=\"{name}\"");
            head.push_str(&format!("--{boundary}\r\n{disposition}\r\n\r\n{value}\r\n"));
        }
        let name = upload.file;
        let disposition =
            format!("Content-Disposition: form-data; name=\"{name}\"; filename=\"file\"");
        let kind = &upload.mime_type;
        head.push_str(&format!("--{boundary}\r\n{disposition}\r\nContent-Type: {kind}\r\n\r\n"));
        let end = format!("\r\n--{boundary}--\r\n");
        let length = head.len() as u64 + size + end.len() as u64;
        let piece = |text: String| futures_util::stream::once(async { Ok(Bytes::from(text)) });
        let body = piece(head).chain(pieces).chain(piece(end));
        let request = self
            .client
            .post(format!("{}/{}", self.graph, upload.path))
            .timeout(self.upload_timeout)
            .header(CONTENT_TYPE, format!("multipart/form-data; boundary={boundary}"))
            .header(CONTENT_LENGTH, length)
            .body(Body::wrap_stream(body));
        self.answered(request, &upload.bearer).await
    }

    async fn ask(&self, call: Call) -> Answered {
        let base = match call.api {
            Api::Graph => &self.graph,
            Api::Instagram => &self.instagram,
            Api::InstagramTokens => &self.instagram_tokens,
            Api::InstagramLogin => &self.instagram_login,
        };
        let url = format!("{base}/{}", call.path);
        let mut request = match call.method {
            Method::Get => self.client.get(url),
            Method::Post => self.client.post(url),
            Method::Delete => self.client.delete(url),
        };
        request = match &call.body {
            Some(body) if call.api == Api::InstagramLogin => {
                request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form(body))
            }
            Some(body) => request.json(body),
            None => request,
        };
        self.answered(request, &call.bearer).await
    }

    async fn answered(&self, mut request: RequestBuilder, token: &str) -> Answered {
        if !token.is_empty() {
            request = request.bearer_auth(token);
        }
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) if error.is_connect() || error.is_builder() => {
                return Answered::NotSent("the provider cannot be reached".to_owned());
            }
            Err(error) if error.is_timeout() => {
                return Answered::PerhapsSent("the provider did not answer in time".to_owned());
            }
            Err(_) => return Answered::PerhapsSent("the connection broke".to_owned()),
        };
        let status = answer.status().as_u16();
        let header = |name: &str| answer.headers().get(name)?.to_str().ok();
        let wait = whatsapp::wait(header);
        match self.read(answer).await {
            Some(body) if (200..300).contains(&status) => Answered::With { status, body, wait },
            Some(body) => Answered::With { status, body: without(token, body), wait },
            None => Answered::PerhapsSent("the provider's answer broke off".to_owned()),
        }
    }

    async fn read(&self, mut answer: Response) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.ok()? {
            if body.len() + chunk.len() > self.answer_bytes {
                return None;
            }
            body.extend_from_slice(&chunk);
        }
        Some(body)
    }
}

/// The texts of an object as a form.
fn form(body: &Value) -> String {
    let fields = body.as_object().into_iter().flatten();
    let texts = fields.filter_map(|(name, value)| Some((name, value.as_str()?)));
    form_urlencoded::Serializer::new(String::new()).extend_pairs(texts).finish()
}

/// An error without the access token that was sent: providers repeat it in their words, which
/// people see, and which are kept.
fn without(token: &str, body: Vec<u8>) -> Vec<u8> {
    match str::from_utf8(&body) {
        Ok(text) if token.len() >= TOKEN_BYTES_MIN && text.contains(token) => {
            text.replace(token, MASK).into_bytes()
        }
        _ => body,
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::net::SocketAddr;
    use std::time::Duration;

    use axum::Router;
    use axum::response::Response;
    use axum::routing::get;
    use engine::channel::{Answered, whatsapp};

    use super::{Provider, ProviderOptions};

    async fn listener() -> (tokio::net::TcpListener, SocketAddr) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    fn options(address: SocketAddr) -> ProviderOptions {
        ProviderOptions {
            graph_url: format!("http://{address}"),
            instagram_url: format!("http://{address}"),
            instagram_auth_url: format!("http://{address}"),
            graph_version: "v23.0".into(),
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_millis(300),
            upload_timeout: Duration::from_millis(300),
            answer_bytes: 1_000,
        }
    }

    async fn perform(options: ProviderOptions, key: &str) -> Answered {
        Provider::new(options).unwrap().perform(whatsapp::account(key, "token")).await
    }

    async fn ask(address: SocketAddr, key: &str) -> Answered {
        perform(options(address), key).await
    }

    #[tokio::test]
    async fn an_answer_that_is_too_long_or_too_late_proves_nothing() {
        let router = Router::new()
            .route("/v23.0/fits", get(async || "x".repeat(1_000)))
            .route("/v23.0/long", get(async || "x".repeat(1_001)))
            .route("/v23.0/late", get(async || pending::<()>().await));
        let (listener, address) = listener().await;
        tokio::spawn(async move { axum::serve(listener, router).await });
        let fits = ask(address, "fits").await;
        assert!(matches!(fits, Answered::With { status: 200, body, .. } if body.len() == 1_000));
        for key in ["long", "late"] {
            assert!(matches!(ask(address, key).await, Answered::PerhapsSent(_)), "{key}");
        }
    }

    #[tokio::test]
    async fn an_error_does_not_hold_the_access_token_that_was_sent() {
        const SAID: &str = "Malformed access token 12345|0123456789abcdef, a token";
        let refuses = async || Response::builder().status(400).body(SAID.to_owned()).unwrap();
        let router = Router::new().route("/v23.0/wrong", get(refuses));
        let (listener, address) = listener().await;
        tokio::spawn(async move { axum::serve(listener, router).await });
        let provider = Provider::new(options(address)).unwrap();
        for (token, wanted) in [
            ("12345|0123456789abcdef", "Malformed access token ********, a token"),
            ("token", SAID),
        ] {
            let answered = provider.perform(whatsapp::account("wrong", token)).await;
            let Answered::With { body, .. } = answered else { panic!("{answered:?}") };
            assert_eq!(String::from_utf8(body).unwrap(), wanted);
        }
    }

    #[tokio::test]
    async fn a_connection_that_takes_too_long_proves_that_nothing_was_sent() {
        // A queue for one connection, which nobody takes out, and so many that the next ones wait.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut queued = Vec::new();
        let patience = Duration::from_millis(500);
        while let Ok(connected) =
            tokio::time::timeout(patience, tokio::net::TcpStream::connect(address)).await
        {
            queued.push(connected.unwrap());
        }
        let options = ProviderOptions {
            connect_timeout: Duration::from_millis(50),
            timeout: Duration::from_secs(60),
            ..options(address)
        };
        let answered = perform(options, "full").await;
        assert!(matches!(answered, Answered::NotSent(_)), "{answered:?}");
    }

    #[tokio::test]
    async fn a_connection_that_never_came_about_proves_that_nothing_was_sent() {
        let (listener, address) = listener().await;
        drop(listener);
        assert!(matches!(ask(address, "gone").await, Answered::NotSent(_)));
    }
}

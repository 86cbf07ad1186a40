//! Files from elsewhere: only from where they may be had. The token goes to the provider's own
//! machines, nothing goes to those of our network, and nobody is led on by a redirect.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use engine::saying::{is_public, link};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Response, Url};

/// Reads files. Clones share connections.
#[derive(Clone)]
pub struct Downloads {
    /// For the address that the operator has set: it may lie anywhere.
    provider: Client,
    /// For the public internet.
    public: Client,
    graph: Option<Url>,
    resend: Option<Url>,
    hosts: Vec<String>,
}

/// Where files are had, and how long that may take.
#[derive(Clone, Debug)]
pub struct DownloadOptions {
    /// The provider's API: a stand-in serves its files itself.
    pub graph_url: String,
    /// Resend's API: the same.
    pub resend_url: String,
    /// Where the provider has its files: names, or their ends as `*.example.com`.
    pub hosts: Vec<String>,
    pub connect_timeout: Duration,
    /// Of a whole file.
    pub timeout: Duration,
}

/// A file that is being read.
pub struct Download(Response);

/// Why a file cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotRead {
    /// It lies where nothing is fetched from.
    #[error("the file lies where none is fetched from")]
    Foreign,
    /// It is not there any more.
    #[error("the file is not there any more")]
    Gone,
    /// The token does not count for it.
    #[error("the file is refused; check the account's access token")]
    Refused,
    /// Another address is named in its place.
    #[error("the file's address leads on to another one")]
    Moved,
    /// There is no file.
    #[error("the address leads to no file")]
    NoFile,
    /// It will pass.
    #[error("{0}")]
    Passing(&'static str),
}

const BROKE: NotRead = NotRead::Passing("the connection to where the file lies broke");

impl Downloads {
    /// # Errors
    /// When TLS cannot be set up on this machine.
    pub fn new(options: DownloadOptions) -> Result<Self, reqwest::Error> {
        // A second call finds it installed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = || -> ClientBuilder {
            Client::builder()
                .connect_timeout(options.connect_timeout)
                .timeout(options.timeout)
                .user_agent("OmniStream")
                .redirect(Policy::none())
                .no_proxy()
                // HTTP/2 came into the program with what speaks to buckets. Nothing here waits behind another.
                .http1_only()
        };
        let provider = client().build()?;
        let public = client().dns_resolver(Public).build()?;
        let base = |url: &str| Url::parse(url).ok();
        let (graph, resend) = (base(&options.graph_url), base(&options.resend_url));
        Ok(Self { provider, public, graph, resend, hosts: options.hosts })
    }

    /// Begins to read a file of the provider's, with the token that it asks for.
    pub async fn of_provider(&self, url: &str, token: &str) -> Result<Download, NotRead> {
        let url = Url::parse(url).map_err(|_| NotRead::Foreign)?;
        let client = self.client(&url).ok_or(NotRead::Foreign)?;
        opened(client.get(url).bearer_auth(token).send().await)
    }

    /// Begins to read what Resend answers there, with the token that it asks for.
    pub async fn of_resend(&self, path: &str, token: &str) -> Result<Download, NotRead> {
        let url = self.resend.as_ref().and_then(|base| base.join(path).ok());
        let url = url.filter(|url| self.is_known(url)).ok_or(NotRead::Foreign)?;
        opened(self.provider.get(url).bearer_auth(token).send().await)
    }

    /// Begins to read a file of the provider's that lies where everybody may have it for a while:
    /// nothing has to be shown, and what is refused is over.
    pub async fn of_address(&self, url: &str) -> Result<Download, NotRead> {
        let url = Url::parse(url).map_err(|_| NotRead::Foreign)?;
        let client = self.client(&url).ok_or(NotRead::Foreign)?;
        let answer = client.get(url).send().await;
        let status = answer.as_ref().map(|answer| answer.status().as_u16());
        match status {
            Ok(400 | 401 | 403) => Err(NotRead::Gone),
            _ => opened(answer),
        }
    }

    /// Begins to read what a link leads to, on the public internet.
    pub async fn of_link(&self, url: &str) -> Result<Download, NotRead> {
        let parsed = Url::parse(url).map_err(|_| NotRead::Foreign)?;
        let client = match link(url) {
            None => &self.public,
            // A stand-in may have files, too.
            Some(_) if self.is_known(&parsed) => &self.provider,
            Some(_) => return Err(NotRead::Foreign),
        };
        let answer = client.get(parsed).send().await;
        let status = answer.as_ref().map(|answer| answer.status().as_u16());
        match status {
            Ok(300..=399) => Err(NotRead::Moved),
            Ok(400 | 405 | 451) => Err(NotRead::NoFile),
            _ => opened(answer),
        }
    }

    fn is_graph(&self, url: &Url) -> bool {
        self.graph.as_ref().is_some_and(|graph| graph.origin() == url.origin())
    }

    /// Whether it lies where the operator has said that a provider is.
    fn is_known(&self, url: &Url) -> bool {
        let is_resend = |resend: &Url| resend.origin() == url.origin();
        self.is_graph(url) || self.resend.as_ref().is_some_and(is_resend)
    }

    /// By which way a file of the provider's is read, if it is one.
    fn client(&self, url: &Url) -> Option<&Client> {
        if !url.username().is_empty() || url.password().is_some() {
            return None;
        }
        if self.is_graph(url) {
            return Some(&self.provider);
        }
        let name = url.domain().filter(|_| url.scheme() == "https" && url.port().is_none())?;
        let is_of = |host: &String| match host.strip_prefix('*') {
            Some(end) => name.len() > end.len() && name.ends_with(end),
            None => name == host,
        };
        self.hosts.iter().any(is_of).then_some(&self.public)
    }
}

fn opened(answer: Result<Response, reqwest::Error>) -> Result<Download, NotRead> {
    let answer = answer.map_err(|error| match error.is_timeout() {
        true => NotRead::Passing("where the file lies nobody answered in time"),
        false => BROKE,
    })?;
    match answer.status().as_u16() {
        200 => Ok(Download(answer)),
        404 | 410 => Err(NotRead::Gone),
        300..=399 => Err(NotRead::Passing("where the file lies something else is named")),
        401 | 403 => Err(NotRead::Refused),
        _ => Err(NotRead::Passing("where the file lies something went wrong")),
    }
}

impl Download {
    /// How many bytes are announced.
    pub fn announced(&self) -> Option<u64> {
        self.0.content_length()
    }

    /// What it is said to be.
    pub fn mime_type(&self) -> Option<String> {
        let kind = self.0.headers().get(reqwest::header::CONTENT_TYPE)?.to_str().ok()?;
        Some(kind.to_owned())
    }

    /// All of it; `None`: it is larger.
    pub async fn whole(mut self, most: usize) -> Result<Option<Vec<u8>>, NotRead> {
        let mut all = Vec::new();
        while let Some(piece) = self.next().await? {
            if all.len() + piece.len() > most {
                return Ok(None);
            }
            all.extend_from_slice(&piece);
        }
        Ok(Some(all))
    }

    /// The next piece; `None`: that was all of it.
    pub async fn next(&mut self) -> Result<Option<Bytes>, NotRead> {
        self.0.chunk().await.map_err(|error| match error.is_timeout() {
            true => NotRead::Passing("the file did not come in time"),
            false => BROKE,
        })
    }
}

/// Finds names of the public internet: a name of which one address is none leads nowhere. What is
/// found here is what is connected to, so nobody can answer otherwise in between.
struct Public;

impl Resolve for Public {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let found: Vec<SocketAddr> = found.collect();
            if !found.iter().all(|address| is_public(address.ip())) {
                let private: Box<dyn Error + Send + Sync> =
                    "the name leads to a private network".into();
                return Err(private);
            }
            let addresses: Addrs = Box::new(found.into_iter());
            Ok(addresses)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::Router;
    use axum::body::Body;
    use axum::http::{HeaderMap, header};
    use axum::response::{Redirect, Response};
    use axum::routing::get;
    use reqwest::Url;

    use super::{DownloadOptions, Downloads, NotRead};

    fn downloads(graph_url: &str) -> Downloads {
        Downloads::new(DownloadOptions {
            graph_url: graph_url.to_owned(),
            resend_url: "https://api.resend.com".to_owned(),
            hosts: vec!["files.example.com".to_owned(), "*.cdn.example.com".to_owned()],
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(30),
        })
        .unwrap()
    }

    #[test]
    fn the_token_goes_to_the_provider_s_machines_only() {
        let downloads = downloads("http://127.0.0.1:7001");
        let goes = |url: &str| downloads.client(&Url::parse(url).unwrap()).is_some();
        for good in [
            "http://127.0.0.1:7001/files/1",
            "https://files.example.com/1",
            "https://a.cdn.example.com/1",
            "https://files.example.com:443/1",
        ] {
            assert!(goes(good), "{good}");
        }
        for bad in [
            "http://127.0.0.1:7002/files/1",
            "https://127.0.0.1:7001/files/1",
            "http://localhost:7001/files/1",
            "http://files.example.com/1",
            "https://files.example.com:8443/1",
            "https://files.example.com.evil.example/1",
            "https://evilfiles.example.com/1",
            "https://.cdn.example.com/1",
            "https://cdn.example.com/1",
            "https://evilcdn.example.com/1",
            "https://files.example.com@evil.example/1",
            "https://user@files.example.com/1",
            "https://10.0.0.1/1",
            "https://[::1]/1",
            "file:///etc/passwd",
        ] {
            assert!(!goes(bad), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_link_into_a_private_network_is_not_followed_by_whatever_name() {
        let downloads = downloads("http://127.0.0.1:7001");
        for private in ["http://127.0.0.1:7002/", "http://localhost/", "http://[::1]/"] {
            assert!(matches!(downloads.of_link(private).await, Err(NotRead::Foreign)), "{private}");
        }
        // A name that is none of those, and leads there all the same.
        let name = downloads.public.get("http://localhost:7001/").send().await.unwrap_err();
        assert!(name.is_connect(), "{name:?}");
        let words = format!("{name:?}");
        assert!(words.contains("private network"), "{words}");
    }

    #[tokio::test]
    async fn nobody_is_led_on_and_what_is_answered_is_told_apart() {
        let led = async || Redirect::temporary("/here");
        let broken = async || Response::builder().status(502).body(Body::empty()).unwrap();
        let here =
            async |headers: HeaderMap| headers[header::AUTHORIZATION].to_str().unwrap().to_owned();
        let router = Router::new()
            .route("/led", get(led))
            .route("/here", get(here))
            .route("/broken", get(broken));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let downloads = downloads(&base);
        let read = async |path: &str| {
            let mut download = downloads.of_provider(&format!("{base}{path}"), "t").await?;
            download.next().await
        };
        assert_eq!(read("/here").await.unwrap().unwrap(), "Bearer t");
        assert_eq!(read("/nowhere").await, Err(NotRead::Gone));
        for passing in ["/led", "/broken"] {
            assert!(matches!(read(passing).await, Err(NotRead::Passing(_))), "{passing}");
        }
    }
}

//! Which server is loaded.

use std::net::{SocketAddr, ToSocketAddrs};

/// A server and a path on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub(crate) address: SocketAddr,
    /// As the `Host` header has it.
    pub(crate) host: String,
    pub(crate) path: String,
}

/// Why a URL is not loaded: a sentence that says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongTarget(String);

impl std::fmt::Display for WrongTarget {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str(&self.0)
    }
}

impl std::error::Error for WrongTarget {}

impl Target {
    /// Of a URL `http://HOST:PORT`; without a path in it, of `path`.
    pub fn new(url: &str, path: &str) -> Result<Self, WrongTarget> {
        let wrong = |why: &str| WrongTarget(format!("`{url}` {why}"));
        let rest = url.strip_prefix("http://");
        let rest = rest.ok_or_else(|| wrong("is not loaded: it must begin with `http://` (where TLS ends before the server, name the server itself)"))?;
        let (host, own_path) = match rest.find('/') {
            Some(at) if at + 1 < rest.len() => (&rest[..at], &rest[at..]),
            _ => (rest.trim_end_matches('/'), path),
        };
        let mut addresses = host
            .to_socket_addrs()
            .map_err(|_| wrong("names no server: write it as `http://127.0.0.1:8080`"))?;
        let address = addresses.next();
        let address = address.ok_or_else(|| wrong("names no server that has an address"))?;
        Ok(Self { address, host: host.to_owned(), path: own_path.to_owned() })
    }

    /// Another path of the same server.
    pub fn at(self, path: &str) -> Self {
        Self { path: path.to_owned(), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::Target;

    #[test]
    fn a_server_is_loaded_at_the_path_that_its_address_names() {
        let target = Target::new("http://127.0.0.1:8080", "/webhook").unwrap();
        assert_eq!((target.host.as_str(), target.path.as_str()), ("127.0.0.1:8080", "/webhook"));
        let target = Target::new("http://[::1]:8080/", "/webhook").unwrap();
        assert_eq!((target.address.port(), target.path.as_str()), (8080, "/webhook"));
        let target = Target::new("http://127.0.0.1:8080/hooks/in", "/webhook").unwrap();
        assert_eq!(target.path, "/hooks/in");
        let target = Target::new("http://192.0.2.7:80", "/webhook").unwrap();
        assert_eq!(target.host, "192.0.2.7:80");
    }

    #[test]
    fn what_is_no_plain_address_is_refused_with_what_to_write() {
        for url in ["https://127.0.0.1:8080", "127.0.0.1:8080", "http://127.0.0.1", "http://"] {
            let refused = Target::new(url, "/webhook").unwrap_err().to_string();
            assert!(refused.contains("http://"), "{refused}");
        }
    }
}

//! Where the demo's data and ports are.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// The directory of a run.
pub(super) enum Home {
    /// Gone at the end.
    Temporary(TempDir),
    Kept(PathBuf),
}

impl Home {
    /// Makes it, where it is not there yet.
    pub(super) fn open(kept: Option<PathBuf>) -> Result<Self, String> {
        let Some(path) = kept else {
            let made = tempfile::Builder::new().prefix("omnistream-demo-").tempdir();
            return made.map(Self::Temporary).map_err(|error| {
                let place = std::env::temp_dir();
                let place = place.display();
                format!("nothing can be written in {place} ({error}): name a directory with --data")
            });
        };
        // Written to, since permissions alone do not tell.
        let tried = std::fs::create_dir_all(&path).and_then(|()| tempfile::tempfile_in(&path));
        match tried {
            Ok(_) => Ok(Self::Kept(path)),
            Err(error) => {
                let path = path.display();
                Err(format!(
                    "nothing can be written in {path} ({error}): name another directory with --data"
                ))
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Temporary(directory) => directory.path(),
            Self::Kept(path) => path,
        }
    }

    pub(super) fn is_temporary(&self) -> bool {
        matches!(self, Self::Temporary(_))
    }
}

/// The wanted address, or a free port beside it where it is taken.
pub(super) fn free(wanted: SocketAddr) -> SocketAddr {
    match TcpListener::bind(wanted) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => SocketAddr::new(wanted.ip(), 0),
        // Any other error is told by the server that meets it.
        _ => wanted,
    }
}

/// How a listening address is reached from this machine.
pub(super) fn url(address: SocketAddr) -> String {
    let ip = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        ip if ip.is_ipv4() => std::net::Ipv4Addr::LOCALHOST.into(),
        _ => std::net::Ipv6Addr::LOCALHOST.into(),
    };
    format!("http://{}", SocketAddr::new(ip, address.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_replaced_by_a_free_one_of_the_same_host() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        assert_eq!(free(address), "127.0.0.1:0".parse().unwrap());
    }

    #[test]
    fn a_server_that_listens_everywhere_is_reached_over_loopback() {
        assert_eq!(url("0.0.0.0:8080".parse().unwrap()), "http://127.0.0.1:8080");
        assert_eq!(url("[::]:8080".parse().unwrap()), "http://[::1]:8080");
        assert_eq!(url("127.0.0.1:1".parse().unwrap()), "http://127.0.0.1:1");
    }
}

//! Open files: as many as this process may have, and what of them is left for connections.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What everything else may have open: the tree some 900 tables, the search its segments, and whatever we
/// connect to. A store that cannot open a file is broken, and the process ends.
const OWN: usize = 1_500;

/// Has this process be allowed what it may be allowed. Answers how many of so many connections have a place.
pub(crate) fn places(connections: usize) -> usize {
    let maximum = getrlimit(Resource::Nofile).maximum;
    // Where that fails there are as many as before.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let Some(files) = getrlimit(Resource::Nofile).current else { return connections };
    let files = usize::try_from(files).unwrap_or(usize::MAX);
    let places = left(files).min(connections);
    if places < connections {
        tracing::warn!(
            files,
            places,
            "fewer connections have a place than `limits.connections` says: allow the process more open files (`ulimit -n`, `LimitNOFILE`)"
        );
    }
    places
}

/// Where there are few files half of them is left.
fn left(files: usize) -> usize {
    files.saturating_sub(OWN).max(files / 2)
}

#[cfg(test)]
mod tests {
    use super::left;

    #[test]
    fn the_store_has_its_files_before_connections_have_theirs() {
        assert_eq!(
            [256, 1_024, 3_000, 4_096, 1 << 20].map(left),
            [128, 512, 1_500, 2_596, 1_047_076]
        );
    }
}

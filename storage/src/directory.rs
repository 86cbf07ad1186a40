//! Directories that a power cut does not take.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::Path;

/// Makes a directory, if it is not there, and makes those durable that it is in, as far as they are new: a
/// name lies in the directory above it (fsync(2)).
pub(crate) fn make(path: &Path) -> io::Result<()> {
    let names = path.ancestors().take_while(|one| !one.as_os_str().is_empty());
    let new: Vec<_> = names.take_while(|one| !one.exists()).collect();
    fs::create_dir_all(path)?;
    for one in new {
        let above = one.parent().filter(|above| !above.as_os_str().is_empty());
        sync(above.unwrap_or(Path::new(".")))?;
    }
    Ok(())
}

/// Makes durable which names a directory has, and which it has no more. One that is not there needs
/// it not, and one that may be written and not read cannot be synced.
pub(crate) fn sync(path: &Path) -> io::Result<()> {
    match File::open(path) {
        Ok(directory) => directory.sync_all(),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => {
            Ok(())
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::make;

    #[test]
    fn a_directory_is_made_with_all_that_it_is_in_once_and_again() {
        let directory = tempfile::tempdir().unwrap();
        let deep = directory.path().join("a/b/c");
        for _ in 0..2 {
            make(&deep).unwrap();
            assert!(deep.is_dir());
        }
        std::fs::write(directory.path().join("file"), "").unwrap();
        assert!(make(&directory.path().join("file/b")).is_err());
    }
}

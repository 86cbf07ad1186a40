//! What the log needs of the machine: files with numbers, space, chance. Behind a trait, so that
//! tests can pull the plug.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A directory of files that have numbers for names. What was written survives a power cut only
/// after a sync: of a file, for its content; of the directory, for its being there.
pub(super) trait Disk: Send + Sync {
    /// The numbers of the files.
    fn list(&self) -> io::Result<Vec<u32>>;
    /// A new empty file, in the place of another of this number.
    fn create(&self, number: u32) -> io::Result<Box<dyn DiskFile>>;
    /// A file that is there.
    fn open(&self, number: u32) -> io::Result<Box<dyn DiskFile>>;
    /// Takes a file away.
    fn remove(&self, number: u32) -> io::Result<()>;
    /// Makes the directory durable.
    fn sync(&self) -> io::Result<()>;
    /// How many bytes are free.
    fn space(&self) -> io::Result<u64>;
    /// A number that nobody drew before.
    fn salt(&self) -> io::Result<u64>;
}

/// A file.
pub(super) trait DiskFile: Send {
    /// Its length in bytes.
    fn length(&self) -> io::Result<u64>;
    /// Bytes from `at` on; an error if the file ends before.
    fn read(&self, at: u64, bytes: &mut [u8]) -> io::Result<()>;
    /// Writes all bytes from `at` on.
    fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes the content durable.
    fn sync(&self) -> io::Result<()>;
}

/// A directory of the file system.
pub(super) struct Directory(PathBuf);

impl Directory {
    /// This one; made if it is not there.
    pub(super) fn at(path: &Path) -> io::Result<Self> {
        crate::directory::make(path)?;
        Ok(Self(path.to_owned()))
    }

    fn file(&self, number: u32) -> PathBuf {
        self.0.join(format!("{number:06}.log"))
    }
}

impl Disk for Directory {
    fn list(&self) -> io::Result<Vec<u32>> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(".log"));
            numbers.extend(number.and_then(|number| number.parse::<u32>().ok()));
        }
        Ok(numbers)
    }

    fn create(&self, number: u32) -> io::Result<Box<dyn DiskFile>> {
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(true).clone();
        Ok(Box::new(options.open(self.file(number))?))
    }

    fn open(&self, number: u32) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(OpenOptions::new().read(true).write(true).open(self.file(number))?))
    }

    fn remove(&self, number: u32) -> io::Result<()> {
        fs::remove_file(self.file(number))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }

    fn space(&self) -> io::Result<u64> {
        let found = rustix::fs::statvfs(&self.0)?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }

    fn salt(&self) -> io::Result<u64> {
        Ok(getrandom::u64()?)
    }
}

impl DiskFile for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read(&self, at: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(bytes, at)
    }

    fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, at)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

//! The files of the workspace, as text.

use std::fs;
use std::path::{Path, PathBuf};

/// A file with its path from the root.
pub(crate) struct Text {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// Folders that are made, not written.
const MADE: [&str; 3] = ["target", "data", ".git"];

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// One file, which must be there.
pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

pub(crate) fn exists(path: &str) -> bool {
    root().join(path).exists()
}

/// All files whose names end like this, in order.
pub(crate) fn all(ending: &str) -> Vec<Text> {
    let mut found = Vec::new();
    walk(&root(), ending, &mut found);
    found.sort_by(|one, other| one.path.cmp(&other.path));
    assert!(!found.is_empty(), "no file ends in {ending}");
    found
}

fn walk(folder: &Path, ending: &str, found: &mut Vec<Text>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !MADE.contains(&name.as_str()) {
                walk(&path, ending, found);
            }
        } else if name.ends_with(ending) {
            let text = fs::read_to_string(&path).unwrap();
            let path = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
            found.push(Text { path, text });
        }
    }
}

impl Text {
    /// The crate that it is of.
    pub(crate) fn of_crate(&self) -> &str {
        self.path.split('/').next().unwrap_or_default()
    }

    /// The folder that it lies in.
    pub(crate) fn folder(&self) -> &str {
        self.path.rsplit_once('/').map_or("", |(folder, _)| folder)
    }

    /// The path of what lies beside it.
    pub(crate) fn beside(&self, path: &str) -> String {
        match self.folder() {
            "" => path.to_owned(),
            folder => format!("{folder}/{path}"),
        }
    }

    /// Its lines with their numbers.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.text.lines())
    }
}

/// Fails with all that was found wrong.
#[track_caller]
pub(crate) fn nothing_is_wrong(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

/// What stands between backticks.
pub(crate) fn code_spans(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

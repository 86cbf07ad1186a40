//! The jars of a Cassandra: fetched once by Maven, and kept beside what cargo builds.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Missing;

const POM: &str = include_str!("pom.xml");
const COPY: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies";

/// The directory that they are in.
pub(super) fn fetched() -> Result<PathBuf, Missing> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    let kept = workspace.unwrap_or_else(|| Path::new(".")).join("target/cql-server");
    let lib = kept.join("lib");
    let locked = fs::create_dir_all(&kept).and_then(|()| File::create(kept.join("lock")));
    // Tests of other programs wait here for the one that fetches. It goes when it is dropped.
    let locked = locked.and_then(|file| file.lock().map(|()| file));
    let _locked = locked.map_err(|error| Missing::because(kept.display(), error))?;
    if !fs::read_to_string(lib.join("pom.xml")).is_ok_and(|pom| pom == POM) {
        fetch(&kept, &lib)?;
    }
    Ok(lib)
}

/// They appear as a whole: whoever is killed meanwhile leaves none.
fn fetch(kept: &Path, lib: &Path) -> Result<(), Missing> {
    let failed = |error: io::Error| Missing::because("Cassandra cannot be fetched", error);
    let new = tempfile::tempdir_in(kept).map_err(failed)?;
    let pom = new.path().join("pom.xml");
    fs::write(&pom, POM).map_err(failed)?;
    let mut maven = Command::new("mvn");
    maven.args(["--batch-mode", "--quiet", "--file"]).arg(pom).arg(COPY);
    // Without versions in their names, which the pom alone knows.
    maven.args(["-DincludeScope=runtime", "-Dmdep.stripVersion=true"]);
    maven.arg(format!("-DoutputDirectory={}", new.path().display())).stdin(Stdio::null());
    let output = maven.output().map_err(|error| {
        Missing::because("Cassandra is fetched by `mvn` (Maven 3.6.3 or later); install it", error)
    })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stdout);
        let said = said.lines().find(|line| line.contains("ERROR")).unwrap_or("it did not say why");
        return Err(Missing::because("Cassandra cannot be fetched by `mvn`", said));
    }
    // What another version left.
    let _gone = fs::remove_dir_all(lib);
    fs::rename(new.keep(), lib).map_err(failed)
}

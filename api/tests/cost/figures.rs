//! What each path took when that was last agreed on.

use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::counted::counts;

/// A step up by so many percent fails; one down is told.
const STEP: f64 = 15.0;

/// Both paths are counted at once.
static WRITTEN: Mutex<()> = Mutex::new(());

/// Fails when a path takes more instructions than it did; with `COST_RENEW` that is what it takes
/// from now on. `None`: nobody knows.
pub(crate) fn holds(name: &str, takes: Option<u64>) {
    let Some(takes) = takes else { return };
    let _one_by_one = WRITTEN.lock().unwrap_or_else(PoisonError::into_inner);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cost/figures.toml");
    let figures = std::fs::read_to_string(&path).unwrap();
    let known = figure(&figures, name);
    let by = (takes as f64 / known as f64 - 1.0) * 100.0;
    let found = format!("{name}: {takes} instructions instead of {known}: {by:+.1} %");
    eprintln!("{found}");
    if renews() {
        let (was, is) = (format!("{name} = {known}\n"), format!("{name} = {takes}\n"));
        return std::fs::write(path, figures.replace(&was, &is)).unwrap();
    }
    let renew = "`COST_RENEW=1 cargo test -p omnistream-api --test cost` writes down what is meant";
    if by < -STEP {
        // Not by `eprintln!`, which the tests of a run that passes keep to themselves.
        writeln!(std::io::stderr(), "\nCHEAPER {found}. {renew}, or it is dearer again unseen")
            .unwrap();
    }
    let shown = counts(name);
    assert!(by <= STEP, "{found}. `callgrind_annotate {}` shows them; {renew}", shown.display());
}

fn figure(figures: &str, name: &str) -> u64 {
    let figures: toml::Table = figures.parse().unwrap();
    u64::try_from(figures[name].as_integer().unwrap()).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "tests are told by it; they have no settings")]
fn renews() -> bool {
    std::env::var("COST_RENEW").is_ok()
}

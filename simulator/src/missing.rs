//! What a test does where the machine lacks what it runs against.

use std::fmt::Display;
use std::io::{self, Write};
use std::thread;

/// Says on stderr, where nobody overlooks it, that this test passes without having been run.
///
/// # Panics
/// With `TEST_REQUIRE_ALL`: there nothing may be missing.
pub fn skipped(missing: impl Display) {
    assert!(environment("TEST_REQUIRE_ALL").is_none(), "{missing}");
    let thread = thread::current();
    let test = thread.name().unwrap_or("a test");
    // Not by `eprintln!`, which the tests of a run that passes keep to themselves.
    let _told = writeln!(io::stderr(), "\nSKIPPED {test}: {missing}");
}

#[expect(clippy::disallowed_methods, reason = "tests are told by it; they have no settings")]
pub(crate) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

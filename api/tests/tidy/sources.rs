//! What every source file keeps to.

use crate::tree::{Text, all, code_spans, exists, nothing_is_wrong};

/// A file that is longer is about two things.
const LINES_MAX: usize = 700;
/// Files that may be longer, each with its reason.
const LONGER: [(&str, &str); 0] = [];

/// Tests that wait in real time, each with its reason.
const WAITING: [(&str, &str); 2] = [
    ("api/tests/crash/main.rs", "the moment of the kill is drawn from the seed: it is the test"),
    ("loadtest/tests/it/webhooks.rs", "its server takes the time that is to be measured"),
];

/// Crates that speak HTTP themselves, to or in place of others.
const OUTSIDE: [&str; 2] = ["simulator", "loadtest"];

#[test]
fn every_file_begins_with_what_is_in_it() {
    let silent = all(".rs").into_iter().filter(|source| !source.text.starts_with("//! "));
    let wrong: Vec<_> =
        silent.map(|source| format!("{}: begin with a `//!` sentence", source.path)).collect();
    nothing_is_wrong(&wrong);
}

#[test]
fn no_file_is_about_two_things() {
    let mut wrong = Vec::new();
    for source in all(".rs") {
        let (path, lines) = (&source.path, source.text.lines().count());
        let may_be = LONGER.iter().any(|(longer, _)| longer == path);
        if lines > LINES_MAX && !may_be {
            wrong.push(format!("{path}: {lines} lines; split what is over {LINES_MAX}"));
        }
        if lines <= LINES_MAX && may_be {
            wrong.push(format!("{path}: {lines} lines; it needs no exception any more"));
        }
    }
    nothing_is_wrong(&wrong);
}

#[test]
fn every_file_belongs_to_a_module() {
    let sources = all(".rs");
    let mut wrong = Vec::new();
    for source in &sources {
        let (path, folder) = (&source.path, source.folder());
        let stem = path.rsplit('/').next().unwrap_or_default().trim_end_matches(".rs");
        let name = match stem {
            // A crate's or a test's own root.
            "lib" | "main" => continue,
            "mod" => folder.rsplit('/').next().unwrap_or_default(),
            stem => stem,
        };
        let stands_alone = folder.ends_with("/tests") || folder.ends_with("/examples");
        let mut others = sources.iter().filter(|other| other.of_crate() == source.of_crate());
        if !stands_alone && !others.any(|other| other.text.contains(&format!("mod {name};"))) {
            wrong.push(format!("{path}: no `mod {name};` names it"));
        }
    }
    nothing_is_wrong(&wrong);
}

#[test]
fn nothing_is_put_off() {
    // Put together, so that this file is read too.
    let words = [["TO", "DO"], ["FIX", "ME"], ["todo", "!("], ["unimplemented", "!("]];
    let words = words.map(|parts| parts.concat());
    let mut wrong = Vec::new();
    for source in all(".rs").into_iter().chain(all(".toml")).chain(all(".md")) {
        for (number, line) in source.lines() {
            for word in words.iter().filter(|word| line.contains(*word)) {
                let path = &source.path;
                wrong.push(format!("{path}:{number}: `{word}`: do it now, or do not say it"));
            }
        }
    }
    nothing_is_wrong(&wrong);
}

#[test]
fn no_test_waits_a_fixed_time() {
    let mut wrong = Vec::new();
    for source in all(".rs") {
        let path = &source.path;
        let Some(tests) = tests(&source) else { continue };
        let may = WAITING.iter().any(|(waiting, _)| waiting == path);
        match (waits(tests), may) {
            (true, false) => wrong
                .push(format!("{path}: a test sleeps; await the thing itself, or pause the time")),
            (false, true) => {
                wrong.push(format!("{path}: it does not sleep and needs no exception any more"));
            }
            _ => {}
        }
    }
    nothing_is_wrong(&wrong);
}

/// Whether something sleeps in real time: a test that does not pause the time, or what such a test
/// may call.
fn waits(tests: &str) -> bool {
    let sleeps = ["thread::", "time::", " "].map(|before| format!("{before}sleep("));
    let runtimes = tests.matches("::Builder::new_").count();
    let mut attributes = tests.lines().filter(|line| line.trim().starts_with("#[tokio::test"));
    // What the desk's tests run by themselves, their bench runs in paused time.
    let pauses = ["start_paused", " block_on("].iter().any(|pauses| tests.contains(pauses));
    let all_paused = pauses
        && attributes.all(|line| line.contains("start_paused = true"))
        && tests.matches("start_paused(true)").count() >= runtimes;
    let mut within = "";
    tests.lines().any(|line| {
        if line.trim().starts_with("#[tokio::test") {
            within = line;
        }
        let is_paused = all_paused || within.contains("start_paused = true");
        sleeps.iter().any(|sleep| line.contains(sleep)) && !is_paused
    })
}

/// What of a file is tests; `None`: nothing.
fn tests(source: &Text) -> Option<&str> {
    if source.path.contains("/tests/") {
        return Some(&source.text);
    }
    source.text.find("#[cfg(test)]\nmod tests {").map(|at| &source.text[at..])
}

#[test]
fn only_the_edge_names_status_codes() {
    names_nowhere_else("StatusCode", |of| of == "api" || OUTSIDE.contains(&of));
}

#[test]
fn only_the_store_names_tables_and_keys() {
    for words in ["storage::tables", "storage::Key", "storage::Part", "Key::new("] {
        names_nowhere_else(words, |of| of == "storage");
    }
}

#[track_caller]
fn names_nowhere_else(words: &str, may: impl Fn(&str) -> bool) {
    let mut wrong = Vec::new();
    let sources = all(".rs").into_iter().filter(|source| source.path.contains("/src/"));
    for source in sources.filter(|source| !may(source.of_crate())) {
        for (number, _) in source.lines().filter(|(_, line)| line.contains(words)) {
            let (path, of) = (&source.path, source.of_crate());
            wrong.push(format!("{path}:{number}: `{of}` does not name `{words}`"));
        }
    }
    nothing_is_wrong(&wrong);
}

#[test]
fn comments_name_documents_that_are_there() {
    let mut wrong = Vec::new();
    for source in all(".rs") {
        let comments = source.lines().filter(|(_, line)| line.trim_start().starts_with("//"));
        for (number, line) in comments {
            for name in code_spans(line).filter(|span| span.ends_with(".md")) {
                if !exists(name) && !exists(&source.beside(name)) {
                    wrong.push(format!("{}:{number}: there is no `{name}`", source.path));
                }
            }
        }
    }
    nothing_is_wrong(&wrong);
}

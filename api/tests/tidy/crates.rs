//! Which crate knows what.

use std::collections::BTreeSet;

use toml::{Table, Value};

use crate::tree::{all, exists, nothing_is_wrong, read};

/// Each crate and what it may use of ours.
const EDGES: [(&str, &[&str]); 7] = [
    ("config", &[]),
    ("engine", &[]),
    ("storage", &["engine"]),
    ("actors", &["engine", "storage"]),
    ("api", &["config", "engine", "storage", "actors", "simulator"]),
    ("simulator", &[]),
    ("loadtest", &[]),
];

/// Libraries that make a crate what it is, and the crates that may know them outside their tests.
const KNOWN_BY: [(&str, &[&str]); 10] = [
    ("axum", &["api", "simulator"]),
    ("clap", &["api", "simulator", "loadtest"]),
    ("fjall", &["storage"]),
    ("hyper", &["api"]),
    ("lettre", &["engine", "actors"]),
    ("ractor", &["actors"]),
    ("reqwest", &["storage", "actors", "api", "simulator", "loadtest"]),
    ("tantivy", &["storage"]),
    ("tokio", &["storage", "actors", "api", "simulator", "loadtest"]),
    ("toml", &["config", "loadtest"]),
];

/// What a rule must not reach for: the outside, the time, chance.
const IMPURE: [&str; 9] = [
    "async fn",
    "async move",
    ".await",
    "std::fs",
    "std::net",
    "std::env",
    "std::thread",
    "SystemTime",
    "Instant::now",
];

fn manifest(name: &str) -> Table {
    read(&format!("{name}/Cargo.toml")).parse().unwrap()
}

/// The names of a section's dependencies, ours without their prefix.
fn dependencies(name: &str, section: &str) -> BTreeSet<String> {
    let manifest = manifest(name);
    let table = manifest.get(section).and_then(Value::as_table);
    let names = table.into_iter().flat_map(Table::keys);
    names.map(|name| name.strip_prefix("omnistream-").unwrap_or(name).to_owned()).collect()
}

fn ours() -> impl Iterator<Item = &'static str> {
    EDGES.iter().map(|(name, _)| *name)
}

#[test]
fn every_crate_has_its_place() {
    let workspace: Table = read("Cargo.toml").parse().unwrap();
    let members = workspace["workspace"]["members"].as_array().unwrap();
    let members: BTreeSet<_> = members.iter().map(|member| member.as_str().unwrap()).collect();
    assert_eq!(members, ours().collect(), "the workspace's members and the crates that have edges");
}

#[test]
fn crates_use_only_what_lies_below_them() {
    let mut wrong = Vec::new();
    for (name, below) in EDGES {
        for section in ["dependencies", "dev-dependencies"] {
            for used in dependencies(name, section) {
                // For its tests a crate may switch on features of itself, and use what stands in for
                // the outside or looks from there, which knows none of ours.
                let is_of_tests = section == "dev-dependencies"
                    && (used == name || ["simulator", "loadtest"].contains(&used.as_str()));
                let is_ours = ours().any(|ours| ours == used);
                if is_ours && !is_of_tests && !below.contains(&used.as_str()) {
                    wrong.push(format!("{name}/Cargo.toml: `{name}` must not use `{used}`"));
                }
            }
        }
    }
    nothing_is_wrong(&wrong);
}

#[test]
fn only_the_crate_whose_matter_it_is_knows_a_library() {
    let mut wrong = Vec::new();
    for (library, knowing) in KNOWN_BY {
        for name in ours().filter(|name| !knowing.contains(name)) {
            if dependencies(name, "dependencies").contains(library) {
                wrong.push(format!("{name}/Cargo.toml: `{name}` must not know `{library}`"));
            }
        }
    }
    nothing_is_wrong(&wrong);
}

#[test]
fn every_dependency_is_used() {
    let sources = all(".rs");
    let mut wrong = Vec::new();
    for name in ours() {
        for section in ["dependencies", "dev-dependencies"] {
            for dependency in dependencies(name, section) {
                let identifier = dependency.replace('-', "_");
                let mut own = sources.iter().filter(|source| source.of_crate() == name);
                if dependency != name
                    && !own.any(|source| source.text.contains(&format!("{identifier}::")))
                {
                    wrong.push(format!("{name}/Cargo.toml: nothing uses `{dependency}`"));
                }
            }
        }
    }
    let workspace: Table = read("Cargo.toml").parse().unwrap();
    for dependency in workspace["workspace"]["dependencies"].as_table().unwrap().keys() {
        let sections = ["dependencies", "dev-dependencies"];
        let mut used = ours().flat_map(|name| sections.map(|section| dependencies(name, section)));
        // Ours stand there for whoever uses them.
        if !used.any(|used| used.contains(dependency)) && ours().all(|name| name != dependency) {
            wrong.push(format!("Cargo.toml: no crate uses `{dependency}`"));
        }
    }
    nothing_is_wrong(&wrong);
}

#[test]
fn the_engine_is_pure() {
    let mut wrong = Vec::new();
    let engine = all(".rs").into_iter().filter(|source| source.path.starts_with("engine/src/"));
    for source in engine {
        for (number, line) in source.lines() {
            let code = line.split("//").next().unwrap_or_default();
            for word in IMPURE.iter().filter(|word| code.contains(**word)) {
                let path = &source.path;
                wrong.push(format!("{path}:{number}: the engine is pure and has no `{word}`"));
            }
        }
    }
    nothing_is_wrong(&wrong);
}

#[test]
fn the_lock_file_is_committed() {
    assert!(exists("Cargo.lock"), "Cargo.lock is part of the tree: a build is the same everywhere");
    let ignored = read(".gitignore");
    assert!(
        !ignored.lines().any(|line| line.contains("Cargo.lock")),
        ".gitignore names Cargo.lock"
    );
}

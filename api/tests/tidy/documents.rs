//! Documents that say what is so.

use std::collections::BTreeSet;

use toml::{Table, Value};

use crate::tree::{all, code_spans, exists, nothing_is_wrong, read};

/// The sections of a decision.
const ADR_SECTIONS: [&str; 3] = ["\n## Context\n", "\n## Decision\n", "\n## Consequences\n"];

#[test]
fn every_link_leads_somewhere() {
    let mut wrong = Vec::new();
    for page in all(".md") {
        for (number, line) in page.lines() {
            for link in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
                let target = link.split('#').next().unwrap_or_default();
                let is_outside = target.contains("://") || target.is_empty();
                if !is_outside && !exists(&page.beside(target)) {
                    wrong.push(format!("{}:{number}: `{link}` leads nowhere", page.path));
                }
            }
        }
    }
    nothing_is_wrong(&wrong);
}

#[test]
fn every_metric_is_told_of_and_none_else() {
    let sources = all(".rs").into_iter().filter(|source| {
        ["api/src/", "actors/src/", "storage/src/"]
            .iter()
            .any(|begin| source.path.starts_with(begin))
    });
    let is_metric = |word: &&str| word.starts_with("omnistream_");
    let counted: BTreeSet<String> = sources
        .flat_map(|source| {
            source.text.split('"').filter(is_metric).map(str::to_owned).collect::<Vec<_>>()
        })
        .collect();
    let page = read("docs/metrics.md");
    let told: BTreeSet<String> =
        code_spans(&page).filter(is_metric).map(|name| name.to_owned()).collect();
    assert!(counted.len() > 10);
    assert_eq!(counted, told, "docs/metrics.md tells of every metric");
}

#[test]
fn every_path_that_is_named_is_there() {
    let mut wrong = Vec::new();
    let pages = ["ARCHITECTURE.md", "README.md"].map(|page| (page.to_owned(), read(page)));
    let decisions = all(".md").into_iter().filter(|page| page.path.starts_with("docs/adr/"));
    for (page, text) in pages.into_iter().chain(decisions.map(|page| (page.path, page.text))) {
        for span in code_spans(&text).filter(|span| is_path(span)) {
            if !exists(span) {
                wrong.push(format!("{page}: there is no `{span}`"));
            }
        }
    }
    nothing_is_wrong(&wrong);
}

/// Whether it is a path from the root, of a file or a folder.
fn is_path(span: &str) -> bool {
    let first = span.split('/').next().unwrap_or_default();
    let crates = ["actors", "api", "config", "engine", "loadtest", "simulator", "storage", "docs"];
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    span.contains('/') && crates.contains(&first) && span.chars().all(plain)
}

#[test]
fn every_way_through_the_files_names_what_is_in_them() {
    let mut wrong = Vec::new();
    for line in read("ARCHITECTURE.md").lines() {
        let cells: Vec<_> = line.trim_matches('|').split('|').collect();
        let [file, functions, _] = cells[..] else { continue };
        let Some(path) = code_spans(file).next() else { continue };
        let text = read(path);
        for function in code_spans(functions) {
            let name = function.rsplit("::").next().unwrap_or(function);
            if !text.contains(&format!("fn {name}(")) && !text.contains(&format!("fn {name}<")) {
                wrong.push(format!("ARCHITECTURE.md: {path} has no function `{name}`"));
            }
        }
    }
    nothing_is_wrong(&wrong);
}

#[test]
fn every_decision_is_one_page_that_the_map_links() {
    let map = read("ARCHITECTURE.md");
    let mut wrong = Vec::new();
    let decisions = all(".md").into_iter().filter(|page| page.path.starts_with("docs/adr/"));
    for (number, page) in (1..).zip(decisions) {
        let path = &page.path;
        if !path.starts_with(&format!("docs/adr/{number:04}-")) {
            wrong.push(format!("{path}: decisions are numbered one by one; this is {number:04}"));
        }
        if !page.text.starts_with(&format!("# {number:04}: ")) {
            wrong.push(format!("{path}: its title begins with its number"));
        }
        if !map.contains(&format!("]({path})")) {
            wrong.push(format!("{path}: ARCHITECTURE.md does not link it"));
        }
        for section in ADR_SECTIONS.iter().filter(|section| !page.text.contains(**section)) {
            wrong.push(format!("{path}: it has no section `{}`", section.trim()));
        }
        if page.text.lines().count() > 60 {
            wrong.push(format!("{path}: a decision is one page"));
        }
    }
    nothing_is_wrong(&wrong);
}

#[test]
fn the_checks_are_the_ones_that_are_written_down() {
    let (script, readme, how) = (read(".ci/run"), read("README.md"), read("CONTRIBUTING.md"));
    let steps: Vec<_> = script
        .lines()
        .filter_map(|line| line.split_once("step ")?.1.split_once(' '))
        .filter(|(_, command)| command.starts_with("cargo "))
        .collect();
    let names: Vec<_> = steps.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["format", "lint", "docs", "tests"], ".ci/run fails where it fails fastest");
    for (name, command) in &steps {
        assert!(how.contains(command), "CONTRIBUTING.md does not say `{command}` for {name}");
    }
    let tests = steps.last().unwrap().1;
    assert!(readme.contains(&format!("\n{tests}\n")), "README.md tests with `{tests}`");
}

#[test]
fn the_readme_names_commands_and_settings_that_are_there() {
    let (readme, cli) = (read("README.md"), read("api/src/cli.rs"));
    let settings: Table = read("config/default.toml").parse().unwrap();
    let runs = ["cargo run --release -- ", "omnistream "];
    let mut wrong = Vec::new();
    for text in code_spans(&readme).flat_map(str::lines) {
        let command = runs.iter().find_map(|run| text.split_once(run)).map(|(_, rest)| rest);
        if let Some(name) = command.and_then(|rest| rest.split(' ').next()) {
            let variant = format!("    {}{}", name[..1].to_uppercase(), &name[1..]);
            if !cli.lines().any(|line| line.starts_with(&variant)) {
                wrong.push(format!("README.md: the program has no command `{name}`"));
            }
        }
    }
    let rows = readme.lines().filter_map(|line| line.strip_prefix("| `")?.split_once(" |"));
    for key in rows.flat_map(|(cell, _)| cell.split('`')).filter(|key| key.contains('.')) {
        let mut value = Some(&settings).map(|table| Value::Table(table.clone()));
        for part in key.split('.') {
            value = value.and_then(|value| value.get(part).cloned());
        }
        if value.is_none() {
            wrong.push(format!("README.md: there is no setting `{key}`"));
        }
    }
    nothing_is_wrong(&wrong);
}

#[test]
fn the_container_is_given_time_to_stop_and_the_pinned_toolchain() {
    let settings: Table = read("config/default.toml").parse().unwrap();
    let seconds = |text: &str| text.trim().trim_end_matches('s').parse::<u64>().unwrap();
    let drain = seconds(settings["server"]["drain"].as_str().unwrap());
    let compose = read("docker-compose.yml");
    let grace = compose.lines().find_map(|line| line.trim().strip_prefix("stop_grace_period:"));
    assert!(seconds(grace.unwrap()) > drain, "docker-compose.yml stops before `server.drain`");
    let toolchain: Table = read("rust-toolchain.toml").parse().unwrap();
    let version = toolchain["toolchain"]["channel"].as_str().unwrap();
    let build = read("Dockerfile");
    for wanted in [format!("FROM rust:{version}-"), format!("RUSTUP_TOOLCHAIN={version}\n")] {
        assert!(build.contains(&wanted), "Dockerfile builds with the toolchain {version}");
    }
}

#[test]
fn every_word_of_the_glossary_is_explained_once() {
    let map = read("ARCHITECTURE.md");
    let glossary = map.split("\n## Words\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows = glossary.lines().filter(|line| line.starts_with("| ")).skip(2);
    let words = rows.flat_map(|row| row.split(" | ").next().unwrap_or_default().split(','));
    let words: Vec<_> = words.map(|word| word.trim_matches(['|', ' '])).collect();
    assert!(!words.is_empty());
    let once: BTreeSet<_> = words.iter().collect();
    assert_eq!(once.len(), words.len(), "a word has one meaning: {words:?}");
}

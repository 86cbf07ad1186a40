//! The program reads what runs have found.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use loadtest::result::{FORMAT, Phase, RunResult, Scenario};

/// Scratch that goes with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("loadtest-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    /// A run of a scenario, in a file.
    fn run(&self, file: &str, hash: &str, valid: bool) -> PathBuf {
        let scenario =
            Scenario { name: "chat".to_owned(), hash: hash.to_owned(), ..Scenario::default() };
        let phase = Phase {
            name: "30 %".to_owned(),
            seconds: 2.0,
            acknowledged: 100,
            valid,
            ..Phase::default()
        };
        let phases = vec![phase];
        let path = self.0.join(file);
        let run = RunResult { format: FORMAT, scenario, phases, ..RunResult::default() };
        run.write(&path).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn loadtest(command: &str, arguments: &[&Path]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_loadtest")).arg(command).args(arguments).output();
    let Output { status, stdout, stderr } = output.unwrap();
    (status.code(), String::from_utf8([stdout, stderr].concat()).unwrap())
}

#[test]
fn a_page_is_written_beside_the_result_and_never_over_it() {
    let scratch = Scratch::new("report");
    let run = scratch.run("run.json", "1", true);
    let page = scratch.0.join("run.html");
    let (code, said) = loadtest("report", &[&run]);
    assert_eq!((code, said.trim()), (Some(0), page.to_str().unwrap()));
    assert!(std::fs::read_to_string(&page).unwrap().starts_with("<!DOCTYPE html>"));
    let (code, said) = loadtest("report", &[&run, Path::new("--out"), &run]);
    assert_eq!(code, Some(2));
    assert!(said.contains("name another"), "{said}");
    let (code, said) = loadtest("report", &[&page]);
    assert_eq!(code, Some(2));
    assert!(said.contains("is no result of a load test"), "{said}");
}

#[test]
fn runs_are_compared_and_what_does_not_count_ends_with_2() {
    let scratch = Scratch::new("compare");
    let (a, b) = (scratch.run("a.json", "1", true), scratch.run("b.json", "1", true));
    let (code, said) = loadtest("compare", &[&a, &b]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("acknowledged /s") && said.contains("1.000"), "{said}");
    let [side_a, side_b] = ["--a", "--b"].map(Path::new);
    assert_eq!(loadtest("compare", &[side_a, &a, &a, side_b, &b, &b]).0, Some(0));
    for other in [scratch.run("late.json", "1", false), scratch.run("other.json", "2", true)] {
        let (code, said) = loadtest("compare", &[&a, &other]);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(other.to_str().unwrap()), "{said}");
    }
    let (a, b) = (a.as_path(), b.as_path());
    let wrong: [&[&Path]; 5] = [&[], &[a], &[side_a, a], &[a, b, b], &[a, b, side_a, a, side_b, b]];
    for wrong in wrong {
        assert_eq!(loadtest("compare", wrong).0, Some(2), "{wrong:?}");
    }
}

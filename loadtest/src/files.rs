//! The commands that read what runs have found.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use loadtest::compare::{Run, compare};
use loadtest::page::page;
use loadtest::result::RunResult;

#[derive(Args)]
pub(crate) struct ReportArgs {
    /// What a run found
    #[arg(value_name = "RESULT.json")]
    result: PathBuf,
    /// Where the page is written; beside the result, unless it is said
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Writes a run as a page.
pub(crate) fn report(args: ReportArgs) -> Result<ExitCode, String> {
    let result = read(&args.result)?;
    let out = args.out.unwrap_or_else(|| args.result.with_extension("html"));
    if out == args.result {
        return Err(format!("`{}` is the result itself: name another `--out`", out.display()));
    }
    let failed = |error| format!("`{}`: {error}", out.display());
    std::fs::write(&out, page(&result)).map_err(failed)?;
    say(&out.display().to_string())?;
    Ok(ExitCode::SUCCESS)
}

#[derive(Args)]
pub(crate) struct CompareArgs {
    /// A run of A and a run of B
    #[arg(num_args = 2, value_names = ["A.json", "B.json"], required_unless_present = "a",
        conflicts_with_all = ["a", "b"])]
    both: Vec<PathBuf>,
    /// Runs of A, in the order in which they were made
    #[arg(long, num_args = 1.., value_name = "FILE", requires = "b")]
    a: Vec<PathBuf>,
    /// Runs of B, likewise: the first was made after the first of A, and so on
    #[arg(long, num_args = 1.., value_name = "FILE", requires = "a")]
    b: Vec<PathBuf>,
}

/// Compares runs of one server with runs of another.
pub(crate) fn compared(args: CompareArgs) -> Result<ExitCode, String> {
    let (a, b) = match &args.both[..] {
        [a, b] => (std::slice::from_ref(a), std::slice::from_ref(b)),
        _ => (&args.a[..], &args.b[..]),
    };
    let compared = compare(&runs(a)?, &runs(b)?).map_err(|why| why.to_string())?;
    say(compared.to_string().trim_end())?;
    Ok(if compared.is_valid() { ExitCode::SUCCESS } else { ExitCode::from(2) })
}

fn runs(paths: &[PathBuf]) -> Result<Vec<Run>, String> {
    let run = |path: &PathBuf| {
        let name = path.display().to_string();
        read(path).map(|result| Run { name, result })
    };
    paths.iter().map(run).collect()
}

fn read(path: &Path) -> Result<RunResult, String> {
    RunResult::read(path).map_err(|why| why.to_string())
}

fn say(text: &str) -> Result<(), String> {
    writeln!(io::stdout(), "{text}").map_err(|error| error.to_string())
}

//! The commands that read what runs have found.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
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

fn read(path: &Path) -> Result<RunResult, String> {
    RunResult::read(path).map_err(|why| why.to_string())
}

fn say(text: &str) -> Result<(), String> {
    writeln!(io::stdout(), "{text}").map_err(|error| error.to_string())
}

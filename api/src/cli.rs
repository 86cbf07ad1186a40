//! The commands.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::demo::DemoOptions;

/// The engine of an omnichannel customer desk.
#[derive(Debug, Parser)]
#[command(name = "omnistream", version)]
pub struct Cli {
    /// Settings that differ from the built-in ones (TOML).
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs the server (without a command, too).
    Serve,
    /// Shows everything at work in one process, with a simulated provider, customers and agents.
    Demo(DemoOptions),
    /// Writes all that is stored to a file, but for the files that messages show. Nothing may serve it.
    Export {
        /// A new one; `-` is standard output.
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },
    /// Writes all of such a file into a store with nothing in it, on any backend.
    Import {
        #[arg(long, value_name = "FILE")]
        from: PathBuf,
    },
    /// Prints the OpenAPI 3.1 document.
    Openapi,
    /// Prints the effective settings as TOML, secrets masked.
    Config {
        /// Only checks them.
        #[arg(long)]
        check: bool,
    },
}

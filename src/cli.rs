//! The command line.

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// Serves the image API that Nova removed, in front of Glance.
#[derive(Debug, Parser)]
#[command(version, about)]
pub struct Cli {
    /// What to do; `serve` when left out.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The settings for `serve` without a subcommand.
    #[command(flatten)]
    pub settings: SettingsFile,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve until told to stop.
    Serve(SettingsFile),
    /// Check the settings, print those in force with secrets masked, and exit.
    Check(SettingsFile),
}

/// Where the settings are.
#[derive(Debug, Args)]
pub struct SettingsFile {
    /// A TOML file; the environment (`NOVA_IMAGE_PROXY__SECTION__KEY`) wins over it.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

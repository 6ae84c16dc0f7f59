//! The command line.

use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;
#[cfg(feature = "embedded")]
use std::net::SocketAddr;
use std::path::PathBuf;

/// The arguments of the program.
#[derive(Debug, Parser)]
#[command(version, about, after_long_help = AFTER_HELP)]
pub struct Cli {
    /// The subcommand; `serve` by default.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Settings files named before the subcommand.
    #[command(flatten)]
    pub settings: SettingsFiles,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve until SIGTERM or SIGINT; the default.
    #[command(after_long_help = AFTER_HELP)]
    Serve(SettingsFiles),
    /// Check the settings as `serve` does, print those in force with secrets masked, and exit.
    #[command(after_long_help = AFTER_HELP)]
    Check(SettingsFiles),
    /// Serve the embedded Glance alone, for development and test suites, until SIGTERM or SIGINT.
    #[cfg(feature = "embedded")]
    Glance(GlanceArguments),
}

/// The arguments of the embedded Glance alone.
#[cfg(feature = "embedded")]
#[derive(Debug, Args)]
pub struct GlanceArguments {
    /// The address to listen on: a loopback one, since every caller is admitted. Without a token it
    /// is an admin; the token `PROJECT:USER:ROLE[,ROLE]` names another caller.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9292")]
    pub listen: SocketAddr,
    /// The SQLite file that holds the images; without one they live as long as the process.
    #[arg(long, value_name = "FILE")]
    pub database: Option<PathBuf>,
    /// The folder for the data of images; without one it is beside the database, or temporary.
    #[arg(long, value_name = "FOLDER")]
    pub data_dir: Option<PathBuf>,
    /// Start an empty store with a few sample images.
    #[arg(long)]
    pub sample_images: bool,
    /// Take data that is not in the image's disk format, or unsafe.
    #[arg(long)]
    pub no_inspection: bool,
    /// The address of a small identity service beside it, for clients that begin with `OS_AUTH_URL`.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub identity: Option<SocketAddr>,
}

/// The settings files.
#[derive(Debug, Args)]
pub struct SettingsFiles {
    /// A TOML file with settings. May be repeated: a later file wins over an earlier one, key by
    /// key, and the environment (`NOVA_IMAGE_PROXY__SECTION__KEY`) over all files [env:
    /// `NOVA_IMAGE_PROXY_CONFIG`, one file, without this argument].
    #[arg(long, short, value_name = "FILE")]
    pub config: Vec<PathBuf>,
}

/// The rest of `--help`.
const AFTER_HELP: &str = "\
Examples:
  nova-image-proxy
      serve sample images from the embedded Glance on 127.0.0.1:8774, without any settings
  nova-image-proxy check -c /etc/nova-image-proxy/gateway.toml -c /run/secrets/keystone.toml
      check whether `serve` would start with the settings of these two files

Files and variables:
  There is no default settings file. All keys, with their defaults, are in config/gateway.toml.
  NOVA_IMAGE_PROXY__SECTION__KEY  one setting, such as NOVA_IMAGE_PROXY__SERVER__LISTEN
  NOVA_IMAGE_PROXY_CONFIG         the settings file, when there is no --config
  LISTEN_FDS, LISTEN_PID          listening sockets to inherit, as systemd passes them;
                                  LISTEN_FDNAMES calls them compute and image

Exit codes:
  0   ended by a signal, or the check found nothing
  1   cannot listen or start, failed while running, or ended by a second signal
  2   wrong arguments
  78  invalid settings";

impl Cli {
    /// The settings files, in the order in which later ones win. `variable` is the value of
    /// [`crate::config::FILE_VARIABLE`]; it counts when no argument names a file.
    #[must_use]
    pub fn settings_files(&self, variable: Option<OsString>) -> Vec<PathBuf> {
        let of_subcommand = match &self.command {
            Some(Command::Serve(files) | Command::Check(files)) => files.config.as_slice(),
            #[cfg(feature = "embedded")]
            Some(Command::Glance(_)) => &[],
            None => &[],
        };
        let named = [&self.settings.config, of_subcommand].concat();
        if named.is_empty() {
            let variable = variable.filter(|path| !path.is_empty());
            return variable.map(PathBuf::from).into_iter().collect();
        }
        named
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::FILE_VARIABLE;
    use rstest::rstest;

    #[rstest]
    #[case(&[], &["variable"])]
    #[case(&["serve"], &["variable"])]
    #[case(&["--config", "a"], &["a"])]
    #[case(&["--config", "a", "serve"], &["a"])]
    #[case(&["serve", "--config", "a"], &["a"])]
    #[case(&["check", "-c", "a", "-c", "b"], &["a", "b"])]
    #[case(&["-c", "a", "--config=b", "check"], &["a", "b"])]
    #[case(&["-c", "a", "serve", "-c", "b"], &["a", "b"])]
    fn a_file_counts_wherever_it_is_named(#[case] arguments: &[&str], #[case] expected: &[&str]) {
        let program = std::iter::once(&"nova-image-proxy");
        let cli = Cli::try_parse_from(program.chain(arguments)).unwrap();
        let expected: Vec<_> = expected.iter().map(PathBuf::from).collect();
        assert_eq!(cli.settings_files(Some("variable".into())), expected);
    }

    #[test]
    fn an_empty_variable_names_no_file() {
        let cli = Cli::try_parse_from(["nova-image-proxy"]).unwrap();
        assert!(cli.settings_files(Some(OsString::new())).is_empty());
        assert!(cli.settings_files(None).is_empty());
    }

    #[test]
    fn the_help_names_the_variable_that_is_read() {
        assert!(AFTER_HELP.contains(FILE_VARIABLE));
    }
}

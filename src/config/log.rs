//! `[log]`: the log.

use super::Violation;
use super::types::{enum_value, string_list};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use strum::{EnumString, VariantNames};
use tracing_subscriber::filter::{LevelFilter, Targets};

/// The format of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumString, Serialize, VariantNames)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum LogFormat {
    /// For a terminal.
    Text,
    /// One JSON object a line.
    Json,
    /// As oslo.log writes it, for log collectors of OpenStack.
    Oslo,
}

/// Settings of the log.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// `text`, `json` or `oslo`.
    #[serde(deserialize_with = "enum_value::deserialize")]
    pub format: LogFormat,
    /// Whether each request gets a line.
    pub access: bool,
    /// Starts of `User-Agent`s whose requests for version documents get no line: probes.
    #[serde(deserialize_with = "string_list::deserialize")]
    pub access_exclude_agents: Vec<String>,
    /// A file to append to; empty is standard error.
    pub file: PathBuf,
    /// A level, or a list of targets with levels; see [`Log::targets`].
    pub level: String,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            format: LogFormat::Text,
            access: true,
            access_exclude_agents: ["kube-probe", "curl-healthcheck", "osa-proxy-healthcheck"]
                .map(str::to_owned)
                .into(),
            file: PathBuf::new(),
            level: "info".to_owned(),
        }
    }
}

impl Log {
    /// `log.file`, if it is set.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        Some(self.file.as_path()).filter(|path| !path.as_os_str().is_empty())
    }

    /// The filter that `level` describes: parts separated by commas, each a level for all targets
    /// or `target=level`. Without the former, targets that are not named log at `info`. `quiet` are
    /// levels of targets that `level` does not name.
    #[must_use]
    pub fn targets(&self, quiet: &[(&str, LevelFilter)]) -> Option<Targets> {
        let quiet = quiet.iter().copied();
        let mut targets = Targets::new()
            .with_default(LevelFilter::INFO)
            .with_targets(quiet);
        for part in self.level.split(',').map(str::trim) {
            targets = match part.split_once('=') {
                Some((target, level)) if is_target(target) => {
                    targets.with_target(target, level_filter(level)?)
                }
                Some(_) => return None,
                None => targets.with_default(level_filter(part)?),
            };
        }
        Some(targets)
    }

    /// Everything in this section that is not allowed.
    #[must_use]
    pub fn validate(&self) -> Vec<Violation> {
        match self.targets(&[]) {
            Some(_) => Vec::new(),
            None => vec![Violation::new(
                "log.level",
                "must be error, warn, info, debug, trace or off, or a list with targets, such as \
                 info,hyper=debug",
            )],
        }
    }
}

/// A path of Rust modules, which is what targets are.
fn is_target(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_:-.".contains(&byte);
    !text.is_empty() && text.bytes().all(allowed)
}

/// The levels by name; `tracing` would take numbers and an empty text too.
fn level_filter(text: &str) -> Option<LevelFilter> {
    let is_name = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphabetic());
    text.parse().ok().filter(|_| is_name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use tracing::Level;

    fn targets(level: &str) -> Option<Targets> {
        let level = level.to_owned();
        let log = Log {
            level,
            ..Log::default()
        };
        log.targets(&[("library", LevelFilter::OFF)])
    }

    #[rstest]
    #[case("warn", "any", Level::WARN, Level::INFO)]
    #[case("warn, hyper=debug", "hyper::client", Level::DEBUG, Level::TRACE)]
    #[case("warn,hyper=debug", "any", Level::WARN, Level::INFO)]
    #[case("hyper=debug", "any", Level::INFO, Level::DEBUG)]
    #[case("trace,library=error", "library", Level::ERROR, Level::WARN)]
    fn the_most_exact_part_decides(
        #[case] level: &str,
        #[case] target: &str,
        #[case] logged: Level,
        #[case] not_logged: Level,
    ) {
        let targets = targets(level).unwrap();
        assert!(targets.would_enable(target, &logged));
        assert!(!targets.would_enable(target, &not_logged));
    }

    #[test]
    fn a_quiet_target_needs_its_name() {
        assert!(
            !targets("trace")
                .unwrap()
                .would_enable("library", &Level::ERROR)
        );
    }

    #[rstest]
    #[case("")]
    #[case("loud")]
    #[case("info,")]
    #[case("3")]
    #[case("hyper")]
    #[case("hyper=")]
    #[case("=info")]
    #[case("hyper=loud")]
    #[case("hyper=info=debug")]
    #[case("hyper[{field}]=info")]
    #[case("[span]=info")]
    fn what_is_no_level_is_refused(#[case] level: &str) {
        assert!(targets(level).is_none());
    }
}

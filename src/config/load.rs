//! The layers of the settings, and where each value came from.

use super::environment::PREFIX;
use super::{Settings, Violation};
use config::Format as _;
use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// The names and values of one layer.
type Values = config::Map<String, config::Value>;

/// Sections that name the cloud or its callers: one key of theirs rules sample images out.
const CLOUD_SECTIONS: [&str; 4] = ["auth", "keystone", "glance", "compute"];

/// Why the settings cannot be used.
#[derive(Debug, Error)]
pub enum LoadError {
    /// A file is missing or cannot be read.
    #[error("cannot read the settings file {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A file is not TOML.
    #[error("the settings file {} is not TOML: {message}", path.display())]
    NotToml {
        /// The file.
        path: PathBuf,
        /// The parser's message, which shows the line.
        message: String,
    },
    /// The layers cannot be merged.
    #[error("cannot merge the settings: {0}")]
    Merge(String),
    /// This environment variable is not UTF-8.
    #[error("{0} (from the environment): must be UTF-8")]
    NotUnicode(String),
    /// A value has the wrong type, or a name is unknown.
    #[error("{key}{value_source}: {message}")]
    Value {
        /// The setting's full name as far as it is known.
        key: String,
        /// Where the value came from.
        value_source: ValueSource,
        /// The violation.
        message: String,
    },
    /// Values that are well-formed but not allowed, or not together.
    #[error("{}", lines(.0))]
    Invalid(Vec<(Violation, ValueSource)>),
}

/// Where a setting's value came from, as a suffix for a message; empty for a default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ValueSource(Option<String>);

impl fmt::Display for ValueSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(source) => write!(f, " (from {source})"),
            None => Ok(()),
        }
    }
}

fn lines(violations: &[(Violation, ValueSource)]) -> String {
    let lines = violations
        .iter()
        .map(|(violation, source)| format!("{}{source}: {}", violation.key, violation.message));
    lines.collect::<Vec<_>>().join("\n")
}

/// Loads, merges, resolves and checks the settings. A later file wins over an earlier one, key by
/// key, and the environment over all files.
///
/// `environment` is what [`super::from_process`] returns, or a test's own.
///
/// # Errors
/// When `serve` could not use them; files with secrets are read too.
pub fn load(
    files: &[PathBuf],
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Settings, LoadError> {
    let merge = |error: config::ConfigError| LoadError::Merge(error.to_string());
    let mut builder = config::Config::builder();
    for path in files {
        builder = builder.add_source(FileLayer::read(path)?);
    }
    let layers = builder
        .add_source(environment_layer(environment))
        .build()
        .map_err(merge)?;
    let values = config::Source::collect(&layers).map_err(merge)?;
    let source = |key: &str| ValueSource(source_of(&values, key));
    let mut settings: Settings = serde_path_to_error::deserialize(layers).map_err(|error| {
        let key = error.path().to_string();
        LoadError::Value {
            value_source: source(&key),
            key,
            message: message_of(error.inner()),
        }
    })?;
    let says_which_cloud = CLOUD_SECTIONS
        .iter()
        .any(|section| values.contains_key(*section));
    settings.resolve(files.is_empty() && !says_which_cloud);
    let violations = settings.validate();
    if violations.is_empty() {
        return Ok(settings);
    }
    let violations = violations.into_iter().map(|violation| {
        let source = source(violation.key);
        (violation, source)
    });
    Err(LoadError::Invalid(violations.collect()))
}

/// One TOML file.
#[derive(Debug, Clone)]
struct FileLayer(Values);

impl FileLayer {
    fn read(path: &Path) -> Result<Self, LoadError> {
        let text = std::fs::read_to_string(path).map_err(|source| LoadError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        let name = path.display().to_string();
        let values = config::FileFormat::Toml.parse(Some(&name), &text);
        let values = values.map_err(|error| LoadError::NotToml {
            path: path.to_owned(),
            message: error.to_string().trim_end().to_owned(),
        })?;
        Ok(Self(values))
    }
}

impl config::Source for FileLayer {
    fn clone_into_box(&self) -> Box<dyn config::Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Values, config::ConfigError> {
        Ok(self.0.clone())
    }
}

fn environment_layer(
    environment: impl IntoIterator<Item = (String, String)>,
) -> config::Environment {
    let prefix = format!("{PREFIX}__");
    let variables: HashMap<String, String> = environment
        .into_iter()
        .filter(|(name, _)| name.to_uppercase().starts_with(&prefix))
        .collect();
    config::Environment::with_prefix(PREFIX)
        .prefix_separator("__")
        .separator("__")
        .ignore_empty(true)
        .source(Some(variables))
}

/// Where the value of `key` (`section.name`) came from.
fn source_of(values: &Values, key: &str) -> Option<String> {
    let (section, name) = key.split_once('.').unwrap_or((key, ""));
    let value = values.get(section)?;
    let config::ValueKind::Table(table) = &value.kind else {
        return value.origin().map(str::to_owned);
    };
    table.get(name)?.origin().map(str::to_owned)
}

/// Why a value is invalid; [`LoadError`] names key and source.
fn message_of(error: &config::ConfigError) -> String {
    match error {
        config::ConfigError::Type {
            unexpected,
            expected,
            ..
        } => format!("found {unexpected}, expected {expected}"),
        config::ConfigError::At { error, .. } => message_of(error),
        other => other.to_string(),
    }
}

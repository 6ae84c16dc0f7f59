//! The log of the process: standard error or a file, in the format of the settings.

use super::log_file::{LogFile, Reopen};
use super::log_line::{LogLine, name};
use super::log_writer::{FlushGuard, LogWriter};
use super::tracing_format::{JsonFormat, OsloFormat};
use crate::config::{Log, LogFormat};
use std::io;
use std::path::PathBuf;
use std::time::SystemTime;
use thiserror::Error;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

/// The HTTP library logs every malformed request as an error, and its own start as news. `log.level`
/// can name these targets to log them again.
const QUIET: [(&str, LevelFilter); 2] = [
    ("actix_http", LevelFilter::OFF),
    ("actix_server", LevelFilter::WARN),
];

/// Holds some thousand lines, which arrive while a disk or a terminal is slow for a moment.
const BUFFER: usize = 1 << 20;

/// Why logging cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    /// `log.file` cannot be opened.
    #[error("log.file: cannot open {}: {source}", path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The thread that writes the log cannot be started.
    #[error("cannot start the log: {0}")]
    Thread(#[from] io::Error),
    /// The process logs already.
    #[error("cannot start the log: {0}")]
    Second(#[from] TryInitError),
    /// `log.level` is not allowed, which [`Log::validate`] reports.
    #[error("cannot start the log: log.level is not allowed")]
    Level,
}

/// The running log.
#[derive(Debug)]
pub struct Logging {
    /// Takes lines.
    pub writer: LogWriter,
    /// Writes the lines that are left when it is dropped.
    pub flush: FlushGuard,
    /// Has `log.file` opened again; `None` for a log on standard error.
    pub reopen: Option<Reopen>,
}

/// Starts logging for the whole process.
pub fn start(settings: &Log) -> Result<Logging, StartError> {
    let format = settings.format;
    let notice = move |dropped| notice(format, dropped);
    let ((writer, flush), reopen) = match settings.path() {
        None => (LogWriter::start(io::stderr(), BUFFER, notice)?, None),
        Some(path) => {
            let reopen = Reopen::default();
            let file = LogFile::open(path.to_owned(), reopen.clone());
            let file = file.map_err(|source| StartError::File {
                path: path.to_owned(),
                source,
            })?;
            (LogWriter::start(file, BUFFER, notice)?, Some(reopen))
        }
    };
    let filter = settings.targets(&QUIET).ok_or(StartError::Level)?;
    let registry = tracing_subscriber::registry().with(filter);
    let layer = fmt::layer().with_writer(writer.clone());
    match format {
        LogFormat::Text => registry.with(layer.with_ansi(false)).try_init(),
        LogFormat::Json => {
            let layer = layer.json().event_format(JsonFormat::default());
            registry.with(layer).try_init()
        }
        LogFormat::Oslo => {
            let layer = layer.with_ansi(false).event_format(OsloFormat);
            registry.with(layer).try_init()
        }
    }?;
    Ok(Logging {
        writer,
        flush,
        reopen,
    })
}

/// The line that reports dropped lines.
#[must_use]
pub fn notice(format: LogFormat, dropped: u64) -> Vec<u8> {
    let mut out = Vec::new();
    let mut line = LogLine::new(&mut out, format, SystemTime::now(), "WARN", "log");
    line.message(&["lines were dropped: they came faster than they were read"]);
    line.number(name!("lines"), dropped);
    line.end();
    out
}

//! The log, on standard error.

use super::log_line::{LogLine, name};
use super::log_writer::{FlushGuard, LogWriter};
use crate::config::{Log, LogFormat};
use std::io;
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

/// Some thousand lines: what arrives while a disk or a terminal is slow for a moment.
const BUFFER: usize = 1 << 20;

/// Why logging cannot start.
#[derive(Debug, Error)]
pub enum StartError {
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

/// Starts logging for the whole process. Dropping the guard writes the lines that are left.
pub fn start(settings: &Log) -> Result<(LogWriter, FlushGuard), StartError> {
    let format = settings.format;
    let (sink, flush) =
        LogWriter::start(io::stderr(), BUFFER, move |dropped| notice(format, dropped))?;
    let filter = settings.targets(&QUIET).ok_or(StartError::Level)?;
    let registry = tracing_subscriber::registry().with(filter);
    let layer = fmt::layer().with_writer(sink.clone());
    match format {
        LogFormat::Text => registry.with(layer.with_ansi(false)).try_init(),
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).try_init(),
    }?;
    Ok((sink, flush))
}

/// The line that reports dropped lines.
#[must_use]
pub fn notice(format: LogFormat, dropped: u64) -> Vec<u8> {
    let mut out = Vec::new();
    let mut line = LogLine::new(&mut out, format, SystemTime::now(), "WARN", "log");
    line.text(
        name!("message"),
        b"lines were dropped: they came faster than they were read",
        100,
    );
    line.number(name!("lines"), dropped);
    line.end();
    out
}

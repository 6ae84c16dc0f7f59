//! The log, on standard error.

use super::log_line::{LogLine, name};
use super::log_writer::{FlushGuard, LogWriter};
use crate::config::{Log, LogFormat};
use std::io;
use std::time::SystemTime;
use thiserror::Error;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

/// The server library logs every malformed request of anybody as an error, and its own start as
/// news. `log.level` can name these targets to hear them again.
const QUIET: &str = "actix_http=off,actix_server=warn";

/// Some thousand lines: what comes in while a disk or a terminal is slow for a moment.
const BUFFER: usize = 1 << 20;

/// Why there is no log.
#[derive(Debug, Error)]
pub enum StartError {
    /// The thread that writes it cannot be had.
    #[error(transparent)]
    Thread(#[from] io::Error),
    /// There is one already.
    #[error(transparent)]
    Second(#[from] TryInitError),
}

/// Starts logging for the whole process. `log.level` has been checked before. What is left is
/// written when the second part is dropped.
pub fn start(settings: &Log) -> Result<(LogWriter, FlushGuard), StartError> {
    let format = settings.format;
    let (sink, flush) =
        LogWriter::start(io::stderr(), BUFFER, move |dropped| notice(format, dropped))?;
    let filter = EnvFilter::new(format!("{QUIET},{}", settings.level));
    let registry = tracing_subscriber::registry().with(filter);
    let layer = fmt::layer().with_writer(sink.clone());
    match format {
        LogFormat::Text => registry.with(layer.with_ansi(false)).try_init(),
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).try_init(),
    }?;
    Ok((sink, flush))
}

/// What the log says of lines it does not have.
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

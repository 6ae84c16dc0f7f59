//! Arguments, settings, log, application: nothing else happens here.

use clap::Parser;
use nova_image_proxy::application::{self, Application};
use nova_image_proxy::cli::{Cli, Command};
use nova_image_proxy::config::{self, LoadError, Settings};
use nova_image_proxy::telemetry::{Reopen, logging};
use std::error::Error;
use std::process::ExitCode;
use thiserror::Error;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Why the program ends with an error.
#[derive(Debug, Error)]
enum Failure {
    #[error(transparent)]
    Settings(#[from] LoadError),
    #[error("cannot print the settings: {0}")]
    Print(#[from] serde_json::Error),
    #[error(transparent)]
    Log(#[from] logging::StartError),
    #[error(transparent)]
    Start(#[from] application::StartError),
    #[cfg(feature = "embedded")]
    #[error(transparent)]
    Glance(#[from] nova_image_proxy::embedded::StartError),
    #[error("cannot handle signals: {0}")]
    Signals(std::io::Error),
    #[error("failed while running: {0}")]
    Run(std::io::Error),
}

impl Failure {
    /// As `--help` lists them; 78 is `EX_CONFIG` of `sysexits.h`, which a unit can name so that
    /// systemd does not start the process again.
    fn exit_code(&self) -> u8 {
        match self {
            Self::Settings(_) => 78,
            Self::Start(error) if error.is_settings() => 78,
            #[cfg(feature = "embedded")]
            Self::Glance(_) => 1,
            Self::Print(_) | Self::Log(_) | Self::Start(_) | Self::Signals(_) | Self::Run(_) => 1,
        }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let files = cli.settings_files(std::env::var_os(config::FILE_VARIABLE));
    let outcome = match &cli.command {
        None | Some(Command::Serve(_)) => {
            settings(&files).and_then(|(settings, warnings)| serve(&settings, &warnings))
        }
        Some(Command::Check(_)) => {
            settings(&files).and_then(|(settings, warnings)| check(&settings, &warnings))
        }
        #[cfg(feature = "embedded")]
        Some(Command::Glance(arguments)) => glance(arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say_error(&with_causes(&failure));
            ExitCode::from(failure.exit_code())
        }
    }
}

/// The settings, and a warning for each variable that has no effect.
fn settings(files: &[std::path::PathBuf]) -> Result<(Settings, Vec<String>), Failure> {
    let environment = config::from_process(std::env::vars_os())?;
    let warnings = config::ignored_variables(&environment);
    Ok((config::load(files, environment)?, warnings))
}

fn check(settings: &Settings, warnings: &[String]) -> Result<(), Failure> {
    for warning in warnings {
        say_error(warning);
    }
    say(&serde_json::to_string_pretty(settings)?);
    Ok(())
}

fn serve(settings: &Settings, warnings: &[String]) -> Result<(), Failure> {
    let log = logging::start(&settings.log)?;
    let reopen = log.reopen.clone();
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    actix_web::rt::System::new().block_on(async {
        let application = Application::build(settings, &log.writer)?;
        let stop = stop_signal(reopen).map_err(Failure::Signals)?;
        let quickstart = application.quickstart().map(|text| format!("\n{text}"));
        let ready = |address| {
            let quickstart = quickstart.unwrap_or_default();
            say(&format!("listening on http://{address}{quickstart}"));
        };
        application.run(stop, ready).await.map_err(Failure::Run)
    })
}

#[cfg(feature = "embedded")]
fn glance(arguments: &nova_image_proxy::cli::GlanceArguments) -> Result<(), Failure> {
    let log = logging::start(&config::Log::default())?;
    actix_web::rt::System::new().block_on(async {
        let glance = nova_image_proxy::glance_alone::start(arguments)?;
        let stop = stop_signal(log.reopen.clone()).map_err(Failure::Signals)?;
        say(&glance.ready_line());
        stop.await;
        glance.stop().await;
        Ok(())
    })
}

/// Ready at the first SIGTERM or SIGINT; a second one ends the process at once. SIGHUP has `log.file`
/// opened again.
fn stop_signal(log_file: Option<Reopen>) -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    actix_web::rt::spawn(async move {
        while hangup.recv().await.is_some() {
            if let Some(file) = &log_file {
                file.request();
                tracing::info!("SIGHUP: log.file is opened again");
            } else {
                tracing::info!("SIGHUP: nothing to reload, settings are read at start");
            }
        }
    });
    Ok(async move {
        either(&mut terminate, &mut interrupt).await;
        tracing::info!("stopping: finishing the requests in flight");
        actix_web::rt::spawn(async move {
            either(&mut terminate, &mut interrupt).await;
            tracing::warn!("stopping at once");
            std::process::exit(1);
        });
    })
}

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}

/// An error's message and those of its causes that it does not contain already.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.contains(&message) {
            text = format!("{text}: {message}");
        }
        cause = error.source();
    }
    text
}

/// The ready line and `check` belong on standard output. It may be closed, which must not end the
/// process.
fn say(text: &str) {
    use std::io::Write;
    let mut output = std::io::stdout().lock();
    // A reader of the ready line must not wait for a buffer to fill.
    let _closed = writeln!(output, "{text}").and_then(|()| output.flush());
}

#[expect(
    clippy::print_stderr,
    reason = "errors at start go where the log would go"
)]
fn say_error(text: &str) {
    eprintln!("nova-image-proxy: {text}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[derive(Debug, Error)]
    #[error("{text}")]
    struct Chained {
        text: &'static str,
        #[source]
        cause: io::Error,
    }

    #[test]
    fn each_cause_is_told_once() {
        let chained = |text| Chained {
            text,
            cause: io::Error::other("the cause"),
        };
        assert_eq!(with_causes(&chained("it fails")), "it fails: the cause");
        let contained = chained("it fails: the cause");
        assert_eq!(with_causes(&contained), "it fails: the cause");
    }
}

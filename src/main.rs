//! Arguments, settings, log, application: nothing else happens here.

use anyhow::Context;
use clap::Parser;
use nova_image_proxy::app::App;
use nova_image_proxy::cli::{Cli, Command};
use nova_image_proxy::config::{self, Settings};
use nova_image_proxy::telemetry::logging;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.command {
        None => serve(cli.settings.config.as_deref()),
        Some(Command::Serve(settings)) => serve(settings.config.as_deref()),
        Some(Command::Check(settings)) => check(settings.config.as_deref()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say_error(&format!("nova-image-proxy: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn settings(file: Option<&Path>) -> anyhow::Result<Settings> {
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    Ok(config::load(file, environment)?)
}

fn check(file: Option<&Path>) -> anyhow::Result<()> {
    let settings = settings(file)?;
    say(&serde_json::to_string_pretty(&settings)?);
    Ok(())
}

fn serve(file: Option<&Path>) -> anyhow::Result<()> {
    let settings = settings(file)?;
    let (log, _flush) = logging::start(&settings.log).context("cannot start the log")?;
    actix_web::rt::System::new().block_on(async {
        let app = App::build(&settings, &log)?;
        let stop = stop_signal()?;
        let banner = app.banner().map(|banner| format!("\n{banner}"));
        app.run(stop, |address| {
            let banner = banner.unwrap_or_default();
            say(&format!("listening on http://{address}{banner}"));
        })
        .await?;
        Ok(())
    })
}

/// Ready at the first SIGTERM or SIGINT.
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping: finishing the requests in flight");
    })
}

#[expect(
    clippy::print_stdout,
    reason = "the ready line and `check` belong on standard output"
)]
fn say(text: &str) {
    use std::io::Write;
    println!("{text}");
    // Whoever waits for the ready line must not wait for a buffer to fill.
    let _ = std::io::stdout().flush();
}

#[expect(
    clippy::print_stderr,
    reason = "errors at start go where the log would go"
)]
fn say_error(text: &str) {
    eprintln!("{text}");
}

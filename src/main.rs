//! Arguments, settings, log, application: nothing else happens here.

use anyhow::Context;
use clap::Parser;
use nova_image_proxy::app::App;
use nova_image_proxy::cli::{Cli, Command};
use nova_image_proxy::config::{self, Settings};
use nova_image_proxy::telemetry::logging;
use std::path::Path;
use std::process::ExitCode;
use tokio::signal::unix::{Signal, SignalKind, signal};

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

/// Ready at the first SIGTERM or SIGINT; a second one ends the process at once. SIGHUP, which would
/// end it too, is taken and does nothing.
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    actix_web::rt::spawn(async move {
        while hangup.recv().await.is_some() {
            tracing::info!("SIGHUP: nothing to reload, settings are read at start");
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

/// The ready line and `check` belong on standard output. Whoever started the process may have closed
/// it, which must not end it.
fn say(text: &str) {
    use std::io::Write;
    let mut output = std::io::stdout().lock();
    // Whoever waits for the ready line must not wait for a buffer to fill.
    let _closed = writeln!(output, "{text}").and_then(|()| output.flush());
}

#[expect(
    clippy::print_stderr,
    reason = "errors at start go where the log would go"
)]
fn say_error(text: &str) {
    eprintln!("{text}");
}

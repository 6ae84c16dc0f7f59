//! Tells the program its revision and compiler, for `--version` and the metric `build_info`.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=GIT_SHA");
    // The log of HEAD grows with each commit and checkout.
    if let Some(log) = output("git", &["rev-parse", "--git-path", "logs/HEAD"])
        && Path::new(&log).exists()
    {
        println!("cargo::rerun-if-changed={log}");
    }
    println!("cargo::rerun-if-changed=build.rs");
    let given = std::env::var("GIT_SHA").ok().filter(|sha| !sha.is_empty());
    let revision = given.or_else(|| output("git", &["rev-parse", "--short=12", "HEAD"]));
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let compiler = output(&rustc, &["--version"]);
    let compiler = compiler
        .as_deref()
        .map(|text| text.trim_start_matches("rustc "));
    let or_unknown = |text: Option<&str>| text.unwrap_or("unknown").to_owned();
    println!(
        "cargo::rustc-env=BUILD_REVISION={}",
        or_unknown(revision.as_deref())
    );
    println!("cargo::rustc-env=BUILD_RUSTC={}", or_unknown(compiler));
}

/// The first line that a command prints; `None` when it fails, as without git or its repository.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let line = text.lines().next().unwrap_or_default().trim();
    (output.status.success() && !line.is_empty()).then(|| line.to_owned())
}

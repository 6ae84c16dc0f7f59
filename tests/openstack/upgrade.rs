//! Clients that offer an upgrade to HTTP/2, as Java's and curl's do: the gateway declines, and the connection goes on.

use std::process::Command;
use test_support::{GatewayProcess, gateway_command};

const REQUESTS: usize = 1000;
/// A sample image that takes changes.
const IMAGE: &str = "/v2.1/images/e3bedded-0000-4000-8000-000000000004/metadata";

fn gateway() -> GatewayProcess {
    GatewayProcess::start(gateway_command!(), &[])
}

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    format!("{}{errors}", String::from_utf8_lossy(&output.stdout))
}

#[test]
fn every_request_of_java_s_client_is_answered() {
    let gateway = gateway();
    let source = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/openstack/clients/UpgradingClient.java"
    );
    let url = format!("{}{IMAGE}", gateway.base());
    let said = output(Command::new("java").args([source, &url, &REQUESTS.to_string()]));
    assert_eq!(said.trim(), format!("answered {REQUESTS}"));
}

#[test]
fn every_request_of_curl_is_answered_on_one_connection() {
    let gateway = gateway();
    let url = format!("{}{IMAGE}?[1-{REQUESTS}]", gateway.base());
    let body = r#"{"metadata": {"key": "value"}}"#;
    let said = output(Command::new("curl").args([
        "--silent",
        "--show-error",
        "--http2",
        "--json",
        body,
        "--output",
        "/dev/null",
        "--write-out",
        "%{http_code} %{num_connects}\n",
        &url,
    ]));
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines.len(), REQUESTS, "{said}");
    assert_eq!(lines.first(), Some(&"200 1"));
    assert!(lines.iter().skip(1).all(|line| *line == "200 0"), "{said}");
}

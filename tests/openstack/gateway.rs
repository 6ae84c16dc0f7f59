//! The gateway's binary, in front of a stack.

use test_support::{GatewayProcess, gateway_command};

use crate::stack::Stack;

/// Starts `nova-image-proxy serve` with Keystone authentication and free ports. `settings` are more
/// environment variables without their prefix, such as `("NOVA__MAX_LIMIT", "5")`.
pub fn start(stack: &Stack, settings: &[(&str, &str)]) -> GatewayProcess {
    let usual = [
        ("SERVER__TRUSTED_PROXIES", "127.0.0.1"),
        ("AUTH__MODE", "keystone"),
        ("KEYSTONE__AUTH_URL", stack.identity()),
        ("KEYSTONE__WWW_AUTHENTICATE_URI", stack.identity_public()),
        ("GLANCE__ENDPOINTS", stack.image()),
    ];
    let mut command = gateway_command!();
    command.arg("serve");
    GatewayProcess::start(command, &[&usual, settings].concat())
}

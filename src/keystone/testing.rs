//! Validated tokens for tests, made in the only way there is: from a response of Keystone.

use serde_json::{Value, json};

use super::catalog::EndpointFilter;
use super::{Token, token_response};
use crate::config::Interface;

/// The response to the validation of a token of user `u1` in project `p1`, valid until noon on the
/// first day of 2026.
pub(crate) fn body() -> Value {
    json!({"token": {
        "methods": ["password"],
        "expires_at": "2026-01-01T12:00:00.000000Z",
        "issued_at": "2026-01-01T11:00:00.000000Z",
        "audit_ids": ["x"],
        "user": {"id": "u1", "name": "demo", "domain": {"id": "d1", "name": "D"}},
        "project": {"id": "p1", "name": "demo", "domain": {"id": "d1", "name": "D"}},
        "is_domain": false,
        "roles": [{"id": "r2", "name": "reader"}, {"id": "r1", "name": "member"}],
    }})
}

/// [`body`] with the keys of `change` set in the token.
pub(crate) fn merged(change: Value) -> Value {
    let Value::Object(change) = change else {
        panic!("not an object: {change}");
    };
    let mut answer = body();
    for (key, value) in change {
        answer["token"][key] = value;
    }
    answer
}

/// The token that [`merged`] describes.
pub(crate) fn token(change: Value) -> Token {
    let endpoint_filter = EndpointFilter {
        region: None,
        interface: Interface::Public,
    };
    token_response::token(
        merged(change).to_string().as_bytes(),
        Some(&endpoint_filter),
    )
    .unwrap()
}

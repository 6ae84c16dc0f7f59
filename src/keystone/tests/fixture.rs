//! A stand-in for Keystone, settings for it and a clock that stands still.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use wiremock::matchers::{header, method, path};
use wiremock::{Mock, MockBuilder, MockServer, Request, ResponseTemplate};

use crate::config;
use crate::keystone::testing::body;
use crate::keystone::{Catalogs, Clock, TokenValidator};
use crate::upstream;

/// A quarter of an hour before the token in [`body`] ends.
const START: &str = "2026-01-01T11:45:00Z";

/// A clock that a test sets.
#[derive(Clone, Default)]
pub struct TestClock(Arc<AtomicI64>);

impl TestClock {
    pub fn advance(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }

    pub fn now(&self) -> DateTime<Utc> {
        let start: DateTime<Utc> = START.parse().unwrap();
        start + TimeDelta::seconds(self.0.load(Ordering::SeqCst))
    }

    fn clock(&self) -> Clock {
        let clock = self.clone();
        Arc::new(move || clock.now())
    }
}

/// A stand-in for Keystone with a validator that asks it.
pub struct Fixture {
    pub server: MockServer,
    pub clock: TestClock,
    pub keystone: TokenValidator,
}

impl Fixture {
    /// Where every token validates itself.
    pub async fn new() -> Self {
        Self::with(json!({}), Catalogs::NotWanted).await
    }

    /// With these settings besides the URL.
    pub async fn with(settings: Value, catalogs: Catalogs) -> Self {
        let server = MockServer::start().await;
        let clock = TestClock::default();
        let keystone = keystone_at(&server.uri(), settings, catalogs, &clock);
        Self {
            server,
            clock,
            keystone,
        }
    }

    /// Every validation is answered like this from now on.
    pub async fn validations_get(&self, answer: ResponseTemplate) {
        self.server.reset().await;
        validation().respond_with(answer).mount(&self.server).await;
    }

    pub async fn requests(&self) -> Vec<Request> {
        self.server.received_requests().await.unwrap()
    }
}

pub fn keystone_at(
    url: &str,
    settings: Value,
    catalogs: Catalogs,
    clock: &TestClock,
) -> TokenValidator {
    let mut settings: config::Keystone = serde_json::from_value(settings).unwrap();
    settings.auth_url = Some(url.parse().unwrap());
    let http = upstream::client(upstream::ClientSettings::default()).unwrap();
    let auth = config::Auth::default();
    TokenValidator::with_clock(&settings, &auth, http, catalogs, clock.clock()).unwrap()
}

pub fn short_timeout() -> Value {
    json!({"timeout": "100ms"})
}

/// Any validation.
pub fn validation() -> MockBuilder {
    Mock::given(method("GET")).and(path("/v3/auth/tokens"))
}

/// A validation under the token `asker`.
pub fn validation_by(asker: &str) -> MockBuilder {
    validation().and(header("x-auth-token", asker))
}

/// An authentication of the gateway itself.
pub fn authentication() -> MockBuilder {
    Mock::given(method("POST")).and(path("/v3/auth/tokens"))
}

/// Keystone's yes.
pub fn accepted() -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(body())
}

/// Keystone's no to whoever asks.
pub fn unauthorized() -> ResponseTemplate {
    let error = json!({"error": {"code": 401, "message": "x", "title": "Unauthorized"}});
    ResponseTemplate::new(401).set_body_json(error)
}

/// Keystone's no to a token that another asks about.
pub fn not_found() -> ResponseTemplate {
    let error = json!({"error": {"code": 404, "message": "x", "title": "Not Found"}});
    ResponseTemplate::new(404).set_body_json(error)
}

/// A token of the gateway's own that lives for so many seconds.
pub fn issued(token: &str, clock: &TestClock, seconds: i64) -> ResponseTemplate {
    let expires_at = clock.now() + TimeDelta::seconds(seconds);
    ResponseTemplate::new(201)
        .insert_header("x-subject-token", token)
        .set_body_json(json!({"token": {"expires_at": expires_at.to_rfc3339()}}))
}

/// Longer than any test may take.
pub const FOREVER: Duration = Duration::from_secs(3600);

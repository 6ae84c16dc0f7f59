//! Tokens and passwords stay where they are.

use std::fmt::Write;
use std::io;
use std::sync::{Arc, Mutex};

use serde_json::json;
use tracing_subscriber::fmt::MakeWriter;
use wiremock::ResponseTemplate;

use super::fixture::{Fixture, accepted, authentication, issued, unauthorized, validation};
use crate::keystone::Catalogs;

const TOKEN: &str = "gAAAAAB-the-token-of-a-client";
const OWN_TOKEN: &str = "gAAAAAB-the-token-of-the-gateway";
const PASSWORD: &str = "hunter2-the-password";

/// Everything that is logged, at every level.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

fn answers() -> Vec<ResponseTemplate> {
    let repeated = |status| {
        ResponseTemplate::new(status)
            .insert_header("x-subject-token", OWN_TOKEN)
            .set_body_json(json!({"token": {"expires_at": TOKEN, "user": {"id": PASSWORD}}}))
    };
    vec![
        accepted(),
        unauthorized(),
        repeated(200),
        repeated(302),
        repeated(403),
        repeated(404),
        repeated(503),
        ResponseTemplate::new(200).set_body_string(format!("{TOKEN}{PASSWORD}")),
    ]
}

#[tokio::test]
async fn no_log_line_and_no_error_shows_a_secret() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(log.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let mut shown = String::new();
    for answer in answers() {
        for (catalogs, own) in [
            (
                Catalogs::Wanted,
                issued(OWN_TOKEN, &super::fixture::TestClock::default(), 3600),
            ),
            (Catalogs::NotWanted, answer.clone()),
        ] {
            let settings = json!({
                "username": "u", "project_name": "p", "password": PASSWORD, "timeout": "1s",
            });
            for settings in [settings, json!({})] {
                let fixture = Fixture::with(settings, catalogs).await;
                validation()
                    .respond_with(answer.clone())
                    .mount(&fixture.server)
                    .await;
                authentication()
                    .respond_with(own.clone())
                    .mount(&fixture.server)
                    .await;
                let outcome = fixture.keystone.validate(TOKEN).await;
                writeln!(shown, "{outcome:?} {:?}", fixture.keystone).unwrap();
                if let Err(error) = outcome {
                    writeln!(shown, "{error}").unwrap();
                }
            }
        }
    }
    let logged = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(logged.contains("TRACE"), "{logged}");
    assert!(shown.contains("response is invalid"), "{shown}");
    for secret in [TOKEN, OWN_TOKEN, PASSWORD] {
        assert!(!logged.contains(secret), "{logged}");
        assert!(!shown.contains(secret), "{shown}");
    }
}

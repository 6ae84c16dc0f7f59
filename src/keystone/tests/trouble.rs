//! Keystone away, slow, or talking nonsense.

use std::net::TcpListener as StdListener;

use rstest::rstest;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::Instant;
use wiremock::ResponseTemplate;

use super::fixture::{FOREVER, Fixture, TestClock, accepted, keystone_at, short_timeout};
use crate::config;
use crate::keystone::testing::{body, merged};
use crate::keystone::{Catalogs, Error, InvalidResponse, TokenValidator, Unavailable};
use crate::upstream;

#[tokio::test]
async fn known_tokens_go_on_within_their_life_while_keystone_is_away() {
    let fixture = Fixture::with(short_timeout(), Catalogs::NotWanted).await;
    fixture.validations_get(accepted()).await;
    fixture.keystone.validate("a").await.unwrap();
    fixture.validations_get(ResponseTemplate::new(503)).await;
    fixture.clock.advance(59);
    assert!(fixture.keystone.validate("a").await.is_ok());
    let away = Error::Unavailable(Unavailable::Status(503));
    assert_eq!(fixture.keystone.validate("b").await.unwrap_err(), away);
    fixture.clock.advance(1);
    assert_eq!(fixture.keystone.validate("a").await.unwrap_err(), away);
}

#[tokio::test]
async fn trouble_is_not_remembered() {
    let fixture = Fixture::new().await;
    fixture.validations_get(ResponseTemplate::new(500)).await;
    assert!(fixture.keystone.validate("a").await.is_err());
    assert!(fixture.keystone.cached("a").is_none());
    fixture.validations_get(accepted()).await;
    assert!(fixture.keystone.validate("a").await.is_ok());
}

#[tokio::test]
async fn nobody_listening_is_told_at_once() {
    let port = StdListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let url = format!("http://127.0.0.1:{port}");
    let keystone = keystone_at(&url, json!({}), Catalogs::NotWanted, &TestClock::default());
    let error = keystone.validate("a").await.unwrap_err();
    assert!(
        matches!(error, Error::Unavailable(Unavailable::Unreachable(_))),
        "{error}"
    );
}

#[tokio::test]
async fn nothing_waits_beyond_the_timeout() {
    let fixture = Fixture::with(short_timeout(), Catalogs::NotWanted).await;
    fixture.validations_get(accepted().set_delay(FOREVER)).await;
    let timed_out = Error::Unavailable(Unavailable::TimedOut);
    assert_eq!(fixture.keystone.validate("a").await.unwrap_err(), timed_out);
}

#[tokio::test]
async fn tokens_that_wait_for_their_turn_wait_no_longer_either() {
    let fixture = Fixture::with(short_timeout(), Catalogs::NotWanted).await;
    fixture.validations_get(accepted().set_delay(FOREVER)).await;
    let tokens: Vec<_> = (0..200).map(|number| format!("t{number}")).collect();
    let start = Instant::now();
    let validations = tokens.iter().map(|token| fixture.keystone.validate(token));
    let all = futures_util::future::join_all(validations).await;
    assert!(start.elapsed().as_secs() < 2, "{:?}", start.elapsed());
    for outcome in all {
        let error = outcome.unwrap_err();
        let late = [Unavailable::TimedOut, Unavailable::Overloaded].map(Error::Unavailable);
        assert!(late.contains(&error), "{error}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Fixture::new().await;
    elsewhere.validations_get(accepted()).await;
    for status in [300, 301, 302, 303, 307, 308] {
        let fixture = Fixture::new().await;
        let target = format!("{}/v3/auth/tokens", elsewhere.server.uri());
        let away = ResponseTemplate::new(status).insert_header("location", target.as_str());
        fixture.validations_get(away).await;
        let error = fixture.keystone.validate("a").await.unwrap_err();
        assert_eq!(
            error,
            Error::InvalidResponse(InvalidResponse::Status(status))
        );
    }
    assert!(elsewhere.requests().await.is_empty());
}

fn html(status: u16) -> ResponseTemplate {
    ResponseTemplate::new(status).set_body_raw("<html>login</html>", "text/html")
}

#[rstest]
#[case(html(200))]
#[case(html(404))]
#[case(ResponseTemplate::new(200))]
#[case(ResponseTemplate::new(200).set_body_json(json!({"access": {}})))]
#[case(ResponseTemplate::new(200).set_body_json(merged(json!({"user": {}}))))]
#[case(ResponseTemplate::new(200).set_body_json(merged(json!({"expires_at": 5}))))]
#[case(ResponseTemplate::new(200).set_body_string(&body().to_string()[..200]))]
#[case(ResponseTemplate::new(200).set_body_string("[".repeat(100_000)))]
#[case(ResponseTemplate::new(200).set_body_string(" ".repeat((4 << 20) + 1)))]
#[case(accepted().insert_header("x-subject-token", "another"))]
#[case(ResponseTemplate::new(204))]
#[case(ResponseTemplate::new(400))]
#[case(ResponseTemplate::new(418))]
#[tokio::test]
async fn nonsense_is_neither_a_yes_nor_a_no(#[case] answer: ResponseTemplate) {
    let fixture = Fixture::new().await;
    fixture.validations_get(answer).await;
    let error = fixture.keystone.validate("a").await.unwrap_err();
    assert!(matches!(error, Error::InvalidResponse(_)), "{error:?}");
    assert!(fixture.keystone.cached("a").is_none());
}

#[tokio::test]
async fn a_large_catalog_is_taken() {
    let fixture = Fixture::with(json!({}), Catalogs::Wanted).await;
    let service = |number: usize| {
        let url = format!("http://service-{number}/{}", "x".repeat(200));
        json!({"type": format!("t{number}"), "name": "n", "id": "i", "endpoints": [
            {"interface": "public", "region_id": "R", "region": "R", "id": "e", "url": url}]})
    };
    let mut catalog: Vec<_> = (0..4000).map(service).collect();
    catalog.push(json!({"type": "image", "endpoints": [
        {"interface": "public", "region_id": "R", "url": "http://glance"}]}));
    let answer = merged(json!({"catalog": catalog}));
    assert!(answer.to_string().len() > 1 << 20);
    fixture
        .validations_get(ResponseTemplate::new(200).set_body_json(answer))
        .await;
    let token = fixture.keystone.validate("a").await.unwrap();
    assert_eq!(token.image_endpoint().unwrap().as_str(), "http://glance/");
}

/// Takes connections and drops the first after its request, as a server does that closes a kept
/// connection just as it is used again.
async fn drops_the_first(listener: TcpListener) {
    for number in 0.. {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut request = [0; 4096];
        let read = socket.read(&mut request).await.unwrap();
        assert!(read > 0);
        if number > 0 {
            let body = body().to_string();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            socket.write_all((head + &body).as_bytes()).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_connection_that_breaks_is_tried_once_more() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(drops_the_first(listener));
    let keystone = keystone_at(&url, json!({}), Catalogs::NotWanted, &TestClock::default());
    assert!(keystone.validate("a").await.is_ok());
}

#[test]
fn settings_that_cannot_work_are_refused_at_the_start() {
    let refused = |json| {
        let settings: config::Keystone = serde_json::from_value(json).unwrap();
        let http = upstream::client(upstream::ClientSettings::default()).unwrap();
        let auth = config::Auth::default();
        TokenValidator::new(&settings, &auth, http, Catalogs::NotWanted)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(refused(json!({})), "keystone.auth_url: is needed");
    let incomplete = json!({"auth_url": "http://k", "username": "u", "project_name": "p"});
    assert!(refused(incomplete).starts_with("keystone.password: "));
    let unreadable = json!({"auth_url": "http://k", "username": "u", "project_name": "p",
        "password_file": "/nonexistent/password"});
    assert!(refused(unreadable).starts_with("keystone.password_file: "));
}

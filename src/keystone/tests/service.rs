//! Validation under the gateway's own name.

use futures_util::future::join_all;
use serde_json::{Value, json};
use std::io::Write;

use super::fixture::{
    FOREVER, Fixture, accepted, authentication, issued, not_found, unauthorized, validation_by,
};
use crate::keystone::{Catalogs, Error, InvalidResponse, Unavailable};

fn password() -> Value {
    json!({"username": "gateway", "password": "hunter2", "project_name": "service",
        "project_domain_id": "default", "timeout": "1s"})
}

async fn fixture() -> Fixture {
    Fixture::with(password(), Catalogs::NotWanted).await
}

fn credentials_refused() -> Error {
    Error::Unavailable(Unavailable::CredentialsRefused)
}

async fn count(fixture: &Fixture, method: &str) -> usize {
    let requests = fixture.requests().await;
    requests
        .iter()
        .filter(|request| request.method.as_str() == method)
        .count()
}

impl Fixture {
    async fn authentications_get(&self, answer: wiremock::ResponseTemplate) {
        authentication()
            .respond_with(answer)
            .mount(&self.server)
            .await;
    }

    async fn validations_by(&self, asker: &str, answer: wiremock::ResponseTemplate) {
        validation_by(asker)
            .respond_with(answer)
            .mount(&self.server)
            .await;
    }
}

#[tokio::test]
async fn a_user_authenticates_and_asks_about_others() {
    let fixture = fixture().await;
    fixture
        .authentications_get(issued("own", &fixture.clock, 3600))
        .await;
    fixture.validations_by("own", accepted()).await;
    fixture.keystone.validate("a").await.unwrap();

    let requests = fixture.requests().await;
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[0].url.query(), Some("nocatalog"));
    assert_eq!(requests[0].headers["content-type"], "application/json");
    let expected = json!({"auth": {
        "identity": {"methods": ["password"], "password": {"user": {
            "name": "gateway", "domain": {"name": "Default"}, "password": "hunter2"}}},
        "scope": {"project": {"name": "service", "domain": {"id": "default"}}},
    }});
    assert_eq!(requests[0].body_json::<Value>().unwrap(), expected);
    assert_eq!(requests[1].headers["x-auth-token"], "own");
    assert_eq!(requests[1].headers["x-subject-token"], "a");
    assert_eq!(requests[1].headers["openstack-identity-access-rules"], "1");
    assert_eq!(requests[1].url.query(), Some("nocatalog"));
}

#[tokio::test]
async fn an_application_credential_authenticates_without_a_scope() {
    let settings = json!({"application_credential_id": "id", "application_credential_secret": "s"});
    let fixture = Fixture::with(settings, Catalogs::NotWanted).await;
    fixture
        .authentications_get(issued("own", &fixture.clock, 3600))
        .await;
    fixture.validations_by("own", accepted()).await;
    fixture.keystone.validate("a").await.unwrap();
    let expected = json!({"auth": {"identity": {
        "methods": ["application_credential"],
        "application_credential": {"id": "id", "secret": "s"},
    }}});
    let body: Value = fixture.requests().await[0].body_json().unwrap();
    assert_eq!(body, expected);
}

#[tokio::test]
async fn one_authentication_serves_many_tokens() {
    let fixture = fixture().await;
    fixture
        .authentications_get(issued("own", &fixture.clock, 3600))
        .await;
    fixture.validations_by("own", accepted()).await;
    let tokens: Vec<_> = (0..100).map(|number| format!("t{number}")).collect();
    let all = join_all(tokens.iter().map(|token| fixture.keystone.validate(token))).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(count(&fixture, "POST").await, 1);
    assert_eq!(count(&fixture, "GET").await, 100);
}

#[tokio::test]
async fn an_own_token_that_lives_for_seconds_serves_the_first_half_of_them() {
    let fixture = fixture().await;
    fixture
        .authentications_get(issued("own", &fixture.clock, 20))
        .await;
    fixture.validations_by("own", accepted()).await;
    fixture.keystone.validate("first").await.unwrap();
    fixture.clock.advance(9);
    for token in ["a", "b", "c"] {
        fixture.keystone.validate(token).await.unwrap();
    }
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    assert_eq!(count(&fixture, "POST").await, 1);
}

#[tokio::test]
async fn a_404_refuses_the_token() {
    let fixture = fixture().await;
    fixture
        .authentications_get(issued("own", &fixture.clock, 3600))
        .await;
    fixture.validations_by("own", not_found()).await;
    assert_eq!(
        fixture.keystone.validate("a").await.unwrap_err(),
        Error::InvalidToken
    );
}

#[tokio::test]
async fn a_refused_own_token_is_replaced_once() {
    let fixture = fixture().await;
    authentication()
        .respond_with(issued("old", &fixture.clock, 3600))
        .up_to_n_times(1)
        .mount(&fixture.server)
        .await;
    fixture
        .authentications_get(issued("new", &fixture.clock, 3600))
        .await;
    validation_by("old")
        .respond_with(accepted())
        .up_to_n_times(1)
        .mount(&fixture.server)
        .await;
    fixture.validations_by("old", unauthorized()).await;
    fixture.validations_by("new", accepted()).await;
    for token in ["a", "b", "c"] {
        assert!(fixture.keystone.validate(token).await.is_ok());
    }
    assert_eq!(count(&fixture, "POST").await, 2);
    assert_eq!(count(&fixture, "GET").await, 4);
}

#[tokio::test]
async fn credentials_that_keystone_refuses_refuse_nobodys_token_and_rest_for_a_while() {
    let fixture = fixture().await;
    fixture.authentications_get(unauthorized()).await;
    let tokens: Vec<_> = (0..50).map(|number| format!("t{number}")).collect();
    for outcome in join_all(tokens.iter().map(|token| fixture.keystone.validate(token))).await {
        assert_eq!(outcome.unwrap_err(), credentials_refused());
    }
    assert_eq!(count(&fixture, "POST").await, 1);
    fixture.clock.advance(10);
    assert_eq!(
        fixture.keystone.validate("a").await.unwrap_err(),
        credentials_refused()
    );
    assert_eq!(count(&fixture, "POST").await, 2);
}

#[tokio::test]
async fn a_new_own_token_that_is_refused_too_means_wrong_credentials() {
    let fixture = fixture().await;
    fixture
        .authentications_get(issued("own", &fixture.clock, 3600))
        .await;
    fixture.validations_by("own", unauthorized()).await;
    assert_eq!(
        fixture.keystone.validate("a").await.unwrap_err(),
        credentials_refused()
    );
    assert_eq!(count(&fixture, "POST").await, 2);
    assert_eq!(count(&fixture, "GET").await, 2);
    assert_eq!(
        fixture.keystone.validate("b").await.unwrap_err(),
        credentials_refused()
    );
    assert_eq!(fixture.requests().await.len(), 4);
}

#[tokio::test]
async fn a_403_means_that_the_user_may_not_validate() {
    let fixture = fixture().await;
    fixture
        .authentications_get(issued("own", &fixture.clock, 3600))
        .await;
    fixture
        .validations_by("own", wiremock::ResponseTemplate::new(403))
        .await;
    let forbidden = Error::Unavailable(Unavailable::Forbidden);
    assert_eq!(fixture.keystone.validate("a").await.unwrap_err(), forbidden);
}

#[tokio::test]
async fn an_own_token_that_has_ended_is_not_used() {
    let fixture = fixture().await;
    authentication()
        .respond_with(issued("old", &fixture.clock, 300))
        .up_to_n_times(1)
        .mount(&fixture.server)
        .await;
    fixture
        .authentications_get(issued("new", &fixture.clock, 3600))
        .await;
    fixture.validations_by("old", accepted()).await;
    fixture.validations_by("new", accepted()).await;
    fixture.keystone.validate("a").await.unwrap();
    fixture.clock.advance(300);
    fixture.keystone.validate("b").await.unwrap();
    let requests = fixture.requests().await;
    assert_eq!(requests.last().unwrap().headers["x-auth-token"], "new");
}

/// Lets other tasks go on until Keystone has had so many authentications.
async fn until_authentications(fixture: &Fixture, wanted: usize) {
    let had = async {
        while count(fixture, "POST").await < wanted {
            tokio::task::yield_now().await;
        }
    };
    let patience = std::time::Duration::from_secs(10);
    tokio::time::timeout(patience, had).await.unwrap();
}

#[tokio::test]
async fn an_own_token_is_replaced_before_it_ends_while_it_goes_on_working() {
    let fixture = fixture().await;
    authentication()
        .respond_with(issued("old", &fixture.clock, 300))
        .up_to_n_times(1)
        .mount(&fixture.server)
        .await;
    fixture
        .authentications_get(issued("new", &fixture.clock, 3600))
        .await;
    fixture.validations_by("old", accepted()).await;
    fixture.validations_by("new", accepted()).await;
    fixture.keystone.validate("a").await.unwrap();
    fixture.clock.advance(239);
    fixture.keystone.validate("b").await.unwrap();
    assert_eq!(count(&fixture, "POST").await, 1);
    fixture.clock.advance(1);
    fixture.keystone.validate("c").await.unwrap();
    until_authentications(&fixture, 2).await;
    fixture.clock.advance(60);
    fixture.keystone.validate("d").await.unwrap();
    assert_eq!(count(&fixture, "POST").await, 2);
    let requests = fixture.requests().await;
    assert_eq!(requests.last().unwrap().headers["x-auth-token"], "new");
}

#[tokio::test]
async fn an_own_token_that_cannot_be_replaced_goes_on_until_its_end() {
    let fixture = fixture().await;
    authentication()
        .respond_with(issued("old", &fixture.clock, 300))
        .up_to_n_times(1)
        .mount(&fixture.server)
        .await;
    fixture
        .authentications_get(wiremock::ResponseTemplate::new(503).set_delay(FOREVER))
        .await;
    fixture.validations_by("old", accepted()).await;
    fixture.keystone.validate("a").await.unwrap();
    fixture.clock.advance(299);
    for token in ["b", "c", "d"] {
        fixture.keystone.validate(token).await.unwrap();
    }
    fixture.clock.advance(1);
    let late = Error::Unavailable(Unavailable::TimedOut);
    assert_eq!(fixture.keystone.validate("e").await.unwrap_err(), late);
}

#[tokio::test]
async fn nonsense_instead_of_an_own_token_is_told() {
    let whole = |fixture: &Fixture| issued("own", &fixture.clock, 3600);
    for (case, expected_status) in [(201, None), (200, Some(200)), (300, Some(300))] {
        let fixture = fixture().await;
        let answer = wiremock::ResponseTemplate::new(case).set_body_string("<html>");
        fixture.authentications_get(answer).await;
        match (
            fixture.keystone.validate("a").await.unwrap_err(),
            expected_status,
        ) {
            (Error::InvalidResponse(InvalidResponse::MalformedToken { .. }), None) => {}
            (Error::InvalidResponse(InvalidResponse::Status(status)), Some(expected)) => {
                assert_eq!(status, expected);
            }
            (other, _) => panic!("{other:?} after {case}"),
        }
    }
    let fixture = fixture().await;
    fixture
        .authentications_get(whole(&fixture).insert_header("x-subject-token", "a b"))
        .await;
    let error = fixture.keystone.validate("a").await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::InvalidResponse(InvalidResponse::Inconsistent(_))
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_replaced_password_file_needs_no_restart() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"old\n").unwrap();
    let settings = json!({"username": "gateway", "project_name": "service",
        "password_file": file.path()});
    let fixture = Fixture::with(settings, Catalogs::NotWanted).await;
    fixture.authentications_get(unauthorized()).await;
    assert_eq!(
        fixture.keystone.validate("a").await.unwrap_err(),
        credentials_refused()
    );

    std::fs::write(file.path(), "new\n").unwrap();
    fixture.clock.advance(10);
    assert_eq!(
        fixture.keystone.validate("a").await.unwrap_err(),
        credentials_refused()
    );
    let passwords: Vec<String> = fixture
        .requests()
        .await
        .iter()
        .map(|request| {
            let body: Value = request.body_json().unwrap();
            body["auth"]["identity"]["password"]["user"]["password"].to_string()
        })
        .collect();
    assert_eq!(passwords, ["\"old\"", "\"new\""]);
}

#[tokio::test]
async fn the_gateways_own_token_is_the_service_token_for_other_services() {
    let fixture = fixture().await;
    fixture
        .authentications_get(issued("own", &fixture.clock, 300))
        .await;
    fixture.validations_by("own", accepted()).await;
    // Before the first validation there is none; the request's own goes on then.
    assert_eq!(fixture.keystone.service_token(None), None);
    let handed_on = fixture.keystone.service_token(Some("theirs")).unwrap();
    assert_eq!(handed_on, "theirs");
    assert!(handed_on.is_sensitive());
    fixture.keystone.validate("a").await.unwrap();
    let own = fixture.keystone.service_token(Some("theirs")).unwrap();
    assert_eq!(own, "own");
    assert!(own.is_sensitive());
    fixture.clock.advance(300);
    assert_eq!(fixture.keystone.service_token(None), None);
}

#[tokio::test]
async fn credentials_that_may_validate_pass_the_check() {
    let fixture = fixture().await;
    fixture
        .authentications_get(issued("own", &fixture.clock, 3600))
        .await;
    fixture.validations_by("own", not_found()).await;
    fixture.keystone.check_credentials(soon()).await.unwrap();
    let requests = fixture.requests().await;
    assert_eq!(requests[1].headers["x-auth-token"], "own");
    assert!(!requests[1].headers.contains_key("x-subject-token"));
}

#[tokio::test]
async fn the_check_tells_a_missing_role_from_a_wrong_password() {
    let fixture = fixture().await;
    fixture
        .authentications_get(issued("own", &fixture.clock, 3600))
        .await;
    fixture
        .validations_by("own", wiremock::ResponseTemplate::new(403))
        .await;
    let forbidden = Error::Unavailable(Unavailable::Forbidden);
    let outcome = fixture.keystone.check_credentials(soon()).await;
    assert_eq!(outcome.unwrap_err(), forbidden);

    let refused = self::fixture().await;
    refused.authentications_get(unauthorized()).await;
    let outcome = refused.keystone.check_credentials(soon()).await;
    assert_eq!(outcome.unwrap_err(), credentials_refused());
}

#[tokio::test]
async fn the_check_replaces_a_revoked_token_once() {
    let fixture = fixture().await;
    authentication()
        .respond_with(issued("old", &fixture.clock, 3600))
        .up_to_n_times(1)
        .mount(&fixture.server)
        .await;
    fixture
        .authentications_get(issued("new", &fixture.clock, 3600))
        .await;
    fixture.validations_by("old", unauthorized()).await;
    fixture.validations_by("new", not_found()).await;
    fixture.keystone.check_credentials(soon()).await.unwrap();
    assert_eq!(count(&fixture, "POST").await, 2);
}

#[tokio::test]
async fn the_catalog_of_the_gateways_own_token_is_checked_for_the_endpoint() {
    let mut settings = password();
    settings["region_name"] = json!("Two");
    let fixture = Fixture::with(settings, Catalogs::Wanted).await;
    fixture
        .authentications_get(issued("own", &fixture.clock, 3600))
        .await;
    let catalog = |region: &str| {
        let catalog = json!({"catalog": [{"type": "image", "endpoints": [
            {"interface": "public", "region_id": region, "url": "http://glance/v2"}]}]});
        wiremock::ResponseTemplate::new(200)
            .set_body_json(crate::keystone::testing::merged(catalog))
    };
    fixture.validations_by("own", catalog("One")).await;
    let missing = fixture
        .keystone
        .own_image_endpoint(soon())
        .await
        .unwrap_err();
    assert!(
        missing.to_string().contains("keystone.region_name"),
        "{missing}"
    );
    fixture.server.reset().await;
    fixture.validations_by("own", catalog("Two")).await;
    let found = fixture.keystone.own_image_endpoint(soon()).await.unwrap();
    assert_eq!(found.unwrap().as_str(), "http://glance/");
}

fn soon() -> tokio::time::Instant {
    tokio::time::Instant::now() + std::time::Duration::from_secs(5)
}

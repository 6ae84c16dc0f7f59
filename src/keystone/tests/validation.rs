//! What is asked, how often, and what is kept.

use futures_util::FutureExt;
use futures_util::future::join_all;
use serde_json::json;
use wiremock::ResponseTemplate;

use super::fixture::{
    Fixture, accepted, authentication, issued, not_found, unauthorized, validation, validation_by,
};
use crate::keystone::testing::{self, merged};
use crate::keystone::{Catalogs, Error, ExpiredTokens, InvalidToken, NoImageEndpoint, Unavailable};

#[tokio::test]
async fn a_token_asks_about_itself_and_says_nothing_else() {
    let fixture = Fixture::new().await;
    fixture.validations_get(accepted()).await;
    let token = fixture.keystone.validate("gAAAAA").await.unwrap();
    assert_eq!(token.project_id(), Some("p1"));

    let requests = fixture.requests().await;
    assert_eq!(requests.len(), 1);
    let request = &requests[0];
    assert_eq!(request.url.path(), "/v3/auth/tokens");
    assert_eq!(request.url.query(), Some("nocatalog"));
    assert_eq!(request.headers["x-auth-token"], "gAAAAA");
    assert_eq!(request.headers["x-subject-token"], "gAAAAA");
    assert_eq!(request.headers["openstack-identity-access-rules"], "1");
    let mut names: Vec<_> = request.headers.keys().map(ToString::to_string).collect();
    names.sort();
    let expected = [
        "accept",
        "host",
        "openstack-identity-access-rules",
        "user-agent",
        "x-auth-token",
        "x-subject-token",
    ];
    assert_eq!(names, expected);
    assert!(request.body.is_empty());
}

#[tokio::test]
async fn the_catalog_is_asked_for_when_it_is_wanted() {
    let settings = json!({"region_name": "Two", "interface": "internal"});
    let fixture = Fixture::with(settings, Catalogs::Wanted).await;
    let catalog = json!({"catalog": [{"type": "image", "endpoints": [
        {"interface": "public", "region_id": "Two", "url": "http://public/v2"},
        {"interface": "internal", "region_id": "One", "url": "http://one/v2"},
        {"interface": "internal", "region_id": "Two", "url": "http://two/v2"},
    ]}]});
    let answer = ResponseTemplate::new(200).set_body_json(merged(catalog));
    fixture.validations_get(answer).await;
    let token = fixture.keystone.validate("a").await.unwrap();
    assert_eq!(token.image_endpoint().unwrap().as_str(), "http://two/");
    assert_eq!(fixture.requests().await[0].url.query(), None);

    fixture.validations_get(accepted()).await;
    let token = fixture.keystone.validate("b").await.unwrap();
    assert_eq!(token.image_endpoint(), Err(NoImageEndpoint::NoCatalog));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_requests_with_a_new_token_cost_keystone_one_call() {
    let fixture = Fixture::new().await;
    fixture.validations_get(accepted()).await;
    let requests = (0..100).map(|_| {
        let keystone = fixture.keystone.clone();
        tokio::spawn(async move { keystone.validate("a").await })
    });
    for outcome in join_all(requests).await {
        assert_eq!(outcome.unwrap().unwrap().project_id(), Some("p1"));
    }
    assert_eq!(fixture.requests().await.len(), 1);
}

#[tokio::test]
async fn a_caller_that_leaves_takes_the_answer_from_nobody() {
    let fixture = Fixture::new().await;
    fixture.validations_get(accepted()).await;
    assert!(fixture.keystone.validate("a").now_or_never().is_none());
    assert!(fixture.keystone.validate("a").await.is_ok());
    assert!(matches!(fixture.keystone.cached("a"), Some(Ok(_))));
    assert_eq!(fixture.requests().await.len(), 1);
}

#[tokio::test]
async fn a_known_token_needs_no_waiting() {
    let fixture = Fixture::new().await;
    fixture.validations_get(accepted()).await;
    assert!(fixture.keystone.cached("a").is_none());
    fixture.keystone.validate("a").await.unwrap();
    assert!(matches!(fixture.keystone.cached("a"), Some(Ok(_))));
    assert!(
        fixture
            .keystone
            .validate("a")
            .now_or_never()
            .unwrap()
            .is_ok()
    );
    assert!(fixture.keystone.cached("b").is_none());
}

#[tokio::test]
async fn keystone_is_asked_again_after_the_ttl() {
    let fixture = Fixture::new().await;
    fixture.validations_get(accepted()).await;
    fixture.keystone.validate("a").await.unwrap();
    fixture.clock.advance(59);
    fixture.keystone.validate("a").await.unwrap();
    assert_eq!(fixture.requests().await.len(), 1);
    fixture.clock.advance(1);
    fixture.keystone.validate("a").await.unwrap();
    assert_eq!(fixture.requests().await.len(), 2);
}

#[tokio::test]
async fn a_token_is_refused_from_the_second_of_its_expiry_on_without_asking() {
    let fixture = Fixture::new().await;
    fixture.validations_get(accepted()).await;
    fixture.clock.advance(15 * 60 - 2);
    fixture.keystone.validate("a").await.unwrap();
    fixture.clock.advance(1);
    assert!(fixture.keystone.validate("a").await.is_ok());
    fixture.clock.advance(1);
    assert!(matches!(
        fixture.keystone.cached("a"),
        Some(Err(InvalidToken))
    ));
    assert_eq!(
        fixture.keystone.validate("a").await.unwrap_err(),
        Error::InvalidToken
    );
    assert_eq!(fixture.requests().await.len(), 1);
}

#[tokio::test]
async fn a_token_that_keystone_gives_back_expired_is_refused() {
    let fixture = Fixture::new().await;
    fixture.validations_get(accepted()).await;
    fixture.clock.advance(15 * 60);
    assert_eq!(
        fixture.keystone.validate("a").await.unwrap_err(),
        Error::InvalidToken
    );
}

#[tokio::test]
async fn a_refusal_is_believed_for_a_few_seconds() {
    for refusal in [unauthorized(), not_found()] {
        let fixture = Fixture::new().await;
        fixture.validations_get(refusal).await;
        assert_eq!(
            fixture.keystone.validate("a").await.unwrap_err(),
            Error::InvalidToken
        );
        fixture.clock.advance(4);
        assert_eq!(
            fixture.keystone.validate("a").await.unwrap_err(),
            Error::InvalidToken
        );
        assert_eq!(fixture.requests().await.len(), 1);
        fixture.clock.advance(1);
        fixture.validations_get(accepted()).await;
        assert!(fixture.keystone.validate("a").await.is_ok());
    }
}

#[tokio::test]
async fn what_cannot_be_a_token_is_refused_without_asking() {
    let fixture = Fixture::new().await;
    fixture.validations_get(accepted()).await;
    for token in ["", "a b", "a\r\nx-roles: admin", "tökén", &"a".repeat(8191)] {
        assert!(matches!(
            fixture.keystone.cached(token),
            Some(Err(InvalidToken))
        ));
        assert_eq!(
            fixture.keystone.validate(token).await.unwrap_err(),
            Error::InvalidToken
        );
    }
    assert!(fixture.requests().await.is_empty());
    assert!(fixture.keystone.validate(&"a".repeat(8190)).await.is_ok());
}

#[tokio::test]
async fn a_forgotten_token_is_asked_about_again() {
    let fixture = Fixture::new().await;
    fixture.validations_get(accepted()).await;
    fixture.keystone.validate("a").await.unwrap();
    let token = fixture.keystone.parse("a").unwrap();
    fixture.keystone.forget(token);
    assert!(fixture.keystone.cached("a").is_none());
    fixture.validations_get(unauthorized()).await;
    assert_eq!(
        fixture.keystone.validate("a").await.unwrap_err(),
        Error::InvalidToken
    );
}

#[tokio::test]
async fn every_token_has_its_own_answer() {
    let fixture = Fixture::new().await;
    for project in ["p1", "p2"] {
        let project_of = json!({"project": {"id": project, "domain": {"id": "d1"}}});
        validation_by(project)
            .respond_with(ResponseTemplate::new(200).set_body_json(merged(project_of)))
            .mount(&fixture.server)
            .await;
    }
    let both = join_all(["p1", "p2"].map(|token| fixture.keystone.validate(token))).await;
    let projects: Vec<_> = both
        .iter()
        .map(|token| token.as_ref().unwrap().project_id())
        .collect();
    assert_eq!(projects, [Some("p1"), Some("p2")]);
}

#[tokio::test]
async fn new_tokens_beyond_the_bound_are_turned_away_at_once() {
    let fixture = Fixture::new().await;
    fixture.validations_get(accepted()).await;
    for number in 0..1024 {
        let waiting = fixture
            .keystone
            .validate(&format!("t{number}"))
            .now_or_never();
        assert!(waiting.is_none());
    }
    let turned_away = fixture.keystone.validate("one-more").now_or_never();
    let overloaded = Error::Unavailable(Unavailable::Overloaded);
    assert_eq!(turned_away.unwrap().unwrap_err(), overloaded);
    assert!(fixture.keystone.validate("t7").await.is_ok());
}

#[tokio::test]
async fn calls_at_the_same_moment_are_bounded_and_all_get_their_turn() {
    let fixture = Fixture::new().await;
    validation()
        .respond_with(accepted())
        .expect(200)
        .mount(&fixture.server)
        .await;
    let tokens: Vec<_> = (0..200).map(|number| format!("t{number}")).collect();
    let all = join_all(tokens.iter().map(|token| fixture.keystone.validate(token))).await;
    assert!(all.iter().all(Result::is_ok));
}

#[tokio::test]
async fn a_service_token_needs_a_role_and_stands_above_access_rules() {
    let fixture = Fixture::new().await;
    let limited = testing::token(json!({"application_credential": {"access_rules": [
        {"service": "compute", "method": "GET", "path": "/v2.1/servers"}]}}));
    let member = testing::token(json!({}));
    let service = testing::token(json!({"roles": [{"name": "service"}]}));
    let authorizes = |token, service| {
        fixture
            .keystone
            .authorizes(token, service, "compute", "GET", "/v2.1/images")
    };
    assert!(authorizes(&member, None));
    assert!(!authorizes(&limited, None));
    assert!(!authorizes(&member, Some(&member)));
    assert!(authorizes(&member, Some(&service)));
    assert!(authorizes(&limited, Some(&service)));
}

#[tokio::test]
async fn an_expired_token_is_valid_together_with_a_service_token() {
    let settings = json!({"username": "gateway", "password": "hunter2", "project_name": "service"});
    let fixture = Fixture::with(settings, Catalogs::NotWanted).await;
    let service = testing::token(json!({"roles": [{"name": "service"}]}));
    let member = testing::token(json!({}));
    let keystone = &fixture.keystone;
    assert_eq!(keystone.expired_tokens(None), ExpiredTokens::Rejected);
    let expired = keystone.expired_tokens(Some(&member));
    assert_eq!(expired, ExpiredTokens::Rejected);
    let expired = keystone.expired_tokens(Some(&service));
    assert_eq!(expired, ExpiredTokens::Accepted);

    fixture.clock.advance(16 * 60);
    fixture.validations_get(accepted()).await;
    authentication()
        .respond_with(issued("own", &fixture.clock, 3600))
        .mount(&fixture.server)
        .await;
    assert_eq!(
        keystone.validate("a").await.unwrap_err(),
        Error::InvalidToken
    );
    let token = keystone.parse("a").unwrap();
    assert!(keystone.validate_with(token, expired).await.is_ok());
    assert!(matches!(keystone.cached_with(token, expired), Some(Ok(_))));
    // On its own the token stays invalid.
    assert!(matches!(keystone.cached("a"), Some(Err(InvalidToken))));
    let requests = fixture.requests().await;
    let validations = requests.iter().filter(|it| it.method.as_str() == "GET");
    let queries: Vec<_> = validations.map(|it| it.url.query()).collect();
    assert_eq!(
        queries,
        [Some("nocatalog"), Some("nocatalog&allow_expired=1")]
    );
    // An expired token cannot validate itself.
    let expired = Fixture::new().await.keystone.expired_tokens(Some(&service));
    assert_eq!(expired, ExpiredTokens::Rejected);
}

#[tokio::test]
async fn a_token_known_to_be_valid_needs_no_lenient_validation() {
    let fixture = Fixture::new().await;
    fixture.validations_get(accepted()).await;
    fixture.keystone.validate("a").await.unwrap();
    let token = fixture.keystone.parse("a").unwrap();
    let known = fixture.keystone.cached_with(token, ExpiredTokens::Accepted);
    assert!(matches!(known, Some(Ok(_))));
}

#[tokio::test]
async fn the_age_of_a_result_counts_from_the_question() {
    let fixture = Fixture::new().await;
    let slow = accepted().set_delay(std::time::Duration::from_millis(100));
    fixture.validations_get(slow).await;
    let clock = fixture.clock.clone();
    let later = async {
        tokio::time::sleep(std::time::Duration::from_millis(30)).await;
        clock.advance(30);
    };
    let (token, ()) = tokio::join!(fixture.keystone.validate("a"), later);
    token.unwrap();
    fixture.clock.advance(29);
    assert!(fixture.keystone.cached("a").is_some());
    fixture.clock.advance(1);
    assert!(fixture.keystone.cached("a").is_none());
}

#[tokio::test]
async fn validations_that_all_fail_for_a_wrong_setting_are_a_persistent_failure() {
    let fixture = Fixture::new().await;
    let page = ResponseTemplate::new(404).set_body_string("<h1>Not Found</h1>");
    fixture.validations_get(page).await;
    for number in 0..16 {
        assert_eq!(fixture.keystone.persistent_failure(), None);
        let token = format!("t{number}");
        assert!(fixture.keystone.validate(&token).await.is_err());
    }
    let reason = fixture.keystone.persistent_failure().unwrap();
    assert!(reason.contains("is keystone.auth_url right?"), "{reason}");
    fixture.validations_get(unauthorized()).await;
    assert!(fixture.keystone.validate("bad").await.is_err());
    assert_eq!(fixture.keystone.persistent_failure(), None);
}

#[tokio::test]
async fn without_credentials_catalogs_without_the_endpoint_are_a_persistent_failure() {
    let fixture = Fixture::with(json!({"region_name": "Tpyo"}), Catalogs::Wanted).await;
    let catalog = json!({"catalog": [{"type": "image", "endpoints": [
        {"interface": "public", "region_id": "Typo", "url": "http://one"}]}]});
    let answer = ResponseTemplate::new(200).set_body_json(merged(catalog));
    fixture.validations_get(answer).await;
    for number in 0..16 {
        let token = format!("t{number}");
        assert!(fixture.keystone.validate(&token).await.is_ok());
    }
    let reason = fixture.keystone.persistent_failure().unwrap();
    assert!(reason.contains("keystone.region_name"), "{reason}");
}

#[rstest::rstest]
#[case(400)]
#[case(413)]
#[case(431)]
#[case(503)]
#[tokio::test]
async fn what_a_client_or_an_outage_causes_is_no_persistent_failure(#[case] status: u16) {
    let fixture = Fixture::new().await;
    fixture.validations_get(ResponseTemplate::new(status)).await;
    for number in 0..20 {
        let token = format!("t{number}");
        assert!(fixture.keystone.validate(&token).await.is_err());
    }
    assert_eq!(fixture.keystone.persistent_failure(), None);
}

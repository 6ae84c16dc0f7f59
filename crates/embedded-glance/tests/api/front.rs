//! What every response has, and what is in front of the API.

use crate::client::{Response, ask};
use embedded_glance::{AuthenticationError, EmbeddedGlance, Settings, StartError};

fn header<'r>(response: &'r Response, name: &str) -> Option<&'r str> {
    let found = response.headers.iter().find(|(own, _)| own == name);
    found.map(|(_, value)| value.as_str())
}

fn closed() -> EmbeddedGlance {
    let settings = Settings {
        www_authenticate_uri: Some("http://keystone:5000".to_owned()),
        ..Settings::default()
    };
    EmbeddedGlance::builder(settings)
        .authenticate_with(|_| Box::pin(async { Err(AuthenticationError::InvalidToken) }))
        .start()
        .unwrap()
}

#[test]
fn responses_of_the_api_have_a_request_id_of_their_own() {
    let glance = EmbeddedGlance::start(&Settings::default()).unwrap();
    let id = |path: &str| {
        let response = ask(glance.endpoint(), "GET", path, &[], None);
        header(&response, "x-openstack-request-id").map(str::to_owned)
    };
    let (list, absent) = (id("/v2/images").unwrap(), id("/v2/images/x").unwrap());
    assert!(list.starts_with("req-") && list.len() == 40, "{list}");
    assert_ne!(list, absent);
    for path in ["/", "/versions", "/healthcheck"] {
        assert_eq!(id(path), None, "{path}");
    }
}

#[test]
fn a_caller_without_a_token_is_told_where_to_get_one() {
    let glance = closed();
    for path in ["/v2/images", "/v2", "/v2/images/%ff"] {
        let response = ask(glance.endpoint(), "GET", path, &[], None);
        assert_eq!(response.status, 401, "{path}");
        let uri = header(&response, "www-authenticate");
        assert_eq!(uri, Some("Keystone uri=\"http://keystone:5000\""));
        assert_eq!(header(&response, "x-openstack-request-id"), None);
    }
}

#[test]
fn the_version_alone_is_redirected() {
    let glance = EmbeddedGlance::start(&Settings::default()).unwrap();
    let response = ask(glance.endpoint(), "GET", "/v2", &[], None);
    let location = format!("{}v2/", glance.endpoint());
    assert_eq!(response.status, 302);
    assert_eq!(header(&response, "location"), Some(location.as_str()));
    assert_eq!(
        ask(glance.endpoint(), "GET", "/v2//images", &[], None).status,
        200
    );
}

#[test]
fn quotes_and_angle_brackets_in_a_query_are_read() {
    let glance = EmbeddedGlance::start(&Settings::default()).unwrap();
    let body = r#"{"name": "glass, <darkly>"}"#;
    let created = ask(glance.endpoint(), "POST", "/v2/images", &[], Some(body));
    assert_eq!(created.status, 201);
    for query in ["name=in:\"glass,%20<darkly>\",x", "name=glass,%20<darkly>"] {
        let path = format!("/v2/images?{query}");
        let list = ask(glance.endpoint(), "GET", &path, &[], None);
        assert_eq!(list.status, 200);
        assert_eq!(
            list.json()["images"].as_array().unwrap().len(),
            1,
            "{query}"
        );
    }
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    let glance = EmbeddedGlance::start(&Settings::default()).unwrap();
    let path = "/v2/images/00000000-0000-4000-8000-000000000000/tags/%ff";
    assert_eq!(ask(glance.endpoint(), "PUT", path, &[], None).status, 400);
}

#[test]
fn more_filters_than_a_statement_takes_are_refused() {
    let glance = EmbeddedGlance::start(&Settings::default()).unwrap();
    let path = format!("/v2/images?tags={}", "x".repeat(1100));
    assert_eq!(ask(glance.endpoint(), "GET", &path, &[], None).status, 400);
    let path = format!("/v2/images?sort={}", ["name"; 1000].join(","));
    assert_eq!(ask(glance.endpoint(), "GET", &path, &[], None).status, 200);
}

#[test]
fn bodies_are_spaced_as_python_does_and_in_utf_8() {
    let glance = EmbeddedGlance::start(&Settings::default()).unwrap();
    let created = ask(
        glance.endpoint(),
        "POST",
        "/v2/images",
        &[],
        Some("{\"name\": \"Zürich\"}"),
    );
    let text = String::from_utf8(created.body).unwrap();
    assert!(
        text.starts_with("{\"name\": \"Zürich\", \"disk_format\": null, "),
        "{text}"
    );
    let json = [("Accept", "application/json")];
    let fault = ask(glance.endpoint(), "GET", "/v2/images/%C3%BC", &json, None);
    let text = String::from_utf8(fault.body).unwrap();
    assert!(
        text.starts_with("{\"message\": \"No image found with ID \\u00fc<br"),
        "{text}"
    );
}

#[test]
fn without_a_validator_it_listens_on_loopback_only() {
    let settings = Settings {
        listen: "0.0.0.0:0".parse().unwrap(),
        ..Settings::default()
    };
    let started = EmbeddedGlance::start(&settings);
    assert!(matches!(started, Err(StartError::NotLoopback(_))));
}

#[test]
fn a_reset_deletes_every_image_and_brings_the_samples_back() {
    let glance = EmbeddedGlance::start(&Settings::default()).unwrap();
    let count = || {
        let list = ask(
            glance.endpoint(),
            "GET",
            "/v2/images?visibility=all",
            &[],
            None,
        );
        list.json()["images"].as_array().unwrap().len()
    };
    let samples = count();
    let body = r#"{"id": "00000000-0000-4000-8000-000000000001"}"#;
    for _ in 0..2 {
        let created = ask(glance.endpoint(), "POST", "/v2/images", &[], Some(body));
        assert_eq!(created.status, 201);
        assert_eq!(count(), samples + 1);
        glance.resetter().reset().unwrap();
        assert_eq!(count(), samples);
    }
}

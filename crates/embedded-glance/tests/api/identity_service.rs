//! A login at the identity service, and what its tokens are good for.

use crate::client::ask;
use embedded_glance::{Catalog, EmbeddedGlance, IdentityService, IdentityStartError, Settings};
use serde_json::{Value, json};
use url::Url;

fn token(identity: &Url, user: &str) -> String {
    let user = json!({"name": user, "domain": {"name": "Default"}, "password": "any"});
    let project = json!({"name": user["name"], "domain": {"name": "Default"}});
    let body = json!({"auth": {
        "identity": {"methods": ["password"], "password": {"user": user}},
        "scope": {"project": project},
    }});
    let response = ask(
        identity,
        "POST",
        "/v3/auth/tokens",
        &[],
        Some(&body.to_string()),
    );
    assert_eq!(response.status, 201);
    let found = response
        .headers
        .iter()
        .find(|(name, _)| name == "x-subject-token");
    found.unwrap().1.clone()
}

#[actix_web::test]
async fn its_tokens_name_callers_that_do_not_see_each_other() {
    let settings = Settings {
        sample_images: false,
        ..Settings::default()
    };
    let glance = EmbeddedGlance::start(&settings).unwrap();
    let catalog = Catalog {
        image: glance.endpoint().to_string(),
        compute: None,
    };
    let service = IdentityService::start("127.0.0.1:0".parse().unwrap(), catalog).unwrap();
    let identity = Url::parse(&format!("http://{}", service.address())).unwrap();
    let image = glance.endpoint().clone();
    let seen = actix_web::web::block(move || {
        let [admin, demo, alt] = ["admin", "demo", "alt"].map(|user| token(&identity, user));
        let body = Some(r#"{"visibility": "private"}"#);
        let created = ask(
            &image,
            "POST",
            "/v2/images",
            &[("X-Auth-Token", &demo)],
            body,
        );
        assert_eq!(created.status, 201);
        let about = ask(
            &identity,
            "GET",
            "/v3/auth/tokens",
            &[("X-Auth-Token", &admin), ("X-Subject-Token", &demo)],
            None,
        );
        let about: Value = about.json();
        assert_eq!(about["token"]["catalog"][1]["type"], "image");
        assert_eq!(created.json()["owner"], about["token"]["project"]["id"]);
        let projects = ask(
            &identity,
            "GET",
            "/v3/projects",
            &[("X-Auth-Token", &demo)],
            None,
        );
        assert_eq!(projects.status, 403);
        let count = |token: &str| {
            let list = ask(
                &image,
                "GET",
                "/v2/images",
                &[("X-Auth-Token", token)],
                None,
            );
            list.json()["images"].as_array().unwrap().len()
        };
        [count(&admin), count(&demo), count(&alt)]
    })
    .await
    .unwrap();
    assert_eq!(seen, [1, 1, 0]);
    service.stop().await;
}

#[actix_web::test]
async fn it_listens_on_loopback_only() {
    let catalog = Catalog {
        image: String::new(),
        compute: None,
    };
    let started = IdentityService::start("0.0.0.0:0".parse().unwrap(), catalog);
    assert!(matches!(started, Err(IdentityStartError::NotLoopback)));
}

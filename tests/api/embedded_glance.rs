//! The Glance that the gateway carries, used as a client of any Glance would.

use std::time::Duration;

use embedded_glance::{DEFAULT_PROJECT, EmbeddedGlance, Identity, Settings};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

const PATCH: &str = "application/openstack-images-v2.1-json-patch";

fn client() -> Client {
    Client::builder().no_proxy().build().unwrap()
}

fn empty() -> Settings {
    Settings {
        sample_images: false,
        ..Settings::default()
    }
}

/// Status and JSON body (null without one) of a call.
async fn call(
    glance: &EmbeddedGlance,
    method: &str,
    path: &str,
    token: Option<&str>,
    body: Option<Value>,
) -> (StatusCode, Value) {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let media = if method == Method::PATCH {
        PATCH
    } else {
        "application/json"
    };
    let mut request = client().request(method, glance.endpoint().join(path).unwrap());
    request = request
        .header("Accept", "application/json")
        .header("Content-Type", media);
    if let Some(token) = token {
        request = request.header("X-Auth-Token", token);
    }
    if let Some(body) = body {
        request = request.body(body.to_string());
    }
    let response = request.send().await.unwrap();
    let status = response.status();
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or_default())
}

fn names(page: &Value) -> Vec<&str> {
    page["images"]
        .as_array()
        .unwrap()
        .iter()
        .map(|image| image["name"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn an_empty_store_shows_the_samples_to_a_caller_without_a_token() {
    let glance = EmbeddedGlance::start(&Settings::default()).unwrap();
    let (status, page) = call(&glance, "GET", "/v2/images", None, None).await;
    assert_eq!(status, StatusCode::OK);
    assert!(names(&page).contains(&"ubuntu-24.04"), "{page}");
    let statuses: Vec<&str> = page["images"]
        .as_array()
        .unwrap()
        .iter()
        .map(|i| i["status"].as_str().unwrap())
        .collect();
    for status in ["active", "queued", "deactivated"] {
        assert!(statuses.contains(&status), "{statuses:?}");
    }
    glance.stop(true).await;
}

#[tokio::test]
async fn an_image_is_created_uploaded_changed_and_deleted() {
    let glance = EmbeddedGlance::start(&empty()).unwrap();
    let body = json!({"name": "n", "disk_format": "raw", "container_format": "bare", "k": "v"});
    let (status, image) = call(&glance, "POST", "/v2/images", None, Some(body)).await;
    assert_eq!(
        (status, &image["status"]),
        (StatusCode::CREATED, &json!("queued"))
    );
    assert_eq!(image["owner"], DEFAULT_PROJECT);
    let path = image["self"].as_str().unwrap().to_owned();

    let upload = client()
        .put(glance.endpoint().join(&format!("{path}/file")).unwrap())
        .header("Content-Type", "application/octet-stream")
        .body("abc")
        .send()
        .await
        .unwrap();
    assert_eq!(upload.status(), StatusCode::NO_CONTENT);
    let change = json!([{"op": "remove", "path": "/k"}, {"op": "add", "path": "/l", "value": "w"}]);
    let (status, image) = call(&glance, "PATCH", &path, None, Some(change)).await;
    assert_eq!(
        (status, &image["status"]),
        (StatusCode::OK, &json!("active"))
    );
    assert_eq!((&image["l"], &image["k"]), (&json!("w"), &Value::Null));
    assert_eq!(image["checksum"], "900150983cd24fb0d6963f7d28e17f72");

    let (status, _) = call(&glance, "DELETE", &path, None, None).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let (status, fault) = call(&glance, "GET", &path, None, None).await;
    assert_eq!(
        (status, &fault["title"]),
        (StatusCode::NOT_FOUND, &json!("Not Found"))
    );
    glance.stop(true).await;
}

#[tokio::test]
async fn a_project_sees_what_is_shared_with_it_and_an_unknown_token_nothing() {
    let glance = EmbeddedGlance::builder(empty())
        .identity("one", Identity::member("p1", "u"))
        .identity("two", Identity::member("p2", "u"))
        .start()
        .unwrap();
    let (_, image) = call(
        &glance,
        "POST",
        "/v2/images",
        Some("one"),
        Some(json!({"name": "n"})),
    )
    .await;
    let path = image["self"].as_str().unwrap();
    assert_eq!(
        call(&glance, "GET", path, Some("two"), None).await.0,
        StatusCode::NOT_FOUND
    );
    let members = format!("{path}/members");
    call(
        &glance,
        "POST",
        &members,
        Some("one"),
        Some(json!({"member": "p2"})),
    )
    .await;
    assert_eq!(
        call(&glance, "GET", path, Some("two"), None).await.0,
        StatusCode::OK
    );
    assert_eq!(
        names(
            &call(&glance, "GET", "/v2/images", Some("two"), None)
                .await
                .1
        )
        .len(),
        0
    );
    let member = format!("{members}/p2");
    call(
        &glance,
        "PUT",
        &member,
        Some("two"),
        Some(json!({"status": "accepted"})),
    )
    .await;
    assert_eq!(
        names(
            &call(&glance, "GET", "/v2/images", Some("two"), None)
                .await
                .1
        ),
        ["n"]
    );
    let (status, _) = call(&glance, "GET", path, Some("three"), None).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    glance.stop(true).await;
}

#[tokio::test]
async fn a_list_is_followed_to_its_end_through_next_links() {
    let glance = EmbeddedGlance::start(&empty()).unwrap();
    for number in 0..7 {
        let body = json!({"name": format!("n{number}"), "visibility": "private"});
        call(&glance, "POST", "/v2/images", None, Some(body)).await;
    }
    let mut path = "/v2/images?limit=3&sort=name:asc".to_owned();
    let mut seen = Vec::new();
    loop {
        let (_, page) = call(&glance, "GET", &path, None, None).await;
        seen.extend(names(&page).iter().map(|name| (*name).to_owned()));
        match page["next"].as_str() {
            Some(next) => path = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(seen, ["n0", "n1", "n2", "n3", "n4", "n5", "n6"]);
    glance.stop(true).await;
}

#[tokio::test]
async fn a_file_outlives_the_process_that_wrote_it() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings {
        database: Some(folder.path().join("glance.sqlite")),
        sample_images: false,
        ..Settings::default()
    };
    let glance = EmbeddedGlance::start(&settings).unwrap();
    call(
        &glance,
        "POST",
        "/v2/images",
        None,
        Some(json!({"name": "kept"})),
    )
    .await;
    glance.stop(true).await;
    let glance = EmbeddedGlance::start(&settings).unwrap();
    assert_eq!(
        names(&call(&glance, "GET", "/v2/images", None, None).await.1),
        ["kept"]
    );
    glance.stop(true).await;
}

#[tokio::test]
async fn a_body_beyond_a_mebibyte_is_refused() {
    let glance = EmbeddedGlance::start(&empty()).unwrap();
    let body = json!({"k": "v".repeat(1 << 20)});
    let (status, _) = call(&glance, "POST", "/v2/images", None, Some(body)).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    glance.stop(true).await;
}

#[tokio::test]
async fn a_query_with_hundreds_of_filters_is_refused() {
    let glance = EmbeddedGlance::start(&empty()).unwrap();
    let path = format!("/v2/images?{}", "tag=x&".repeat(257));
    let (status, _) = call(&glance, "GET", &path, None, None).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let path = format!("/v2/images?{}", "tag=x&".repeat(256));
    let (status, _) = call(&glance, "GET", &path, None, None).await;
    assert_eq!(status, StatusCode::OK);
    glance.stop(true).await;
}

#[test]
fn a_glance_that_is_dropped_gives_its_port_back() {
    let glance = EmbeddedGlance::start(&empty()).unwrap();
    let address = glance.endpoint().socket_addrs(|| None).unwrap()[0];
    drop(glance);
    let connected = std::net::TcpStream::connect_timeout(&address, Duration::from_secs(1));
    assert!(connected.is_err());
}

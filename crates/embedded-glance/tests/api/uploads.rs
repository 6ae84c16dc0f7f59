//! What an image is while its data comes, and after data that did not come or was refused.

use crate::client::{Response, ask, receive};
use embedded_glance::{EmbeddedGlance, Settings};
use std::io::{BufReader, Write as _};
use std::net::TcpStream;
use url::Url;

const OCTETS: (&str, &str) = ("Content-Type", "application/octet-stream");
const JSON: (&str, &str) = ("Accept", "application/json");

fn start() -> EmbeddedGlance {
    let settings = Settings {
        sample_images: false,
        ..Settings::default()
    };
    EmbeddedGlance::start(&settings).unwrap()
}

fn create(glance: &Url, disk_format: &str) -> String {
    let body = format!(r#"{{"disk_format": "{disk_format}", "container_format": "bare"}}"#);
    let image = ask(glance, "POST", "/v2/images", &[], Some(&body)).json();
    image["file"].as_str().unwrap().to_owned()
}

fn status(glance: &Url, file: &str) -> String {
    let image = ask(glance, "GET", file.trim_end_matches("/file"), &[], None).json();
    image["status"].as_str().unwrap_or("gone").to_owned()
}

/// Waits for a state that another thread brings about.
fn wait_for(glance: &Url, file: &str, wanted: &str) {
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while status(glance, file) != wanted {
        assert!(std::time::Instant::now() < until, "still not {wanted}");
        std::thread::yield_now();
    }
}

/// An upload of which half was sent.
struct Half(TcpStream);

impl Half {
    fn send(glance: &Url, file: &str) -> Self {
        let host = &glance[url::Position::BeforeHost..url::Position::AfterPort];
        let mut stream = TcpStream::connect(host).unwrap();
        let head = format!(
            "PUT {file} HTTP/1.1\r\nHost: {host}\r\nAccept: application/json\r\n\
             Content-Type: application/octet-stream\r\nContent-Length: 8\r\n\r\nhalf"
        );
        stream.write_all(head.as_bytes()).unwrap();
        wait_for(glance, file, "saving");
        Self(stream)
    }

    fn finish(mut self) -> Response {
        self.0.write_all(b"done").unwrap();
        receive(BufReader::new(self.0), false).unwrap()
    }
}

#[test]
fn an_image_is_saving_while_its_data_comes() {
    let glance = start();
    let (url, file) = (glance.endpoint(), create(glance.endpoint(), "raw"));
    let image = file.trim_end_matches("/file");
    let half = Half::send(url, &file);
    let second = ask(url, "PUT", &file, &[OCTETS, JSON], Some("x"));
    assert_eq!(second.status, 409);
    let reason = "Image status transition from saving to saving is not allowed";
    assert!(second.text().contains(reason), "{}", second.text());
    let action = format!("{image}/actions/deactivate");
    let deactivated = ask(url, "POST", &action, &[JSON], None);
    assert_eq!(deactivated.status, 403);
    assert!(deactivated.text().contains("in status 'saving'"));
    assert_eq!(ask(url, "GET", &file, &[], None).status, 204);
    let media = (
        "Content-Type",
        "application/openstack-images-v2.1-json-patch",
    );
    for (path, expected) in [("disk_format", 403), ("name", 200)] {
        let body = format!(r#"[{{"op": "replace", "path": "/{path}", "value": "iso"}}]"#);
        assert_eq!(
            ask(url, "PATCH", image, &[media], Some(&body)).status,
            expected
        );
    }
    let list = ask(url, "GET", "/v2/images?status=saving", &[], None).json();
    assert_eq!(list["images"].as_array().unwrap().len(), 1);
    assert_eq!(half.finish().status, 204);
    let data = ask(url, "GET", &file, &[], None);
    assert_eq!(data.text(), "halfdone");
    let image = ask(url, "GET", image, &[], None).json();
    assert_eq!(
        (&image["status"], &image["name"]),
        (&"active".into(), &"iso".into())
    );
}

#[test]
fn an_image_deleted_meanwhile_ends_its_upload() {
    let glance = start();
    let (url, file) = (glance.endpoint(), create(glance.endpoint(), "raw"));
    let half = Half::send(url, &file);
    let deleted = ask(url, "DELETE", file.trim_end_matches("/file"), &[], None);
    assert_eq!(deleted.status, 204);
    let ended = half.finish();
    assert_eq!(ended.status, 410);
    assert!(ended.text().contains("could not be found after upload"));
}

#[test]
fn an_image_waits_again_after_its_client_left() {
    let glance = start();
    let (url, file) = (glance.endpoint(), create(glance.endpoint(), "raw"));
    drop(Half::send(url, &file));
    wait_for(url, &file, "queued");
    assert_eq!(ask(url, "PUT", &file, &[OCTETS], Some("again")).status, 204);
    assert_eq!(ask(url, "GET", &file, &[], None).text(), "again");
}

#[test]
fn data_of_another_format_is_refused_unless_the_settings_take_any() {
    let glance = start();
    let (url, file) = (glance.endpoint(), create(glance.endpoint(), "qcow2"));
    let refused = ask(url, "PUT", &file, &[OCTETS, JSON], Some("raw"));
    assert_eq!(refused.status, 415);
    let reason = "Image disk_format qcow2 does not match stream data raw";
    assert!(refused.text().contains(reason), "{}", refused.text());
    assert_eq!(status(url, &file), "queued");
    assert_eq!(ask(url, "GET", &file, &[], None).status, 204);
    let settings = Settings {
        inspect_formats: false,
        ..Settings::default()
    };
    let glance = EmbeddedGlance::start(&settings).unwrap();
    let (url, file) = (glance.endpoint(), create(glance.endpoint(), "qcow2"));
    assert_eq!(ask(url, "PUT", &file, &[OCTETS], Some("raw")).status, 204);
}

#[test]
fn a_start_ends_uploads_that_a_process_did_not_finish() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings {
        database: Some(folder.path().join("images.sqlite")),
        ..Settings::default()
    };
    let glance = EmbeddedGlance::start(&settings).unwrap();
    let kept = create(glance.endpoint(), "raw");
    ask(glance.endpoint(), "PUT", &kept, &[OCTETS], Some("kept"));
    let file = create(glance.endpoint(), "raw");
    let half = Half::send(glance.endpoint(), &file);
    drop(glance);
    drop(half);
    let glance = EmbeddedGlance::start(&settings).unwrap();
    assert_eq!(status(glance.endpoint(), &file), "queued");
    assert_eq!(
        ask(glance.endpoint(), "GET", &kept, &[], None).text(),
        "kept"
    );
    let incoming = folder.path().join("images.sqlite.data/incoming");
    assert_eq!(std::fs::read_dir(incoming).unwrap().count(), 0);
}

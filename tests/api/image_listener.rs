//! The listener for clients of the image API, before a Glance of its own and before the embedded one.

use rstest::rstest;
use serde_json::{Value, json};
use socket2::SockRef;
use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread::{self, sleep};
use std::time::Duration;
use test_support::client::{self, RawClient, Request, Response};
use test_support::recording_upstream::Upstream;
use test_support::{GatewayProcess, TestGateway, gateway_command};

const ID: &str = "11111111-2222-4333-8444-555555555555";

/// Sends a request to the image API, with the content type of its bodies.
fn send(base: &str, method: &str, path: &str, body: Option<&[u8]>) -> Response {
    let content_type = if method == "PATCH" {
        client::IMAGE_PATCH
    } else {
        "application/json"
    };
    let request = Request {
        method,
        path,
        headers: body
            .map(|_| ("Content-Type", content_type))
            .into_iter()
            .collect(),
        body,
    };
    client::send(base, &request).unwrap()
}

fn embedded(settings: &[(&str, &str)]) -> TestGateway {
    let mut all = vec![
        ("AUTH__MODE", "none"),
        ("GLANCE__MODE", "embedded"),
        ("IMAGE__LISTEN", "127.0.0.1:0"),
        ("CACHE__TTL", "1h"),
    ];
    all.extend_from_slice(settings);
    TestGateway::start(&all)
}

fn before(glance: &Upstream, settings: &[(&str, &str)]) -> TestGateway {
    let url = glance.url();
    let mut all = vec![
        ("AUTH__MODE", "none"),
        ("GLANCE__ENDPOINTS", url.as_str()),
        ("IMAGE__LISTEN", "127.0.0.1:0"),
    ];
    all.extend_from_slice(settings);
    TestGateway::start(&all)
}

fn write_all(mut stream: &TcpStream, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes)
}

/// A change through one listener is seen by the next read through the other one, however long responses are cached.
#[test]
fn a_write_by_the_image_api_is_seen_by_the_compute_api() {
    let gateway = embedded(&[("IMAGE__PATH_PREFIX", "/image")]);
    let images = format!("{}/v2.1/images", gateway.base());
    let (base, list) = client::split(&images);
    let detail = || send(base, "GET", &format!("{list}/detail"), None).json();
    let names = |detail: &Value| -> Vec<String> {
        let images = detail["images"]
            .as_array()
            .unwrap_or_else(|| panic!("{detail}"));
        images
            .iter()
            .map(|image| image["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let count = names(&detail()).len();
    let new = json!({"name": "made", "disk_format": "raw", "container_format": "bare"}).to_string();
    let made = send(
        gateway.image(),
        "POST",
        "/image/v2/images",
        Some(new.as_bytes()),
    );
    assert_eq!(made.status, 201, "{}", made.text());
    let id = made.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(names(&detail()).len(), count + 1);
    let show = || send(base, "GET", &format!("{list}/{id}"), None).json()["image"].clone();
    assert_eq!(show()["status"], "SAVING");
    let path = format!("/image/v2/images/{id}");
    let patch = br#"[{"op": "replace", "path": "/name", "value": "renamed"}]"#;
    let patched = send(gateway.image(), "PATCH", &path, Some(patch));
    assert_eq!(patched.status, 200, "{}", patched.text());
    assert_eq!(show()["name"], "renamed");
    // The links that clients get lead to this listener, not into the process.
    let links = show()["links"].as_array().unwrap().clone();
    let alternate = links
        .iter()
        .find(|link| link["rel"] == "alternate")
        .unwrap();
    assert_eq!(
        alternate["href"],
        format!("{}/image/images/{id}", gateway.image())
    );
    let data = vec![b'x'; 3 << 20];
    let request = Request {
        method: "PUT",
        path: &format!("{path}/file"),
        headers: vec![("Content-Type", "application/octet-stream")],
        body: Some(&data),
    };
    assert_eq!(client::send(gateway.image(), &request).unwrap().status, 204);
    assert_eq!(show()["status"], "ACTIVE");
    assert_eq!(show()["OS-EXT-IMG-SIZE:size"], data.len());
    assert_eq!(
        send(gateway.image(), "GET", &format!("{path}/file"), None).body,
        data
    );
    assert_eq!(send(gateway.image(), "DELETE", &path, None).status, 204);
    assert_eq!(send(base, "GET", &format!("{list}/{id}"), None).status, 404);
    assert_eq!(names(&detail()).len(), count);
    // A path outside the prefix is none of Glance's.
    assert_eq!(send(gateway.image(), "GET", "/v2/images", None).status, 404);
}

/// Writers through both listeners take turns: Glance alone would lose their changes. A write that Glance has begun
/// ends, whether or not its client has left.
#[rstest]
fn a_passed_patch_waits_for_the_write_before_it(#[values(false, true)] first_leaves: bool) {
    let (entered, enters) = mpsc::channel();
    let glance = Upstream::start(move |heard, stream| {
        if heard.line.starts_with("PATCH") {
            let body = String::from_utf8_lossy(&heard.body).into_owned();
            entered.send(body).unwrap();
            sleep(Duration::from_millis(700));
        }
        let body = format!(r#"{{"id": "{ID}", "status": "active"}}"#);
        let length = body.len();
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}");
        write_all(stream, answer.as_bytes())
    });
    let gateway = before(&glance, &[]);
    let request = Request {
        method: "PATCH",
        path: &format!("/v2/images/{ID}"),
        headers: vec![("Content-Type", client::IMAGE_PATCH)],
        body: Some(b"[1]"),
    };
    let mut first = RawClient::connect(gateway.image()).unwrap();
    first.send_request(&request).unwrap();
    assert_eq!(enters.recv().unwrap(), "[1]");
    if first_leaves {
        // Its connection is reset when it is dropped.
        let socket = SockRef::from(first.stream());
        socket.set_linger(Some(Duration::ZERO)).unwrap();
    }
    let first = (!first_leaves).then_some(first);
    let base = gateway.base().to_owned();
    let second = thread::spawn(move || {
        let path = format!("/v2.1/images/{ID}/metadata");
        let body = r#"{"metadata": {"a": "b"}}"#;
        client::ask(&base, "POST", &path, &[], Some(body))
    });
    sleep(Duration::from_millis(300));
    let overtaking = enters.try_recv();
    assert!(overtaking.is_err(), "before the first one: {overtaking:?}");
    if let Some(mut first) = first {
        assert_eq!(first.receive().unwrap().status, 200);
    }
    assert!(enters.recv().unwrap().contains("\"/a\""));
    assert_eq!(second.join().unwrap().status, 200);
}

#[test]
fn too_many_transfers_are_a_503_and_other_requests_are_not() {
    let glance = Upstream::start(|heard, stream| {
        if heard.line.contains("/file") {
            sleep(Duration::from_secs(2));
        }
        write_all(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
    });
    let gateway = before(&glance, &[("IMAGE__MAX_TRANSFERS", "1")]);
    let file = format!("/v2/images/{ID}/file");
    let mut first = RawClient::connect(gateway.image()).unwrap();
    first
        .send(format!("GET {file} HTTP/1.1\r\nHost: x\r\n\r\n"))
        .unwrap();
    sleep(Duration::from_millis(500));
    let second = send(gateway.image(), "GET", &file, None);
    assert_eq!(
        (second.status, second.header("retry-after")),
        (503, Some("5"))
    );
    assert_eq!(send(gateway.image(), "GET", "/v2/images", None).status, 200);
    assert_eq!(first.receive().unwrap().status, 200);
    assert_eq!(
        send(gateway.image(), "GET", "/v2/images?limit=1", None).status,
        200
    );
}

/// Image data of any length takes no memory: a reader that is slow stops the sender.
#[test]
fn a_transfer_takes_no_memory() {
    const BYTES: usize = 256 << 20;
    let glance = Upstream::streaming(|heard, reader| {
        if heard.line.contains("warm") {
            return write_all(reader.get_ref(), b"HTTP/1.1 204 No Content\r\n\r\n");
        }
        let chunk = vec![b'x'; 1 << 20];
        if heard.line.starts_with("PUT") {
            // A slow reader for a part of it.
            let mut chunk = vec![0; 1 << 20];
            for number in 0..BYTES >> 20 {
                reader.read_exact(&mut chunk)?;
                if number < 16 {
                    sleep(Duration::from_millis(50));
                }
            }
            return write_all(reader.get_ref(), b"HTTP/1.1 204 No Content\r\n\r\n");
        }
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {BYTES}\r\n\r\n");
        write_all(reader.get_ref(), head.as_bytes())?;
        for _ in 0..BYTES >> 20 {
            write_all(reader.get_ref(), &chunk)?;
        }
        Ok(())
    });
    let url = glance.url();
    let address = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().to_string()
    };
    let settings = [
        ("AUTH__MODE", "none"),
        ("GLANCE__ENDPOINTS", url.as_str()),
        ("IMAGE__LISTEN", address.as_str()),
    ];
    let mut command = gateway_command!();
    command.arg("serve");
    let process = GatewayProcess::start(command, &settings);
    let base = format!("http://{address}");
    send(&base, "GET", "/v2/images/none/file?warm", None);
    let before = process.memory();
    let file = format!("/v2/images/{ID}/file");
    let mut client = RawClient::connect(&base).unwrap();
    let head = format!("PUT {file} HTTP/1.1\r\nHost: x\r\nContent-Length: {BYTES}\r\n\r\n");
    client.send(head).unwrap();
    let chunk = vec![b'x'; 1 << 20];
    for _ in 0..BYTES >> 20 {
        client.send(&chunk).unwrap();
    }
    assert_eq!(client.receive().unwrap().status, 204);
    client
        .send(format!("GET {file} HTTP/1.1\r\nHost: x\r\n\r\n"))
        .unwrap();
    let mut reader = client.stream();
    let mut chunk = vec![0; 1 << 20];
    let mut total = 0;
    while total < BYTES {
        let read = reader.read(&mut chunk).unwrap();
        assert!(read > 0, "the body ended after {total} bytes");
        total += read;
        if total < 16 << 20 {
            sleep(Duration::from_millis(2));
        }
    }
    let grown = process.peak_memory().saturating_sub(before);
    assert!(grown < 24 << 10, "{grown} KiB more");
}

#[test]
fn a_port_that_is_taken_stops_the_start_with_the_name_of_the_setting() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = gateway_command!();
    command.env("NOVA_IMAGE_PROXY__SERVER__LISTEN", "127.0.0.1:0");
    command.env("NOVA_IMAGE_PROXY__ADMIN__LISTEN", "off");
    command.env("NOVA_IMAGE_PROXY__IMAGE__LISTEN", address);
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(
        errors.contains("image.listen: cannot listen on"),
        "{errors}"
    );
}

//! Many writers of one image through one gateway, on a real Glance.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

use crate::gateway;
use crate::stack::Stack;

const WRITERS: usize = 50;
const ROUNDS: usize = 10;

/// An image that is removed when the test ends, however it ends.
struct Fresh<'s> {
    stack: &'s Stack,
    id: String,
}

impl<'s> Fresh<'s> {
    fn new(stack: &'s Stack) -> Self {
        let fields = json!({"name": "written", "visibility": "private"});
        Self {
            stack,
            id: stack.create_image("demo", &fields),
        }
    }
}

impl Drop for Fresh<'_> {
    fn drop(&mut self) {
        self.stack.remove_image(&self.id);
    }
}

/// Sent straight to Glance, about twenty of fifty such writes get lost.
#[tokio::test(flavor = "multi_thread")]
async fn fifty_concurrent_writers_of_one_image_all_find_their_key_there() {
    let stack = Stack::shared();
    let _alone = stack.alone();
    let gateway = gateway::start(stack, &[]);
    let (client, token) = (Client::new(), stack.token("demo"));
    for round in 0..ROUNDS {
        let image = Fresh::new(stack);
        let metadata = format!("{}/v2.1/images/{}/metadata", gateway.base(), image.id);
        let writes = (0..WRITERS).map(|n| {
            let (client, token, url) = (client.clone(), token.clone(), format!("{metadata}/k{n}"));
            tokio::spawn(async move {
                let body = json!({"meta": {format!("k{n}"): n.to_string()}});
                let request = client.put(url).header("X-Auth-Token", token).json(&body);
                request.send().await.unwrap().status()
            })
        });
        for write in writes.collect::<Vec<_>>() {
            assert_eq!(write.await.unwrap(), StatusCode::OK, "round {round}");
        }
        let record = stack.image_record(&image.id).unwrap();
        let missing: Vec<_> = (0..WRITERS)
            .filter(|n| record[format!("k{n}")] != json!(n.to_string()))
            .collect();
        assert!(missing.is_empty(), "round {round}: lost {missing:?}");
    }
}

/// Which of one write's keys an image has.
fn present(record: &Value, write: usize) -> usize {
    ["a", "b", "c"]
        .iter()
        .filter(|part| record.get(format!("w{write}{part}")).is_some())
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_client_left_is_done_as_a_whole_or_not_at_all() {
    let stack = Stack::shared();
    let _alone = stack.alone();
    let gateway = gateway::start(stack, &[]);
    let image = Fresh::new(stack);
    let path = format!("/v2.1/images/{}/metadata", image.id);
    let token = stack.token("demo");
    let host = gateway.base().trim_start_matches("http://").to_owned();
    let writes = 30;
    for write in 0..writes {
        let body = json!({"metadata": {
            format!("w{write}a"): "1", format!("w{write}b"): "2", format!("w{write}c"): "3",
        }})
        .to_string();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nX-Auth-Token: {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut socket = TcpStream::connect(&host).unwrap();
        socket.write_all(request.as_bytes()).unwrap();
        // Some leave at once, some while Glance is at work.
        tokio::time::sleep(Duration::from_millis(u64::try_from(write).unwrap() * 2)).await;
        drop(socket);
    }
    // The writes queue for the image, so this one is the last to be done.
    let client = Client::new();
    let last = client
        .put(format!("{}{path}/last", gateway.base()))
        .header("X-Auth-Token", &token)
        .json(&json!({"meta": {"last": "1"}}));
    assert_eq!(last.send().await.unwrap().status(), StatusCode::OK);
    let until = Instant::now() + Duration::from_secs(10);
    let (mut before, mut record) = (Value::Null, stack.image_record(&image.id).unwrap());
    while before != record && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(200)).await;
        before = std::mem::replace(&mut record, stack.image_record(&image.id).unwrap());
    }
    let done: Vec<_> = (0..writes).map(|write| present(&record, write)).collect();
    assert!(done.iter().all(|keys| matches!(keys, 0 | 3)), "{done:?}");
    assert!(done.contains(&3), "no write was done: {done:?}");
    let read = client
        .get(format!("{}{path}", gateway.base()))
        .header("X-Auth-Token", &token);
    let shown: Value = read.send().await.unwrap().json().await.unwrap();
    for (write, keys) in done.iter().enumerate() {
        assert_eq!(present(&shown["metadata"], write), *keys);
    }
}

//! The embedded Glance is killed at random moments: what it answered with 2xx is there afterwards.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use test_support::client::{IMAGE_PATCH, Request, Response, send};

use serde_json::json;

const WRITERS: u64 = 4;
/// The least and the most time that a process lives, in milliseconds.
const LIFE: std::ops::Range<u64> = 100..700;

/// How often it is killed.
fn kills() -> u64 {
    std::env::var("KILLS").map_or(4, |kills| kills.parse().unwrap())
}

struct Glance {
    process: Child,
    base: String,
}

impl Glance {
    fn start(folder: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nova-image-proxy"));
        command.args(["glance", "--listen", "127.0.0.1:0", "--database"]);
        command.arg(folder.join("images.sqlite"));
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let ready = output.lines().next().unwrap().unwrap();
        let base = ready.strip_prefix("listening on ").unwrap().to_owned();
        Self { process, base }
    }

    fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// What is known of an image: the last state that was answered with 2xx, and whether a change after
/// it was sent that was not answered.
#[derive(Clone, Debug, Default, PartialEq)]
struct Known {
    size: Option<usize>,
    name: String,
    is_deleted: bool,
    /// What may have happened or not.
    unanswered: Option<&'static str>,
}

fn data(seed: u64, size: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| random.u8(..))
        .take(size)
        .collect()
}

fn ask(base: &str, method: &str, path: &str, media: &str, body: Option<&[u8]>) -> Option<Response> {
    let request = Request {
        method,
        path,
        headers: vec![("Content-Type", media), ("Accept", "application/json")],
        body,
    };
    send(base, &request).ok()
}

/// Creates, fills, renames and deletes images until the process is gone.
fn write(base: &str, mut seed: u64, is_over: &AtomicBool) -> BTreeMap<u64, Known> {
    let mut images = BTreeMap::new();
    while !is_over.load(Ordering::SeqCst) {
        seed += 1;
        let known = images.entry(seed).or_insert_with(Known::default);
        let change = |known: &mut Known, what, method, path: &str, media, body: Option<&[u8]>| {
            let path = path.replace("{id}", &id(seed));
            known.unanswered = Some(what);
            let answer = ask(base, method, &path, media, body)?;
            assert!(
                answer.status < 300,
                "{what}: {} {}",
                answer.status,
                answer.text()
            );
            known.unanswered = None;
            Some(())
        };
        let body =
            json!({"id": id(seed), "name": "", "disk_format": "raw", "container_format": "bare"});
        let body = body.to_string();
        let json = "application/json";
        if change(
            known,
            "create",
            "POST",
            "/v2/images",
            json,
            Some(body.as_bytes()),
        )
        .is_none()
        {
            break;
        }
        let size = usize::try_from(seed * 7919 % 200_000).unwrap();
        let (octets, bytes) = ("application/octet-stream", data(seed, size));
        let file = "/v2/images/{id}/file";
        if change(known, "upload", "PUT", file, octets, Some(&bytes)).is_none() {
            break;
        }
        known.size = Some(size);
        let patch = json!([{"op": "replace", "path": "/name", "value": "renamed"}]).to_string();
        let image = "/v2/images/{id}";
        if change(
            known,
            "rename",
            "PATCH",
            image,
            IMAGE_PATCH,
            Some(patch.as_bytes()),
        )
        .is_none()
        {
            break;
        }
        known.name = "renamed".to_owned();
        if seed.is_multiple_of(3) {
            if change(known, "delete", "DELETE", image, json, None).is_none() {
                break;
            }
            known.is_deleted = true;
        }
    }
    images
}

fn id(seed: u64) -> String {
    format!("00000000-0000-4000-8000-{seed:012x}")
}

fn check(base: &str, seed: u64, known: &Known) {
    let path = format!("/v2/images/{}", id(seed));
    let answer = ask(base, "GET", &path, "application/json", None).unwrap();
    let unanswered = known.unanswered;
    if answer.status == 404 {
        let may_be_gone = known.is_deleted || matches!(unanswered, Some("create" | "delete"));
        assert!(may_be_gone, "lost: {seed} {known:?}");
        return;
    }
    assert!(!known.is_deleted, "came back: {seed}");
    let image = answer.json();
    let size = usize::try_from(seed * 7919 % 200_000).unwrap();
    match image["status"].as_str().unwrap() {
        "active" => {
            assert!(
                known.size.is_some() || unanswered == Some("upload"),
                "{seed} {known:?}"
            );
            let download = ask(base, "GET", &format!("{path}/file"), "", None).unwrap();
            assert_eq!(download.status, 200);
            assert!(download.body == data(seed, size), "{seed}: other data");
            assert_eq!(image["size"], size);
        }
        "queued" => {
            assert_eq!(known.size, None, "lost the data of {seed}");
            assert!(image["checksum"].is_null());
        }
        other => panic!("{seed} is {other}"),
    }
    let name = image["name"].as_str().unwrap();
    assert!(
        name == known.name || unanswered == Some("rename"),
        "{seed}: {name}"
    );
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let mut all: BTreeMap<u64, Known> = BTreeMap::new();
    for round in 0..kills() {
        let glance = Glance::start(folder.path());
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let writers: Vec<_> = (0..WRITERS)
                .map(|writer| {
                    let begin = (round * WRITERS + writer + 1) * 100_000;
                    let (base, is_over) = (glance.base.clone(), &is_over);
                    scope.spawn(move || write(&base, begin, is_over))
                })
                .collect();
            std::thread::sleep(Duration::from_millis(fastrand::u64(LIFE)));
            glance.kill();
            is_over.store(true, Ordering::SeqCst);
            for writer in writers {
                all.extend(writer.join().unwrap());
            }
        });
        let glance = Glance::start(folder.path());
        for (seed, known) in &mut all {
            check(&glance.base, *seed, known);
            if known.unanswered.take().is_some() {
                // Whatever it came to, it is that from now on.
                known.is_deleted = true;
                let path = format!("/v2/images/{}", id(*seed));
                let _deleted = ask(&glance.base, "DELETE", &path, "", None);
            }
        }
        glance.kill();
    }
    assert!(all.len() > 10, "{} images", all.len());
}

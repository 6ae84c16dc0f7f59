//! A write is seen by the next read, with the cache on: readers and writers of many images at once,
//! and no answer older than the last write that had returned before the question was sent.

use embedded_glance::{EmbeddedGlance, Settings};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use test_support::TestGateway;
use test_support::client::{RawClient, call};

const IMAGES: usize = 16;
const READERS: usize = 6;
const WRITERS: usize = 2;

/// What has been written to one image: numbers that grow.
struct Written {
    id: String,
    /// The last one whose answer has come back.
    returned: AtomicU64,
    /// The last one that was sent.
    sent: AtomicU64,
}

#[derive(Default)]
struct Tally {
    reads: AtomicU64,
    hits: AtomicU64,
    /// Reads of a value that was being written meanwhile.
    racing: AtomicU64,
    writes: AtomicU64,
}

struct Trial {
    base: String,
    images: Vec<Written>,
    wanted: u64,
    over: AtomicBool,
    tally: Tally,
}

/// `STALE_READS` sets how many; `make soak` asks for a million.
#[test]
fn no_reader_gets_less_than_what_was_written_before_it_asked() {
    let wanted = std::env::var("STALE_READS").map_or(20_000, |text| text.parse().unwrap());
    // Nothing leaves the cache by age here.
    let glance = EmbeddedGlance::builder(Settings {
        sample_images: false,
        ..Settings::default()
    });
    let glance = glance.start().unwrap();
    let gateway = TestGateway::start(&[
        ("AUTH__MODE", "none"),
        ("GLANCE__ENDPOINTS", glance.endpoint().as_str()),
        ("CACHE__TTL", "1h"),
    ]);
    let trial = Arc::new(Trial {
        base: gateway.base().to_owned(),
        images: images(&glance),
        wanted,
        over: AtomicBool::new(false),
        tally: Tally::default(),
    });
    let began = Instant::now();
    thread::scope(|scope| {
        for number in 0..WRITERS {
            let trial = Arc::clone(&trial);
            scope.spawn(move || trial.write(number));
        }
        let readers: Vec<_> = (0..READERS)
            .map(|number| {
                let trial = Arc::clone(&trial);
                scope.spawn(move || trial.read(number))
            })
            .collect();
        let failed = readers.into_iter().filter_map(|reader| reader.join().err());
        let failed = failed.count();
        trial.over.store(true, Ordering::SeqCst);
        assert_eq!(failed, 0, "readers were shown old answers");
    });
    let count = |number: &AtomicU64| number.load(Ordering::SeqCst);
    let (hits, writes) = (count(&trial.tally.hits), count(&trial.tally.writes));
    println!(
        "{wanted} reads, {hits} from the cache, {writes} writes, {} answers from between a write's \
         sending and its return, none stale, {:?}",
        count(&trial.tally.racing),
        began.elapsed()
    );
    assert!(hits > wanted / 20, "the cache took no part: {hits} hits");
    assert!(
        writes > wanted / 1000,
        "there was nothing to be old: {writes} writes"
    );
}

/// Makes images with data in Glance itself.
fn images(glance: &EmbeddedGlance) -> Vec<Written> {
    let url = |below: &str| format!("{}v2/images{below}", glance.endpoint());
    (0..IMAGES)
        .map(|number| {
            let id = format!("{number:08}-57a1-4000-8000-000000000000");
            let image = json!({
                "id": id, "name": number.to_string(),
                "disk_format": "raw", "container_format": "bare",
            });
            let image = image.to_string();
            let made = call("POST", &url(""), None, "application/json", image.as_bytes());
            assert_eq!(made.status, 201, "{}", made.text());
            let kind = "application/octet-stream";
            let filled = call("PUT", &url(&format!("/{id}/file")), None, kind, b"data");
            assert_eq!(filled.status, 204, "{}", filled.text());
            Written {
                id,
                returned: AtomicU64::new(0),
                sent: AtomicU64::new(0),
            }
        })
        .collect()
}

impl Trial {
    /// Each image has one writer, so that what was written last is what is there.
    fn write(&self, number: usize) {
        let mut connection = RawClient::connect(&self.base).unwrap();
        for round in 1.. {
            for image in self.images.iter().skip(number).step_by(WRITERS) {
                if self.over.load(Ordering::SeqCst) {
                    return;
                }
                image.sent.store(round, Ordering::SeqCst);
                let path = format!("/v2.1/images/{}/metadata/n", image.id);
                let body = json!({"meta": {"n": round.to_string()}});
                let answer = connection.put(&path, &body);
                assert_eq!(answer.status, 200, "{}", answer.json());
                image.returned.store(round, Ordering::SeqCst);
                self.tally.writes.fetch_add(1, Ordering::SeqCst);
                // Time for answers to be kept and given again.
                thread::sleep(Duration::from_millis(5 * (round % 8)));
            }
        }
    }

    fn read(&self, number: usize) {
        let mut connection = RawClient::connect(&self.base).unwrap();
        for turn in number.. {
            if self.tally.reads.fetch_add(1, Ordering::SeqCst) >= self.wanted {
                return;
            }
            let image = &self.images[turn * 7 % self.images.len()];
            let (path, of_list): (_, bool) = match turn % 5 {
                0 => (format!("/v2.1/images/{}", image.id), false),
                1 => (format!("/v2.1/images/{}/metadata", image.id), false),
                2 => (format!("/v2.1/images/{}/metadata/n", image.id), false),
                3 => ("/v2.1/images/detail".to_owned(), true),
                _ => ("/v2.1/images/detail?limit=100".to_owned(), true),
            };
            let read: Vec<&Written> = if of_list {
                self.images.iter().collect()
            } else {
                vec![image]
            };
            let floors: Vec<u64> = read
                .iter()
                .map(|image| image.returned.load(Ordering::SeqCst))
                .collect();
            let answer = connection.get(&path);
            if answer.header("cache-status") == Some("nova-image-proxy; hit") {
                self.tally.hits.fetch_add(1, Ordering::SeqCst);
            }
            if answer.status == 404 && floors[0] == 0 {
                // The item is not there before the first write.
                continue;
            }
            assert_eq!(answer.status, 200, "{path}");
            let body = answer.json();
            for (image, floor) in read.into_iter().zip(floors) {
                let ceiling = image.sent.load(Ordering::SeqCst);
                let shown = shown(&body, &image.id);
                assert!(
                    (floor..=ceiling).contains(&shown),
                    "{path} shows {shown} of {}, when {floor} had been written (and {ceiling} sent)",
                    image.id
                );
                if shown > floor {
                    self.tally.racing.fetch_add(1, Ordering::SeqCst);
                }
            }
        }
    }
}

/// The number that an answer shows of an image.
fn shown(body: &Value, id: &str) -> u64 {
    let listed = body["images"].as_array().map(|images| {
        let image = images.iter().find(|image| image["id"] == id).unwrap();
        &image["metadata"]["n"]
    });
    let number = listed.unwrap_or_else(|| match (&body["image"], &body["meta"]) {
        (Value::Object(image), _) => &image["metadata"]["n"],
        (_, Value::Object(meta)) => &meta["n"],
        _ => &body["metadata"]["n"],
    });
    number.as_str().map_or(0, |text| text.parse().unwrap())
}

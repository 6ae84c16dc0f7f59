//! The pure parts, one by one: `cargo bench --bench micro`.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use nova_image_proxy::apis::nova::links::{self, LinkBase};
use nova_image_proxy::apis::nova::list_query;
use nova_image_proxy::apis::nova::microversion::{self, Microversion};
use nova_image_proxy::apis::nova::routes::{self, ApiVersion};
use nova_image_proxy::apis::nova::view::{self, Detail, ListView};
use nova_image_proxy::config;
use nova_image_proxy::glance::{Image, ImagePage, patch};
use nova_image_proxy::images::{MetadataUpdate, properties};
use nova_image_proxy::keystone::DigestKey;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::iter;

const ID: &str = "5b7d2a52-1c36-4c4e-9d3a-0f6a5a1f3c11";
const IMAGES: usize = 1000;
const MAX: Microversion = Microversion::new(2, 104);

/// An image as Glance shows it.
fn image(number: usize) -> String {
    format!(
        r#"{{"os_distro": "ubuntu", "architecture": "x86_64", "hw_disk_bus": "virtio",
        "build": "{number}", "name": "image-{number}", "disk_format": "qcow2",
        "container_format": "bare", "visibility": "public", "size": {size}, "virtual_size": null,
        "status": "active", "checksum": "d41d8cd98f00b204e9800998ecf8427e", "protected": false,
        "min_ram": 512, "min_disk": 10, "owner": "8f0b2c4d6e8a4b1c9d3e5f7a9b1c3d5e",
        "os_hidden": false, "os_hash_algo": null, "os_hash_value": null,
        "id": "00000000-0000-4000-8000-{number:012}", "created_at": "2024-01-01T00:00:00Z",
        "updated_at": "2024-01-01T00:00:00Z", "tags": [],
        "self": "/v2/images/00000000-0000-4000-8000-{number:012}",
        "file": "/v2/images/00000000-0000-4000-8000-{number:012}/file",
        "schema": "/v2/schemas/image"}}"#,
        size = (1 << 20) + number,
    )
}

fn page() -> String {
    let images: Vec<String> = (0..IMAGES).map(image).collect();
    let images = images.join(", ");
    format!(r#"{{"images": [{images}], "first": "/v2/images", "schema": "/v2/schemas/images"}}"#)
}

fn link_base() -> LinkBase {
    let root = links::root(&config::Nova::default(), "http", "127.0.0.1:8774", "");
    LinkBase::new(&root, ApiVersion::V21, None, "http://127.0.0.1:9292")
}

fn requests(criterion: &mut Criterion) {
    let path = format!("/v2.1/images/{ID}");
    criterion.bench_function("route: show", |bench| {
        bench.iter(|| routes::parse(black_box("GET"), black_box(&path), ""));
    });
    let item = format!("/v2.1/images/{ID}/metadata/key%20name");
    criterion.bench_function("route: metadata item", |bench| {
        bench.iter(|| routes::parse(black_box("DELETE"), black_box(&item), ""));
    });
    criterion.bench_function("microversion: legacy header", |bench| {
        let legacy = || iter::once(black_box(&b"2.1"[..]));
        bench.iter(|| microversion::negotiate(iter::empty(), legacy(), MAX));
    });
    criterion.bench_function("microversion: generic header", |bench| {
        let generic = || iter::once(black_box(&b"identity 3.14, compute 2.35"[..]));
        bench.iter(|| microversion::negotiate(generic(), iter::empty(), MAX));
    });
    let list = "name=ubuntu%2022.04&status=ACTIVE&changes-since=2024-01-01T00%3A00%3A00Z&limit=100";
    criterion.bench_function("query: list with four filters", |bench| {
        bench.iter(|| list_query::parse_list(black_box(list)));
    });
}

fn tokens(criterion: &mut Criterion) {
    #[expect(
        clippy::expect_used,
        reason = "without random numbers there is nothing to measure"
    )]
    let key = DigestKey::random().expect("random numbers");
    let fernet = "g".repeat(183);
    criterion.bench_function("token: digest of a Fernet token", |bench| {
        bench.iter(|| key.digest(black_box(&fernet)));
    });
}

fn answers(criterion: &mut Criterion) {
    let links = link_base();
    let (one, many) = (image(1), page());
    let mut group = criterion.benchmark_group("show");
    group.bench_function("parse and render", |bench| {
        bench.iter(|| {
            Image::parse(black_box(one.as_bytes())).map(|image| view::image(&image, &links))
        });
    });
    group.finish();
    let mut group = criterion.benchmark_group("list of 1,000 images in full");
    group.throughput(Throughput::Bytes(many.len() as u64));
    group.bench_function("parse", |bench| {
        bench.iter(|| {
            ImagePage::parse(black_box(many.as_bytes()), 1000).map(|page| page.images.len())
        });
    });
    group.bench_function("parse and render", |bench| {
        bench.iter(|| {
            ImagePage::parse(black_box(many.as_bytes()), 1000).map(|page| {
                let mut view = ListView::new(Detail::Full, links.clone());
                view.push(&page);
                view.finish(&BTreeMap::new(), None, IMAGES as u64)
            })
        });
    });
    group.finish();
}

fn writes(criterion: &mut Criterion) {
    let one = image(1);
    #[expect(clippy::expect_used, reason = "the text above is an image")]
    let before = properties(&Image::parse(one.as_bytes()).expect("an image"));
    let wanted = MetadataUpdate::Merge(vec![("build".to_owned(), Some("2".to_owned()))]);
    criterion.bench_function("patch: one property changed", |bench| {
        bench.iter(|| {
            let after = black_box(&wanted).apply(&before, 128);
            after.map(|after| patch::to_json(&patch::diff(&before, &after)))
        });
    });
}

criterion_group!(micro, requests, tokens, answers, writes);
criterion_main!(micro);

//! What the fuzz targets look for (`test_support::properties`), in every run of the tests: their whole corpus,
//! and inputs put together at random.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use rstest::rstest;

use test_support::properties::{
    metadata, microversion, query, raw_requests, request_framing, routes, view,
};

#[rstest]
#[case("metadata", metadata::holds)]
#[case("microversion", microversion::holds)]
#[case("query", query::holds)]
#[case("raw_requests", raw_requests::holds)]
#[case("request_framing", request_framing::holds)]
#[case("routes", routes::holds)]
#[case("view", view::holds)]
fn the_corpus_still_holds(#[case] target: &str, #[case] holds: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let inputs: Vec<_> = fs::read_dir(corpus.join(target)).unwrap().collect();
    assert!(inputs.len() > 20, "{target} has lost its corpus");
    for input in inputs {
        holds(&fs::read(input.unwrap().path()).unwrap());
    }
}

/// Lines of words that mean something and of text that means nothing.
fn input(words: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        8 => proptest::sample::select(words).prop_map(|word| word.as_bytes().to_vec()),
        1 => Just(b"\n".to_vec()),
        1 => "\\PC{0,8}".prop_map(String::into_bytes),
        1 => proptest::collection::vec(any::<u8>(), 0..4),
    ];
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

/// A line of its own for each part, the last one the longest.
fn lines(
    first: &'static [&'static str],
    second: &'static [&'static str],
) -> impl Strategy<Value = Vec<u8>> {
    (proptest::sample::select(first), input(second))
        .prop_map(|(first, rest)| [first.as_bytes(), b"\n", rest.as_slice()].concat())
}

const IMAGE: &str = r#"{"id": "x", "name": null, "min_ram": "012", "size": null, "a": "1", "a": null,
"kernel_id": "k", "os_glance_x": "t", "mappings": "[1]", "created_at": "2024-01-01T00:00:00+01:00",
"instance_uuid": 5, "auto_disk_config": "yes", "k/~": {"b": [1e5]}}"#;

proptest! {
    #[test]
    fn versions(data in input(&[
        "g", "l", "compute ", "COMPUTE\t", "latest", "2.", "2.1", "2.104", "2.105", "0", ",", " ",
        "volume 3", ".", "18446744073709551616", "\n",
    ])) {
        microversion::holds(&data);
    }

    #[test]
    fn queries(data in lines(&["", "a b", "ü&=#", "%"], &[
        "&", ";", "=", "limit=1", "limit=5%0A", "page_size=", "offset=2", "name=a", "marker=m",
        "status=", "SAVING", "property-", "instance_uuid=a/b", "changes-since=", "server=", "+", "%2B",
        "%", "%ff", "minRam=1", "type=x", "sort_key",
    ])) {
        query::holds(&data);
    }

    #[test]
    fn bodies(
        data in lines(&["m", "M", "r", "R", "ia", "Ia", "da", "dkernel_id", "dos_glance_x"], &[
            "{\"metadata\": {", "{\"meta\": {", "\"a\": ", "\"b\": ", "\"kernel_id\": ", "\" a\": ",
            "\"id\": ", "\"os_glance_x\": ", "\"1\"", "\"\"", "\"none\"", "\"t\"", ", ", "}}", "{}", "null",
            "NaN", "1.50", "[", "]", "\"\\ud800\"", "\"\\u0061\": ",
        ]),
        image in proptest::sample::select(&["{}", IMAGE][..]),
    ) {
        let at = data.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        let (first, body) = data.split_at(at);
        let image = image.replace('\n', " ");
        metadata::holds(&[first, image.as_bytes(), b"\n", body].concat());
    }

    #[test]
    fn images(data in input(&[
        "{", "}", "[", "]", ", ", ": ", "{\"images\": [", "{}", "], \"next\": ", "null", "\"id\": ",
        "\"name\": ", "\"x\"", "\"\\ud800\"", "\"min_ram\": ", "\"-012.5\"", "1e400", "\"mappings\": ",
        "\"[1, {\\\"a\\\": 1}]\"", "\"a\": ", "\"created_at\": ", "\"2024-01-01T00:00:00\"", "\n",
    ])) {
        view::holds(&data);
        let image = IMAGE.replace('\n', " ");
        let page = format!("{image}\n{{\"images\": [{image}, {}]}}", String::from_utf8_lossy(&data));
        view::holds(page.as_bytes());
    }

    #[test]
    fn requests(
        pieces in proptest::sample::select(&["x", "0", "3", "9"][..]),
        data in input(&[
            "GET / HTTP/1.1\r\nHost: x\r\n", "POST /x HTTP/1.1\r\n", "HEAD / HTTP/1.0\r\n", "CONNECT x:1 HTTP/1.1\r\n",
            "Host: x\r\n", "\r\n", "\n", "\r", "\r\n\r\n", "Content-Length: 5\r\n", "content-length:0\r\n", "hello",
            "Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n", "0\r\n\r\n", "2;a=b\r\n{}\r\n", "0\r\nA: b\r\n\r\n",
            "Connection: close\r\n", "Connection: keep-alive, Upgrade\r\n", "Upgrade: websocket\r\n",
            "Expect: 100-continue\r\n", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", ": ", " ", "HTTP/1.1\r\n",
        ]),
    ) {
        request_framing::holds(&[pieces.as_bytes(), &data].concat());
    }

    #[test]
    fn paths(
        method in proptest::sample::select(&["GET", "PUT", "POST", "DELETE", "OPTIONS", "HEAD"][..]),
        path in lines(&["", "/compute"], &[
            "/", "//", "/v2.1", "/v2", "/%76%32", "/images", "/abc", "/metadata", "/detail", "/..", "%2F",
            "%00", "%3F", "%", "%c0%af", "x", "/compute",
        ]),
    ) {
        routes::holds(&[method.as_bytes(), b"\n", &path].concat());
    }
}

//! The images that an empty store starts with.

use std::fmt::Write as _;

use crate::client::ask;
use embedded_glance::{EmbeddedGlance, Settings};
use sha2::{Digest as _, Sha512};

#[test]
fn samples_have_the_data_that_their_records_describe() {
    let glance = EmbeddedGlance::start(&Settings::default()).unwrap();
    check_samples(&glance);
    glance.resetter().reset().unwrap();
    check_samples(&glance);
}

fn check_samples(glance: &EmbeddedGlance) {
    let list = ask(glance.endpoint(), "GET", "/v2/images", &[], None).json();
    let mut with_data = 0;
    for image in list["images"].as_array().unwrap() {
        let file = image["file"].as_str().unwrap();
        let response = ask(glance.endpoint(), "GET", file, &[], None);
        if image["status"] == "queued" {
            assert_eq!(response.status, 204);
            continue;
        }
        with_data += 1;
        assert_eq!(response.status, 200, "{file}");
        assert_eq!(image["size"], response.body.len());
        let sha512 = hex(&Sha512::digest(&response.body));
        assert_eq!(image["os_hash_value"], sha512);
        let md5 = response
            .headers
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case("Content-MD5"));
        assert_eq!(image["checksum"], md5.unwrap().1);
    }
    assert_eq!(with_data, 6);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

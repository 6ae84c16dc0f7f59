//! What must hold for any input, as functions of bytes that panic where it does not.
//!
//! The fuzz targets call them with the inputs that libFuzzer makes up; the ordinary tests (`tests/api/fuzz_corpus.rs`)
//! with the corpus and with a few thousand random inputs.

pub mod metadata;
pub mod microversion;
pub mod query;
pub mod raw_requests;
pub mod request_framing;
pub mod routes;
pub mod view;

/// Everything before the first line break, and everything after it.
fn first_line(data: &[u8]) -> (&[u8], &[u8]) {
    match data.iter().position(|byte| *byte == b'\n') {
        Some(at) => (&data[..at], &data[at + 1..]),
        None => (data, &[]),
    }
}

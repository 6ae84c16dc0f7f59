//! What must hold of any input, as functions of bytes that panic where it does not.
//!
//! The fuzz targets call them with what libFuzzer makes up; the ordinary tests (`tests/api/fuzzed.rs`)
//! with the corpus and with a few thousand random inputs.

#![allow(dead_code, reason = "each fuzz target uses one of them")]

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

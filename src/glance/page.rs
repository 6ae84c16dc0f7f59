//! One page of a list on the wire.

use bytes::Bytes;

/// Which page to fetch.
#[derive(Debug, Clone, Copy)]
pub(super) struct PageRequest<'r> {
    /// Most images on it.
    pub(super) size: u64,
    /// The image it begins after.
    pub(super) marker: Option<&'r str>,
    /// The index of the endpoint that gave the page before.
    pub(super) endpoint: Option<usize>,
}

/// A page, not parsed yet.
#[derive(Debug)]
pub(super) struct PageResponse {
    pub(super) body: Bytes,
    /// The index of the endpoint that gave it.
    pub(super) endpoint: usize,
}

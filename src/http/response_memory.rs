//! One budget of bytes for the bodies of responses, from the first rendered page until the last byte is
//! in the connection's buffer.
//!
//! A slow client holds its whole response, so without a bound a few hundred of them hold as much memory
//! as there is. Only bodies that fit a connection's buffer are not counted: they are in it at once, and
//! `server.max_connections` bounds those. Responses that share a cached body are counted once.

use super::error::HttpError;
use crate::cache::Body;
use crate::util::byte_budget::{ByteBudget, ByteReservation};
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

/// The HTTP library reads from a body until its buffer holds this many bytes.
pub const CONNECTION_BUFFER_BYTES: usize = 32 << 10;

/// The budget; clones share it.
#[derive(Debug, Clone)]
pub struct ResponseMemory(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    budget: ByteBudget,
    rejected: AtomicU64,
    /// The bodies being sent, by address, which is unique while a response holds the body.
    sending: Mutex<HashMap<usize, Sending>>,
}

#[derive(Debug)]
struct Sending {
    responses: usize,
    _permit: MemoryPermit,
}

/// Bytes of the budget, returned when this is dropped.
#[derive(Debug)]
pub struct MemoryPermit {
    memory: ResponseMemory,
    reservation: ByteReservation,
}

/// A body that a response may send: within the budget until this is dropped.
#[derive(Debug)]
pub struct ResponseBody {
    body: Body,
    /// Where the body is counted; `None` for one that fits a connection's buffer.
    memory: Option<ResponseMemory>,
}

impl ResponseMemory {
    /// A budget of `limit` bytes (`server.max_response_memory`).
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Inner {
            budget: ByteBudget::new(limit),
            rejected: AtomicU64::new(0),
            sending: Mutex::default(),
        }))
    }

    /// The budget in bytes.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.0.budget.limit()
    }

    /// The bytes in use.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.0.budget.used()
    }

    /// A permit for nothing yet, for a body that is being rendered.
    #[must_use]
    pub fn permit(&self) -> MemoryPermit {
        MemoryPermit {
            memory: self.clone(),
            reservation: self.0.budget.reservation(),
        }
    }

    /// Takes a rendered body for sending.
    pub fn admit(&self, body: Body) -> Result<ResponseBody, HttpError> {
        let bytes: usize = body.iter().map(Bytes::len).sum();
        if bytes <= CONNECTION_BUFFER_BYTES {
            return Ok(ResponseBody { body, memory: None });
        }
        let mut sending = self.sending();
        if let Some(others) = sending.get_mut(&address(&body)) {
            others.responses += 1;
        } else {
            let mut permit = self.permit();
            permit.grow_to(bytes)?;
            let first = Sending {
                responses: 1,
                _permit: permit,
            };
            sending.insert(address(&body), first);
        }
        drop(sending);
        Ok(ResponseBody {
            body,
            memory: Some(self.clone()),
        })
    }

    fn sending(&self) -> std::sync::MutexGuard<'_, HashMap<usize, Sending>> {
        let sending = self.0.sending.lock();
        sending.unwrap_or_else(PoisonError::into_inner)
    }

    fn reject(&self) -> HttpError {
        let rejected = self.0.rejected.fetch_add(1, Relaxed) + 1;
        // An overload must not flood the log as well.
        if rejected.is_power_of_two() {
            tracing::warn!(
                rejected,
                limit = self.limit(),
                "responses hold too much memory (server.max_response_memory)"
            );
        }
        HttpError::ResponseMemoryFull
    }
}

fn address(body: &Body) -> usize {
    Arc::as_ptr(body).cast::<()>() as usize
}

impl MemoryPermit {
    /// Extends the permit to `bytes` in all.
    pub fn grow_to(&mut self, bytes: usize) -> Result<(), HttpError> {
        let grown = self.reservation.grow_to(bytes);
        grown.map_err(|_| self.memory.reject())
    }
}

impl ResponseBody {
    /// The pieces of the body.
    #[must_use]
    pub fn chunks(&self) -> &[Bytes] {
        &self.body
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        let Some(memory) = &self.memory else {
            return;
        };
        let mut sending = memory.sending();
        let address = address(&self.body);
        if let Some(body) = sending.get_mut(&address) {
            body.responses -= 1;
            if body.responses == 0 {
                sending.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(bytes: usize) -> Body {
        [Bytes::from(vec![b'x'; bytes])].into()
    }

    #[test]
    fn bodies_beyond_the_budget_are_refused_until_others_are_sent() {
        let memory = ResponseMemory::new(100_000);
        let one = memory.admit(body(60_000)).unwrap();
        let refused = memory.admit(body(60_000)).unwrap_err();
        assert_eq!(refused, HttpError::ResponseMemoryFull);
        assert_eq!(memory.used(), 60_000);
        let other = memory.admit(body(40_000)).unwrap();
        drop(one);
        assert_eq!(memory.used(), 40_000);
        drop(other);
        assert_eq!(memory.used(), 0);
    }

    #[test]
    fn a_shared_body_is_counted_once_until_its_last_response_is_sent() {
        let (memory, shared) = (ResponseMemory::new(100_000), body(60_000));
        let one = memory.admit(Arc::clone(&shared)).unwrap();
        let other = memory.admit(Arc::clone(&shared)).unwrap();
        assert_eq!(memory.used(), 60_000);
        drop(one);
        assert_eq!(memory.used(), 60_000);
        drop(other);
        assert_eq!(memory.used(), 0);
    }

    #[test]
    fn a_body_that_fits_a_connection_s_buffer_is_not_counted() {
        let memory = ResponseMemory::new(1);
        let small = memory.admit(body(CONNECTION_BUFFER_BYTES)).unwrap();
        assert_eq!(memory.used(), 0);
        drop(small);
        assert!(memory.admit(body(CONNECTION_BUFFER_BYTES + 1)).is_err());
    }

    #[test]
    fn rendering_is_counted_as_it_goes_on() {
        let memory = ResponseMemory::new(100);
        let mut permit = memory.permit();
        permit.grow_to(40).unwrap();
        permit.grow_to(90).unwrap();
        assert_eq!(memory.used(), 90);
        assert!(permit.grow_to(101).is_err());
        assert_eq!(memory.used(), 90);
        drop(permit);
        assert_eq!(memory.used(), 0);
    }
}

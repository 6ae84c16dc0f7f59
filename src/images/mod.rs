//! Images, as every legacy API reads and changes them.
//!
//! [`ImageService`] is Glance, the response cache and the queues for writes in one: a change by one
//! API is seen by the readers of the others. It returns images and typed errors; what they look like
//! to a client is each API's own.

mod error;
mod image_service;
mod metadata_update;
mod transitional;
mod write_locks;

pub use error::WriteError;
pub use image_service::{ImageService, Writer};
pub use metadata_update::{MetadataUpdate, UpdateError, properties};
pub use transitional::Transitional;
pub use write_locks::{LockError, MAX_WAITING_WRITES, Turn};

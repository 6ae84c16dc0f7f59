//! The Glance that the gateway carries: its start from the gateway's settings, and its callers from
//! the gateway's tokens.

#[cfg(not(feature = "embedded"))]
mod absent;
#[cfg(feature = "embedded")]
mod present;

#[cfg(not(feature = "embedded"))]
pub use absent::{EmbeddedGlance, Identity, StartError, names_caller, start, start_identity};
#[cfg(feature = "embedded")]
pub use embedded_glance::{EmbeddedGlance, IdentityService as Identity};
#[cfg(feature = "embedded")]
pub use present::{StartError, names_caller, start, start_identity};

//! Tests through HTTP that need nothing but the toolchain.

#![expect(clippy::unwrap_used, reason = "what fails here is a failed test")]

mod embedded_glance;
mod front;
mod gateway;
mod keystone;
#[path = "../openstack/raw.rs"]
mod raw;
mod recorded;
#[path = "../openstack/replay/mod.rs"]
mod replay;
mod samples;

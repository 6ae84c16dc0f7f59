//! What the tests of the gateway share; the tests in `tests/api` and `tests/openstack` and the fuzz
//! targets depend on it as on any other crate.
//!
//! - [`TestGateway`]: the gateway in the process of the test; [`GatewayProcess`]: its binary.
//! - [`FakeServer`]: a server on loopback that sends the bytes a test wants; [`FakeGlance`],
//!   [`FailingGlance`] and [`FakeKeystone`]: services in front of which a gateway can be put.
//! - [`recording_upstream`]: a service that records each request to the byte.
//! - [`client`]: HTTP/1.1 as bytes on a socket.
//! - [`replay`]: recorded requests, sent again and compared.
//! - [`properties`]: what must hold for any input.

pub mod client;
mod failing_glance;
mod fake_glance;
pub mod fake_keystone;
pub mod fake_server;
mod gateway;
pub mod gateway_process;
pub mod properties;
pub mod recording_upstream;
pub mod replay;
mod reply;

pub use failing_glance::FailingGlance;
pub use fake_glance::FakeGlance;
pub use fake_keystone::FakeKeystone;
pub use fake_server::FakeServer;
pub use gateway::TestGateway;
pub use gateway_process::GatewayProcess;
pub use reply::Reply;

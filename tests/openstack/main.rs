//! Tests against real Keystone, Glance and Nova. `make test` starts them; see `tests/openstack/stack.py`.

#[cfg(test)]
mod access;
#[cfg(test)]
mod bodies;
#[cfg(test)]
mod cache_isolation;
#[cfg(test)]
mod endpoints;
#[cfg(test)]
mod failover;
#[cfg(test)]
mod gateway;
#[cfg(test)]
mod glance_contract;
#[cfg(test)]
mod guest;
#[cfg(test)]
mod keystone;
#[cfg(test)]
mod old_client;
#[cfg(test)]
mod outage;
#[cfg(test)]
#[path = "../api/process.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod process;
#[cfg(test)]
mod raw;
#[cfg(test)]
mod recorded;
#[cfg(test)]
mod replay;
#[cfg(test)]
mod server;
#[cfg(test)]
mod services;
#[cfg(test)]
mod stack;
#[cfg(test)]
mod stub;
#[cfg(test)]
mod upgrade;
#[cfg(test)]
mod writers;

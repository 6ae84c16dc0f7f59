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
mod keystone;
#[cfg(test)]
mod old_client;
#[cfg(test)]
mod outage;
#[cfg(test)]
mod recorded;
#[cfg(test)]
mod services;
#[cfg(test)]
mod stack;
#[cfg(test)]
mod test_user;
#[cfg(test)]
mod upgrade;
#[cfg(test)]
mod writers;

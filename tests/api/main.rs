//! Tests through HTTP that need nothing but the toolchain.

#[cfg(test)]
mod access_log;
#[cfg(test)]
mod cache;
#[cfg(test)]
mod cache_memory;
#[cfg(test)]
mod chaos;
#[cfg(test)]
mod command_line;
#[cfg(test)]
mod echo_api;
#[cfg(test)]
mod embedded_callers;
#[cfg(test)]
mod embedded_glance;
#[cfg(test)]
mod embedded_keystone;
#[cfg(test)]
mod embedded_kill;
#[cfg(test)]
mod endpoints;
#[cfg(test)]
mod expectations;
#[cfg(test)]
mod fuzz_corpus;
#[cfg(test)]
mod http;
#[cfg(test)]
mod image_ids;
#[cfg(test)]
mod image_listener;
#[cfg(test)]
mod invalid_responses;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod malformed_requests;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod metric_names;
#[cfg(test)]
mod pipelining;
#[cfg(test)]
mod read_after_write;
#[cfg(test)]
mod recorded;
#[cfg(test)]
mod request_table;
#[cfg(test)]
mod response_memory;
#[cfg(test)]
mod restart;
#[cfg(test)]
mod reverse_proxy;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod slow_clients;
#[cfg(test)]
mod telemetry;
#[cfg(test)]
mod writes;

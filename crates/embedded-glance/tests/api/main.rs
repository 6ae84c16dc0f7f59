//! Tests through HTTP.

#[cfg(test)]
mod client;
#[cfg(test)]
mod front;
#[cfg(test)]
mod identity_service;
#[cfg(test)]
mod placeholders;
#[cfg(test)]
mod recorded;
#[cfg(test)]
mod recording;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod uploads;

//! Defaults and rules that more than one section takes part in.

use super::{AuthMode, GlanceMode, Settings, Violation};
use std::net::SocketAddr;

impl Settings {
    /// Settles the modes that are not set. `with_samples` allows the pair that serves sample images
    /// to every caller.
    pub(super) fn resolve(&mut self, with_samples: bool) {
        let has_keystone = self.keystone.auth_url.is_some();
        if self.auth.mode.is_none() {
            self.auth.mode = match (has_keystone, with_samples) {
                (true, _) => Some(AuthMode::Keystone),
                (false, true) => Some(AuthMode::None),
                (false, false) => None,
            };
        }
        if self.glance.mode.is_none() {
            // Keystone's catalog names an external one; passthrough goes with no other.
            let is_external = has_keystone
                || !self.glance.endpoints.is_empty()
                || matches!(
                    self.auth.mode,
                    Some(AuthMode::Keystone | AuthMode::Passthrough)
                );
            self.glance.mode = match (is_external, with_samples) {
                (true, _) => Some(GlanceMode::External),
                (false, true) => Some(GlanceMode::Embedded),
                (false, false) => None,
            };
        }
        self.resolve_listeners();
    }

    /// Settles where the image listener listens.
    fn resolve_listeners(&mut self) {
        let is_embedded = self.glance.mode == Some(GlanceMode::Embedded);
        self.image.listen.resolve(is_embedded);
    }

    /// Everything that keeps `serve` from starting, as far as it can be known before it listens.
    pub(super) fn validate(&self) -> Vec<Violation> {
        let mut violations = self.server.validate();
        violations.extend(self.nova.validate());
        violations.extend(self.compute.validate());
        violations.extend(self.auth.validate());
        violations.extend(self.keystone.validate());
        violations.extend(self.glance.validate());
        violations.extend(self.cache.validate());
        violations.extend(self.log.validate());
        violations.extend(self.admin.validate(self.server.listen));
        violations.extend(self.identity.validate());
        violations.extend(self.validate_modes());
        violations.extend(self.image.validate(self.server.listen));
        violations.extend(self.check_listener("server.listen", self.server.listen));
        let image = self.image.listen.address();
        violations.extend(image.and_then(|address| self.check_listener("image.listen", address)));
        if self.auth.mode == Some(AuthMode::Keystone) {
            violations.extend(self.keystone.unreadable_secret());
        }
        violations
    }

    fn validate_modes(&self) -> Vec<Violation> {
        let is_embedded = self.glance.mode == Some(GlanceMode::Embedded);
        let has_endpoints = !self.glance.endpoints.is_empty();
        let mut violations = Vec::new();
        let mut add = |key, message: &str| violations.push(Violation::new(key, message));
        match self.auth.mode {
            None => add(
                "auth.mode",
                "must be set: keystone, with keystone.auth_url; passthrough; or none",
            ),
            Some(AuthMode::Keystone) if self.keystone.auth_url.is_none() => add(
                "keystone.auth_url",
                "must be set for auth.mode = keystone, such as http://keystone:5000/v3",
            ),
            Some(AuthMode::Passthrough) if is_embedded => add(
                "glance.mode",
                "must not be embedded with auth.mode = passthrough: the embedded Glance validates no \
                 tokens",
            ),
            Some(AuthMode::Keystone | AuthMode::Passthrough | AuthMode::None) => {}
        }
        match self.glance.mode {
            None => add(
                "glance.mode",
                "must be set: external, with glance.endpoints or keystone.auth_url; or embedded for \
                 a trial",
            ),
            Some(GlanceMode::Embedded) if !cfg!(feature = "embedded") => add(
                "glance.mode",
                "must be external: this build has no embedded Glance (cargo feature `embedded`); \
                 name a cloud in keystone.auth_url or glance.endpoints",
            ),
            Some(GlanceMode::Embedded) if has_endpoints => add(
                "glance.endpoints",
                "must be empty with glance.mode = embedded",
            ),
            Some(GlanceMode::External) if !has_endpoints => match self.auth.mode {
                Some(AuthMode::Passthrough | AuthMode::None) => add(
                    "glance.endpoints",
                    "must name a Glance, such as http://glance:9292: only auth.mode = keystone can \
                     take it from the token's catalog",
                ),
                Some(AuthMode::Keystone) | None => {}
            },
            Some(GlanceMode::Embedded | GlanceMode::External) => {}
        }
        let has_listener = self.image.listen.address().is_some();
        if has_listener && !is_embedded && !has_endpoints {
            add(
                "image.listen",
                "must be off without glance.endpoints: a token's catalog may name this very listener",
            );
        }
        let is_open = self.auth.mode == Some(AuthMode::None);
        if self.embedded.identity == Some(true) && !(is_embedded && is_open) {
            add(
                "embedded.identity",
                "must not be true but with glance.mode = embedded and auth.mode = none",
            );
        }
        if self.embedded.reset && self.admin.listen.is_none() {
            add("embedded.reset", "must not be true with admin.listen = off");
        }
        let is_stale = self.cache.enabled && !self.cache.stale_if_error.is_zero();
        if self.auth.mode == Some(AuthMode::Passthrough) && is_stale {
            add(
                "cache.stale_if_error",
                "must be 0s with auth.mode = passthrough: while Glance fails, nothing says whether \
                 the token is still valid",
            );
        }
        violations
    }

    /// A violation when a listener on `address` would admit callers of other machines without a
    /// token. The rule holds for a socket that the process inherits as for one that it binds.
    #[must_use]
    pub fn check_listener(&self, key: &'static str, address: SocketAddr) -> Option<Violation> {
        let is_open = self.auth.mode == Some(AuthMode::None) && !self.auth.allow_anonymous;
        let message = format!(
            "must be a loopback address with auth.mode = none, which admits every caller, and \
             {address} is not; auth.allow_anonymous = true allows it"
        );
        (is_open && !address.ip().to_canonical().is_loopback())
            .then(|| Violation::new(key, message))
    }
}

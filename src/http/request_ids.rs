//! Request ids: one of our own for every request, and the client's when it sent a proper one.

use crate::telemetry::trace_context::{TaskScope, TraceContext};
use actix_web::HttpRequest;
use actix_web::http::header::{HeaderName, HeaderValue};
use uuid::Uuid;
use uuid::fmt::Hyphenated;

const GLOBAL_HEADER: HeaderName = HeaderName::from_static("x-openstack-request-id");
const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACE_STATE: HeaderName = HeaderName::from_static("tracestate");
const PREFIX: &str = "req-";
const LENGTH: usize = PREFIX.len() + Hyphenated::LENGTH;

/// The ids of one request, and the trace it belongs to.
#[derive(Debug, Clone)]
pub struct RequestIds {
    /// [`PREFIX`] and a UUID.
    local: [u8; LENGTH],
    global: Option<String>,
    trace: Option<TraceContext>,
}

impl RequestIds {
    /// A fresh id, and the client's global one when it is well-formed.
    #[must_use]
    pub fn of(request: &HttpRequest) -> Self {
        let mut local = [0; LENGTH];
        let (prefix, id) = local.split_at_mut(PREFIX.len());
        prefix.copy_from_slice(PREFIX.as_bytes());
        Uuid::new_v4().hyphenated().encode_lower(id);
        let global = request
            .headers()
            .get(GLOBAL_HEADER)
            .and_then(|value| value.to_str().ok())
            .filter(|text| is_request_id(text))
            .map(str::to_owned);
        let header = |name| request.headers().get(name).map(HeaderValue::as_bytes);
        let trace = header(TRACE_PARENT)
            .and_then(|parent| TraceContext::parse(parent, header(TRACE_STATE)));
        Self {
            local,
            global,
            trace,
        }
    }

    /// The id this process gave, answered in `x-openstack-request-id`.
    #[must_use]
    pub fn local(&self) -> &str {
        // It is ASCII.
        std::str::from_utf8(&self.local).unwrap_or(PREFIX)
    }

    /// The id that spans services, when the client sent one.
    #[must_use]
    pub fn global(&self) -> Option<&str> {
        self.global.as_deref()
    }

    /// The scope of tasks that work for the request.
    #[must_use]
    pub fn task_scope(&self) -> TaskScope {
        TaskScope {
            span: self.span(),
            trace: self.trace.clone(),
        }
    }

    /// The trace that the request belongs to, when the client sent a well-formed one.
    #[must_use]
    pub fn trace(&self) -> Option<&TraceContext> {
        self.trace.as_ref()
    }

    /// The id Glance and Keystone log this request under.
    #[must_use]
    pub fn upstream(&self) -> http::HeaderValue {
        let id = self.global().unwrap_or_else(|| self.local());
        // Both kinds of id are plain ASCII.
        http::HeaderValue::from_str(id).unwrap_or_else(|_| http::HeaderValue::from_static(PREFIX))
    }

    /// A span that puts the ids on every line logged for this request at level `debug`: what is
    /// logged above of a request is logged with its ids, and a span for each would be dear.
    fn span(&self) -> tracing::Span {
        tracing::debug_span!("request", request_id = %self.local(), global_request_id = self.global())
    }
}

/// `req-` and a UUID; anything else a client sends is not passed on.
fn is_request_id(text: &str) -> bool {
    text.strip_prefix(PREFIX)
        .is_some_and(|id| id.len() == Hyphenated::LENGTH && Uuid::try_parse(id).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("req-11111111-2222-4333-8444-555555555555", true)]
    #[case("req-11111111222243338444555555555555", false)]
    #[case("11111111-2222-4333-8444-555555555555", false)]
    #[case("garbage", false)]
    #[case("req-11111111-2222-4333-8444-555555555555 x", false)]
    fn only_a_proper_id_is_passed_on(#[case] text: &str, #[case] proper: bool) {
        assert_eq!(is_request_id(text), proper);
    }

    #[test]
    fn every_request_has_an_id_of_its_own() {
        let request = actix_web::test::TestRequest::default().to_http_request();
        let (one, other) = (RequestIds::of(&request), RequestIds::of(&request));
        assert!(is_request_id(one.local()) && one.local() != other.local());
        assert_eq!(one.upstream(), one.local());
    }
}

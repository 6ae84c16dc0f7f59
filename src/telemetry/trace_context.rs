//! The trace that a request belongs to (W3C Trace Context): taken from the client, passed on to
//! upstream services, and named in the log. The gateway adds no span of its own.

use tracing::{Instrument, Span};

tokio::task_local! {
    /// The trace of the request that the running task works for.
    static CURRENT: TraceContext;
}

/// What a task that works for a request inherits from it: the span of its log lines, and the trace
/// that its upstream requests carry.
#[derive(Debug, Clone)]
pub struct TaskScope {
    /// The span.
    pub span: Span,
    /// The trace, if the request belongs to one.
    pub trace: Option<TraceContext>,
}

impl TaskScope {
    /// The scope of the running task, for a task that it spawns.
    #[must_use]
    pub fn current() -> Self {
        Self {
            span: Span::current(),
            trace: CURRENT.try_with(TraceContext::clone).ok(),
        }
    }

    /// Runs `work` in this scope.
    pub fn run<F: Future>(self, work: F) -> impl Future<Output = F::Output> {
        let Self { span, trace } = self;
        async move {
            match trace {
                Some(trace) => CURRENT.scope(trace, work).await,
                None => work.await,
            }
        }
        .instrument(span)
    }
}

/// Calls `add` with the name and value of each header for an upstream request of the running task.
pub fn for_each_header(mut add: impl FnMut(&'static str, &str)) {
    // Outside a request there is no trace.
    let _ = CURRENT.try_with(|trace| trace.headers().for_each(|(name, value)| add(name, value)));
}

/// A well-formed `traceparent`, and the `tracestate` that came with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    parent: Box<str>,
    state: Option<Box<str>>,
}

/// `00-`, 32 digits of the trace, `-`, 16 of the span, `-`, 2 of the flags.
const TRACE_ID: std::ops::Range<usize> = 3..35;
const SPAN_ID: std::ops::Range<usize> = 36..52;
const LENGTH: usize = 55;
/// The length that every implementation passes on.
const MAX_STATE: usize = 512;

impl TraceContext {
    /// Reads the two headers; `None` without a valid `traceparent`. A `tracestate` that is too long, or
    /// has characters beyond printable ASCII, is dropped.
    #[must_use]
    pub fn parse(parent: &[u8], state: Option<&[u8]>) -> Option<Self> {
        let parent = std::str::from_utf8(parent).ok()?;
        let is_printable = |byte: &u8| matches!(byte, b' '..=b'~');
        let state = state
            .filter(|state| state.len() <= MAX_STATE && state.iter().all(is_printable))
            .and_then(|state| std::str::from_utf8(state).ok())
            .filter(|state| !state.is_empty());
        is_trace_parent(parent).then(|| Self {
            parent: parent.into(),
            state: state.map(Into::into),
        })
    }

    /// The id of the trace: 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> &str {
        self.parent.get(TRACE_ID).unwrap_or_default()
    }

    /// The names and values of the headers.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let state = self.state.as_deref().map(|state| ("tracestate", state));
        [("traceparent", &*self.parent)].into_iter().chain(state)
    }
}

/// Version 00, or a later one that begins alike. `ff` is no version, and ids of zeros are none.
fn is_trace_parent(text: &str) -> bool {
    let bytes = text.as_bytes();
    let is_hex = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f');
    let length_fits = match text.get(..2) {
        Some("00") => text.len() == LENGTH,
        Some("ff") | None => false,
        Some(_) => text.len() == LENGTH || (text.len() <= 256 && bytes.get(LENGTH) == Some(&b'-')),
    };
    let is_id = |range| {
        bytes
            .get(range)
            .is_some_and(|id: &[u8]| id.iter().all(is_hex) && id.iter().any(|byte| *byte != b'0'))
    };
    let dashes = [2, 35, 52].iter().all(|at| bytes.get(*at) == Some(&b'-'));
    let are_hex = |range| {
        bytes
            .get(range)
            .is_some_and(|part: &[u8]| part.iter().all(is_hex))
    };
    let is_visible = bytes.iter().all(u8::is_ascii_graphic);
    length_fits
        && dashes
        && is_id(TRACE_ID)
        && is_id(SPAN_ID)
        && are_hex(0..2)
        && are_hex(53..55)
        && is_visible
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_trace_is_passed_on_as_it_came() {
        let trace = TraceContext::parse(PARENT.as_bytes(), Some(b"a=1,b=2")).unwrap();
        assert_eq!(trace.trace_id(), "0af7651916cd43dd8448eb211c80319c");
        let headers: Vec<_> = trace.headers().collect();
        assert_eq!(
            headers,
            [("traceparent", PARENT), ("tracestate", "a=1,b=2")]
        );
    }

    #[tokio::test]
    async fn only_work_of_a_trace_has_its_headers() {
        let headers = async || {
            let mut headers = Vec::new();
            for_each_header(|name, value| headers.push((name, value.to_owned())));
            headers
        };
        let scope = |trace| TaskScope {
            span: Span::none(),
            trace,
        };
        assert!(scope(None).run(headers()).await.is_empty());
        let trace = TraceContext::parse(PARENT.as_bytes(), None);
        let found = scope(trace).run(headers()).await;
        assert_eq!(found, [("traceparent", PARENT.to_owned())]);
    }

    #[rstest]
    #[case(b"", false)]
    #[case(b"a=\xff", false)]
    #[case(b"a=\n", false)]
    #[case(&[b'a'; 513], false)]
    #[case(&[b'a'; 512], true)]
    fn a_bad_state_is_dropped(#[case] state: &[u8], #[case] kept: bool) {
        let trace = TraceContext::parse(PARENT.as_bytes(), Some(state)).unwrap();
        assert_eq!(trace.headers().count(), 1 + usize::from(kept));
    }

    #[rstest]
    #[case(PARENT, true)]
    #[case("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-later", true)]
    #[case("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-later", false)]
    #[case("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01.later", false)]
    #[case("ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false)]
    #[case("00-00000000000000000000000000000000-b7ad6b7169203331-01", false)]
    #[case("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", false)]
    #[case("00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false)]
    #[case("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331", false)]
    #[case("00-0af7651916cd43dd8448eb211c80319cxb7ad6b7169203331-01", false)]
    #[case("", false)]
    #[case("\u{fc}", false)]
    fn only_a_well_formed_trace_counts(#[case] parent: &str, #[case] valid: bool) {
        assert_eq!(
            TraceContext::parse(parent.as_bytes(), None).is_some(),
            valid
        );
    }
}

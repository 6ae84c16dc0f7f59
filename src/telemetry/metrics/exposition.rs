//! The two text formats of Prometheus, and the choice between them.

/// A text format for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exposition {
    /// The text format 0.0.4, which every version of Prometheus reads.
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Exposition {
    /// The format for an `Accept` header: OpenMetrics for clients that ask for it.
    #[must_use]
    pub fn of_accept(accept: Option<&str>) -> Self {
        let wanted = accept.unwrap_or_default().split(',').any(|range| {
            let mut parts = range.split(';').map(str::trim);
            let is_open_metrics = parts
                .next()
                .is_some_and(|name| name.eq_ignore_ascii_case("application/openmetrics-text"));
            is_open_metrics && !parts.any(is_zero_quality)
        });
        if wanted {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    /// The content type.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// Text in this format, from text in OpenMetrics as `prometheus-client` writes it.
    #[must_use]
    pub(super) fn rewrite(self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut family = Family::default();
        for line in text.lines() {
            match line
                .split_once(' ')
                .map_or((line, ""), |(_, rest)| ("#", rest))
            {
                ("#", rest) if line.starts_with("# HELP ") => {
                    // The type, which decides the name, follows.
                    family.help = rest
                        .strip_prefix("HELP ")
                        .map(|help| help.trim_end_matches('.'));
                }
                ("#", rest) if line.starts_with("# TYPE ") => {
                    let rest = rest.strip_prefix("TYPE ").unwrap_or(rest);
                    self.push_head(&mut out, &mut family, rest);
                }
                ("#", _) if line.starts_with("# UNIT ") && self == Self::Prometheus => {}
                _ if line == "# EOF" && self == Self::Prometheus => {}
                _ => push_line(&mut out, &[line]),
            }
        }
        out
    }

    fn push_head(self, out: &mut String, family: &mut Family<'_>, name_and_type: &str) {
        let (name, kind) = name_and_type
            .split_once(' ')
            .unwrap_or((name_and_type, "unknown"));
        let (suffix, kind) = match (self, kind) {
            (Self::Prometheus, "counter") => ("_total", kind),
            (Self::Prometheus, "info") => ("_info", "gauge"),
            (Self::Prometheus, "unknown") => ("", "untyped"),
            (Self::Prometheus | Self::OpenMetrics, kind) => ("", kind),
        };
        if let Some((_, help)) = family.help.take().and_then(|help| help.split_once(' ')) {
            push_line(out, &["# HELP ", name, suffix, " ", help]);
        }
        push_line(out, &["# TYPE ", name, suffix, " ", kind]);
    }
}

/// A metric family whose type is not known yet.
#[derive(Default)]
struct Family<'t> {
    /// Name and help.
    help: Option<&'t str>,
}

fn push_line(out: &mut String, parts: &[&str]) {
    out.extend(parts.iter().copied());
    out.push('\n');
}

fn is_zero_quality(parameter: &str) -> bool {
    parameter
        .split_once('=')
        .filter(|(name, _)| name.trim().eq_ignore_ascii_case("q"))
        .and_then(|(_, quality)| quality.trim().parse::<f64>().ok())
        .is_some_and(|quality| quality <= 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(None, Exposition::Prometheus)]
    #[case(Some("*/*"), Exposition::Prometheus)]
    #[case(Some("text/plain;version=0.0.4"), Exposition::Prometheus)]
    #[case(Some("application/openmetrics-text;q=0, */*"), Exposition::Prometheus)]
    #[case(
        Some(
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
             text/plain;version=0.0.4;q=0.3,*/*;q=0.1"
        ),
        Exposition::OpenMetrics
    )]
    #[case(
        Some("text/plain, Application/OpenMetrics-Text"),
        Exposition::OpenMetrics
    )]
    fn open_metrics_is_for_clients_that_ask_for_it(
        #[case] accept: Option<&str>,
        #[case] format: Exposition,
    ) {
        assert_eq!(Exposition::of_accept(accept), format);
    }

    const OPEN_METRICS: &str = "\
# HELP a_requests Requests.
# TYPE a_requests counter
a_requests_total{x=\"# TYPE\"} 1
# HELP a_seconds Time.
# TYPE a_seconds histogram
# UNIT a_seconds seconds
a_seconds_bucket{le=\"+Inf\"} 0
# HELP build Which program.
# TYPE build info
build_info{version=\"1\"} 1
# EOF
";

    #[test]
    fn the_older_format_names_counters_whole_and_has_no_info() {
        assert_eq!(
            Exposition::Prometheus.rewrite(OPEN_METRICS),
            "\
# HELP a_requests_total Requests
# TYPE a_requests_total counter
a_requests_total{x=\"# TYPE\"} 1
# HELP a_seconds Time
# TYPE a_seconds histogram
a_seconds_bucket{le=\"+Inf\"} 0
# HELP build_info Which program
# TYPE build_info gauge
build_info{version=\"1\"} 1
"
        );
    }

    #[test]
    fn open_metrics_only_loses_the_dots() {
        let expected = OPEN_METRICS
            .replace("Requests.", "Requests")
            .replace("Time.", "Time");
        let expected = expected.replace("program.", "program");
        assert_eq!(Exposition::OpenMetrics.rewrite(OPEN_METRICS), expected);
    }
}

//! The line for each request.

use super::log_line::{LogLine, escape, name, oslo_head};
use super::log_writer::LogWriter;
use super::metrics::CacheLabel;
use crate::config::{Log, LogFormat};
use std::cell::RefCell;
use std::io::Write;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The most bytes of a value that a client chooses.
const MAX_PATH: usize = 512;
const MAX_AGENT: usize = 256;
const MAX_ID: usize = 64;
const MAX_METHOD: usize = 16;

/// The fields of a request's line. A field that is not known is left out of the line.
#[derive(Debug, Clone)]
pub struct AccessLogEntry<'r> {
    /// The id that this process gave the request.
    pub request_id: &'r str,
    /// The client's own id, if it is well-formed.
    pub global_request_id: Option<&'r str>,
    /// The id of the trace that the request belongs to, if the client sent a well-formed one.
    pub trace_id: Option<&'r str>,
    /// The address of the client.
    pub client: Option<IpAddr>,
    /// The client's port, if it is connected itself.
    pub client_port: Option<u16>,
    /// The trusted proxy that is connected, if the client is another host.
    pub proxy: Option<IpAddr>,
    /// The project of the validated token.
    pub project_id: Option<&'r str>,
    /// The user of the validated token.
    pub user_id: Option<&'r str>,
    /// The method of the request.
    pub method: &'r str,
    /// The API's name.
    pub api: &'static str,
    /// The template of the path.
    pub route: &'static str,
    /// The path of the request, without the query.
    pub path: &'r str,
    /// The status of the response; `None` if the client left before there was one.
    pub status: Option<u16>,
    /// The length of the response's body.
    pub response_bytes: u64,
    /// The negotiated microversion.
    pub microversion: Option<(u64, u64)>,
    /// The part of the response cache.
    pub cache: Option<CacheLabel>,
    /// The endpoint that the request was passed through to.
    pub upstream: Option<&'r str>,
    /// The time spent in calls to other services.
    pub upstream_time: Duration,
    /// The time from the head of the request to its response.
    pub duration: Duration,
    /// The client's `User-Agent`.
    pub user_agent: Option<&'r [u8]>,
}

impl AccessLogEntry<'_> {
    fn is_probe(&self, agents: &[String]) -> bool {
        let is_document = matches!(self.route, "/" | "/{version}") || self.method == "OPTIONS";
        let agent = self.user_agent.unwrap_or_default();
        is_document
            && agents
                .iter()
                .any(|start| agent.starts_with(start.as_bytes()))
    }
}

/// Writes a line for each request.
#[derive(Debug, Clone)]
pub struct AccessLog {
    writer: LogWriter,
    format: LogFormat,
    exclude_agents: Arc<[String]>,
}

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl AccessLog {
    /// Writes lines to `writer`.
    #[must_use]
    pub fn new(writer: LogWriter, settings: &Log) -> Self {
        Self {
            writer,
            format: settings.format,
            exclude_agents: settings.access_exclude_agents.clone().into(),
        }
    }

    /// Writes the line of a finished request, unless it is a probe.
    pub fn write(&self, entry: &AccessLogEntry<'_>) {
        if entry.is_probe(&self.exclude_agents) {
            return;
        }
        BUFFER.with_borrow_mut(|buffer| {
            buffer.clear();
            let now = SystemTime::now();
            match self.format {
                LogFormat::Text | LogFormat::Json => line(buffer, self.format, now, entry),
                LogFormat::Oslo => oslo_line(buffer, now, entry),
            }
            self.writer.append(buffer);
        });
    }
}

fn line(out: &mut Vec<u8>, format: LogFormat, at: SystemTime, entry: &AccessLogEntry<'_>) {
    let mut line = LogLine::new(out, format, at, "INFO", "access");
    let (mut status, method) = (itoa::Buffer::new(), plain_method(entry.method));
    let status = entry.status.map_or("-", |code| status.format(code));
    line.message(&[method, " ", entry.route, " ", status]);
    line.word(name!("request_id"), entry.request_id);
    if let Some(id) = entry.global_request_id {
        line.word(name!("global_request_id"), id);
    }
    if let Some(id) = entry.trace_id {
        line.word(name!("trace_id"), id);
    }
    if let Some(client) = entry.client {
        line.plain(name!("client"), client);
    }
    if let Some(port) = entry.client_port {
        line.number(name!("client_port"), port.into());
    }
    if let Some(proxy) = entry.proxy {
        line.plain(name!("proxy"), proxy);
    }
    if let Some(project) = entry.project_id {
        line.text(name!("project_id"), project.as_bytes(), MAX_ID);
    }
    if let Some(user) = entry.user_id {
        line.text(name!("user_id"), user.as_bytes(), MAX_ID);
    }
    line.text(name!("method"), entry.method.as_bytes(), MAX_METHOD);
    line.word(name!("api"), entry.api);
    line.text(name!("route"), entry.route.as_bytes(), MAX_PATH);
    line.text(name!("path"), entry.path.as_bytes(), MAX_PATH);
    if let Some(status) = entry.status {
        line.number(name!("status"), status.into());
    }
    line.number(name!("response_bytes"), entry.response_bytes);
    if let Some(version) = entry.microversion {
        line.version(name!("microversion"), version);
    }
    if let Some(cache) = entry.cache {
        line.word(name!("cache"), cache.as_str());
    }
    if let Some(upstream) = entry.upstream {
        line.text(name!("upstream"), upstream.as_bytes(), MAX_PATH);
    }
    line.number(name!("upstream_us"), microseconds(entry.upstream_time));
    line.number(name!("duration_us"), microseconds(entry.duration));
    if let Some(agent) = entry.user_agent {
        line.text(name!("user_agent"), agent, MAX_AGENT);
    }
    line.end();
}

/// A line as `nova.api.openstack.requestlog` writes it, behind oslo.log's context. Domains are not
/// known here.
fn oslo_line(out: &mut Vec<u8>, at: SystemTime, entry: &AccessLogEntry<'_>) {
    oslo_head(out, at, "INFO", "access");
    put(out, &["[", entry.global_request_id.unwrap_or("None")]);
    put(out, &[" ", entry.request_id]);
    for id in [entry.user_id, entry.project_id] {
        out.push(b' ');
        oslo_word(out, id.unwrap_or_default());
    }
    put(out, &[" - - - -] "]);
    match entry.client {
        // Writing to memory cannot fail.
        Some(client) => drop(write!(out, "{client}")),
        None => out.push(b'-'),
    }
    put(out, &[" \"", plain_method(entry.method), " "]);
    escape_cut(out, entry.path.as_bytes(), MAX_PATH);
    put(out, &["\" status: "]);
    match entry.status {
        Some(status) => put(out, &[itoa::Buffer::new().format(status)]),
        None => out.push(b'-'),
    }
    put(
        out,
        &[" len: ", itoa::Buffer::new().format(entry.response_bytes)],
    );
    put(out, &[" microversion: "]);
    match entry.microversion {
        Some((major, minor)) => drop(write!(out, "{major}.{minor}")),
        None => out.push(b'-'),
    }
    seconds(out, " time: ", entry.duration);
    put(
        out,
        &[" cache: ", entry.cache.map_or("-", CacheLabel::as_str)],
    );
    seconds(out, " upstream: ", entry.upstream_time);
    if let Some(upstream) = entry.upstream {
        put(out, &[" endpoint: \""]);
        escape_cut(out, upstream.as_bytes(), MAX_PATH);
        out.push(b'"');
    }
    if let Some(proxy) = entry.proxy {
        let _ = write!(out, " proxy: {proxy}");
    }
    if let Some(id) = entry.trace_id {
        put(out, &[" trace_id: ", id]);
    }
    if let Some(agent) = entry.user_agent {
        put(out, &[" agent: \""]);
        escape_cut(out, agent, MAX_AGENT);
        out.push(b'"');
    }
    out.push(b'\n');
}

/// One word without spaces; a dash where there is none.
fn oslo_word(out: &mut Vec<u8>, value: &str) {
    let is_word = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'[' | b']');
    if value.is_empty() {
        out.push(b'-');
    }
    for byte in value.bytes().take(MAX_ID) {
        out.push(if is_word(byte) { byte } else { b'_' });
    }
}

fn escape_cut(out: &mut Vec<u8>, value: &[u8], most: usize) {
    escape(out, value.get(..most).unwrap_or(value));
    if value.len() > most {
        // An ellipsis.
        put(out, &["\\u2026"]);
    }
}

/// The method for a text: methods are words of the HTTP library's parser, but not bounded by it.
fn plain_method(method: &str) -> &str {
    let is_word = method.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if is_word && method.len() <= MAX_METHOD {
        method
    } else {
        "other"
    }
}

fn seconds(out: &mut Vec<u8>, name: &str, duration: Duration) {
    // Writing to memory cannot fail.
    let _ = write!(out, "{name}{:.6}", duration.as_secs_f64());
}

fn put(out: &mut Vec<u8>, parts: &[&str]) {
    for part in parts {
        out.extend_from_slice(part.as_bytes());
    }
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    const BARE: AccessLogEntry<'_> = AccessLogEntry {
        request_id: "req-1",
        global_request_id: None,
        trace_id: None,
        client: None,
        client_port: None,
        proxy: None,
        project_id: None,
        user_id: None,
        method: "GET",
        api: "compute",
        route: "/images/{image_id}",
        path: "/v2.1/images/x",
        status: None,
        response_bytes: 0,
        microversion: None,
        cache: None,
        upstream: None,
        upstream_time: Duration::ZERO,
        duration: Duration::from_micros(7),
        user_agent: None,
    };

    /// What kolla's fluentd reads an OpenStack service's line with.
    const KOLLA: &str = include_str!("../../tests/fixtures/kolla_fluentd.txt");

    fn written(format: LogFormat, entry: &AccessLogEntry<'_>) -> String {
        let mut out = Vec::new();
        match format {
            LogFormat::Text | LogFormat::Json => line(&mut out, format, UNIX_EPOCH, entry),
            LogFormat::Oslo => oslo_line(&mut out, UNIX_EPOCH, entry),
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn unknown_fields_are_left_out() {
        assert_eq!(
            written(LogFormat::Text, &BARE),
            "1970-01-01T00:00:00.000000Z  INFO access: GET /images/{image_id} - request_id=req-1 \
             method=\"GET\" api=compute route=\"/images/{image_id}\" path=\"/v2.1/images/x\" \
             response_bytes=0 upstream_us=0 duration_us=7\n"
        );
    }

    #[test]
    fn a_line_has_everything_and_is_bounded() {
        let long = "\u{1b}".repeat(5000);
        let entry = AccessLogEntry {
            global_request_id: Some("req-2"),
            trace_id: Some("0af7651916cd43dd8448eb211c80319c"),
            client: Some("2001:db8::1".parse().unwrap()),
            client_port: Some(80),
            proxy: Some("10.0.0.1".parse().unwrap()),
            project_id: Some(&long),
            user_id: Some(&long),
            method: &long,
            path: &long,
            status: Some(200),
            response_bytes: u64::MAX,
            microversion: Some((u64::MAX, u64::MAX)),
            cache: Some(CacheLabel::Coalesced),
            upstream: Some("http://nova:8774"),
            upstream_time: Duration::MAX,
            duration: Duration::MAX,
            user_agent: Some(long.as_bytes()),
            ..BARE
        };
        for format in [LogFormat::Text, LogFormat::Json, LogFormat::Oslo] {
            let line = written(format, &entry);
            assert!(line.len() < 6500, "{}", line.len());
            assert_eq!(line.matches('\n').count(), 1);
        }
        let json: serde_json::Value =
            serde_json::from_str(&written(LogFormat::Json, &entry)).unwrap();
        assert_eq!(json["message"], "other /images/{image_id} 200");
        assert_eq!(json["client"], "2001:db8::1");
        assert_eq!(
            (&json["client_port"], &json["proxy"]),
            (&80.into(), &"10.0.0.1".into())
        );
        assert_eq!(json["trace_id"], "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(json["cache"], "coalesced");
        assert_eq!(json["status"], 200);
        assert_eq!(json["duration_us"], u64::MAX);
        assert_eq!(json["response_bytes"], u64::MAX);
        assert_eq!(
            json["user_agent"].as_str().unwrap().chars().count(),
            MAX_AGENT + 1
        );
    }

    const SERVED: AccessLogEntry<'_> = AccessLogEntry {
        client: Some(IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 9))),
        project_id: Some("PROJECT"),
        user_id: Some("USER"),
        status: Some(200),
        response_bytes: 2992,
        microversion: Some((2, 1)),
        cache: Some(CacheLabel::Miss),
        upstream_time: Duration::from_micros(1275),
        user_agent: Some(b"python-novaclient"),
        ..BARE
    };

    #[test]
    fn kolla_s_fluentd_reads_every_part_of_an_oslo_line() {
        let line = written(LogFormat::Oslo, &SERVED);
        let expression = regex_lite::Regex::new(KOLLA.trim()).unwrap();
        let parts = expression.captures(line.trim_end()).unwrap();
        let pid = std::process::id().to_string();
        for (name, value) in [
            ("Timestamp", "1970-01-01 00:00:00.000"),
            ("Pid", &pid),
            ("log_level", "INFO"),
            ("python_module", "nova_image_proxy.access"),
            ("request_id", "1"),
            ("user_id", "USER"),
            ("tenant_id", "PROJECT"),
            ("domain_id", "-"),
            ("project_domain", "-"),
            (
                "Payload",
                " 203.0.113.9 \"GET /v2.1/images/x\" status: 200 len: 2992 microversion: 2.1 \
                 time: 0.000007 cache: miss upstream: 0.001275 agent: \"python-novaclient\"",
            ),
        ] {
            assert_eq!(
                parts.name(name).map(|part| part.as_str()),
                Some(value),
                "{name}"
            );
        }
        let odd = AccessLogEntry {
            project_id: Some("a b]"),
            global_request_id: Some("req-2"),
            ..SERVED
        };
        let line = written(LogFormat::Oslo, &odd);
        let parts = expression.captures(line.trim_end()).unwrap();
        assert_eq!(&parts["tenant_id"], "a_b_");
        assert_eq!(&parts["global_request_id"], "2");
    }

    #[test]
    fn probes_of_version_documents_are_excluded_by_their_agent() {
        let agents = ["kube-probe".to_owned(), "curl-healthcheck".to_owned()];
        let probe = AccessLogEntry {
            route: "/",
            user_agent: Some(b"kube-probe/1.30"),
            ..BARE
        };
        assert!(probe.is_probe(&agents));
        let options = AccessLogEntry {
            method: "OPTIONS",
            route: "options",
            ..probe.clone()
        };
        assert!(options.is_probe(&agents));
        let image = AccessLogEntry {
            route: "/images",
            ..probe.clone()
        };
        let client = AccessLogEntry {
            user_agent: Some(b"curl/8"),
            ..probe.clone()
        };
        let unnamed = AccessLogEntry {
            user_agent: None,
            ..probe
        };
        assert!(
            [image, client, unnamed]
                .iter()
                .all(|entry| !entry.is_probe(&agents))
        );
    }
}

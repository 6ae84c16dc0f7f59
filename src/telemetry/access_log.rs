//! The line for each request.

use super::log_line::{LogLine, name};
use super::log_writer::LogWriter;
use super::metrics::CacheLabel;
use crate::config::LogFormat;
use std::cell::RefCell;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

/// Lengths beyond which a client's own words are cut, in bytes.
const MOST_PATH: usize = 512;
const MOST_AGENT: usize = 256;
const MOST_ID: usize = 64;
const MOST_METHOD: usize = 16;

/// What is logged of a request. What is not known is left out of the line.
#[derive(Debug, Clone)]
pub struct AccessLogEntry<'r> {
    /// The id of our own.
    pub request_id: &'r str,
    /// The client's id, when it is a proper one.
    pub global_id: Option<&'r str>,
    /// Who is connected: the client, or the proxy before it.
    pub client: Option<SocketAddr>,
    /// The project of the validated token.
    pub project: Option<&'r str>,
    /// The user of the validated token.
    pub user: Option<&'r str>,
    /// The method as sent.
    pub method: &'r str,
    /// The API's name.
    pub api: &'static str,
    /// The template of the path.
    pub route: &'static str,
    /// The path as sent, without the query.
    pub path: &'r str,
    /// The answer's; absent when the client left before there was one.
    pub status: Option<u16>,
    /// The settled microversion.
    pub version: Option<(u64, u64)>,
    /// What the cache did.
    pub cache: Option<CacheLabel>,
    /// The server that the request was passed through to.
    pub upstream: Option<&'r str>,
    /// Time spent waiting for other services.
    pub upstream_time: Duration,
    /// From the head to the answer.
    pub duration: Duration,
    /// The client's `User-Agent`.
    pub user_agent: Option<&'r [u8]>,
}

/// Writes a line for each request.
#[derive(Debug, Clone)]
pub struct AccessLog {
    sink: LogWriter,
    format: LogFormat,
}

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl AccessLog {
    /// Writes lines of this format to `sink`.
    #[must_use]
    pub fn new(sink: LogWriter, format: LogFormat) -> Self {
        Self { sink, format }
    }

    /// Writes the line for a request that is over.
    pub fn write(&self, record: &AccessLogEntry<'_>) {
        BUFFER.with_borrow_mut(|buffer| {
            buffer.clear();
            line(buffer, self.format, SystemTime::now(), record);
            self.sink.append(buffer);
        });
    }
}

fn line(out: &mut Vec<u8>, format: LogFormat, at: SystemTime, record: &AccessLogEntry<'_>) {
    let mut line = LogLine::new(out, format, at, "INFO", "access");
    line.word(name!("request_id"), record.request_id);
    if let Some(id) = record.global_id {
        line.word(name!("global_id"), id);
    }
    if let Some(client) = record.client {
        line.plain(name!("client"), client);
    }
    if let Some(project) = record.project {
        line.text(name!("project"), project.as_bytes(), MOST_ID);
    }
    if let Some(user) = record.user {
        line.text(name!("user"), user.as_bytes(), MOST_ID);
    }
    line.text(name!("method"), record.method.as_bytes(), MOST_METHOD);
    line.word(name!("api"), record.api);
    line.text(name!("route"), record.route.as_bytes(), MOST_PATH);
    line.text(name!("path"), record.path.as_bytes(), MOST_PATH);
    if let Some(status) = record.status {
        line.number(name!("status"), status.into());
    }
    if let Some(version) = record.version {
        line.version(name!("version"), version);
    }
    if let Some(cache) = record.cache {
        line.word(name!("cache"), cache.as_str());
    }
    if let Some(upstream) = record.upstream {
        line.text(name!("upstream"), upstream.as_bytes(), MOST_PATH);
    }
    line.number(
        name!("upstream_microseconds"),
        microseconds(record.upstream_time),
    );
    line.number(name!("microseconds"), microseconds(record.duration));
    if let Some(agent) = record.user_agent {
        line.text(name!("user_agent"), agent, MOST_AGENT);
    }
    line.end();
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
        global_id: None,
        client: None,
        project: None,
        user: None,
        method: "GET",
        api: "compute",
        route: "/images/{image_id}",
        path: "/v2.1/images/x",
        status: None,
        version: None,
        cache: None,
        upstream: None,
        upstream_time: Duration::ZERO,
        duration: Duration::from_micros(7),
        user_agent: None,
    };

    fn written(format: LogFormat, record: &AccessLogEntry<'_>) -> String {
        let mut out = Vec::new();
        line(&mut out, format, UNIX_EPOCH, record);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        assert_eq!(
            written(LogFormat::Text, &BARE),
            "1970-01-01T00:00:00.000000Z  INFO access: request_id=req-1 method=\"GET\" \
             api=compute route=\"/images/{image_id}\" path=\"/v2.1/images/x\" upstream_microseconds=0 \
             microseconds=7\n"
        );
    }

    #[test]
    fn a_line_has_everything_and_is_bounded() {
        let long = "\u{1b}".repeat(5000);
        let record = AccessLogEntry {
            global_id: Some("req-2"),
            client: Some("[2001:db8::1]:80".parse().unwrap()),
            project: Some(&long),
            user: Some(&long),
            method: &long,
            path: &long,
            status: Some(200),
            version: Some((u64::MAX, u64::MAX)),
            cache: Some(CacheLabel::Coalesced),
            upstream: Some(&long),
            upstream_time: Duration::MAX,
            duration: Duration::MAX,
            user_agent: Some(long.as_bytes()),
            ..BARE
        };
        for format in [LogFormat::Text, LogFormat::Json] {
            let line = written(format, &record);
            assert!(line.len() < 6500, "{}", line.len());
            assert_eq!(line.matches('\n').count(), 1);
        }
        let json: serde_json::Value =
            serde_json::from_str(&written(LogFormat::Json, &record)).unwrap();
        assert_eq!(json["client"], "[2001:db8::1]:80");
        assert_eq!(json["cache"], "coalesced");
        assert_eq!(json["status"], 200);
        assert_eq!(json["microseconds"], u64::MAX);
        assert_eq!(
            json["user_agent"].as_str().unwrap().chars().count(),
            MOST_AGENT + 1
        );
    }
}

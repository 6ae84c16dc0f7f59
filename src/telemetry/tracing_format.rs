//! Lines of `tracing` in the formats that `tracing-subscriber` does not have.

use super::log_line::{SERVICE, escape_text, oslo_head};
use std::fmt::{self, Debug, Write};
use std::time::SystemTime;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{Format, Json, JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

/// One JSON object a line, with the name of the service.
#[derive(Debug)]
pub(super) struct JsonFormat(Format<Json>);

impl Default for JsonFormat {
    fn default() -> Self {
        Self(Format::default().json().flatten_event(true))
    }
}

impl<S> FormatEvent<S, JsonFields> for JsonFormat
where
    S: Subscriber + for<'s> LookupSpan<'s>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = String::new();
        self.0
            .format_event(context, Writer::new(&mut line), event)?;
        let fields = line.strip_prefix('{').unwrap_or(&line);
        write!(writer, "{{\"service\":\"{SERVICE}\",{fields}")
    }
}

/// A line as oslo.log writes it, in printable ASCII.
#[derive(Debug)]
pub(super) struct OsloFormat;

impl<S, N> FormatEvent<S, N> for OsloFormat
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        if let Some(span) = context.lookup_current()
            && let Some(of_span) = span.extensions().get::<FormattedFields<N>>()
        {
            // Writing to a String cannot fail.
            let _ = write!(fields.others, " {}", of_span.fields);
        }
        let metadata = event.metadata();
        let mut line = Vec::with_capacity(256);
        let at = SystemTime::now();
        oslo_head(&mut line, at, metadata.level().as_str(), metadata.target());
        match &fields.request_id {
            None => line.extend_from_slice(b"[-]"),
            Some(request) => {
                let global = fields.global_request_id.as_deref().unwrap_or("None");
                escape_text(&mut line, &format!("[{global} {request} - - - - - -]"));
            }
        }
        line.push(b' ');
        escape_text(&mut line, &fields.message);
        escape_text(&mut line, &fields.others);
        writeln!(writer, "{}", String::from_utf8_lossy(&line))
    }
}

/// The fields of one event.
#[derive(Default)]
struct Fields {
    message: String,
    request_id: Option<String>,
    global_request_id: Option<String>,
    /// ` name=value` each.
    others: String,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            "request_id" => self.request_id = Some(format!("{value:?}")),
            "global_request_id" => self.global_request_id = Some(format!("{value:?}")),
            // Writing to a String cannot fail.
            name => drop(write!(self.others, " {name}={value:?}")),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "request_id" => self.request_id = Some(value.to_owned()),
            "global_request_id" => self.global_request_id = Some(value.to_owned()),
            _ => self.record_debug(field, &value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::{Arc, Mutex};
    use tracing_subscriber::fmt::{MakeWriter, layer};
    use tracing_subscriber::layer::SubscriberExt;

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl Memory {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl io::Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Memory {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    fn log_some() {
        tracing::warn!(count = 3, word = "a\"b", "a message\nof two lines, \u{fc}");
        tracing::error!(request_id = %"req-1", "of a request");
    }

    #[test]
    fn oslo_lines_say_whose_they_are_and_are_single_lines() {
        let memory = Memory::default();
        let layer = layer().with_ansi(false).event_format(OsloFormat);
        let subscriber = tracing_subscriber::registry().with(layer.with_writer(memory.clone()));
        tracing::subscriber::with_default(subscriber, log_some);
        let text = memory.text();
        let lines: Vec<_> = text.lines().map(|line| line.split_at(23).1).collect();
        let head = |level| {
            let target = module_path!().replace("::", ".");
            format!(" {} {level} {target}", std::process::id())
        };
        assert_eq!(
            lines,
            [
                format!(
                    "{} [-] a message\\u000aof two lines, \\u00fc count=3 word=\"a\\\"b\"",
                    head("WARNING")
                ),
                format!("{} [None req-1 - - - - - -] of a request", head("ERROR")),
            ]
        );
    }

    #[test]
    fn json_lines_name_the_service() {
        let memory = Memory::default();
        let layer = layer().json().event_format(JsonFormat::default());
        let subscriber = tracing_subscriber::registry().with(layer.with_writer(memory.clone()));
        tracing::subscriber::with_default(subscriber, log_some);
        let text = memory.text();
        let line: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!(line["service"], SERVICE);
        assert_eq!(line["level"], "WARN");
        assert_eq!(line["count"], 3);
        assert_eq!(line["message"], "a message\nof two lines, \u{fc}");
    }
}

//! The standard `process_*` metrics, from `/proc`.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;
use std::fs;

/// Clock ticks in a second, in which `/proc` counts: 100 for every architecture that Rust runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// Reads `/proc/self` at each scrape. A figure that cannot be read is left out.
#[derive(Debug)]
pub(super) struct ProcessMetrics;

impl Collector for ProcessMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let stat = read("stat");
        let status = read("status");
        let ticks = |field| stat.as_deref().and_then(|stat| stat_field(stat, field));
        let bytes = |key| {
            let kibibytes = status.as_deref().and_then(|status| line_field(status, key));
            kibibytes.map(|count| count * 1024.0)
        };
        if let (Some(user), Some(system)) = (ticks(14), ticks(15)) {
            let (help, unit) = ("User and system CPU time", Some(&Unit::Seconds));
            let seconds = (user + system) / TICKS_PER_SECOND;
            encoder
                .encode_descriptor("process_cpu", help, unit, MetricType::Counter)?
                .encode_counter::<NoLabelSet, _, f64>(&seconds, None)?;
        }
        let boot = fs::read_to_string("/proc/stat").ok();
        let boot = boot.as_deref().and_then(|stat| line_field(stat, "btime"));
        let started = boot.zip(ticks(22));
        let gauges = [
            (
                "process_start_time",
                "Start of the process since the epoch",
                Some(Unit::Seconds),
                started.map(|(boot, ticks)| boot + ticks / TICKS_PER_SECOND),
            ),
            (
                "process_resident_memory",
                "Resident memory",
                Some(Unit::Bytes),
                bytes("VmRSS:"),
            ),
            (
                "process_virtual_memory",
                "Virtual memory",
                Some(Unit::Bytes),
                bytes("VmSize:"),
            ),
            (
                "process_threads",
                "Threads",
                None,
                status
                    .as_deref()
                    .and_then(|text| line_field(text, "Threads:")),
            ),
            (
                "process_open_fds",
                "Open file descriptors",
                None,
                open_files(),
            ),
            (
                "process_max_fds",
                "Limit of open file descriptors",
                None,
                read("limits").as_deref().and_then(file_limit),
            ),
        ];
        for (name, help, unit, value) in gauges {
            if let Some(value) = value {
                encoder
                    .encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?
                    .encode_gauge(&value)?;
            }
        }
        Ok(())
    }
}

fn read(file: &str) -> Option<String> {
    fs::read_to_string(format!("/proc/self/{file}")).ok()
}

/// A field of `stat`, numbered from 1 as in proc(5). The second one, the name of the program, may
/// contain spaces and parentheses.
fn stat_field(stat: &str, number: usize) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let index = number.checked_sub(3)?;
    rest.split_ascii_whitespace().nth(index)?.parse().ok()
}

/// The number behind a key at the start of a line.
fn line_field(text: &str, key: &str) -> Option<f64> {
    let mut lines = text.lines().map(str::split_ascii_whitespace);
    let mut fields = lines.find_map(|mut fields| (fields.next() == Some(key)).then_some(fields))?;
    fields.next()?.parse().ok()
}

/// The soft limit.
fn file_limit(limits: &str) -> Option<f64> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "there are fewer files than 2^52"
)]
fn open_files() -> Option<f64> {
    // One is the folder that is being read.
    let files = fs::read_dir("/proc/self/fd").ok()?.count();
    Some(files.saturating_sub(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_behind_a_name_with_spaces() {
        let stat = "42 (a (b) c) S 1 42 42 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 9 0 777 1 2 3";
        assert_eq!(stat_field(stat, 14), Some(250.0));
        assert_eq!(stat_field(stat, 22), Some(777.0));
        assert_eq!(stat_field("", 14), None);
        assert_eq!(
            line_field("Name:\tx y\nVmRSS:\t  12 kB\n", "VmRSS:"),
            Some(12.0)
        );
        let limits = "Limit  Soft  Hard\nMax open files            1024   4096   files\n";
        assert_eq!(file_limit(limits), Some(1024.0));
        assert_eq!(
            file_limit("Max open files   unlimited  unlimited  files"),
            None
        );
    }

    #[test]
    fn this_process_has_figures() {
        assert!(open_files().unwrap() >= 3.0);
        assert!(line_field(&read("status").unwrap(), "VmRSS:").unwrap() > 100.0);
        assert!(stat_field(&read("stat").unwrap(), 22).unwrap() > 0.0);
        assert!(file_limit(&read("limits").unwrap()).unwrap() >= 64.0);
    }
}

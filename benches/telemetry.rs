//! What counting and logging one request costs the worker that answers it.
//!
//!     cargo bench --bench telemetry

use criterion::{Criterion, criterion_group, criterion_main};
use nova_image_proxy::config::{Log, LogFormat};
use nova_image_proxy::telemetry::access_log::{AccessLog, AccessLogEntry};
use nova_image_proxy::telemetry::log_writer::LogWriter;
use nova_image_proxy::telemetry::metrics::{
    ApiLabels, ApiRequestMetrics, CacheLabel, Exposition, MethodLabel, Metrics, RequestSample,
    StatusLabel,
};
use std::hint::black_box;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

const LABELS: ApiLabels = ApiLabels {
    api: "compute",
    routes: &["unknown", "/images/{image_id}"],
    versions: &["none", "2.1-2.35"],
};

fn count(api: &ApiRequestMetrics) {
    api.count(black_box(RequestSample {
        route: 1,
        method: MethodLabel::of("GET"),
        status: StatusLabel::of(Some(200)),
        version: 1,
        cache: Some(CacheLabel::Hit),
        response_bytes: 2992,
        duration: Duration::from_micros(9),
    }));
}

fn record() -> AccessLogEntry<'static> {
    black_box(AccessLogEntry {
        request_id: "req-11111111-2222-4333-8444-555555555555",
        global_request_id: Some("req-11111111-2222-4333-8444-666666666666"),
        trace_id: None,
        client: Some([192, 0, 2, 17].into()),
        client_port: Some(50_000),
        proxy: None,
        project_id: Some("0123456789abcdef0123456789abcdef"),
        user_id: Some("fedcba9876543210fedcba9876543210"),
        method: "GET",
        api: "compute",
        route: "/images/{image_id}",
        path: "/v2.1/images/11111111-2222-4333-8444-555555555555",
        status: Some(200),
        response_bytes: 2992,
        microversion: Some((2, 35)),
        cache: Some(CacheLabel::Hit),
        upstream: None,
        upstream_time: Duration::ZERO,
        duration: Duration::from_micros(9),
        user_agent: Some(b"python-novaclient openstacksdk/4.0.0 keystoneauth1/5.8.0"),
    })
}

fn counting(criterion: &mut Criterion) {
    let metrics = Metrics::default();
    let api = metrics.requests.api(LABELS);
    criterion.bench_function("a request counted", |bench| {
        bench.iter(|| count(&api));
    });
    let other_api = Metrics::default().requests.api(LABELS);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let busy = scope.spawn(|| {
            while !stop.load(Relaxed) {
                count(&other_api);
            }
        });
        criterion.bench_function("a request counted while another thread counts", |bench| {
            bench.iter(|| count(&other_api));
        });
        stop.store(true, Relaxed);
        assert!(busy.join().is_ok());
    });
    criterion.bench_function("all metrics as text", |bench| {
        bench.iter(|| metrics.text(Exposition::Prometheus).len());
    });
}

/// Lines go to `/dev/null` by way of the writing thread, and the buffer is large enough for all
/// that a tight loop makes.
fn logging(criterion: &mut Criterion) {
    for (name, format) in [("text", LogFormat::Text), ("json", LogFormat::Json)] {
        let Ok((sink, flush)) = LogWriter::start(io::sink(), 1 << 20, |_| Vec::new()) else {
            return;
        };
        let log = AccessLog::new(
            sink,
            &Log {
                format,
                ..Log::default()
            },
        );
        criterion.bench_function(&format!("an access line as {name}"), |bench| {
            bench.iter(|| log.write(&record()));
        });
        drop(flush);
    }
}

criterion_group!(benches, counting, logging);
criterion_main!(benches);

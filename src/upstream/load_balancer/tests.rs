use super::*;
use crate::upstream::{ClientSettings, client};
use http::Method;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What a server does with a request it has read.
#[derive(Debug, Clone, Copy)]
enum Does {
    Response(u16),
    /// Answers and closes the connection without saying so.
    AnswerAndClose,
    Close,
    Garbage,
    Nothing,
}

/// A server that does the same with every request.
struct Server {
    url: String,
    requests: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    async fn start(does: Does) -> Self {
        Self::at("127.0.0.1:0", does).await
    }

    async fn at(address: &str, does: Does) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let requests = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&requests);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, does, Arc::clone(&counted)));
            }
        });
        Self {
            url,
            requests,
            task,
        }
    }

    /// An address where nobody listens, and which no other test takes.
    async fn dead() -> Self {
        let server = Self::at("127.0.0.7:0", Does::Nothing).await;
        server.task.abort();
        while TcpStream::connect(server.address()).await.is_ok() {
            tokio::task::yield_now().await;
        }
        server
    }

    fn address(&self) -> &str {
        self.url["http://".len()..].trim_end_matches('/')
    }

    fn got(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, does: Does, requests: Arc<AtomicUsize>) {
    let mut head = Vec::new();
    while let Ok(byte) = stream.read_u8().await {
        head.push(byte);
        if !head.ends_with(b"\r\n\r\n") {
            continue;
        }
        head.clear();
        requests.fetch_add(1, Ordering::SeqCst);
        let answer = match does {
            Does::Response(status) => format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n"),
            Does::AnswerAndClose => "HTTP/1.1 200 X\r\nContent-Length: 0\r\n\r\n".to_owned(),
            Does::Garbage => "<html>no HTTP at all</html>\r\n\r\n".to_owned(),
            Does::Close => return,
            Does::Nothing => String::new(),
        };
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
        match does {
            // Late enough that the connection is in the client's pool.
            Does::AnswerAndClose => {
                tokio::time::sleep(Duration::from_millis(1)).await;
                return;
            }
            Does::Garbage => return,
            Does::Response(_) | Does::Close | Does::Nothing => {}
        }
    }
}

const POLICY: UpstreamPolicy = UpstreamPolicy {
    outlier_detection: OutlierDetection {
        consecutive_failures: 3,
        base_ejection_time: Duration::from_secs(60),
        max_ejection_time: Duration::from_secs(60),
    },
    retries: 2,
    max_in_flight: 8,
    max_queue: 8,
};

struct Calls {
    http: InstrumentedClient,
    urls: Vec<String>,
    service: LoadBalancer,
    timeout: Duration,
}

impl Calls {
    fn to(servers: &[&Server]) -> Self {
        Self::by(POLICY, servers)
    }

    fn by(policy: UpstreamPolicy, servers: &[&Server]) -> Self {
        let urls: Vec<_> = servers.iter().map(|server| server.url.clone()).collect();
        Self {
            http: client(ClientSettings::default()).unwrap(),
            service: LoadBalancer::new(urls.clone(), policy, LoadBalancerMetrics::default()),
            urls,
            timeout: Duration::from_secs(10),
        }
    }

    async fn send(&self, method: Method, idempotency: Idempotency) -> Result<u16, CallError> {
        let request = |index: usize| {
            let url = self.urls[index].parse().unwrap();
            Ok(reqwest::Request::new(method.clone(), url))
        };
        let options = CallOptions {
            deadline: Instant::now() + Duration::from_secs(20),
            timeout: self.timeout,
            max_body: 100,
            idempotency,
            fairness_key: FairnessKey::new(0),
            preferred_endpoint: None,
        };
        let answer = self.service.call(&self.http, request, options).await?;
        Ok(answer.response.status.as_u16())
    }

    async fn read(&self) -> Result<u16, CallError> {
        self.send(Method::GET, Idempotency::Safe).await
    }

    async fn write(&self) -> Result<u16, CallError> {
        self.send(Method::PATCH, Idempotency::Unsafe).await
    }

    fn metrics(&self) -> &LoadBalancerMetrics {
        &self.service.metrics
    }

    /// Ejections of all endpoints.
    fn ejections(&self) -> u64 {
        let urls = self.urls.iter();
        urls.map(|url| self.metrics().ejections_of(url)).sum()
    }
}

#[tokio::test]
async fn requests_are_spread_over_the_endpoints() {
    let [a, b] = [
        Server::start(Does::Response(200)).await,
        Server::start(Does::Response(200)).await,
    ];
    let calls = Calls::to(&[&a, &b]);
    for _ in 0..10 {
        assert_eq!(calls.read().await.unwrap(), 200);
    }
    assert_eq!((a.got(), b.got()), (5, 5));
    assert_eq!(calls.metrics().requests.get(), 10);
}

#[tokio::test]
async fn a_read_goes_to_another_endpoint_and_the_bad_one_is_left_out() {
    for does in [
        Does::Response(502),
        Does::Response(503),
        Does::Response(504),
        Does::Close,
        Does::Garbage,
    ] {
        let [bad, good] = [
            Server::start(does).await,
            Server::start(Does::Response(200)).await,
        ];
        let calls = Calls::to(&[&bad, &good]);
        for _ in 0..20 {
            assert_eq!(calls.read().await.unwrap(), 200, "{does:?}");
        }
        let metrics = calls.metrics();
        // What breaks off counts from the first attempt on a new connection.
        let retries = if matches!(does, Does::Close) { 4 } else { 3 };
        assert_eq!((bad.got(), good.got()), (retries, 20), "{does:?}");
        assert_eq!(
            (
                metrics.retries.get(),
                metrics.failovers.get(),
                calls.ejections()
            ),
            (retries as u64, retries as u64, 1),
            "{does:?}"
        );
        assert_eq!((metrics.in_flight.get(), metrics.queued.get()), (0, 0));
    }
}

#[tokio::test]
async fn a_read_that_took_all_its_time_goes_to_another_endpoint_only() {
    let [slow, good] = [
        Server::start(Does::Nothing).await,
        Server::start(Does::Response(200)).await,
    ];
    let mut calls = Calls::to(&[&slow, &good]);
    calls.timeout = Duration::from_secs(1);
    assert_eq!(calls.read().await.unwrap(), 200);
    let mut alone = Calls::to(&[&slow]);
    alone.timeout = Duration::from_secs(1);
    let error = alone.read().await.unwrap_err();
    assert!(
        matches!(error, CallError::Transport(TransportError::Timeout)),
        "{error}"
    );
    assert_eq!(slow.got(), 2);
}

#[tokio::test]
async fn a_write_is_sent_again_only_when_there_was_no_connection() {
    let [dead, good] = [
        Server::dead().await,
        Server::start(Does::Response(200)).await,
    ];
    let calls = Calls::to(&[&dead, &good]);
    for _ in 0..5 {
        assert_eq!(calls.write().await.unwrap(), 200);
    }
    assert_eq!(good.got(), 5);

    let closing = Server::start(Does::Close).await;
    let calls = Calls::to(&[&closing, &good]);
    let error = calls.write().await.unwrap_err();
    assert!(
        matches!(error, CallError::Transport(TransportError::Interrupted(_))),
        "{error}"
    );
    let unwell = Server::start(Does::Response(503)).await;
    assert_eq!(Calls::to(&[&unwell, &good]).write().await.unwrap(), 503);
    assert_eq!((closing.got(), unwell.got(), good.got()), (1, 1, 5));
}

/// The server closes each connection after its response without saying so, as uWSGI's `http-socket` does. A write
/// right after a read never takes the read's connection; a read that does is sent again on a new one.
#[tokio::test]
async fn a_connection_that_a_server_closes_silently_costs_a_write_nothing() {
    let server = Server::start(Does::AnswerAndClose).await;
    let calls = Calls::to(&[&server]);
    for _ in 0..300 {
        assert_eq!(calls.read().await.unwrap(), 200);
        assert_eq!(calls.read().await.unwrap(), 200);
        let before = server.got();
        assert_eq!(calls.write().await.unwrap(), 200);
        assert_eq!(server.got(), before + 1);
    }
    // A broken connection is not an endpoint's failure, and its kind is not used for a minute.
    let retries = calls.metrics().retries.get();
    assert!(retries <= 1, "{retries}");
}

#[tokio::test]
async fn a_connection_that_breaks_once_does_not_eject_an_endpoint() {
    let [a, b] = [
        Server::start(Does::AnswerAndClose).await,
        Server::start(Does::AnswerAndClose).await,
    ];
    let calls = Calls::to(&[&a, &b]);
    for _ in 0..100 {
        assert_eq!(calls.read().await.unwrap(), 200);
    }
    assert_eq!(calls.ejections(), 0);
}

#[tokio::test]
async fn writes_follow_each_other_on_connections_of_their_own() {
    let server = Server::start(Does::AnswerAndClose).await;
    let calls = Calls::to(&[&server]);
    for number in 1..=20 {
        assert_eq!(calls.write().await.unwrap(), 200);
        assert_eq!(server.got(), number);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(calls.metrics().retries.get(), 0);
}

#[tokio::test]
async fn a_lone_endpoint_is_asked_again_after_a_wait_and_never_refused() {
    let [dead, closing] = [Server::dead().await, Server::start(Does::Close).await];
    let calls = Calls::to(&[&dead]);
    for _ in 0..10 {
        let error = calls.read().await.unwrap_err();
        assert!(
            matches!(error, CallError::Transport(TransportError::Connect(_))),
            "{error}"
        );
    }
    let metrics = calls.metrics();
    assert_eq!((calls.ejections(), metrics.failovers.get()), (0, 0));
    // The floor of eight, and one for each five requests.
    assert_eq!(metrics.retries.get(), 8 + 2);
    assert!(metrics.retry_budget_exhausted.get() > 0);

    let calls = Calls::to(&[&closing]);
    assert!(calls.read().await.is_err());
    assert_eq!(closing.got(), 3);
    let never = UpstreamPolicy {
        retries: 0,
        ..POLICY
    };
    assert!(Calls::by(never, &[&closing]).read().await.is_err());
    assert_eq!(closing.got(), 4);
}

#[tokio::test]
async fn with_all_endpoints_out_they_are_asked_all_the_same() {
    let servers = [Server::dead().await, Server::dead().await];
    let calls = Calls::to(&[&servers[0], &servers[1]]);
    for _ in 0..10 {
        assert!(calls.read().await.is_err());
    }
    assert_eq!(calls.ejections(), 2);
    // One comes back, at the address it had.
    let _back = Server::at(servers[0].address(), Does::Response(200)).await;
    let mut tries = 0;
    while calls.read().await.is_err() {
        tries += 1;
        assert!(tries < 2, "each of two is asked in turn");
    }
    for _ in 0..10 {
        assert_eq!(calls.read().await.unwrap(), 200);
    }
}

#[tokio::test]
async fn a_probe_gets_less_time_than_a_call_to_a_working_endpoint() {
    let [hanging, good] = [
        Server::start(Does::Nothing).await,
        Server::start(Does::Response(200)).await,
    ];
    let outlier_detection = OutlierDetection {
        consecutive_failures: 1,
        base_ejection_time: Duration::from_millis(1),
        max_ejection_time: Duration::from_secs(60),
    };
    let mut calls = Calls::by(
        UpstreamPolicy {
            outlier_detection,
            ..POLICY
        },
        &[&hanging, &good],
    );
    calls.timeout = Duration::from_secs(1);
    assert_eq!(calls.read().await.unwrap(), 200);
    tokio::time::sleep(Duration::from_millis(10)).await;
    calls.timeout = Duration::from_secs(60);
    let started = Instant::now();
    // Of a call's twenty seconds there is time left for the other one.
    assert_eq!(calls.read().await.unwrap(), 200);
    assert!(started.elapsed() >= PROBE_TIMEOUT);
    assert_eq!((hanging.got(), calls.ejections()), (2, 2));
}

#[tokio::test]
async fn no_more_calls_are_under_way_than_allowed() {
    let policy = UpstreamPolicy {
        max_in_flight: 2,
        max_queue: 3,
        ..POLICY
    };
    let silent = Server::start(Does::Nothing).await;
    let calls = Arc::new(Calls::by(policy, &[&silent]));
    let reads: Vec<_> = (0..5)
        .map(|_| {
            let calls = Arc::clone(&calls);
            tokio::spawn(async move { calls.read().await })
        })
        .collect();
    while silent.got() < 2 || calls.metrics().queued.get() < 3 {
        tokio::task::yield_now().await;
    }
    let error = calls.read().await.unwrap_err();
    assert!(
        matches!(error, CallError::Overloaded(Overloaded::QueueFull)),
        "{error}"
    );
    assert_eq!((calls.metrics().in_flight.get(), silent.got()), (2, 2));
    // Clients that leave take their calls along.
    for read in reads {
        read.abort();
        assert!(read.await.unwrap_err().is_cancelled());
    }
    let metrics = calls.metrics();
    assert_eq!(
        (
            metrics.in_flight.get(),
            metrics.queued.get(),
            metrics.rejected.get()
        ),
        (0, 0, 1)
    );
}

use super::*;
use crate::upstream::{ClientSettings, client};
use http::Method;
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
        if matches!(does, Does::AnswerAndClose | Does::Garbage) {
            return;
        }
    }
}

const RULES: UpstreamPolicy = UpstreamPolicy {
    ejection: OutlierDetection {
        after: 3,
        first: Duration::from_secs(60),
        longest: Duration::from_secs(60),
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
        Self::by(RULES, servers)
    }

    fn by(rules: UpstreamPolicy, servers: &[&Server]) -> Self {
        let urls: Vec<_> = servers.iter().map(|server| server.url.clone()).collect();
        Self {
            http: client(ClientSettings::default()).unwrap(),
            service: LoadBalancer::new(urls.clone(), rules, Arc::default()),
            urls,
            timeout: Duration::from_secs(10),
        }
    }

    async fn send(&self, method: Method, repeat: Idempotency) -> Result<u16, CallError> {
        let request = |index: usize| {
            let url = self.urls[index].parse().unwrap();
            Ok(reqwest::Request::new(method.clone(), url))
        };
        let limits = CallOptions {
            deadline: Instant::now() + Duration::from_secs(20),
            timeout: self.timeout,
            max_body: 100,
        };
        let answer = self
            .service
            .call(&self.http, request, repeat, limits)
            .await?;
        Ok(answer.status.as_u16())
    }

    async fn read(&self) -> Result<u16, CallError> {
        self.send(Method::GET, Idempotency::Safe).await
    }

    async fn write(&self) -> Result<u16, CallError> {
        self.send(Method::PATCH, Idempotency::Unsafe).await
    }

    fn counted(&self) -> crate::upstream::UpstreamSnapshot {
        self.service.counters.snapshot()
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
    assert_eq!(calls.counted().calls, 10);
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
        let counted = calls.counted();
        assert_eq!((bad.got(), good.got()), (3, 20), "{does:?}");
        assert_eq!(
            (counted.retries, counted.failovers, counted.ejections),
            (3, 3, 1),
            "{does:?}"
        );
        assert_eq!((counted.in_flight, counted.waiting), (0, 0));
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

/// The connection that the first call left behind is closed by the server; the second call is sent
/// on it or notices before. Either way the server gets it once.
#[tokio::test]
async fn a_kept_connection_that_was_closed_costs_a_write_nothing() {
    let server = Server::start(Does::AnswerAndClose).await;
    let calls = Calls::to(&[&server]);
    for number in 1..=20 {
        assert_eq!(calls.write().await.unwrap(), 200);
        assert_eq!(server.got(), number);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(calls.counted().retries, 0);
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
    let counted = calls.counted();
    assert_eq!((counted.ejections, counted.failovers), (0, 0));
    // Eight for nothing, and one for each five requests.
    assert_eq!(counted.retries, 8 + 2);
    assert!(counted.budget_exhausted > 0);

    let calls = Calls::to(&[&closing]);
    assert!(calls.read().await.is_err());
    assert_eq!(closing.got(), 3);
    let never = UpstreamPolicy {
        retries: 0,
        ..RULES
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
    assert_eq!(calls.counted().ejections, 2);
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
async fn an_endpoint_that_may_be_back_is_not_waited_for_as_long_as_one_that_works() {
    let [hanging, good] = [
        Server::start(Does::Nothing).await,
        Server::start(Does::Response(200)).await,
    ];
    let ejection = OutlierDetection {
        after: 1,
        first: Duration::from_millis(1),
        longest: Duration::from_secs(60),
    };
    let mut calls = Calls::by(UpstreamPolicy { ejection, ..RULES }, &[&hanging, &good]);
    calls.timeout = Duration::from_secs(1);
    assert_eq!(calls.read().await.unwrap(), 200);
    tokio::time::sleep(Duration::from_millis(10)).await;
    calls.timeout = Duration::from_secs(60);
    let started = Instant::now();
    // Of a call's twenty seconds there is time left for the other one.
    assert_eq!(calls.read().await.unwrap(), 200);
    assert!(started.elapsed() >= PROBE_TIMEOUT);
    assert_eq!((hanging.got(), calls.counted().ejections), (2, 2));
}

#[tokio::test]
async fn no_more_calls_are_under_way_than_allowed() {
    let rules = UpstreamPolicy {
        max_in_flight: 2,
        max_queue: 3,
        ..RULES
    };
    let silent = Server::start(Does::Nothing).await;
    let calls = Arc::new(Calls::by(rules, &[&silent]));
    let reads: Vec<_> = (0..5)
        .map(|_| {
            let calls = Arc::clone(&calls);
            tokio::spawn(async move { calls.read().await })
        })
        .collect();
    while silent.got() < 2 || calls.counted().waiting < 3 {
        tokio::task::yield_now().await;
    }
    let error = calls.read().await.unwrap_err();
    assert!(
        matches!(error, CallError::Overloaded(Overloaded::QueueFull)),
        "{error}"
    );
    assert_eq!((calls.counted().in_flight, silent.got()), (2, 2));
    // Clients that leave take their calls along.
    for read in reads {
        read.abort();
        assert!(read.await.unwrap_err().is_cancelled());
    }
    let counted = calls.counted();
    assert_eq!(
        (counted.in_flight, counted.waiting, counted.queue_full),
        (0, 0, 1)
    );
}

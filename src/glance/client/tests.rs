use super::*;
use crate::telemetry::metrics::Exposition;
use crate::upstream::{self, OutlierDetection};
use serde_json::{Value, json};
use wiremock::matchers::{header, method, path, query_param};
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

/// A Glance with `total` images, which pages as the real one does: `next` on every full page.
struct Paged(usize);

impl Respond for Paged {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let query: std::collections::HashMap<_, _> =
            request.url.query_pairs().into_owned().collect();
        let limit: usize = query["limit"].parse().unwrap();
        let start = query
            .get("marker")
            .map_or(0, |marker| marker.parse::<usize>().unwrap() + 1);
        let ids: Vec<_> = (start..self.0.min(start + limit))
            .map(|n| n.to_string())
            .collect();
        let mut page =
            json!({ "images": ids.iter().map(|id| json!({"id": id})).collect::<Vec<_>>() });
        if ids.len() == limit {
            page["next"] = json!(format!("/v2/images?marker={}", ids.last().unwrap()));
        }
        ResponseTemplate::new(200).set_body_json(page)
    }
}

const CALL: CallLimits = CallLimits {
    timeout: Duration::from_secs(5),
    max_answer: 1 << 20,
    page_size: 10,
    max_images: 100,
};

const POLICY: UpstreamPolicy = UpstreamPolicy {
    outlier_detection: OutlierDetection {
        consecutive_failures: 3,
        base_ejection_time: Duration::from_secs(5),
        max_ejection_time: Duration::from_secs(60),
    },
    retries: 2,
    max_in_flight: 64,
    max_queue: 64,
};

fn glance(call: CallLimits) -> GlanceClient {
    GlanceClient::new(
        upstream::client(upstream::ClientSettings::default()).unwrap(),
        call,
        Vec::new(),
        POLICY,
    )
}

fn caller(server: &MockServer) -> CallContext {
    CallContext {
        endpoint: Endpoint::new(&server.uri().parse().unwrap()),
        token: Some(HeaderValue::from_static("secret")),
        service_token: None,
        request_id: HeaderValue::from_static("req-1"),
        fairness_key: FairnessKey::new(0),
        deadline: Instant::now() + Duration::from_secs(10),
        spent: UpstreamTime::default(),
    }
}

async fn ids(
    server: &MockServer,
    call: CallLimits,
    query: ImageQuery,
) -> Result<Vec<String>, GlanceError> {
    let mut ids = Vec::new();
    glance(call)
        .pages(caller(server), query)
        .for_each(|page| ids.extend(page.images.iter().map(|i| i.id.unwrap().get().to_owned())))
        .await?;
    Ok(ids)
}

async fn paged(total: usize) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(method("GET"))
        .and(path("/v2/images"))
        .respond_with(Paged(total))
        .mount(&server)
        .await;
    server
}

#[tokio::test]
async fn n_images_cost_one_call_for_each_full_page_and_one_more() {
    let small = [(0, 1), (9, 1), (10, 2), (11, 2), (25, 3)];
    let real = [(0, 1), (999, 1), (1000, 2), (1001, 2)];
    let sizes = small
        .map(|case| (10, case))
        .into_iter()
        .chain(real.map(|case| (1000, case)));
    for (page_size, (total, calls)) in sizes {
        let call = CallLimits {
            page_size,
            max_images: 5000,
            ..CALL
        };
        let server = paged(total).await;
        assert_eq!(
            ids(&server, call, ImageQuery::default())
                .await
                .unwrap()
                .len(),
            total
        );
        assert_eq!(
            server.received_requests().await.unwrap().len(),
            calls,
            "{total}"
        );
    }
}

#[tokio::test]
async fn a_limit_is_kept_with_as_few_calls_as_it_takes() {
    for (limit, calls) in [(1, 1), (10, 1), (11, 2), (20, 2), (30, 3), (u64::MAX, 3)] {
        let server = paged(25).await;
        let query = ImageQuery {
            limit: Some(limit),
            ..ImageQuery::default()
        };
        assert_eq!(
            ids(&server, CALL, query).await.unwrap().len() as u64,
            limit.min(25)
        );
        assert_eq!(
            server.received_requests().await.unwrap().len(),
            calls,
            "{limit}"
        );
    }
}

#[tokio::test]
async fn a_list_that_just_fits_is_whole_and_a_longer_one_is_a_fault() {
    let call = CallLimits {
        max_images: 25,
        ..CALL
    };
    assert_eq!(
        ids(&paged(25).await, call, ImageQuery::default())
            .await
            .unwrap()
            .len(),
        25
    );
    let error = ids(&paged(26).await, call, ImageQuery::default())
        .await
        .unwrap_err();
    assert!(matches!(error, GlanceError::TooManyImages(25)), "{error}");
}

async fn answering(body: Value) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(method("GET"))
        .respond_with(ResponseTemplate::new(200).set_body_json(body))
        .mount(&server)
        .await;
    server
}

#[tokio::test]
async fn a_list_that_never_ends_is_noticed() {
    for next in [
        "/v2/images?marker=a",
        "/v2/images",
        "http://127.0.0.1:1/v2/images?marker=a",
    ] {
        let server = answering(json!({"images": [{"id": "a"}], "next": next})).await;
        let error = ids(&server, CALL, ImageQuery::default()).await.unwrap_err();
        assert!(
            matches!(error, GlanceError::InvalidResponse(_)),
            "{next}: {error}"
        );
        assert_eq!(server.received_requests().await.unwrap().len(), 2);
    }
}

#[tokio::test]
async fn an_empty_page_ends_the_list_whatever_its_next_says() {
    let server = answering(json!({"images": [], "next": "/v2/images?marker=z"})).await;
    assert!(
        ids(&server, CALL, ImageQuery::default())
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn glance_gets_the_token_the_request_id_and_nothing_else_of_the_client_s() {
    let server = MockServer::start().await;
    Mock::given(method("GET"))
        .and(path("/v2/images/a~b"))
        .and(header("x-auth-token", "secret"))
        .and(header("x-openstack-request-id", "req-1"))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({"id": "a~b"})))
        .expect(1)
        .mount(&server)
        .await;
    let id = ImageId::parse("a~b").unwrap();
    let shown = glance(CALL).show(&caller(&server), &id).await.unwrap();
    assert!(shown.image().is_ok());
}

#[tokio::test]
async fn a_failing_page_fails_the_list() {
    let server = MockServer::start().await;
    Mock::given(query_param("marker", "a"))
        .respond_with(ResponseTemplate::new(503))
        .mount(&server)
        .await;
    Mock::given(method("GET"))
        .respond_with(
            ResponseTemplate::new(200)
                .set_body_json(json!({"images": [{"id": "a"}], "next": "/v2/images?marker=a"})),
        )
        .with_priority(9)
        .mount(&server)
        .await;
    let error = ids(&server, CALL, ImageQuery::default()).await.unwrap_err();
    assert!(matches!(error, GlanceError::ServerError(_)), "{error}");
}

#[tokio::test]
async fn an_encoded_body_is_refused_as_it_is() {
    for (encoding, fine) in [
        ("identity", true),
        ("gzip", false),
        ("br", false),
        ("x", false),
    ] {
        let server = MockServer::start().await;
        Mock::given(method("GET"))
            .respond_with(
                ResponseTemplate::new(200)
                    .insert_header("content-encoding", encoding)
                    .set_body_string("{}"),
            )
            .mount(&server)
            .await;
        let id = ImageId::parse("a").unwrap();
        let answer = glance(CALL).show(&caller(&server), &id).await;
        let nonsense = matches!(answer, Err(GlanceError::InvalidResponse(_)));
        assert_eq!((answer.is_ok(), nonsense), (fine, !fine), "{encoding}");
    }
}

/// One endpoint gives the first pages and then only 503; the other one has them all.
#[tokio::test]
async fn a_list_that_began_at_one_endpoint_goes_on_at_another() {
    let [failing, whole] = [MockServer::start().await, paged(95).await];
    Mock::given(method("GET"))
        .respond_with(Paged(95))
        .up_to_n_times(3)
        .mount(&failing)
        .await;
    Mock::given(method("GET"))
        .respond_with(ResponseTemplate::new(503))
        .mount(&failing)
        .await;
    let endpoints = [&failing, &whole].map(|server| Endpoint::new(&server.uri().parse().unwrap()));
    let http = upstream::client(upstream::ClientSettings::default()).unwrap();
    let glance = GlanceClient::new(http, CALL, endpoints.to_vec(), POLICY);
    let mut ids = Vec::new();
    glance
        .pages(caller(&failing), ImageQuery::default())
        .for_each(|page| ids.extend(page.images.iter().map(|i| i.id.unwrap().get().to_owned())))
        .await
        .unwrap();
    let expected: Vec<_> = (0..95).map(|number| format!("\"{number}\"")).collect();
    assert_eq!(ids, expected);
    let mut metrics = crate::telemetry::metrics::Metrics::default();
    metrics.register(|registry| glance.metrics().register(registry, "glance", "Glance"));
    let failovers = "nova_image_proxy_glance_failovers_total 1\n";
    let text = metrics.text(Exposition::Prometheus);
    assert!(text.contains(failovers), "{text}");
    assert!(failing.received_requests().await.unwrap().len() >= 4);
}

/// With one place only: the page that is asked for ahead never waits for the place of the one before.
#[tokio::test]
async fn a_list_needs_one_place_at_a_time() {
    let server = paged(95).await;
    let policy = UpstreamPolicy {
        max_in_flight: 1,
        ..POLICY
    };
    let http = upstream::client(upstream::ClientSettings::default()).unwrap();
    let glance = GlanceClient::new(http, CALL, Vec::new(), policy);
    let lists = (0..5).map(|_| {
        let mut images = 0;
        let list = glance.pages(caller(&server), ImageQuery::default());
        async move {
            list.for_each(|page| images += page.images.len())
                .await
                .unwrap();
            images
        }
    });
    assert_eq!(futures_util::future::join_all(lists).await, [95; 5]);
}

#[test]
fn a_caller_never_shows_its_token() {
    let mut token = HeaderValue::from_static("secret");
    token.set_sensitive(true);
    let caller = CallContext {
        endpoint: Endpoint::new(&"http://g".parse().unwrap()),
        token: Some(token),
        service_token: None,
        request_id: HeaderValue::from_static("req-1"),
        fairness_key: FairnessKey::new(0),
        deadline: Instant::now(),
        spent: UpstreamTime::default(),
    };
    assert!(!format!("{caller:?}").contains("secret"));
}

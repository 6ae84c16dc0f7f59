//! The calls to Glance.

use super::error::GlanceError;
use super::model::{ImagePage, text};
use super::patch::{self, PatchOp};
use super::query::{Endpoint, ImageQuery, path_segment};
use crate::telemetry::spent::Spent;
use crate::upstream::{self, Answer, Limits};
use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode};
use std::collections::HashSet;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

const AUTH_TOKEN: &str = "X-Auth-Token";
const REQUEST_ID: &str = "X-Openstack-Request-Id";

/// For whom, where and until when Glance is called.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The Glance that is asked.
    pub endpoint: Endpoint,
    /// The client's token, marked sensitive; none when the gateway runs without tokens.
    pub token: Option<HeaderValue>,
    /// The id that ties Glance's log lines to this request.
    pub request_id: HeaderValue,
    /// When the whole request must be answered.
    pub deadline: Instant,
    /// Where the time spent in calls adds up.
    pub spent: Spent,
}

/// Limits of the calls, from the `[glance]` settings.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// Longest time for one call.
    pub timeout: Duration,
    /// Largest answer, in bytes.
    pub max_answer: usize,
    /// Images asked for in one page, at most 1000.
    pub page_size: u64,
    /// Longest list.
    pub max_images: u64,
}

/// A client of the Image service; clones share connections.
#[derive(Debug, Clone)]
pub struct Glance {
    client: upstream::Client,
    call: Call,
}

impl Glance {
    /// A client with these limits.
    #[must_use]
    pub fn new(client: upstream::Client, call: Call) -> Self {
        Self { client, call }
    }

    /// When a call for `caller` that begins now is over.
    #[must_use]
    pub fn deadline(&self, caller: &Caller) -> Instant {
        caller.deadline.min(Instant::now() + self.call.timeout)
    }

    /// `GET /v2/images/{id}`: the image's JSON, not yet read.
    pub async fn show(&self, caller: &Caller, id: &str) -> Result<Bytes, GlanceError> {
        let segment = path_segment(id).ok_or(GlanceError::NotFound)?;
        let answer = self
            .send(caller, Method::GET, &format!("/v2/images/{segment}"), None)
            .await?;
        expect(answer, StatusCode::OK)
    }

    /// `PATCH /v2/images/{id}`: the changed image's JSON.
    pub async fn patch(
        &self,
        caller: &Caller,
        id: &str,
        ops: &[PatchOp],
    ) -> Result<Bytes, GlanceError> {
        let segment = path_segment(id).ok_or(GlanceError::NotFound)?;
        let path = format!("/v2/images/{segment}");
        let answer = self
            .send(caller, Method::PATCH, &path, Some(patch::to_json(ops)))
            .await?;
        expect(answer, StatusCode::OK)
    }

    /// `DELETE /v2/images/{id}`
    pub async fn delete(&self, caller: &Caller, id: &str) -> Result<(), GlanceError> {
        let segment = path_segment(id).ok_or(GlanceError::NotFound)?;
        let answer = self
            .send(
                caller,
                Method::DELETE,
                &format!("/v2/images/{segment}"),
                None,
            )
            .await?;
        expect(answer, StatusCode::NO_CONTENT).map(drop)
    }

    /// The pages of a list, one at a time.
    #[must_use]
    pub fn pages(&self, caller: Caller, query: ImageQuery) -> PageStream {
        PageStream {
            glance: self.clone(),
            caller,
            left: query.limit.unwrap_or(u64::MAX),
            query,
            count: 0,
            markers: HashSet::new(),
            next: Next::Fetch(None),
        }
    }

    async fn page(
        &self,
        caller: &Caller,
        query: &ImageQuery,
        size: u64,
        marker: Option<&str>,
    ) -> Result<Bytes, GlanceError> {
        let answer = match self
            .send(caller, Method::GET, &query.page(size, marker), None)
            .await
        {
            // A list always exists; a 404 to it comes from something that is no Glance.
            Ok(answer) if answer.status == StatusCode::NOT_FOUND => {
                return Err(GlanceError::Nonsense("404 to a list".to_owned()));
            }
            other => other?,
        };
        expect(answer, StatusCode::OK)
    }

    async fn send(
        &self,
        caller: &Caller,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<Answer, GlanceError> {
        let _waiting = caller.spent.start();
        let mut request = self
            .client
            .request(method, format!("{}{path}", caller.endpoint.as_str()))
            .header(REQUEST_ID, caller.request_id.clone());
        if let Some(token) = &caller.token {
            request = request.header(AUTH_TOKEN, token.clone());
        }
        if let Some(body) = body {
            request = request
                .header(http::header::CONTENT_TYPE, patch::MEDIA_TYPE)
                .body(body);
        }
        let request = request
            .build()
            .map_err(|error| GlanceError::Unavailable(error.without_url().to_string()))?;
        let limits = Limits {
            deadline: self.deadline(caller),
            max_body: self.call.max_answer,
        };
        Ok(upstream::exchange(&self.client, request, limits).await?)
    }
}

fn expect(answer: Answer, status: StatusCode) -> Result<Bytes, GlanceError> {
    if answer.status == status {
        return Ok(answer.body);
    }
    Err(GlanceError::of_answer(&answer))
}

/// The pages of one list. A page's successor is fetched while the page is in use.
#[derive(Debug)]
pub struct PageStream {
    glance: Glance,
    caller: Caller,
    query: ImageQuery,
    /// Images the client still wants.
    left: u64,
    /// Images seen so far.
    count: u64,
    /// Where pages have begun, to notice a circle.
    markers: HashSet<String>,
    next: Next,
}

#[derive(Debug)]
enum Next {
    /// To be asked for, after this marker.
    Fetch(Option<String>),
    /// Under way; aborted when the stream is dropped.
    Pending(JoinSet<Result<Bytes, GlanceError>>),
    End,
}

impl PageStream {
    /// Calls `visit` with each page in turn. The page is gone when `visit` returns, and its
    /// successor is on its way meanwhile.
    pub async fn for_each(
        mut self,
        mut visit: impl FnMut(ImagePage<'_>),
    ) -> Result<(), GlanceError> {
        while let Some(body) = self.body().await? {
            let mut page = ImagePage::parse(&body)?;
            page.images
                .truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
            self.advance(&page)?;
            visit(page);
        }
        Ok(())
    }

    async fn body(&mut self) -> Result<Option<Bytes>, GlanceError> {
        let size = self.page_size();
        match std::mem::replace(&mut self.next, Next::End) {
            Next::End => Ok(None),
            Next::Fetch(marker) => self
                .glance
                .page(
                    &self.caller,
                    &self.query,
                    size,
                    marker.as_deref().or(self.first_marker()),
                )
                .await
                .map(Some),
            Next::Pending(mut task) => match task.join_next().await {
                Some(Ok(body)) => body.map(Some),
                Some(Err(_)) | None => Err(GlanceError::Unavailable(
                    "the call to it ended early".to_owned(),
                )),
            },
        }
    }

    fn first_marker(&self) -> Option<&str> {
        self.query.marker.as_deref()
    }

    /// Counts `page` and starts the next one, when there is one to come.
    fn advance(&mut self, page: &ImagePage<'_>) -> Result<(), GlanceError> {
        let images = page.images.len() as u64;
        self.count += images;
        self.left -= images;
        if self.count > self.glance.call.max_images {
            return Err(GlanceError::TooManyImages(self.glance.call.max_images));
        }
        if self.left == 0 || images == 0 || page.next.is_none() {
            self.next = Next::End;
            return Ok(());
        }
        let marker = marker_of(page).ok_or_else(|| {
            GlanceError::Nonsense("a page with a next and no marker to go on from".to_owned())
        })?;
        if !self.markers.insert(marker.clone()) {
            return Err(GlanceError::Nonsense(
                "the pages of the list go in a circle".to_owned(),
            ));
        }
        let mut task = JoinSet::new();
        let (glance, caller, query) =
            (self.glance.clone(), self.caller.clone(), self.query.clone());
        let size = self.page_size();
        task.spawn(async move { glance.page(&caller, &query, size, Some(&marker)).await });
        self.next = Next::Pending(task);
        Ok(())
    }

    /// One image more than allowed is asked for, to tell a list that just fits from one too long.
    fn page_size(&self) -> u64 {
        let allowed = self
            .glance
            .call
            .max_images
            .saturating_sub(self.count)
            .saturating_add(1);
        self.glance
            .call
            .page_size
            .min(self.left)
            .min(allowed)
            .max(1)
    }
}

/// The marker `next` names; its host and path are never followed. A `next` without one goes on
/// after the page's last image.
fn marker_of(page: &ImagePage<'_>) -> Option<String> {
    let next = text(page.next?).unwrap_or_default();
    let query = next
        .split_once('?')
        .map(|(_, query)| query)
        .unwrap_or_default();
    url::form_urlencoded::parse(query.as_bytes())
        .find(|(name, _)| name == "marker")
        .map(|(_, marker)| marker.into_owned())
        .or_else(|| text(page.images.last()?.id?).map(std::borrow::Cow::into_owned))
}

#[cfg(test)]
mod tests {
    use super::*;
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

    const CALL: Call = Call {
        timeout: Duration::from_secs(5),
        max_answer: 1 << 20,
        page_size: 10,
        max_images: 100,
    };

    fn glance(call: Call) -> Glance {
        Glance::new(
            upstream::client(upstream::ClientSettings::default()).unwrap(),
            call,
        )
    }

    fn caller(server: &MockServer) -> Caller {
        Caller {
            endpoint: Endpoint::new(&server.uri().parse().unwrap()),
            token: Some(HeaderValue::from_static("secret")),
            request_id: HeaderValue::from_static("req-1"),
            deadline: Instant::now() + Duration::from_secs(10),
            spent: Spent::default(),
        }
    }

    async fn ids(
        server: &MockServer,
        call: Call,
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
            let call = Call {
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
        let call = Call {
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
            assert!(matches!(error, GlanceError::Nonsense(_)), "{next}: {error}");
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
            .and(path("/v2/images/a%2Fb"))
            .and(header("x-auth-token", "secret"))
            .and(header("x-openstack-request-id", "req-1"))
            .respond_with(ResponseTemplate::new(200).set_body_string("{}"))
            .expect(1)
            .mount(&server)
            .await;
        assert_eq!(
            glance(CALL).show(&caller(&server), "a/b").await.unwrap(),
            "{}"
        );
    }

    #[tokio::test]
    async fn ids_no_path_can_carry_are_not_found_without_a_call() {
        let server = MockServer::start().await;
        for id in ["..", ".", ""] {
            let error = glance(CALL).show(&caller(&server), id).await.unwrap_err();
            assert!(matches!(error, GlanceError::NotFound));
        }
        assert!(server.received_requests().await.unwrap().is_empty());
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
        assert!(matches!(error, GlanceError::Unavailable(_)), "{error}");
    }

    #[test]
    fn a_caller_never_shows_its_token() {
        let mut token = HeaderValue::from_static("secret");
        token.set_sensitive(true);
        let caller = Caller {
            endpoint: Endpoint::new(&"http://g".parse().unwrap()),
            token: Some(token),
            request_id: HeaderValue::from_static("req-1"),
            deadline: Instant::now(),
            spent: Spent::default(),
        };
        assert!(!format!("{caller:?}").contains("secret"));
    }
}

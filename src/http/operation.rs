//! One operation of the API: from a settled request to its answer, by way of the cache.

use super::auth::Session;
use super::request_id::Ids;
use super::watch::Seen;
use super::{Front, Hours, body, origin};
use crate::cache::{self, Fetched, Question};
use crate::glance::{Caller, Endpoint, GlanceError};
use crate::nova::json::Json;
use crate::nova::links::{self, LinkBase};
use crate::nova::microversion::Version;
use crate::nova::question::Asked;
use crate::nova::routes::{Api, Operation};
use crate::nova::{self, Answer, ApiError, Request};
use crate::telemetry::metrics::CacheOutcome;
use actix_web::HttpRequest;
use actix_web::web::Payload;
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use std::borrow::Cow;
use std::sync::Arc;
use tokio::time::{Instant, timeout_at};
use tracing::Instrument;

/// A request as it came.
pub(super) struct Work<'r> {
    pub(super) request: &'r HttpRequest,
    pub(super) payload: Payload,
    pub(super) ids: &'r Ids,
    pub(super) seen: &'r Seen,
    pub(super) hours: Hours,
}

/// A request whose token and microversion are settled.
pub(super) struct Call<'r> {
    pub(super) work: Work<'r>,
    pub(super) session: Session<'r>,
    pub(super) version: Version,
    pub(super) api: Api,
    pub(super) project: Option<Cow<'r, str>>,
    pub(super) operation: Operation<'r>,
}

/// Where an admitted call goes, and what the cache is asked for it.
struct Way<'r> {
    endpoint: Cow<'r, Endpoint>,
    scheme: &'static str,
    host: Cow<'r, str>,
    question: Option<Question>,
}

/// An answer, and what the cache did for it where it is on and the operation a read.
type Given = Result<(Answer, Option<CacheOutcome>), ApiError>;

/// How a call is answered.
pub(super) enum Step<'r> {
    /// With what is kept.
    Now(Answer),
    /// After waiting, in a box, so that a kept answer does not carry the room for it about.
    Later(LocalBoxFuture<'r, Given>),
}

impl Front {
    /// Answers a call, at once where the answer is kept.
    pub(super) fn operate<'r>(&'r self, call: Call<'r>) -> Result<Step<'r>, ApiError> {
        body::check_content_type(call.work.request)?;
        if call.operation.action.takes_body() {
            return Ok(Step::Later(Box::pin(self.with_body(call))));
        }
        let way = self.admit(&call)?;
        Ok(match self.kept(&call, &way) {
            Some(body) => Step::Now(Answer::chunks(body)),
            None => Step::Later(Box::pin(self.ask(call, way, Json::Null))),
        })
    }

    async fn with_body(&self, mut call: Call<'_>) -> Given {
        let work = &mut call.work;
        let body = body::read(work.request, &mut work.payload, self.server.max_body);
        let body = body::in_time(body, self.server.body_timeout);
        let body = nova::body::parse(&in_time(work.hours.deadline, body).await?)?;
        let way = self.admit(&call)?;
        self.ask(call, way, body).await
    }

    /// The last checks before anybody is asked.
    fn admit<'r>(&'r self, call: &Call<'r>) -> Result<Way<'r>, ApiError> {
        call.session.check_project(call.project.as_deref())?;
        if !call.operation.served.serves(call.version) {
            return Err(ApiError::Gone);
        }
        let endpoint = call.session.endpoint()?;
        let (scheme, host) = origin::of(call.work.request, &self.server);
        let asked = Asked {
            action: call.operation.action,
            id: &call.operation.id,
            key: &call.operation.key,
            query: call.query(),
            api: call.api,
            project: call.project.as_deref(),
            scheme,
            host: &host,
            endpoint: &endpoint,
        };
        let question = self.question(&call.session, asked)?;
        Ok(Way {
            endpoint,
            scheme,
            host,
            question,
        })
    }

    fn kept(&self, call: &Call<'_>, way: &Way<'_>) -> Option<cache::Body> {
        let question = way.question.as_ref()?;
        self.service.answers.find(question, call.work.hours.started)
    }

    /// Has Glance asked.
    async fn ask(&self, call: Call<'_>, way: Way<'_>, body: Json) -> Given {
        let query = call.query().to_owned();
        let Call { work, session, .. } = call;
        let root = self.root(way.scheme, &way.host);
        let glance = links::glance_root(&self.service.settings, way.endpoint.as_str());
        let action = call.operation.action;
        let request = Request {
            action,
            api: call.api,
            body,
            id: call.operation.id.into_owned(),
            key: call.operation.key.into_owned(),
            query,
            links: LinkBase::new(&root, call.api, call.project.as_deref(), &glance),
            caller: Caller {
                endpoint: way.endpoint.into_owned(),
                token: session.token_header(),
                request_id: work.ids.upstream(),
                deadline: work.hours.deadline,
                spent: work.seen.spent().clone(),
            },
        };
        let answer = self.perform(request, way.question, work.ids);
        let answer = in_time(work.hours.deadline, answer).await;
        if matches!(
            answer,
            Err(ApiError::Glance {
                error: GlanceError::Unauthorized,
                ..
            })
        ) {
            session.refused_by_glance(&self.auth);
            if let Some(scope) = session.scope(&self.auth) {
                self.service.answers.refuse(&scope);
            }
        }
        let shown = self.cached && action.is_read();
        answer.map(|(answer, outcome)| (answer, shown.then_some(outcome)))
    }

    /// What the cache is asked, where it is on and the request is one for it.
    fn question(
        &self,
        session: &Session<'_>,
        asked: Asked<'_>,
    ) -> Result<Option<Question>, ApiError> {
        let scope = self.cached.then(|| session.scope(&self.auth)).flatten();
        scope.map_or(Ok(None), |scope| asked.question(scope))
    }

    /// Has the request answered on the upstream runtime, by way of the cache where there is a
    /// `question` for it.
    async fn perform(
        &self,
        request: Request,
        question: Option<Question>,
        ids: &Ids,
    ) -> Result<(Answer, CacheOutcome), ApiError> {
        let service = Arc::clone(&self.service);
        let task = async move { service.answer(request).await };
        let task = task.instrument(ids.span()).boxed();
        let Some(question) = question else {
            let answer = self.spawner.run(task).await;
            return Ok((
                answer.unwrap_or(Err(ApiError::Internal))?,
                CacheOutcome::Bypass,
            ));
        };
        let fetch = async move {
            task.await.map(|answer| Fetched {
                body: answer.body,
                transitional: answer.transitional,
            })
        }
        .boxed();
        let answers = &self.service.answers;
        let given = answers.fetch(question, &self.spawner, fetch).await;
        let given = given.unwrap_or(Err(ApiError::Internal))?;
        Ok((Answer::chunks(given.body), given.outcome))
    }
}

impl<'r> Call<'r> {
    fn query(&self) -> &'r str {
        self.work.request.uri().query().unwrap_or_default()
    }
}

/// The result of `work`, or a fault at `deadline`.
async fn in_time<T>(
    deadline: Instant,
    work: impl Future<Output = Result<T, ApiError>>,
) -> Result<T, ApiError> {
    timeout_at(deadline, work)
        .await
        .unwrap_or(Err(ApiError::Timeout))
}

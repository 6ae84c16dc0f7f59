//! One operation of the API: from a settled request to its answer, by way of the cache.

use super::auth::Session;
use super::request_id::Ids;
use super::watch::Seen;
use super::{Front, Hours, body, origin};
use crate::cache::{Fetched, Question};
use crate::glance::{Caller, GlanceError};
use crate::nova::json::Json;
use crate::nova::links::{self, LinkBase};
use crate::nova::microversion::Version;
use crate::nova::question::Asked;
use crate::nova::routes::{Action, Api, Operation};
use crate::nova::{self, Answer, ApiError, Request};
use crate::telemetry::metrics::CacheOutcome;
use actix_web::HttpRequest;
use actix_web::web::Payload;
use futures_util::FutureExt as _;
use std::sync::Arc;
use tokio::time::{Instant, timeout_at};
use tracing::Instrument;

/// A request on its way to an operation.
pub(super) struct Work<'r> {
    pub(super) request: &'r HttpRequest,
    pub(super) payload: Payload,
    pub(super) ids: &'r Ids,
    pub(super) seen: &'r Seen,
    pub(super) hours: Hours,
    pub(super) session: Session<'r>,
    pub(super) version: Version,
}

impl Front {
    /// Answers a request whose token and microversion are settled, and says what the cache did.
    pub(super) async fn operate(
        &self,
        work: Work<'_>,
        api: Api,
        project: Option<&str>,
        operation: Operation<'_>,
    ) -> Result<(Answer, Option<CacheOutcome>), ApiError> {
        body::check_content_type(work.request)?;
        let body = match operation.action {
            Action::CreateMetadata | Action::ReplaceMetadata | Action::UpdateMetadataItem => {
                let body = body::read(work.request, work.payload, self.server.max_body);
                let body = body::in_time(body, self.server.body_timeout);
                nova::body::parse(&in_time(work.hours.deadline, body).await?)?
            }
            Action::ListImages
            | Action::DetailImages
            | Action::ShowImage
            | Action::DeleteImage
            | Action::ListMetadata
            | Action::ShowMetadataItem
            | Action::DeleteMetadataItem => Json::Null,
        };
        work.session.check_project(project)?;
        if !operation.served.serves(work.version) {
            return Err(ApiError::Gone);
        }
        let endpoint = work.session.endpoint()?;
        let (scheme, host) = origin::of(work.request, &self.server);
        let query = work.request.uri().query().unwrap_or_default();
        let question = self.question(
            &work.session,
            Asked {
                action: operation.action,
                id: &operation.id,
                key: &operation.key,
                query,
                api,
                project,
                scheme,
                host: &host,
                endpoint: &endpoint,
            },
        )?;
        if let Some(question) = &question
            && let Some(body) = self.service.answers.find(question, work.hours.started)
        {
            return Ok((Answer::chunks(body), Some(CacheOutcome::Hit)));
        }
        let root = self.root(scheme, &host);
        let glance = links::glance_root(&self.service.settings, endpoint.as_str());
        let read = operation.action.is_read();
        let request = Request {
            action: operation.action,
            api,
            body,
            id: operation.id.into_owned(),
            key: operation.key.into_owned(),
            query: query.to_owned(),
            links: LinkBase::new(&root, api, project, &glance),
            caller: Caller {
                endpoint: endpoint.into_owned(),
                token: work.session.token_header(),
                request_id: work.ids.upstream(),
                deadline: work.hours.deadline,
                spent: work.seen.spent().clone(),
            },
        };
        let answer = self.perform(request, question, work.ids);
        let answer = in_time(work.hours.deadline, answer).await;
        if matches!(
            answer,
            Err(ApiError::Glance {
                error: GlanceError::Unauthorized,
                ..
            })
        ) {
            work.session.refused_by_glance(&self.auth);
            if let Some(scope) = work.session.scope(&self.auth) {
                self.service.answers.refuse(&scope);
            }
        }
        let shown = self.cached && read;
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

/// What is not there at once, or a fault at `deadline`. Boxed here and not when it is awaited, so
/// that a request that waits for nothing does not carry the room for it about.
fn in_time<T>(
    deadline: Instant,
    work: impl Future<Output = Result<T, ApiError>>,
) -> impl Future<Output = Result<T, ApiError>> {
    let work = Box::pin(timeout_at(deadline, work));
    async { work.await.unwrap_or(Err(ApiError::Timeout)) }
}

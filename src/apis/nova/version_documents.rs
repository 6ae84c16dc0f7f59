//! The routes that need no token: version documents.

use super::api::NovaApi;
use super::fault::ApiError;
use super::headers::{API_VERSION, NOVA_API_VERSION, NovaHeaders};
use super::labels::VersionLabel;
use super::microversion::{self, Microversion, Negotiation};
use super::routes::ApiVersion;
use super::{list_query, media_type, request_labels, response, versions};
use crate::http::context::RequestContext;
use crate::http::response::Response;
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue};

impl NovaApi {
    /// `GET /`: all versions, or the one that a media type names.
    pub(super) fn versions_document(&self, context: &RequestContext<'_>) -> Response {
        if let Some(api) = media_type::version(context.request.headers()) {
            return self.version_document(context, api);
        }
        let body = versions::all(&self.root_url(context), self.max_microversion());
        self.document(StatusCode::OK, body, &NovaHeaders::None, context)
    }

    /// A path without a version: 300 and the choices, or the version that a media type names.
    pub(super) fn choices_document(&self, context: &RequestContext<'_>, path: &str) -> Response {
        if let Some(api) = media_type::version(context.request.headers()) {
            return self.version_document(context, api);
        }
        let root = self.root_url(context);
        let body = versions::choices(&root, path, self.max_microversion());
        let status = StatusCode::MULTIPLE_CHOICES;
        self.document(status, body, &NovaHeaders::None, context)
    }

    /// `GET /v2.1/` or `GET /v2/`: one version. `/v2.1` negotiates the microversion even here.
    pub(super) fn version_document(
        &self,
        context: &RequestContext<'_>,
        api: ApiVersion,
    ) -> Response {
        let mut headers = NovaHeaders::Ids;
        if let Err(error) = self.negotiate_microversion(context, api, &mut headers) {
            return self.fault(&error, &headers, context.ids);
        }
        let root = self.root_url(context);
        let body = versions::one(&root, api, self.max_microversion());
        self.document(StatusCode::OK, body, &headers, context)
    }

    /// Settles the microversion, and which headers tell it to the client.
    pub(super) fn negotiate_microversion(
        &self,
        context: &RequestContext<'_>,
        api: ApiVersion,
        headers: &mut NovaHeaders,
    ) -> Result<Microversion, ApiError> {
        if api == ApiVersion::V2 {
            context.observer.version(VersionLabel::V2 as usize, None);
            return Ok(Microversion::MIN);
        }
        let max = self.max_microversion();
        let values = |name: HeaderName| {
            let values = context.request.headers().get_all(name);
            values.map(HeaderValue::as_bytes)
        };
        match microversion::negotiate(values(API_VERSION), values(NOVA_API_VERSION), max) {
            Negotiation::Accepted(version) => {
                let family = request_labels::version(api, version) as usize;
                context.observer.version(family, Some(version.numbers()));
                *headers = NovaHeaders::Versioned(version);
                Ok(version)
            }
            Negotiation::OutOfRange(asked) => {
                *headers = NovaHeaders::Asked(asked.clone());
                Err(ApiError::VersionOutOfRange { asked, max })
            }
            Negotiation::Malformed(text) => Err(ApiError::MalformedVersion(text)),
        }
    }

    /// Nova checks content type and query encoding even here.
    fn document(
        &self,
        status: StatusCode,
        body: String,
        headers: &NovaHeaders,
        context: &RequestContext<'_>,
    ) -> Response {
        let checked = if media_type::is_supported_content_type(context.request.headers()) {
            list_query::check_utf8(context.query()).map_err(ApiError::from)
        } else {
            Err(ApiError::UnsupportedContentType)
        };
        match checked {
            Ok(()) => response::document(status, body, headers, context),
            Err(error) => self.fault(&error, headers, context.ids),
        }
    }
}

//! The errors of a request, and the fault that Nova's API has for each.

use super::list_query::QueryError;
use super::metadata_body::BodyError;
use super::microversion::Microversion;
use crate::glance::GlanceError;
use crate::http::auth::{AuthError, EndpointError};
use crate::http::{HttpError, error_log};
use crate::keystone::{self, NoImageEndpoint};
use crate::upstream::runtime::TaskAborted;
use crate::util::python_json;
use http::StatusCode;
use serde_json::json;

/// The message of a removed route and of a missing metadata key.
const NOT_FOUND: &str = "The resource could not be found.";

/// Why a request fails.
#[derive(Debug, Clone)]
pub enum ApiError {
    /// An error of the HTTP layer.
    Http(HttpError),
    /// The token is absent or invalid.
    Unauthorized,
    /// The token has no project.
    TokenWithoutProject,
    /// The requested microversion is malformed.
    MalformedVersion(String),
    /// The requested microversion is out of range.
    VersionOutOfRange {
        /// The text of the request.
        asked: String,
        /// The highest version served.
        max: Microversion,
    },
    /// Nova reads no body of this content type.
    UnsupportedContentType,
    /// The body is not JSON, or fails the operation's schema.
    Body(BodyError),
    /// The image has no such metadata key to delete.
    InvalidMetadataKey,
    /// Glance reserves the metadata key.
    ReservedKey(String),
    /// More metadata items than `nova.metadata_items`.
    MetadataQuotaExceeded,
    /// The project in the path is not the token's.
    ProjectMismatch {
        /// The path's.
        path: String,
        /// The token's.
        token: String,
    },
    /// The microversion is beyond the last one of the route.
    RouteRemoved,
    /// The query string is invalid.
    Query(QueryError),
    /// No such image, or the project may not see it.
    ImageNotFound,
    /// The image has no such metadata key to read.
    MetadataItemNotFound,
    /// A call to Glance failed.
    Glance {
        /// The failure.
        error: GlanceError,
        /// The call.
        operation: GlanceOperation,
    },
    /// Keystone did not answer; the cause goes to the log only.
    KeystoneUnavailable(keystone::Error),
    /// The token's catalog has no image service.
    NoImageEndpoint(NoImageEndpoint),
}

/// The failed call to Glance. The fault depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GlanceOperation {
    /// A list.
    List,
    /// One image.
    Show,
    /// The deletion of an image.
    Delete,
    /// The metadata of this image, read or written.
    Metadata(String),
}

impl From<HttpError> for ApiError {
    fn from(error: HttpError) -> Self {
        Self::Http(error)
    }
}

impl From<AuthError> for ApiError {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::Unauthorized => Self::Unauthorized,
            AuthError::KeystoneUnavailable(error) => Self::KeystoneUnavailable(error),
            AuthError::Timeout => Self::Http(HttpError::Timeout),
            AuthError::Internal => Self::Http(HttpError::Internal),
        }
    }
}

impl From<EndpointError> for ApiError {
    fn from(error: EndpointError) -> Self {
        match error {
            EndpointError::TokenWithoutProject => Self::TokenWithoutProject,
            EndpointError::NotInCatalog(reason) => Self::NoImageEndpoint(reason),
        }
    }
}

impl From<TaskAborted> for ApiError {
    fn from(_: TaskAborted) -> Self {
        Self::Http(HttpError::Internal)
    }
}

impl From<BodyError> for ApiError {
    fn from(error: BodyError) -> Self {
        Self::Body(error)
    }
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        Self::Query(error)
    }
}

/// An error in the form that the client receives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The status line's code.
    pub status: StatusCode,
    /// The value of `message`.
    pub message: String,
    /// `Retry-After`, where waiting helps.
    pub retry_after: Option<String>,
}

impl Fault {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            retry_after: None,
        }
    }

    fn retry(status: StatusCode, message: impl Into<String>, after: Option<String>) -> Self {
        Self {
            status,
            message: message.into(),
            retry_after: after,
        }
    }

    /// The key of the fault's object, by status.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self.status.as_u16() {
            400 => "badRequest",
            401 => "unauthorized",
            403 => "forbidden",
            404 => "itemNotFound",
            409 => "conflictingRequest",
            413 | 429 => "overLimit",
            415 => "badMediaType",
            503 => "serviceUnavailable",
            _ => "computeFault",
        }
    }

    /// The body: `{"<name>": {"code": …, "message": …}}`.
    #[must_use]
    pub fn body(&self) -> String {
        let (code, message) = (self.status.as_u16(), &self.message);
        let fault = match (code, &self.retry_after) {
            (413 | 429, Some(after)) => {
                json!({ "code": code, "message": message, "retryAfter": after })
            }
            _ => json!({ "code": code, "message": message }),
        };
        python_json::to_string(&json!({ self.name(): fault }))
    }
}

/// `Retry-After` in seconds when an upstream service is unavailable.
const RETRY_SECONDS: &str = "5";

impl ApiError {
    /// Nova's fault for this error, or a deviation's where Nova answers 500.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Http(error) => fault_for_http_error(*error),
            Self::Unauthorized => Fault::new(
                StatusCode::UNAUTHORIZED,
                "The request you have made requires authentication.",
            ),
            Self::TokenWithoutProject => Fault::new(
                StatusCode::FORBIDDEN,
                "The token is not scoped to a project; images belong to projects.",
            ),
            Self::RouteRemoved | Self::MetadataItemNotFound => {
                Fault::new(StatusCode::NOT_FOUND, NOT_FOUND)
            }
            Self::MalformedVersion(text) => Fault::new(
                StatusCode::BAD_REQUEST,
                format!(
                    "API Version String {text} is of invalid format. Must be of format \
                     MajorNum.MinorNum."
                ),
            ),
            Self::VersionOutOfRange { asked, max } => Fault::new(
                StatusCode::NOT_ACCEPTABLE,
                format!(
                    "Version {asked} is not supported by the API. Minimum is {} and maximum is \
                     {max}.",
                    Microversion::MIN
                ),
            ),
            Self::UnsupportedContentType => Fault::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "Unsupported Content-Type",
            ),
            Self::Body(error) => Fault::new(StatusCode::BAD_REQUEST, error.to_string()),
            Self::InvalidMetadataKey => Fault::new(StatusCode::NOT_FOUND, "Invalid metadata key"),
            Self::ReservedKey(key) => Fault::new(
                StatusCode::FORBIDDEN,
                format!("The metadata key '{key}' is reserved by the image service."),
            ),
            Self::MetadataQuotaExceeded => {
                Fault::new(StatusCode::FORBIDDEN, "Image metadata limit exceeded")
            }
            Self::ProjectMismatch { path, token } => Fault::new(
                StatusCode::BAD_REQUEST,
                format!(
                    "Malformed request URL: URL's project_id '{path}' doesn't match Context's \
                     project_id '{token}'"
                ),
            ),
            Self::Query(error) => Fault::new(StatusCode::BAD_REQUEST, error.to_string()),
            Self::ImageNotFound => Fault::new(StatusCode::NOT_FOUND, "Image not found."),
            Self::Glance { error, operation } => fault_for_glance_error(error, operation),
            Self::KeystoneUnavailable(_) => Fault::retry(
                StatusCode::SERVICE_UNAVAILABLE,
                "The Keystone service is temporarily unavailable.",
                Some(RETRY_SECONDS.to_owned()),
            ),
            Self::NoImageEndpoint(_) => Fault::new(
                StatusCode::BAD_GATEWAY,
                "The token's catalog has no usable endpoint of the image service.",
            ),
        }
    }

    /// The cause of the failure for the log; `None` where the client is at fault. Limits log an
    /// overload themselves, not once for each request.
    #[must_use]
    pub fn cause(&self) -> Option<String> {
        let fault = self.fault();
        if !fault.status.is_server_error() {
            return None;
        }
        match self {
            Self::Http(HttpError::Overloaded | HttpError::ResponseMemoryFull) => None,
            Self::Http(error @ HttpError::Internal) => Some(error.to_string()),
            Self::Glance { error, .. } => Some(error_log::chain(error)),
            Self::KeystoneUnavailable(error) => Some(error_log::chain(error)),
            Self::NoImageEndpoint(reason) => Some(error_log::chain(reason)),
            _ => Some(fault.message),
        }
    }
}

/// The fault for each error of the HTTP layer.
fn fault_for_http_error(error: HttpError) -> Fault {
    match error {
        HttpError::Overloaded => Fault::retry(
            StatusCode::SERVICE_UNAVAILABLE,
            "Too many requests are being answered.",
            Some(RETRY_SECONDS.to_owned()),
        ),
        HttpError::ResponseMemoryFull => Fault::retry(
            StatusCode::SERVICE_UNAVAILABLE,
            "Too many large responses are being sent.",
            Some(RETRY_SECONDS.to_owned()),
        ),
        HttpError::UriTooLong => Fault::new(
            StatusCode::URI_TOO_LONG,
            "The URI of the request is too long.",
        ),
        HttpError::InvalidHost(_) => Fault::new(
            StatusCode::BAD_REQUEST,
            "The Host header is not a host name or address with an optional port.",
        ),
        HttpError::BodyTimeout => Fault::new(
            StatusCode::REQUEST_TIMEOUT,
            "The body of the request did not arrive in time.",
        ),
        HttpError::BodyTooLarge => {
            Fault::new(StatusCode::PAYLOAD_TOO_LARGE, "Request is too large.")
        }
        HttpError::BodyIncomplete => Fault::new(StatusCode::BAD_REQUEST, "Malformed request body"),
        HttpError::Timeout => Fault::retry(
            StatusCode::SERVICE_UNAVAILABLE,
            "The request could not be answered in time.",
            Some(RETRY_SECONDS.to_owned()),
        ),
        HttpError::Internal => Fault::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "Unexpected API Error. Please contact the administrator.",
        ),
    }
}

/// The fault for each failure of Glance.
fn fault_for_glance_error(error: &GlanceError, operation: &GlanceOperation) -> Fault {
    match (error, operation) {
        (GlanceError::BadRequest(explanation), _) => {
            Fault::new(StatusCode::BAD_REQUEST, format!("HTTP {explanation}"))
        }
        (GlanceError::Unauthorized, _) => ApiError::Unauthorized.fault(),
        (GlanceError::Forbidden(_), GlanceOperation::Delete) => Fault::new(
            StatusCode::FORBIDDEN,
            "You are not allowed to delete the image.",
        ),
        (GlanceError::Forbidden(_), GlanceOperation::Metadata(id)) => Fault::new(
            StatusCode::FORBIDDEN,
            format!("Not authorized for image {id}."),
        ),
        (GlanceError::Forbidden(explanation), GlanceOperation::List | GlanceOperation::Show) => {
            Fault::new(StatusCode::FORBIDDEN, format!("HTTP {explanation}"))
        }
        (
            GlanceError::NotFound,
            GlanceOperation::Show | GlanceOperation::Delete | GlanceOperation::Metadata(_),
        ) => ApiError::ImageNotFound.fault(),
        (GlanceError::Conflict(explanation), _) => {
            Fault::new(StatusCode::CONFLICT, format!("HTTP {explanation}"))
        }
        (
            GlanceError::OverLimit {
                status,
                explanation,
                retry_after,
            },
            _,
        ) => Fault::retry(*status, format!("HTTP {explanation}"), retry_after.clone()),
        (GlanceError::UriTooLong, _) => fault_for_http_error(HttpError::UriTooLong),
        (
            GlanceError::NotSent(_)
            | GlanceError::Interrupted(_)
            | GlanceError::Unavailable(_)
            | GlanceError::ServerError(StatusCode::SERVICE_UNAVAILABLE),
            _,
        ) => Fault::retry(
            StatusCode::SERVICE_UNAVAILABLE,
            "The image service is temporarily unavailable.",
            Some(RETRY_SECONDS.to_owned()),
        ),
        (
            GlanceError::InvalidHttp(_)
            | GlanceError::ServerError(_)
            | GlanceError::InvalidResponse(_),
            _,
        )
        | (GlanceError::NotFound, GlanceOperation::List) => Fault::new(
            StatusCode::BAD_GATEWAY,
            "The image service gave an answer that cannot be used.",
        ),
        (GlanceError::TooManyImages(max), _) => Fault::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!(
                "The list has more than {max} images. Ask for a part of it, with limit and marker."
            ),
        ),
    }
}

//! The readiness probes of Keystone: whether validation works at all, and if not, why.

use http::StatusCode;
use serde::Deserialize;
use thiserror::Error as ThisError;
use tokio::time::Instant;
use url::Url;

use super::catalog::NoImageEndpoint;
use super::client::{ValidationResult, unexpected_status};
use super::error::{Error, Unavailable};
use super::service_token::ServiceToken;
use super::token_cache::ExpiredTokens;
use super::token_validator::TokenValidator;
use crate::upstream::TransportError;

/// Identity's media types name it; those of other services name them.
const IDENTITY_MEDIA_TYPE: &str = "application/vnd.openstack.identity";

/// Why there is no Identity API v3 at `keystone.auth_url`.
#[derive(Debug, Clone, ThisError)]
pub enum NotIdentityV3 {
    /// No response.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The service responds with an error of its own.
    #[error("it answered {0}")]
    Status(u16),
    /// Another service, or a web server.
    #[error("it answered {0} without a version document of the Identity API v3")]
    Document(u16),
}

/// Why the gateway's own token names no image endpoint.
#[derive(Debug, Clone, ThisError)]
pub enum NoOwnEndpoint {
    /// The token could not be validated.
    #[error(transparent)]
    Keystone(#[from] Error),
    /// Its catalog has none.
    #[error(transparent)]
    Catalog(#[from] NoImageEndpoint),
}

impl TokenValidator {
    /// The Identity API's URL, without a version.
    #[must_use]
    pub fn identity_url(&self) -> &Url {
        self.0.client.base()
    }

    /// Whether the gateway validates with credentials of its own.
    #[must_use]
    pub fn has_credentials(&self) -> bool {
        self.0.service.is_some()
    }

    /// Whether Glance's endpoint comes from the catalogs of tokens.
    #[must_use]
    pub fn reads_catalogs(&self) -> bool {
        self.0.client.endpoint_filter().is_some()
    }

    /// Why the last validations all failed, if they did for a reason that an operator must fix.
    #[must_use]
    pub fn persistent_failure(&self) -> Option<String> {
        self.0.recent_outcomes.persistent_failure()
    }

    /// Whether `keystone.auth_url` is the URL of an Identity API v3.
    ///
    /// # Errors
    /// Names the service that is there instead.
    pub async fn check_version_document(&self, deadline: Instant) -> Result<(), NotIdentityV3> {
        let response = self.0.client.version_document(deadline).await?;
        let status = response.status;
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            return Err(NotIdentityV3::Status(status.as_u16()));
        }
        let is_document = matches!(status, StatusCode::OK | StatusCode::MULTIPLE_CHOICES);
        if is_document && describes_identity_v3(&response.body) {
            return Ok(());
        }
        Err(NotIdentityV3::Document(status.as_u16()))
    }

    /// Whether the gateway's own credentials give a token that may validate the tokens of others.
    /// Without credentials there is nothing to check.
    ///
    /// # Errors
    /// Names the missing part: [`Unavailable::CredentialsRefused`] for a wrong user or password,
    /// [`Unavailable::Forbidden`] for a user without the right to validate tokens.
    pub async fn check_credentials(&self, deadline: Instant) -> Result<(), Error> {
        let Some(service) = &self.0.service else {
            return Ok(());
        };
        let own = service.token(&self.0.client, deadline).await?;
        if self.may_validate(&own, deadline).await? {
            return Ok(());
        }
        service.discard(&own);
        let own = service.token(&self.0.client, deadline).await?;
        if self.may_validate(&own, deadline).await? {
            return Ok(());
        }
        Err(service.mark_failed(&own))
    }

    /// False when Keystone does not accept the token itself.
    async fn may_validate(&self, own: &ServiceToken, deadline: Instant) -> Result<bool, Error> {
        let client = &self.0.client;
        let response = client.validate_nothing(&own.header, deadline).await?;
        match response.status {
            StatusCode::UNAUTHORIZED => Ok(false),
            // No token was named, so none was found: the caller may ask.
            StatusCode::OK | StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST => Ok(true),
            status => Err(unexpected_status(status)),
        }
    }

    /// The image endpoint in the catalog of the gateway's own token; `None` without credentials, or
    /// when endpoints are configured.
    ///
    /// # Errors
    /// When there is none, with the reason.
    pub async fn own_image_endpoint(
        &self,
        deadline: Instant,
    ) -> Result<Option<Url>, NoOwnEndpoint> {
        let client = &self.0.client;
        let Some(service) = self.0.service.as_ref().filter(|_| self.reads_catalogs()) else {
            return Ok(None);
        };
        let own = service.token(client, deadline).await?;
        let expired = ExpiredTokens::Rejected;
        let result = client
            .validate(&own.header, &own.header, expired, deadline)
            .await?;
        match result {
            ValidationResult::Accepted(token) => Ok(Some(token.image_endpoint()?.clone())),
            ValidationResult::InvalidToken | ValidationResult::CallerTokenRejected => {
                Err(Error::from(Unavailable::CredentialsRefused).into())
            }
        }
    }
}

/// Whether a body is a version document, or a list of them, with an Identity v3.
fn describes_identity_v3(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Body {
        version: Option<Version>,
        versions: Option<Versions>,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Versions {
        Wrapped { values: Vec<Version> },
        Plain(Vec<Version>),
    }
    #[derive(Deserialize)]
    struct Version {
        id: String,
        #[serde(rename = "media-types", default)]
        media_types: Vec<MediaType>,
    }
    #[derive(Deserialize)]
    struct MediaType {
        #[serde(rename = "type")]
        name: String,
    }
    let Ok(body) = serde_json::from_slice::<Body>(body) else {
        return false;
    };
    let listed = match body.versions {
        Some(Versions::Wrapped { values } | Versions::Plain(values)) => values,
        None => Vec::new(),
    };
    body.version.into_iter().chain(listed).any(|version| {
        let is_v3 = version.id == "v3" || version.id.starts_with("v3.");
        let mut types = version.media_types.iter();
        let names_identity = |kind: &MediaType| kind.name.starts_with(IDENTITY_MEDIA_TYPE);
        is_v3 && (version.media_types.is_empty() || types.any(names_identity))
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case(json!({"version": {"id": "v3.14", "status": "stable", "media-types": [
        {"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}]}}), true)]
    #[case(json!({"versions": {"values": [{"id": "v3.14"}]}}), true)]
    #[case(json!({"versions": [{"id": "v2.0"}, {"id": "v3.0"}]}), true)]
    #[case(json!({"version": {"id": "v2.0"}}), false)]
    #[case(json!({"versions": [{"id": "v3.0", "media-types": [
        {"base": "application/json", "type": "application/vnd.openstack.volume+json;version=3"}]}]}), false)]
    #[case(json!({"versions": [{"id": "v2.16", "status": "CURRENT", "links": []}]}), false)]
    #[case(json!({"error": {"code": 404}}), false)]
    #[case(json!("v3"), false)]
    fn only_a_document_of_identity_v3_counts(
        #[case] document: serde_json::Value,
        #[case] expected: bool,
    ) {
        assert_eq!(
            describes_identity_v3(document.to_string().as_bytes()),
            expected
        );
    }
}

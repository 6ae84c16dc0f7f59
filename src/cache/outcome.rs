//! How the cache took part in a response.

use crate::telemetry::metrics::CacheLabel;

/// Where a response came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheOutcome {
    /// The cache.
    Hit,
    /// Glance; the response is cached unless an error or a write forbids it.
    Miss,
    /// A fetch that another request began.
    Coalesced,
    /// The cache, past the response's time, because Glance failed or was slow.
    Stale,
    /// Glance, past the cache.
    Bypass(NoCacheReason),
}

/// Why the cache had no part in a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NoCacheReason {
    /// The id is not canonical: a write could not invalidate the response.
    IdNotCanonical,
    /// A write of unknown outcome may still change the image.
    WritePending,
    /// The token has no project.
    TokenWithoutProject,
    /// Access rules limit the token: Glance may decide by more than its project and roles.
    AccessRules,
}

impl NoCacheReason {
    /// All reasons.
    pub const ALL: [Self; 4] = [
        Self::IdNotCanonical,
        Self::WritePending,
        Self::TokenWithoutProject,
        Self::AccessRules,
    ];

    /// The word for it in `Cache-Status` and in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::IdNotCanonical => "id-not-canonical",
            Self::WritePending => "write-pending",
            Self::TokenWithoutProject => "token-without-project",
            Self::AccessRules => "access-rules",
        }
    }
}

impl CacheOutcome {
    /// The value of the label in metrics and in the access log.
    #[must_use]
    pub const fn label(self) -> CacheLabel {
        match self {
            Self::Hit => CacheLabel::Hit,
            Self::Miss => CacheLabel::Miss,
            Self::Coalesced => CacheLabel::Coalesced,
            Self::Stale => CacheLabel::Stale,
            Self::Bypass(_) => CacheLabel::Bypass,
        }
    }
}

//! Metrics of the token cache.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    outcome: &'static str,
}

/// The counters of the token cache. Clones count together.
#[derive(Debug, Clone)]
pub struct TokenMetrics {
    /// Lookups of a token known to be good.
    pub hits: Counter,
    /// Lookups of a token that Keystone had to validate.
    pub misses: Counter,
    /// Lookups of a token known to be refused, and of what can be no token.
    pub refused: Counter,
    /// Validations by Keystone.
    pub validations: Counter,
    lookups: Family<Labels, Counter>,
}

impl Default for TokenMetrics {
    fn default() -> Self {
        let lookups = Family::<Labels, Counter>::default();
        let of = |outcome| lookups.get_or_create_owned(&Labels { outcome });
        Self {
            hits: of("hit"),
            misses: of("miss"),
            refused: of("refused"),
            validations: Counter::default(),
            lookups,
        }
    }
}

impl TokenMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "token_cache_lookups",
            "Lookups in the token cache",
            self.lookups.clone(),
        );
        registry.register(
            "token_validations",
            "Token validations by Keystone",
            self.validations.clone(),
        );
    }
}

//! `[keystone]`
use super::Problem;
use serde::{Deserialize, Serialize};
use url::Url;
/// Settings
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Keystone {
    /// url
    pub url: Option<Url>,
    /// public
    pub public_url: Option<Url>,
}
impl Keystone {
    /// What is wrong with this section.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        Vec::new()
    }
}

//! Glance's endpoint in a token's service catalog.

use serde::Deserialize;
use url::Url;

use crate::config::Interface;
use crate::util::endpoint_url::without_version;

/// The service type Glance is registered under.
const SERVICE: &str = "image";

/// One service of a catalog, as Keystone writes it.
#[derive(Debug, Deserialize)]
pub(super) struct CatalogService {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    endpoints: Vec<Endpoint>,
}

#[derive(Debug, Deserialize)]
struct Endpoint {
    interface: Option<String>,
    region_id: Option<String>,
    region: Option<String>,
    url: Option<String>,
}

impl Endpoint {
    /// Older catalogs call `region_id` `region`.
    fn region(&self) -> Option<&str> {
        self.region_id.as_deref().or(self.region.as_deref())
    }
}

/// The endpoint to choose from a catalog.
#[derive(Debug, Clone)]
pub(super) struct EndpointFilter {
    pub(super) region: Option<String>,
    pub(super) interface: Interface,
}

/// Why a token's catalog gives no image endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoImageEndpoint {
    /// Tokens are validated without their catalogs, since `glance.endpoints` is set.
    #[error("tokens are validated without their catalogs")]
    NotRequested,
    /// The token has no catalog, as an unscoped one has none.
    #[error("the token has no catalog")]
    NoCatalog,
    /// The catalog has no service of type `image`.
    #[error("the catalog has no service of type image")]
    NoService,
    /// The image service has no endpoint in the region and on the interface wanted.
    #[error("the image service has no endpoint in keystone.region_name on keystone.interface")]
    NoMatch,
    /// The endpoint is no http or https URL.
    #[error("the image service's endpoint is not an http or https URL")]
    NotAUrl,
}

impl EndpointFilter {
    /// The first matching endpoint, without its version, as clients choose it.
    pub(super) fn image_endpoint(
        &self,
        catalog: &[CatalogService],
    ) -> Result<Url, NoImageEndpoint> {
        let mut services = catalog
            .iter()
            .filter(|service| service.kind == SERVICE)
            .peekable();
        if services.peek().is_none() {
            return Err(NoImageEndpoint::NoService);
        }
        let url = services
            .flat_map(|service| &service.endpoints)
            .filter(|endpoint| self.matches(endpoint))
            .find_map(|endpoint| endpoint.url.as_deref())
            .ok_or(NoImageEndpoint::NoMatch)?;
        unversioned(url).ok_or(NoImageEndpoint::NotAUrl)
    }

    fn matches(&self, endpoint: &Endpoint) -> bool {
        let interface = endpoint.interface.as_deref().map(without_url_suffix);
        interface == Some(self.interface.as_str())
            && self
                .region
                .as_deref()
                .is_none_or(|region| endpoint.region() == Some(region))
    }
}

/// `publicURL` is how catalogs of the Identity API v2 spelled `public`; some still do.
fn without_url_suffix(interface: &str) -> &str {
    interface.strip_suffix("URL").unwrap_or(interface)
}

/// An endpoint's URL without its version; `None` when it is no plain http or https URL.
fn unversioned(url: &str) -> Option<Url> {
    let mut url = Url::parse(url.trim()).ok()?;
    let plain = matches!(url.scheme(), "http" | "https")
        && url.username().is_empty()
        && url.password().is_none();
    url.set_query(None);
    url.set_fragment(None);
    plain.then(|| without_version(url))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn catalog(json: serde_json::Value) -> Vec<CatalogService> {
        serde_json::from_value(json).unwrap()
    }

    fn endpoint_filter(region: Option<&str>, interface: Interface) -> EndpointFilter {
        EndpointFilter {
            region: region.map(str::to_owned),
            interface,
        }
    }

    fn two_regions() -> Vec<CatalogService> {
        catalog(json!([
            {"type": "compute", "name": "nova", "id": "1", "endpoints": [
                {"interface": "public", "region_id": "One", "region": "One", "url": "http://nova"},
            ]},
            {"type": "image", "name": "glance", "id": "2", "endpoints": [
                {"interface": "internal", "region_id": "One", "url": "http://one-internal:9292/v2"},
                {"interface": "public", "region_id": "One", "url": "https://one/image/v2/"},
                {"interface": "publicURL", "region": "Two", "url": "http://two:9292"},
                {"interface": "admin", "region": null, "url": null},
            ]},
        ]))
    }

    #[rstest]
    #[case(None, Interface::Public, Ok("https://one/image"))]
    #[case(Some("One"), Interface::Internal, Ok("http://one-internal:9292/"))]
    #[case(Some("Two"), Interface::Public, Ok("http://two:9292/"))]
    #[case(Some("Two"), Interface::Internal, Err(NoImageEndpoint::NoMatch))]
    #[case(Some("two"), Interface::Public, Err(NoImageEndpoint::NoMatch))]
    #[case(None, Interface::Admin, Err(NoImageEndpoint::NoMatch))]
    fn the_region_and_the_interface_decide(
        #[case] region: Option<&str>,
        #[case] interface: Interface,
        #[case] expected: Result<&str, NoImageEndpoint>,
    ) {
        let found = endpoint_filter(region, interface).image_endpoint(&two_regions());
        assert_eq!(
            found.as_ref().map(Url::as_str).map_err(|why| *why),
            expected
        );
    }

    #[test]
    fn a_catalog_without_an_image_service_says_so() {
        let nothing = endpoint_filter(None, Interface::Public).image_endpoint(&catalog(json!([])));
        assert_eq!(nothing, Err(NoImageEndpoint::NoService));
    }

    #[rstest]
    #[case("http://g:9292", Some("http://g:9292/"))]
    #[case("http://g:9292/", Some("http://g:9292/"))]
    #[case("http://g:9292/v2", Some("http://g:9292/"))]
    #[case("http://g:9292/v2.16/", Some("http://g:9292/"))]
    #[case("http://g/image", Some("http://g/image"))]
    #[case("http://g/image//v1//", Some("http://g/image"))]
    #[case("http://g/v2image", Some("http://g/v2image"))]
    #[case("http://g/v", Some("http://g/v"))]
    #[case("http://g/v2.", Some("http://g/v2."))]
    #[case("http://g/v2/images", Some("http://g/v2/images"))]
    #[case("ftp://g/v2", None)]
    #[case("http://user:secret@g/v2", None)]
    #[case("g:9292", None)]
    #[case("", None)]
    fn only_a_version_at_the_end_is_stripped(#[case] url: &str, #[case] expected: Option<&str>) {
        assert_eq!(unversioned(url).as_ref().map(Url::as_str), expected);
    }
}

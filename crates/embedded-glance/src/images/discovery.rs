//! `/v2/info`: what the service can do. Also the operations of `stage` and `import`, which no method
//! of this site has.

use serde_json::json;

use super::{Response, parse_body};
use crate::data::DataDir;
use crate::error::Fault;
use crate::identity::Identity;
use crate::render::STORE;

/// `GET /v2/info/import`
pub(crate) fn import_methods() -> Result<Response, Fault> {
    let methods = json!({
        "description": "Import methods available.",
        "type": "array",
        "value": [],
    });
    Response::json(200, &json!({ "import-methods": methods }))
}

/// `GET /v2/info/stores`
pub(crate) fn stores() -> Result<Response, Fault> {
    Response::json(200, &json!({"stores": [{"id": STORE, "default": "true"}]}))
}

/// `GET /v2/info/stores/detail`
pub(crate) fn stores_detail(caller: &Identity, data: &DataDir) -> Result<Response, Fault> {
    if !caller.is_admin() {
        return Err(Fault::not_authorized_to("stores_info_detail"));
    }
    let store = json!({
        "id": STORE,
        "default": "true",
        "type": "file",
        "properties": {
            "data_dir": data.root().to_string_lossy(),
            "chunk_size": 65536,
            "thin_provisioning": false,
        },
        "weight": 0,
    });
    Response::json(200, &json!({"stores": [store]}))
}

/// `GET /v2/info/usage`: nothing has a limit.
pub(crate) fn usage() -> Result<Response, Fault> {
    Response::json(200, &json!({"usage": {}}))
}

/// `PUT /v2/images/{id}/stage`
pub(crate) fn stage() -> Fault {
    Fault::not_found("'glance-direct' method is not available at this site.")
}

/// `POST /v2/images/{id}/import`: the body is checked before the image is looked up.
pub(crate) fn import(body: &[u8]) -> Result<Response, Fault> {
    let body = parse_body(body)?;
    // What is no object breaks Glance.
    let body = body.as_object().ok_or_else(Fault::internal)?;
    let Some(method) = body.get("method") else {
        return Err(Fault::bad_request(
            "Import request requires a 'method' field.",
        ));
    };
    let method = method.as_object().ok_or_else(Fault::internal)?;
    let Some(name) = method.get("name") else {
        return Err(Fault::bad_request(
            "Import request requires a 'name' field.",
        ));
    };
    let name = crate::schema::text(name);
    Err(Fault::bad_request(format!(
        "Unknown import method name '{name}'."
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("", "Body expected in request.")]
    #[case("{}", "Import request requires a 'method' field.")]
    #[case(r#"{"method": {}}"#, "Import request requires a 'name' field.")]
    #[case(r#"{"method": {"name": "x"}}"#, "Unknown import method name 'x'.")]
    #[case(r#"{"method": {"name": null}}"#, "Unknown import method name 'None'.")]
    fn no_import_method_is_known(#[case] body: &str, #[case] reason: &str) {
        assert_eq!(
            import(body.as_bytes()).unwrap_err(),
            Fault::bad_request(reason)
        );
    }
}

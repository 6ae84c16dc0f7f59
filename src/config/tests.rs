//! What an operator gets for what they wrote.

use super::*;
use rstest::rstest;
use std::io::Write;

fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(k, v)| (format!("NOVA_IMAGE_PROXY__{k}"), (*v).to_owned()))
        .collect()
}

fn loaded(pairs: &[(&str, &str)]) -> Settings {
    load(None, env(pairs)).unwrap()
}

fn refused(pairs: &[(&str, &str)]) -> String {
    load(None, env(pairs)).unwrap_err().to_string()
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[test]
fn with_nothing_set_it_is_open_on_loopback_with_an_embedded_glance() {
    let settings = loaded(&[]);
    assert_eq!(settings.auth.mode, Some(AuthMode::None));
    assert_eq!(settings.glance.mode, Some(GlanceMode::Embedded));
    assert!(settings.server.listen.ip().is_loopback());
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_the_defaults() {
    let file = file("[server]\nlisten = \"127.0.0.1:1\"\nworkers = 3\n");
    let settings = load(Some(file.path()), env(&[("SERVER__WORKERS", "5")])).unwrap();
    assert_eq!(settings.server.listen.port(), 1);
    assert_eq!(settings.server.workers, 5);
    assert_eq!(settings.server.max_body, 114_688);
}

#[test]
fn lists_have_commas_and_durations_have_units() {
    let settings = loaded(&[
        ("SERVER__TRUSTED_PROXIES", "127.0.0.1, 10.0.0.0/8,::1"),
        ("GLANCE__ENDPOINTS", "http://a:9292,http://b:9292/v2"),
        ("AUTH__MODE", "passthrough"),
        ("GLANCE__TIMEOUT", "1500ms"),
    ]);
    assert_eq!(settings.server.trusted_proxies.len(), 3);
    assert_eq!(settings.glance.endpoints.len(), 2);
    assert_eq!(settings.glance.timeout.as_millis(), 1500);
}

#[rstest]
#[case(&[("KEYSTONE__AUTH_URL", "http://k:5000/v3")], AuthMode::Keystone)]
#[case(&[("KEYSTONE__AUTH_URL", "http://k"), ("GLANCE__ENDPOINTS", "http://g")], AuthMode::Keystone)]
fn a_cloud_in_the_settings_means_an_external_glance(
    #[case] pairs: &[(&str, &str)],
    #[case] mode: AuthMode,
) {
    let settings = loaded(pairs);
    assert_eq!(settings.auth.mode, Some(mode));
    assert_eq!(settings.glance.mode, Some(GlanceMode::External));
}

#[rstest]
#[case::forgotten_mode(&[("GLANCE__ENDPOINTS", "http://g:9292")], "auth.mode: must be set")]
#[case::forgotten_keystone(&[("AUTH__MODE", "keystone")], "keystone.auth_url: must be set")]
#[case::forgotten_glance(&[("AUTH__MODE", "passthrough")], "glance.endpoints: must name a Glance")]
#[case::open_to_the_world(&[("SERVER__LISTEN", "0.0.0.0:80")],
    "server.listen (from the environment): must be a loopback address")]
#[case::wrong_word(&[("AUTH__MODE", "kerberos")], "auth.mode (from the environment)")]
#[case::wrong_number(&[("SERVER__WORKERS", "many")], "server.workers (from the environment)")]
#[case::wrong_address(&[("SERVER__LISTEN", "here")], "server.listen (from the environment)")]
#[case::no_admin_address(&[("ADMIN__LISTEN", "on")],
    "admin.listen (from the environment): must be an address and port")]
#[case::one_address_for_both(&[("ADMIN__LISTEN", "127.0.0.1:8774")],
    "admin.listen (from the environment): must be another address")]
#[case::wrong_duration(&[("GLANCE__TIMEOUT", "soon")], "glance.timeout (from the environment)")]
#[case::wrong_network(&[("SERVER__TRUSTED_PROXIES", "127.0.0.1,x")], "`x`: must be an IP address")]
#[case::unknown_key(&[("SERVER__PORT", "1")], "unknown field `port`")]
#[case::unknown_section(&[("SERVICE__PORT", "1")], "unknown field `service`")]
#[case::url_with_password(&[("GLANCE__ENDPOINTS", "http://u:p@g"), ("AUTH__MODE", "none")],
    "glance.endpoints (from the environment): must be an http:// or https:// URL")]
#[case::page_too_large(&[("GLANCE__PAGE_SIZE", "1001")], "must be from 1 to 1000")]
#[case::no_calls(&[("GLANCE__MAX_IN_FLIGHT", "0")], "glance.max_in_flight (from the environment): must be from 1 to 10000")]
#[case::too_many_retries(&[("GLANCE__RETRIES", "11")], "must be from 0 to 10")]
#[case::ejected_at_once(&[("GLANCE__EJECT_AFTER", "0")], "must be from 1 to 1000")]
#[case::ejection_bound(&[("GLANCE__EJECT_AT_MOST", "1s")], "must not be shorter than glance.eject_for")]
#[case::version_too_low(&[("NOVA__MAX_MICROVERSION", "2.0")], "nova.max_microversion")]
#[case::no_version(&[("NOVA__MAX_MICROVERSION", "latest")], "nova.max_microversion")]
#[case::embedded_and_endpoint(
    &[("GLANCE__MODE", "embedded"), ("GLANCE__ENDPOINTS", "http://g"), ("AUTH__MODE", "none")],
    "glance.endpoints (from the environment): must be empty")]
#[case::embedded_passthrough(&[("GLANCE__MODE", "embedded"), ("AUTH__MODE", "passthrough")],
    "glance.mode (from the environment)")]
fn a_mistake_is_named_with_its_source(#[case] pairs: &[(&str, &str)], #[case] message: &str) {
    let error = refused(pairs);
    assert!(error.contains(message), "{error}");
}

#[test]
fn a_mistake_in_the_file_names_the_file() {
    let file = file("[server]\nworkers = \"many\"\n");
    let error = load(Some(file.path()), Vec::new()).unwrap_err().to_string();
    let name = file.path().file_name().unwrap().to_str().unwrap();
    assert!(
        error.starts_with("server.workers (from ") && error.contains(name),
        "{error}"
    );
}

#[test]
fn a_missing_file_is_an_error() {
    let error = load(Some(Path::new("/nonexistent.toml")), Vec::new()).unwrap_err();
    assert!(error.to_string().contains("nonexistent.toml"), "{error}");
}

#[test]
fn the_admin_port_is_on_loopback_and_can_be_off() {
    assert!(loaded(&[]).admin.listen.unwrap().ip().is_loopback());
    let off = loaded(&[("ADMIN__LISTEN", "off")]);
    assert_eq!(off.admin.listen, None);
    let shown = serde_json::to_value(off).unwrap();
    assert_eq!(shown["admin"]["listen"], "off");
}

#[test]
fn embedded_by_name_goes_with_keystone() {
    let settings = loaded(&[
        ("GLANCE__MODE", "embedded"),
        ("KEYSTONE__AUTH_URL", "http://k:5000"),
    ]);
    assert_eq!(settings.glance.mode, Some(GlanceMode::Embedded));
}

/// Every key of every section, with its default: what is in force with no settings at all is what
/// the example file says, so neither can change alone.
#[test]
fn the_example_file_says_what_the_defaults_are() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/gateway.toml");
    let written = load(Some(&example), Vec::new()).unwrap();
    assert_eq!(
        serde_json::to_value(written).unwrap(),
        serde_json::to_value(loaded(&[])).unwrap()
    );
    let text = std::fs::read_to_string(example).unwrap();
    let defaults = serde_json::to_value(loaded(&[])).unwrap();
    for (section, keys) in defaults.as_object().unwrap() {
        assert!(text.contains(&format!("[{section}]")), "{section}");
        for key in keys.as_object().unwrap().keys() {
            let named =
                text.contains(&format!("\n{key} = ")) || text.contains(&format!("# {key} = "));
            assert!(
                named || key.ends_with("_domain_id") || SECRETS.contains(&key.as_str()),
                "{key}"
            );
        }
    }
}

/// Shown in the example by their `_file` twins.
const SECRETS: [&str; 2] = ["password", "application_credential_secret"];

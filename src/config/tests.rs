//! What is in force, or refused, for what is written.

use super::*;
use rstest::rstest;
use std::io::Write as _;
use std::path::{Path, PathBuf};

fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(k, v)| (format!("NOVA_IMAGE_PROXY__{k}"), (*v).to_owned()))
        .collect()
}

fn loaded(pairs: &[(&str, &str)]) -> Settings {
    load(&[], env(pairs)).unwrap()
}

fn refused(pairs: &[(&str, &str)]) -> String {
    load(&[], env(pairs)).unwrap_err().to_string()
}

/// Files with these texts, for as long as they are not dropped.
fn files<const N: usize>(texts: [&str; N]) -> (Vec<PathBuf>, [tempfile::NamedTempFile; N]) {
    let files = texts.map(|text| {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    });
    let paths = files.iter().map(|file| file.path().to_owned()).collect();
    (paths, files)
}

/// The two modes, which have no defaults beside a file.
const MODES: [(&str, &str); 2] = [("AUTH__MODE", "none"), ("GLANCE__MODE", "embedded")];

#[test]
fn with_nothing_set_it_is_open_on_loopback_with_an_embedded_glance() {
    let settings = loaded(&[]);
    assert_eq!(settings.auth.mode, Some(AuthMode::None));
    assert_eq!(settings.glance.mode, Some(GlanceMode::Embedded));
    assert!(settings.server.listen.ip().is_loopback());
}

#[test]
fn settings_that_name_no_cloud_leave_the_samples() {
    let settings = loaded(&[
        ("SERVER__WORKERS", "3"),
        ("CACHE__ENABLED", "false"),
        ("EMBEDDED__SAMPLE_IMAGES", "true"),
        ("GLANCE__ENDPOINTS", ""),
    ]);
    assert_eq!(settings.glance.mode, Some(GlanceMode::Embedded));
}

#[rstest]
#[case::any_key_of_glance(&[("GLANCE__TIMEOUT", "7s")], &["auth.mode", "glance.mode"])]
#[case::any_key_of_keystone(&[("KEYSTONE__TIMEOUT", "7s")], &["auth.mode", "glance.mode"])]
#[case::any_key_of_auth(&[("AUTH__TOKEN_CACHE_TIME", "7s")], &["auth.mode", "glance.mode"])]
#[case::open_by_name(&[("AUTH__MODE", "none")], &["glance.mode"])]
#[case::embedded_by_name(&[("GLANCE__MODE", "embedded")], &["auth.mode"])]
#[case::external_by_name(&[("GLANCE__MODE", "external")], &["auth.mode"])]
fn a_word_about_a_cloud_rules_the_samples_out(
    #[case] pairs: &[(&str, &str)],
    #[case] unset: &[&str],
) {
    let error = refused(pairs);
    let lines: Vec<_> = error.lines().collect();
    assert_eq!(lines.len(), unset.len(), "{error}");
    for (line, key) in lines.iter().zip(unset) {
        assert!(line.starts_with(&format!("{key}: must be set")), "{error}");
    }
}

#[rstest]
#[case::empty("")]
#[case::without_a_cloud("[server]\nworkers = 3\n")]
fn a_file_rules_the_samples_out(#[case] text: &str) {
    let (paths, _files) = files([text]);
    let error = load(&paths, Vec::new()).unwrap_err().to_string();
    assert!(error.contains("auth.mode: must be set"), "{error}");
    assert!(error.contains("glance.mode: must be set"), "{error}");
    assert!(load(&paths, env(&MODES)).is_ok());
}

#[test]
fn the_environment_wins_over_the_files_and_the_files_over_the_defaults() {
    let (paths, _files) = files(["[server]\nlisten = \"127.0.0.1:1\"\nworkers = 3\n"]);
    let environment = env(&[&MODES[..], &[("SERVER__WORKERS", "5")]].concat());
    let settings = load(&paths, environment).unwrap();
    assert_eq!(settings.server.listen.port(), 1);
    assert_eq!(settings.server.workers, 5);
    assert_eq!(settings.server.max_body, 114_688);
}

#[test]
fn a_later_file_wins_key_by_key() {
    let first = "[server]\nworkers = 3\nbacklog = 7\ntrusted_proxies = [\"10.0.0.1\"]\n";
    let second = "[server]\nworkers = 4\ntrusted_proxies = []\n[nova]\nmax_limit = 9\n";
    let (mut paths, _files) = files([first, second]);
    let settings = load(&paths, env(&MODES)).unwrap();
    assert_eq!((settings.server.workers, settings.server.backlog), (4, 7));
    assert_eq!(settings.server.trusted_proxies, []);
    assert_eq!(settings.nova.max_limit, 9);
    paths.reverse();
    let settings = load(&paths, env(&MODES)).unwrap();
    assert_eq!((settings.server.workers, settings.server.backlog), (3, 7));
    assert_eq!(settings.server.trusted_proxies.len(), 1);
}

#[test]
fn a_mistake_names_its_own_file() {
    let (paths, _files) = files(["[server]\nworkers = \"many\"\n", "[server]\nbacklog = 7\n"]);
    let error = load(&paths, Vec::new()).unwrap_err().to_string();
    let expected = format!("server.workers (from {}): found string", paths[0].display());
    assert!(error.starts_with(&expected), "{error}");
    let (paths, _files) = files(["[server]\nworkers = 3\n", "[server]\nbacklog = 0\n"]);
    let error = load(&paths, env(&MODES)).unwrap_err().to_string();
    let expected = format!("server.backlog (from {}): must be", paths[1].display());
    assert!(error.starts_with(&expected), "{error}");
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
#[case::forgotten_endpoint(&[("AUTH__MODE", "none"), ("GLANCE__MODE", "external")],
    "glance.endpoints: must name a Glance")]
#[case::open_to_the_world(&[("SERVER__LISTEN", "0.0.0.0:80")],
    "server.listen (from the environment): must be a loopback address")]
#[case::wrong_word(&[("AUTH__MODE", "kerberos")],
    "auth.mode (from the environment): `kerberos` is not one of keystone, passthrough, none")]
#[case::wrong_number(&[("SERVER__WORKERS", "many")], "server.workers (from the environment)")]
#[case::wrong_address(&[("SERVER__LISTEN", "here")],
    "server.listen (from the environment): must be an address and port, such as 127.0.0.1:8774")]
#[case::wrong_size(&[("SERVER__MAX_BODY", "big")], "`big` is not a size, such as 64MiB")]
#[case::wrong_level(&[("LOG__LEVEL", "loud")], "log.level (from the environment): must be error, ")]
#[case::no_admin_address(&[("ADMIN__LISTEN", "on")],
    "admin.listen (from the environment): must be an address and port")]
#[case::one_address_for_both(&[("ADMIN__LISTEN", "127.0.0.1:8774")],
    "admin.listen (from the environment): must be another address")]
#[case::no_image_address(&[("IMAGE__LISTEN", "on")],
    "image.listen (from the environment): must be an address and port")]
#[case::one_address_for_both_apis(&[("IMAGE__LISTEN", "127.0.0.1:8774")],
    "image.listen (from the environment): must be another address than server.listen")]
#[case::images_open_to_the_world(&[("IMAGE__LISTEN", "0.0.0.0:9292")],
    "image.listen (from the environment): must be a loopback address")]
#[case::images_of_catalogs(&[("KEYSTONE__AUTH_URL", "http://k"), ("IMAGE__LISTEN", "127.0.0.1:9292")],
    "image.listen (from the environment): must be off without glance.endpoints")]
#[case::image_prefix(&[("IMAGE__PATH_PREFIX", "image")],
    "image.path_prefix (from the environment): must be empty or a path")]
#[case::wrong_duration(&[("GLANCE__TIMEOUT", "soon")],
    "glance.timeout (from the environment): `soon` is not a duration with a unit, such as 30s")]
#[case::no_unit(&[("GLANCE__TIMEOUT", "30")], "`30` is not a duration with a unit, such as 30s")]
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

#[rstest]
#[case::missing(Path::new("/nonexistent.toml"), "/nonexistent.toml: No such file")]
#[case::a_folder(Path::new("/tmp"), "cannot read the settings file /tmp")]
#[case::without_its_ending(
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/config/gateway")),
    "config/gateway: No such file"
)]
fn a_file_that_cannot_be_read_is_an_error(#[case] path: &Path, #[case] message: &str) {
    let error = load(&[path.to_owned()], Vec::new())
        .unwrap_err()
        .to_string();
    assert!(error.contains(message), "{error}");
}

#[test]
fn a_file_that_is_not_toml_is_an_error_with_the_line() {
    let (paths, _files) = files(["[server\n"]);
    let error = load(&paths, Vec::new()).unwrap_err().to_string();
    assert!(error.contains(&paths[0].display().to_string()), "{error}");
    assert!(error.contains("line 1"), "{error}");
}

/// As a number, 2.90 would be 2.9, which is another microversion.
#[rstest]
#[case("2.90", false)]
#[case("290", false)]
#[case("\"2.90\"", true)]
fn a_microversion_is_a_text(#[case] value: &str, #[case] good: bool) {
    let (paths, _files) = files([&format!("[nova]\nmax_microversion = {value}\n")]);
    match load(&paths, env(&MODES)) {
        Ok(settings) => assert!(good && settings.nova.max_microversion == Some(90)),
        Err(error) => {
            let error = error.to_string();
            assert!(
                !good && error.contains("a text such as \"2.90\""),
                "{error}"
            );
        }
    }
}

#[test]
fn a_secret_file_that_cannot_be_read_is_an_error() {
    let pairs = [
        ("KEYSTONE__AUTH_URL", "http://k:5000"),
        ("KEYSTONE__USERNAME", "u"),
        ("KEYSTONE__PROJECT_NAME", "p"),
        ("KEYSTONE__PASSWORD_FILE", "/nonexistent"),
    ];
    let error = refused(&pairs);
    let expected =
        "keystone.password_file (from the environment): must be a file with a secret: No";
    assert!(error.starts_with(expected), "{error}");
}

/// No number or time of the settings is without an upper bound: a deadline that far away could not
/// be computed, and so much memory is not there.
#[test]
fn every_number_and_every_time_is_bounded() {
    let defaults = serde_json::to_value(Settings::default()).unwrap();
    let mut checked = 0;
    for (section, keys) in defaults.as_object().unwrap() {
        for (key, default) in keys.as_object().unwrap() {
            let too_much = match default {
                serde_json::Value::Number(_) => "9223372036854775807",
                serde_json::Value::String(text) if humantime::parse_duration(text).is_ok() => {
                    "9223372036854775807s"
                }
                _ => continue,
            };
            let name = format!("{section}__{key}").to_uppercase();
            let error = refused(&[("AUTH__MODE", "keystone"), (&name, too_much)]);
            let named = error.contains(&format!("{section}.{key} (from the environment): "));
            assert!(named, "{section}.{key} = {too_much}: {error}");
            checked += 1;
        }
    }
    assert!(checked > 25, "{checked}");
}

#[rstest]
#[case::bound("0.0.0.0:80", false)]
#[case::bound("[::]:80", false)]
#[case::mapped("[::ffff:127.0.0.1]:80", true)]
#[case::loopback("[::1]:80", true)]
fn without_tokens_only_loopback_is_listened_on(#[case] address: &str, #[case] good: bool) {
    let address = address.parse().unwrap();
    let settings = loaded(&[]);
    assert_eq!(
        settings.check_listener("server.listen", address).is_none(),
        good
    );
    let meant = [&MODES[..], &[("AUTH__ALLOW_ANONYMOUS", "true")]].concat();
    assert_eq!(
        loaded(&meant).check_listener("server.listen", address),
        None
    );
    let keystone = loaded(&[("KEYSTONE__AUTH_URL", "http://k")]);
    assert_eq!(keystone.check_listener("server.listen", address), None);
}

#[test]
fn sizes_have_units_and_localhost_is_an_address() {
    let settings = loaded(&[
        ("CACHE__MAX_BYTES", "64MiB"),
        ("SERVER__MAX_BODY", "200000"),
        ("SERVER__LISTEN", "localhost:8775"),
    ]);
    assert_eq!(settings.cache.max_bytes, 64 << 20);
    assert_eq!(settings.server.max_body, 200_000);
    assert_eq!(settings.server.listen, "127.0.0.1:8775".parse().unwrap());
}

#[rstest]
#[case::embedded(&[], "127.0.0.1:9292")]
#[case::embedded_and_off(&[("IMAGE__LISTEN", "off")], "off")]
#[case::embedded_elsewhere(&[("IMAGE__LISTEN", "127.0.0.1:0")], "127.0.0.1:0")]
#[case::external(&[("KEYSTONE__AUTH_URL", "http://k"), ("GLANCE__ENDPOINTS", "http://g")], "off")]
#[case::external_and_on(
    &[("KEYSTONE__AUTH_URL", "http://k"), ("GLANCE__ENDPOINTS", "http://g"), ("IMAGE__LISTEN", "0.0.0.0:9292")],
    "0.0.0.0:9292"
)]
#[case::catalog(&[("KEYSTONE__AUTH_URL", "http://k")], "off")]
fn the_image_listener_is_on_by_itself_with_the_embedded_glance_alone(
    #[case] pairs: &[(&str, &str)],
    #[case] listen: &str,
) {
    let shown = serde_json::to_value(loaded(pairs)).unwrap();
    assert_eq!(shown["image"]["listen"], listen);
}

#[test]
fn the_admin_listener_is_on_loopback_and_can_be_off() {
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
    let written = load(std::slice::from_ref(&example), env(&MODES)).unwrap();
    let defaults = serde_json::to_value(loaded(&[])).unwrap();
    assert_eq!(serde_json::to_value(written).unwrap(), defaults);
    let text = std::fs::read_to_string(example).unwrap();
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

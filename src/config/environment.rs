//! The environment variables that hold settings, and those that only look so.

use super::{LoadError, Settings};
use std::ffi::OsString;

/// The settings' variables are `NOVA_IMAGE_PROXY__SECTION__KEY`.
pub(super) const PREFIX: &str = "NOVA_IMAGE_PROXY";

/// The variable that names the settings file of a process without one in its arguments.
pub const FILE_VARIABLE: &str = "NOVA_IMAGE_PROXY_CONFIG";

/// The variables of a process that concern this program.
///
/// # Errors
/// When one of them is not UTF-8.
pub fn from_process(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Vec<(String, String)>, LoadError> {
    variables
        .into_iter()
        .filter(|(name, _)| {
            let name = name.to_string_lossy();
            has_prefix(&name) && name != FILE_VARIABLE
        })
        .map(|(name, value)| {
            let shown = name.to_string_lossy().into_owned();
            let variable = name.into_string().ok().zip(value.into_string().ok());
            variable.ok_or(LoadError::NotUnicode(shown))
        })
        .collect()
}

/// One sentence for each variable that has no effect because of a single underscore.
#[must_use]
pub fn ignored_variables(variables: &[(String, String)]) -> Vec<String> {
    let names = variables.iter().map(|(name, _)| name.as_str());
    let ignored = names.filter(|name| {
        let rest = name.get(PREFIX.len()..).unwrap_or_default();
        has_prefix(name)
            && *name != FILE_VARIABLE
            && rest.starts_with('_')
            && !rest.starts_with("__")
            && !is_service_link(rest)
    });
    ignored
        .map(|name| {
            let meant = meant(name).unwrap_or_else(|| format!("{PREFIX}__SECTION__KEY"));
            format!("{name} has no effect; settings have two underscores: {meant}")
        })
        .collect()
}

/// Variable names count in any case, as in the `config` crate.
fn has_prefix(name: &str) -> bool {
    name.get(..PREFIX.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
}

/// Kubernetes adds such variables for each service whose name begins with this program's.
fn is_service_link(rest: &str) -> bool {
    let is_port = |text: &str| {
        let digits = text.split('_').next().unwrap_or_default();
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    rest.ends_with("_SERVICE_HOST")
        || rest.contains("_SERVICE_PORT")
        || rest.ends_with("_PORT")
        || rest
            .split_once("_PORT_")
            .is_some_and(|(_, port)| is_port(port))
}

/// The variable of the setting that `name` would be with two underscores.
fn meant(name: &str) -> Option<String> {
    let rest = name.get(PREFIX.len() + 1..)?.to_ascii_lowercase();
    let (section, key) = rest.split_once('_')?;
    let settings = serde_json::to_value(Settings::default()).ok()?;
    settings.get(section)?.get(key.trim_start_matches('_'))?;
    let key = key.trim_start_matches('_').to_ascii_uppercase();
    Some(format!("{PREFIX}__{}__{key}", section.to_ascii_uppercase()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use std::os::unix::ffi::OsStringExt as _;

    #[rstest]
    #[case(
        "NOVA_IMAGE_PROXY_SERVER_LISTEN",
        Some("NOVA_IMAGE_PROXY__SERVER__LISTEN")
    )]
    #[case(
        "NOVA_IMAGE_PROXY_GLANCE__MAX_IMAGES",
        Some("NOVA_IMAGE_PROXY__GLANCE__MAX_IMAGES")
    )]
    #[case("NOVA_IMAGE_PROXY_LISTEN", Some("NOVA_IMAGE_PROXY__SECTION__KEY"))]
    #[case("NOVA_IMAGE_PROXY__SERVER__LISTEN", None)]
    #[case("NOVA_IMAGE_PROXY_CONFIG", None)]
    #[case("NOVA_IMAGE_PROXY_SERVICE_HOST", None)]
    #[case("NOVA_IMAGE_PROXY_SERVICE_PORT", None)]
    #[case("NOVA_IMAGE_PROXY_SERVICE_PORT_API", None)]
    #[case("NOVA_IMAGE_PROXY_ADMIN_SERVICE_HOST", None)]
    #[case("NOVA_IMAGE_PROXY_PORT", None)]
    #[case("NOVA_IMAGE_PROXY_PORT_8774_TCP", None)]
    #[case("NOVA_IMAGE_PROXY_PORT_8774_TCP_ADDR", None)]
    #[case("NOVA_IMAGE_PROXYISH", None)]
    #[case("PATH", None)]
    fn one_underscore_is_told(#[case] name: &str, #[case] meant: Option<&str>) {
        let ignored = ignored_variables(&[(name.to_owned(), String::new())]);
        let expected = meant
            .map(|meant| format!("{name} has no effect; settings have two underscores: {meant}"));
        assert_eq!(ignored, Vec::from_iter(expected));
    }

    #[test]
    fn only_a_variable_of_this_program_must_be_utf_8() {
        let bad = || OsString::from_vec(vec![0xff]);
        let name = "NOVA_IMAGE_PROXY__SERVER__LISTEN";
        let error = from_process([(name.into(), bad())]).unwrap_err();
        assert!(error.to_string().starts_with(name), "{error}");
        assert_eq!(
            from_process([("PATH".into(), bad()), (bad(), bad())]).unwrap(),
            []
        );
        let file = (FILE_VARIABLE.into(), bad());
        assert_eq!(from_process([file]).unwrap(), []);
    }
}

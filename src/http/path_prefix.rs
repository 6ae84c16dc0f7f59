//! The path before every route of a listener.

/// The path below `prefix` (empty, or such as `/compute`): it begins with a slash, or is empty where `path` is the
/// prefix itself. `None` for a path outside.
#[must_use]
pub fn strip<'p>(path: &'p str, prefix: &str) -> Option<&'p str> {
    path.strip_prefix(prefix)
        .filter(|rest| rest.starts_with('/') || (rest.is_empty() && !prefix.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("/v2.1", "", Some("/v2.1"))]
    #[case("/compute/v2.1", "/compute", Some("/v2.1"))]
    #[case("/compute", "/compute", Some(""))]
    #[case("/computes", "/compute", None)]
    #[case("/v2.1", "/compute", None)]
    #[case("", "", None)]
    #[case("*", "", None)]
    fn a_prefix_ends_at_a_slash(
        #[case] path: &str,
        #[case] prefix: &str,
        #[case] below: Option<&str>,
    ) {
        assert_eq!(strip(path, prefix), below);
    }
}

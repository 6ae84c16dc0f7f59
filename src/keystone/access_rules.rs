//! Access rules of application credentials.
//!
//! A user can limit an application credential to some requests. Keystone validates such tokens only
//! for services that enforce the limits, which is what this module does. The rules are those of
//! keystonemiddleware, with one difference: characters that mean something in a regular expression
//! stand for themselves here, so that `.` does not match any character.

use crate::util::wsgi_path;
use percent_encoding::{percent_decode_str, percent_encode};
use regex_lite::{Regex, RegexBuilder, escape};

/// A longer path is never allowed: the longest one served, with a metadata key of 255 characters,
/// stays well below when encoded.
const MAX_PATH_BYTES: usize = 4096;
/// A longer pattern matches nothing; Keystone stores shorter ones.
const MAX_PATTERN_BYTES: usize = 255;
/// Patterns with wildcards are compiled up to this many bytes for one token, some 2,000 of them;
/// what comes after them allows nothing.
const MAX_WILDCARD_BYTES: usize = 64 << 10;
/// The largest compiled pattern, in bytes.
const MAX_COMPILED_BYTES: usize = 64 << 10;
/// Memory of one byte of a pattern when compiled, roughly, in bytes.
const COMPILED_BYTES_PER_BYTE: usize = 64;
/// One decision takes at most so many steps, a step being a byte of the path for a byte of a
/// pattern, both without the literal prefix; beyond it nothing is allowed. A thousand rules with
/// two wildcards each stay below it.
const MAX_MATCH_STEPS: usize = 3 << 19;

/// The rules that came with a token, compiled once. No rules at all allow nothing.
#[derive(Debug, Clone)]
pub(super) struct AccessRules(Box<[Rule]>);

#[derive(Debug, Clone)]
struct Rule {
    service_type: Box<str>,
    method: Box<str>,
    pattern: PathPattern,
}

impl AccessRules {
    /// From (service type, method, path pattern).
    pub(super) fn new<'a>(rules: impl IntoIterator<Item = (&'a str, &'a str, &'a str)>) -> Self {
        let mut wildcard_bytes = 0;
        let rules = rules
            .into_iter()
            .filter_map(|(service_type, method, pattern)| {
                let pattern = PathPattern::compile(pattern, &mut wildcard_bytes)?;
                Some(Rule {
                    service_type: service_type.into(),
                    method: method.into(),
                    pattern,
                })
            });
        Self(rules.collect())
    }

    /// Whether a request to the service of this type is allowed; `path` is the raw one, without
    /// the query.
    pub(super) fn allow(&self, service_type: &str, method: &str, path: &str) -> bool {
        if path.len() > MAX_PATH_BYTES {
            return false;
        }
        // Rules are matched against the path as a WSGI server rebuilds it.
        let decoded: Vec<u8> = percent_decode_str(path).collect();
        let path = percent_encode(&decoded, wsgi_path::ENCODED).to_string();
        let mut steps_left = MAX_MATCH_STEPS;
        self.0
            .iter()
            .filter(|rule| *rule.service_type == *service_type && *rule.method == *method)
            .any(|rule| rule.pattern.matches(&path, &mut steps_left))
    }

    /// How much memory the rules take, in bytes, roughly.
    pub(super) fn bytes(&self) -> usize {
        let behind = self.0.iter().map(Rule::bytes).sum::<usize>();
        behind + size_of_val(&*self.0)
    }
}

impl Rule {
    fn bytes(&self) -> usize {
        self.service_type.len() + self.method.len() + self.pattern.bytes()
    }
}

/// A pattern for paths: `*` and `{name}` stand for one segment or a part of one, at least one
/// character of it; `**` for anything, also nothing.
#[derive(Debug, Clone)]
struct PathPattern {
    /// The text before the first wildcard.
    literal_prefix: Box<str>,
    wildcards: Option<Wildcards>,
}

/// The rest of a pattern, from its first wildcard on.
#[derive(Debug, Clone)]
struct Wildcards {
    regex: Regex,
    source_bytes: usize,
}

impl PathPattern {
    /// `None` for a pattern that is too long, or beyond what `wildcard_bytes` of earlier ones
    /// leave.
    fn compile(pattern: &str, wildcard_bytes: &mut usize) -> Option<Self> {
        if pattern.len() > MAX_PATTERN_BYTES {
            return None;
        }
        let (literal_prefix, regex) = translate(pattern);
        if regex.is_empty() {
            return Some(Self {
                literal_prefix: literal_prefix.into(),
                wildcards: None,
            });
        }
        *wildcard_bytes += pattern.len();
        if *wildcard_bytes > MAX_WILDCARD_BYTES {
            return None;
        }
        let regex = RegexBuilder::new(&format!("^(?:{regex})$"))
            .size_limit(MAX_COMPILED_BYTES)
            .build()
            .ok()?;
        Some(Self {
            wildcards: Some(Wildcards {
                regex,
                source_bytes: pattern.len() - literal_prefix.len(),
            }),
            literal_prefix: literal_prefix.into(),
        })
    }

    fn matches(&self, path: &str, steps_left: &mut usize) -> bool {
        let Some(rest) = path.strip_prefix(&*self.literal_prefix) else {
            return false;
        };
        let Some(wildcards) = &self.wildcards else {
            return rest.is_empty();
        };
        let steps = wildcards.source_bytes * (rest.len() + 1);
        let exhausted = steps > *steps_left;
        *steps_left = steps_left.saturating_sub(steps);
        !exhausted && wildcards.regex.is_match(rest)
    }

    fn bytes(&self) -> usize {
        let compiled = self.wildcards.as_ref().map_or(0, |wildcards| {
            wildcards.source_bytes * COMPILED_BYTES_PER_BYTE
        });
        self.literal_prefix.len() + compiled
    }
}

/// A pattern as its literal prefix and a regular expression for the rest; the latter is empty when
/// the pattern has no wildcards.
fn translate(pattern: &str) -> (String, String) {
    let (mut prefix, mut regex) = (String::new(), String::new());
    let mut rest = pattern;
    while let Some(character) = rest.chars().next() {
        let after = rest.get(character.len_utf8()..).unwrap_or_default();
        rest = match (character, after.find('}')) {
            ('*', _) if after.starts_with('*') => {
                regex.push_str(".*");
                after.get(1..).unwrap_or_default()
            }
            ('*', _) => {
                regex.push_str("[^/]+");
                after
            }
            ('{', Some(end)) => {
                regex.push_str("[^/]+");
                after.get(end + 1..).unwrap_or_default()
            }
            // A brace without its partner is no part of the pattern.
            ('{' | '}', _) => after,
            (literal, _) if regex.is_empty() => {
                prefix.push(literal);
                after
            }
            (literal, _) => {
                regex.push_str(&escape(literal.encode_utf8(&mut [0; 4])));
                after
            }
        };
    }
    (prefix, regex)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn fits(path: &str, pattern: &str) -> bool {
        let pattern = PathPattern::compile(pattern, &mut 0);
        pattern.is_some_and(|pattern| pattern.matches(path, &mut MAX_MATCH_STEPS.clone()))
    }

    #[rstest]
    #[case("/v2.1/images", "/v2.1/images", true)]
    #[case("/v2.1/images", "/v2.1/images/", false)]
    #[case("/v2.1/images", "/v2.1/image", false)]
    #[case("/v2.1/images", "/v2x1/images", false)]
    #[case("/v2.1/images", "", false)]
    #[case("", "", true)]
    #[case("/v2.1/images/*", "/v2.1/images/detail", true)]
    #[case("/v2.1/images/*", "/v2.1/images/", false)]
    #[case("/v2.1/images/*", "/v2.1/images/a/metadata", false)]
    #[case("/v2.1/images/{image_id}", "/v2.1/images/abc", true)]
    #[case("/v2.1/images/{image_id}/metadata", "/v2.1/images/abc/metadata", true)]
    #[case("/v2.1/images/{image_id}/metadata", "/v2.1/images//metadata", false)]
    #[case("/v2.1/images/{}/metadata/*", "/v2.1/images/a/metadata/b", true)]
    #[case("/v2.1/**", "/v2.1/", true)]
    #[case("/v2.1/**", "/v2.1/images/a/metadata", true)]
    #[case("/v2.1/**", "/v2.1", false)]
    #[case("/v2.1/**/metadata", "/v2.1/images/a/metadata", true)]
    #[case("/v2.1/**/metadata", "/v2.1/metadata", false)]
    #[case("/v2.1/im*s", "/v2.1/images", true)]
    #[case("/v2.1/images*", "/v2.1/images", false)]
    #[case("/a***", "/a", false)]
    #[case("/a***", "/a/b", true)]
    #[case("/a***", "/a/b/", false)]
    #[case("/**", "/", true)]
    #[case("/{a{b}/c", "/x/c", true)]
    #[case("/{unclosed", "/unclosed", true)]
    #[case("/un}opened", "/unopened", true)]
    #[case("/ü", "/%C3%BC", false)]
    fn patterns_match_paths(#[case] pattern: &str, #[case] path: &str, #[case] matches: bool) {
        assert_eq!(fits(path, pattern), matches);
    }

    #[test]
    fn only_rules_of_the_service_with_the_same_method_count() {
        let rules = AccessRules::new([
            ("compute", "GET", "/v2.1/images"),
            ("image", "GET", "/v2/images"),
            ("compute", "DELETE", "/v2.1/images/*"),
        ]);
        assert!(rules.allow("compute", "GET", "/v2.1/images"));
        assert!(rules.allow("compute", "DELETE", "/v2.1/images/a"));
        assert!(!rules.allow("compute", "HEAD", "/v2.1/images"));
        assert!(!rules.allow("compute", "get", "/v2.1/images"));
        assert!(!rules.allow("compute", "GET", "/v2/images"));
        assert!(!rules.allow("compute", "GET", "/v2.1/images/a"));
        assert!(rules.allow("image", "GET", "/v2/images"));
        assert!(!rules.allow("image", "GET", "/v2.1/images"));
    }

    #[test]
    fn no_rules_allow_nothing() {
        assert!(!AccessRules::new([]).allow("compute", "GET", "/v2.1/images"));
    }

    #[test]
    fn a_path_is_compared_decoded_and_encoded_again() {
        let rules = AccessRules::new([
            ("compute", "GET", "/v2.1/images"),
            ("compute", "GET", "/v2.1/a%20b"),
            ("compute", "GET", "/v2.1/{id}/metadata"),
        ]);
        assert!(rules.allow("compute", "GET", "/v2.1/%69mages"));
        assert!(rules.allow("compute", "GET", "/v2%2E1%2fimages"));
        assert!(rules.allow("compute", "GET", "/v2.1/a b"));
        assert!(rules.allow("compute", "GET", "/v2.1/a%20b"));
        assert!(rules.allow("compute", "GET", "/v2.1/%C3%BC/metadata"));
        assert!(!rules.allow("compute", "GET", "/v2.1/a%2Fb/metadata"));
    }

    #[test]
    fn patterns_and_paths_beyond_every_real_one_match_nothing() {
        let pattern = "a".repeat(255);
        assert!(fits(&pattern, &pattern));
        let pattern = "a".repeat(256);
        assert!(!fits(&pattern, &pattern));
        let rules = AccessRules::new([("compute", "GET", "/**")]);
        let longest = format!("/{}", "a".repeat(MAX_PATH_BYTES - 1));
        assert!(rules.allow("compute", "GET", &longest));
        assert!(!rules.allow("compute", "GET", &format!("{longest}a")));
    }

    #[test]
    fn stars_in_a_row_are_one_wherever_they_stand() {
        for before in [1, 100, 200] {
            let text = "a".repeat(before);
            assert!(fits(&format!("{text}bb"), &format!("{text}****")));
            assert!(fits(&format!("{text}bb"), &format!("{text}******b")));
        }
    }

    #[test]
    fn rules_weigh_their_texts_their_wildcards_and_themselves() {
        let rules = AccessRules::new([("compute", "GET", "/a"), ("image", "PUT", "/b*")]);
        let texts = "compute".len() + 3 + 2 + "image".len() + 3 + 2;
        let compiled = COMPILED_BYTES_PER_BYTE;
        assert_eq!(rules.bytes(), texts + compiled + 2 * size_of::<Rule>());
    }

    #[test]
    fn rules_beyond_the_bound_on_wildcards_allow_nothing_and_literal_ones_are_not_bounded() {
        let wild = format!("/{}/*", "a".repeat(200));
        let many = MAX_WILDCARD_BYTES / wild.len() + 1;
        let mut rules = vec![("compute", "GET", wild.as_str()); many];
        rules.extend([
            ("compute", "GET", "/late/*"),
            ("compute", "GET", "/literal"),
        ]);
        let rules = AccessRules::new(rules);
        assert!(rules.allow("compute", "GET", &wild.replace('*', "x")));
        assert!(rules.allow("compute", "GET", "/literal"));
        assert!(!rules.allow("compute", "GET", "/late/x"));
    }

    #[test]
    fn a_thousand_ordinary_rules_stay_within_the_steps() {
        let wild = "/v2.1/images/{image_id}/metadata/{key}";
        let last = "/v2.1/images/{image_id}/metadata";
        let rules = std::iter::repeat_n(("compute", "GET", wild), 1000);
        let rules = AccessRules::new(rules.chain([("compute", "GET", last)]));
        let id = "70a599e0-31e7-49b7-b260-868f441e862b";
        assert!(rules.allow("compute", "GET", &format!("/v2.1/images/{id}/metadata")));
    }

    #[test]
    fn one_decision_takes_a_bounded_number_of_steps() {
        let wild = format!("/{}b", "*a".repeat(100));
        let rules = AccessRules::new(
            std::iter::repeat_n(("compute", "GET", wild.as_str()), 300)
                .chain([("compute", "GET", "/**")]),
        );
        assert!(rules.allow("compute", "GET", "/short"));
        assert!(!rules.allow("compute", "GET", &format!("/{}", "a".repeat(4000))));
    }

    /// The same rules, written as plainly as can be: tries every way to split the path.
    fn plainly_matches(path: &[u8], pattern: &[u8]) -> bool {
        let Some((&first, rest)) = pattern.split_first() else {
            return path.is_empty();
        };
        let segment = |rest: &[u8]| {
            (1..=path.len())
                .take_while(|&taken| path[taken - 1] != b'/')
                .any(|taken| plainly_matches(&path[taken..], rest))
        };
        match first {
            b'*' if rest.first() == Some(&b'*') => {
                (0..=path.len()).any(|taken| plainly_matches(&path[taken..], &rest[1..]))
            }
            b'*' => segment(rest),
            b'{' => match rest.iter().position(|&byte| byte == b'}') {
                Some(end) => segment(&rest[end + 1..]),
                None => plainly_matches(path, rest),
            },
            b'}' => plainly_matches(path, rest),
            literal => path.first() == Some(&literal) && plainly_matches(&path[1..], rest),
        }
    }

    proptest! {
        #[test]
        fn the_compiled_pattern_decides_as_trying_every_split_does(
            pattern in "[/ab*{}]{0,9}",
            path in "[/ab]{0,9}",
        ) {
            prop_assert_eq!(
                fits(&path, &pattern),
                plainly_matches(path.as_bytes(), pattern.as_bytes())
            );
        }

        #[test]
        fn a_pattern_made_from_a_path_matches_it(
            path in "(/[a-z0-9.]{1,80}){1,6}",
            hidden in 0usize..6,
        ) {
            let segments: Vec<&str> = path.split('/').skip(1).collect();
            let pattern: String = segments
                .iter()
                .enumerate()
                .map(|(place, segment)| {
                    if place == hidden { "/{name}".to_owned() } else { format!("/{segment}") }
                })
                .collect();
            prop_assume!(pattern.len() < 256);
            prop_assert!(fits(&path, &pattern));
            let longer = format!("{path}/x");
            prop_assert!(!fits(&longer, &pattern));
        }
    }
}

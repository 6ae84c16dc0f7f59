//! Access rules of application credentials.
//!
//! A user can limit an application credential to some requests. Keystone validates such tokens only
//! for callers that enforce the limits, which is what this module is for. The rules are those of
//! keystonemiddleware, with one difference: characters that mean something in a regular expression
//! stand for themselves here, so that `.` does not match any character.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};

/// The service type whose rules count here.
const SERVICE: &str = "compute";

/// A longer path is allowed to nobody: the longest one served, with a metadata key of 255
/// characters, stays well below when encoded.
const MAX_PATH_BYTES: usize = 4096;

/// Rules are matched against the path as WSGI servers rebuild it: decoded, then encoded again
/// except for these.
const ENCODED_IN_PATHS: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b':')
    .remove(b'@')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_');

/// The rules for this service that came with a token. None at all allow nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AccessRules(Box<[Rule]>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    method: Box<str>,
    path: Box<str>,
}

impl AccessRules {
    /// From (service type, method, path pattern); rules for other services are left out.
    pub(super) fn new<'a>(rules: impl IntoIterator<Item = (&'a str, &'a str, &'a str)>) -> Self {
        let rules = rules
            .into_iter()
            .filter(|(service, ..)| *service == SERVICE)
            .map(|(_, method, path)| Rule {
                method: method.into(),
                path: path.into(),
            });
        Self(rules.collect())
    }

    /// Whether a request may go on; `path` is the raw one, without the query.
    pub(super) fn permit(&self, method: &str, path: &str) -> bool {
        if path.len() > MAX_PATH_BYTES {
            return false;
        }
        let decoded: Vec<u8> = percent_decode_str(path).collect();
        let path = percent_encode(&decoded, ENCODED_IN_PATHS).to_string();
        self.0
            .iter()
            .any(|rule| *rule.method == *method && path_matches(&path, &rule.path))
    }

    /// How much memory the rules take, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let texts: usize = self
            .0
            .iter()
            .map(|rule| rule.method.len() + rule.path.len())
            .sum();
        texts + size_of_val(&*self.0)
    }
}

/// Whether a path fits a pattern: `*` and `{name}` stand for one segment or a part of one, at least
/// one character of it; `**` for anything, also nothing.
///
/// All places a match can have reached are followed at once, so that the time is bounded by the
/// lengths, whatever a user wrote into a rule.
fn path_matches(path: &str, pattern: &str) -> bool {
    let common = pattern
        .bytes()
        .zip(path.bytes())
        .take_while(|(wanted, byte)| wanted == byte)
        .count();
    let differs = pattern.as_bytes().get(common);
    if differs.is_some_and(|byte| !matches!(byte, b'*' | b'{' | b'}')) {
        return false;
    }
    Steps::of(pattern).is_some_and(|steps| steps.accept(path))
}

/// A set of places in a pattern; Keystone stores patterns of at most 225 characters.
#[derive(Clone, Copy, Default)]
struct StateSet {
    low: u128,
    high: u128,
}

impl StateSet {
    const COUNT: usize = 256;

    fn only(place: usize) -> Self {
        match place {
            0..128 => Self {
                low: 1 << place,
                high: 0,
            },
            128..Self::COUNT => Self {
                low: 0,
                high: 1 << (place - 128),
            },
            _ => Self::default(),
        }
    }

    fn advanced(self) -> Self {
        Self {
            low: self.low << 1,
            high: (self.high << 1) | (self.low >> 127),
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            low: self.low & other.low,
            high: self.high & other.high,
        }
    }

    fn or(self, other: Self) -> Self {
        Self {
            low: self.low | other.low,
            high: self.high | other.high,
        }
    }

    fn is_empty(self) -> bool {
        self.low == 0 && self.high == 0
    }
}

/// A pattern as steps between places.
struct Steps {
    /// Places from which one given ASCII byte leads to the next place.
    by_byte: [StateSet; 128],
    /// Places from which any byte but `/` leads to the next place.
    by_segment_byte: StateSet,
    /// Places that any byte but `/` leads back to.
    stay_in_segment: StateSet,
    /// Places that any byte leads back to.
    stay: StateSet,
    /// The place where the whole pattern is used up.
    end: StateSet,
}

impl Steps {
    /// `None` for a pattern that is longer than any Keystone stores.
    fn of(pattern: &str) -> Option<Self> {
        let mut steps = Self {
            by_byte: [StateSet::default(); 128],
            by_segment_byte: StateSet::default(),
            stay_in_segment: StateSet::default(),
            stay: StateSet::default(),
            end: StateSet::default(),
        };
        let mut place = 0;
        let mut rest = pattern.as_bytes();
        while let Some((&byte, after)) = rest.split_first() {
            rest = after;
            let here = StateSet::only(place);
            let name_end = after.iter().position(|&byte| byte == b'}');
            match (byte, name_end) {
                (b'*', _) if after.first() == Some(&b'*') => {
                    rest = after.get(1..).unwrap_or_default();
                    steps.stay = steps.stay.or(here);
                    continue;
                }
                (b'{', Some(end)) => rest = after.get(end + 1..).unwrap_or_default(),
                (b'*', _) => {}
                // A brace without its partner is no part of the pattern.
                (b'{' | b'}', _) => continue,
                (literal, _) => {
                    // Paths are ASCII here, so a step by any other byte is never taken.
                    if let Some(places) = steps.by_byte.get_mut(usize::from(literal)) {
                        *places = places.or(here);
                    }
                    place += 1;
                    continue;
                }
            }
            place += 1;
            steps.by_segment_byte = steps.by_segment_byte.or(here);
            steps.stay_in_segment = steps.stay_in_segment.or(StateSet::only(place));
        }
        steps.end = StateSet::only(place);
        (place < StateSet::COUNT).then_some(steps)
    }

    fn accept(&self, path: &str) -> bool {
        let mut reached = StateSet::only(0);
        for byte in path.bytes() {
            let by_byte = self
                .by_byte
                .get(usize::from(byte))
                .copied()
                .unwrap_or_default();
            let (forward, back) = if byte == b'/' {
                (by_byte, self.stay)
            } else {
                (
                    by_byte.or(self.by_segment_byte),
                    self.stay.or(self.stay_in_segment),
                )
            };
            reached = reached.and(forward).advanced().or(reached.and(back));
            if reached.is_empty() {
                return false;
            }
        }
        !reached.and(self.end).is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

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
        assert_eq!(path_matches(path, pattern), matches);
    }

    #[test]
    fn only_compute_rules_with_the_same_method_count() {
        let rules = AccessRules::new([
            ("compute", "GET", "/v2.1/images"),
            ("image", "GET", "/v2/images"),
            ("compute", "DELETE", "/v2.1/images/*"),
        ]);
        assert!(rules.permit("GET", "/v2.1/images"));
        assert!(rules.permit("DELETE", "/v2.1/images/a"));
        assert!(!rules.permit("HEAD", "/v2.1/images"));
        assert!(!rules.permit("get", "/v2.1/images"));
        assert!(!rules.permit("GET", "/v2/images"));
        assert!(!rules.permit("GET", "/v2.1/images/a"));
    }

    #[test]
    fn no_rules_allow_nothing() {
        assert!(!AccessRules::new([]).permit("GET", "/v2.1/images"));
    }

    #[test]
    fn a_path_is_compared_decoded_and_encoded_again() {
        let rules = AccessRules::new([
            ("compute", "GET", "/v2.1/images"),
            ("compute", "GET", "/v2.1/a%20b"),
            ("compute", "GET", "/v2.1/{id}/metadata"),
        ]);
        assert!(rules.permit("GET", "/v2.1/%69mages"));
        assert!(rules.permit("GET", "/v2%2E1%2fimages"));
        assert!(rules.permit("GET", "/v2.1/a b"));
        assert!(rules.permit("GET", "/v2.1/a%20b"));
        assert!(rules.permit("GET", "/v2.1/%C3%BC/metadata"));
        assert!(!rules.permit("GET", "/v2.1/a%2Fb/metadata"));
    }

    #[test]
    fn patterns_and_paths_beyond_every_real_one_match_nothing() {
        let pattern = "a".repeat(255);
        assert!(path_matches(&pattern, &pattern));
        let pattern = "a".repeat(256);
        assert!(!path_matches(&pattern, &pattern));
        let rules = AccessRules::new([("compute", "GET", "/**")]);
        let longest = format!("/{}", "a".repeat(MAX_PATH_BYTES - 1));
        assert!(rules.permit("GET", &longest));
        assert!(!rules.permit("GET", &format!("{longest}a")));
    }

    #[test]
    fn stars_in_a_row_are_one_wherever_they_stand() {
        for before in [1, 100, 200] {
            let text = "a".repeat(before);
            assert!(path_matches(&format!("{text}bb"), &format!("{text}****")));
            assert!(path_matches(
                &format!("{text}bb"),
                &format!("{text}******b")
            ));
        }
    }

    #[test]
    fn rules_weigh_their_texts_and_themselves() {
        let rules = AccessRules::new([("compute", "GET", "/a"), ("compute", "PUT", "/bc")]);
        assert_eq!(rules.bytes(), 3 + 2 + 3 + 3 + 2 * size_of::<Rule>());
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
        fn following_all_places_at_once_decides_as_trying_every_split_does(
            pattern in "[/ab*{}]{0,9}",
            path in "[/ab]{0,9}",
        ) {
            prop_assert_eq!(
                path_matches(&path, &pattern),
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
            prop_assert!(path_matches(&path, &pattern));
            let longer = format!("{path}/x");
            prop_assert!(!path_matches(&longer, &pattern));
        }
    }
}

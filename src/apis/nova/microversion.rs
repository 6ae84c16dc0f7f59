//! Microversions: what a client asks for, what it gets, and which routes it reaches.
//!
//! Pure. The rules are Nova's own: `OpenStack-API-Version: compute X` wins over
//! `X-OpenStack-Nova-API-Version: X`, the last entry of a comma list wins, `latest` is the maximum.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// The header every OpenStack service reads.
pub const GENERIC_HEADER: &str = "OpenStack-API-Version";
/// Nova's own older header.
pub const LEGACY_HEADER: &str = "X-OpenStack-Nova-API-Version";

/// An API version, `major.minor`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Microversion {
    major: u64,
    minor: u64,
}

/// The text is not `MajorNum.MinorNum`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("must be two numbers without leading zeros, such as 2.35")]
pub struct Malformed;

impl Microversion {
    /// The lowest version Nova serves, and the one a client gets that asks for none.
    pub const MIN: Self = Self::new(2, 1);

    /// The version `major.minor`.
    #[must_use]
    pub const fn new(major: u64, minor: u64) -> Self {
        Self { major, minor }
    }

    /// Major and minor.
    #[must_use]
    pub const fn numbers(self) -> (u64, u64) {
        (self.major, self.minor)
    }
}

impl fmt::Display for Microversion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl FromStr for Microversion {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let (major, minor) = text.split_once('.').ok_or(Malformed)?;
        let number = |digits: &str, zero_allowed: bool| {
            let is_digits = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            let leading_zero = digits.starts_with('0') && !(zero_allowed && digits == "0");
            if !is_digits || leading_zero {
                return Err(Malformed);
            }
            // A number beyond 64 bits is well-formed all the same, and beyond any maximum.
            Ok(digits.parse().unwrap_or(u64::MAX))
        };
        Ok(Self {
            major: number(major, false)?,
            minor: number(minor, true)?,
        })
    }
}

/// The microversions that reach a route, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MicroversionRange {
    min: Microversion,
    max: Microversion,
}

impl MicroversionRange {
    /// The routes under `/images`, gone from 2.36.
    pub const IMAGES: Self = Self {
        min: Microversion::MIN,
        max: Microversion::new(2, 35),
    };
    /// The routes under `/images/{id}/metadata`, gone from 2.39.
    pub const METADATA: Self = Self {
        min: Microversion::MIN,
        max: Microversion::new(2, 38),
    };

    /// Whether `version` reaches the route.
    #[must_use]
    pub fn serves(self, version: Microversion) -> bool {
        (self.min..=self.max).contains(&version)
    }
}

/// What became of the version a client asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Negotiation {
    /// The request is served at this version.
    Accepted(Microversion),
    /// Well-formed, but outside the range; the text is echoed as asked.
    OutOfRange(String),
    /// Not a version at all.
    Malformed(String),
}

/// Settles the version of a request.
///
/// `generic` and `legacy` are the values of [`GENERIC_HEADER`] and [`LEGACY_HEADER`], in the order
/// they were sent.
pub fn negotiate<'a>(
    generic: impl Iterator<Item = &'a [u8]>,
    legacy: impl Iterator<Item = &'a [u8]>,
    max: Microversion,
) -> Negotiation {
    let (generic, legacy) = (entries(generic), entries(legacy));
    let generic = generic.as_deref().and_then(compute_entry);
    let Some(asked) = generic.or_else(|| legacy.as_deref().map(last_entry)) else {
        return Negotiation::Accepted(Microversion::MIN);
    };
    if asked == "latest" {
        return Negotiation::Accepted(max);
    }
    match asked.parse::<Microversion>() {
        Err(Malformed) => Negotiation::Malformed(asked.to_owned()),
        Ok(version) if (Microversion::MIN..=max).contains(&version) => {
            Negotiation::Accepted(version)
        }
        Ok(_) => Negotiation::OutOfRange(asked.to_owned()),
    }
}

/// The last entry that names compute and a version; an entry without a version is passed over.
fn compute_entry(entries: &str) -> Option<&str> {
    entries.rsplit(',').find_map(|entry| {
        let (service, version) = entry.trim().split_once(char::is_whitespace)?;
        let version = version.trim();
        (service.eq_ignore_ascii_case("compute") && !version.is_empty()).then_some(version)
    })
}

fn last_entry(entries: &str) -> &str {
    entries.rsplit(',').next().unwrap_or_default().trim()
}

/// Repeated headers count as one list, in order. Bytes beyond ASCII are Latin-1, as in Nova.
fn entries<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Option<Cow<'a, str>> {
    let first = latin_1(values.next()?);
    Some(values.fold(first, |all, value| {
        Cow::Owned([&all, ",", &latin_1(value)].concat())
    }))
}

fn latin_1(value: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(value) {
        Ok(text) if text.is_ascii() => Cow::Borrowed(text),
        Ok(_) | Err(_) => Cow::Owned(value.iter().copied().map(char::from).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    const MAX: Microversion = Microversion::new(2, 104);

    fn settle(generic: &[&str], legacy: &[&str]) -> Negotiation {
        negotiate(
            generic.iter().map(|value| value.as_bytes()),
            legacy.iter().map(|value| value.as_bytes()),
            MAX,
        )
    }

    fn accepted(minor: u64) -> Negotiation {
        Negotiation::Accepted(Microversion::new(2, minor))
    }

    #[rstest]
    #[case(&[], &[], accepted(1))]
    #[case(&[], &["2.35"], accepted(35))]
    #[case(&[], &[" 2.1 "], accepted(1))]
    #[case(&[], &["latest"], accepted(104))]
    #[case(&[], &["2.1", "2.36"], accepted(36))]
    #[case(&["compute 2.1"], &["2.36"], accepted(1))]
    #[case(&["volume 3.0"], &["2.36"], accepted(36))]
    #[case(&["compute"], &["2.36"], accepted(36))]
    #[case(&["compute"], &[], accepted(1))]
    #[case(&["COMPUTE   2.36"], &[], accepted(36))]
    #[case(&["compute 2.1,compute 2.39"], &[], accepted(39))]
    #[case(&["compute 2.36, volume 3.0"], &[], accepted(36))]
    #[case(&["compute 2.36", "compute 2.2"], &[], accepted(2))]
    #[case(&["compute latest"], &[], accepted(104))]
    #[case(&[], &["2.105"], Negotiation::OutOfRange("2.105".into()))]
    #[case(&[], &["2.0"], Negotiation::OutOfRange("2.0".into()))]
    #[case(&[], &["2.99999999999999999999"],
        Negotiation::OutOfRange("2.99999999999999999999".into()))]
    #[case(&[], &[""], Negotiation::Malformed(String::new()))]
    #[case(&[], &["LATEST"], Negotiation::Malformed("LATEST".into()))]
    #[case(&[], &["2.01"], Negotiation::Malformed("2.01".into()))]
    #[case(&[], &["2"], Negotiation::Malformed("2".into()))]
    #[case(&["compute 2.36 extra"], &[], Negotiation::Malformed("2.36 extra".into()))]
    #[case(&["compute 2.1"], &["abc"], accepted(1))]
    fn the_headers_are_read_as_nova_reads_them(
        #[case] generic: &[&str],
        #[case] legacy: &[&str],
        #[case] settled: Negotiation,
    ) {
        assert_eq!(settle(generic, legacy), settled);
    }

    #[test]
    fn bytes_beyond_ascii_are_latin_1() {
        let settled = negotiate(
            [b"compute\xa02.\xe9".as_slice()].into_iter(),
            [].into_iter(),
            MAX,
        );
        assert_eq!(settled, Negotiation::Malformed("2.é".into()));
    }

    #[rstest]
    #[case(MicroversionRange::IMAGES, 35, 36)]
    #[case(MicroversionRange::METADATA, 38, 39)]
    fn the_gate_closes_after_the_last_served_version(
        #[case] range: MicroversionRange,
        #[case] last: u64,
        #[case] gone: u64,
    ) {
        assert!(range.serves(Microversion::new(2, 1)));
        assert!(range.serves(Microversion::new(2, last)));
        assert!(!range.serves(Microversion::new(2, gone)));
        assert!(!range.serves(MAX));
    }

    proptest! {
        #[test]
        fn any_header_is_settled_without_a_panic(
            generic in proptest::collection::vec(any::<Vec<u8>>(), 0..3),
            legacy in proptest::collection::vec(any::<Vec<u8>>(), 0..3),
        ) {
            let settled = negotiate(
                generic.iter().map(Vec::as_slice),
                legacy.iter().map(Vec::as_slice),
                MAX,
            );
            if let Negotiation::Accepted(version) = settled {
                prop_assert!((Microversion::MIN..=MAX).contains(&version));
            }
        }

        #[test]
        fn a_version_reads_back_as_it_is_written(major in 1_u64.., minor: u64) {
            let version = Microversion::new(major, minor);
            prop_assert_eq!(version.to_string().parse(), Ok(version));
        }

        #[test]
        fn versions_in_range_are_accepted_and_others_are_not(minor in 0_u64..300) {
            let settled = settle(&[&format!("compute 2.{minor}")], &[]);
            let expected = if (1..=104).contains(&minor) {
                accepted(minor)
            } else {
                Negotiation::OutOfRange(format!("2.{minor}"))
            };
            prop_assert_eq!(settled, expected);
        }
    }
}

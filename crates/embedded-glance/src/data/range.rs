//! The part of an image's data that a download asks for. Pure.
//!
//! Glance reads `Range` with `WebOb`, which looks only at the beginning of the header, and, where
//! there is none, `Content-Range`, which says the same in older clients.

use crate::error::Fault;

/// A part of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ByteRange {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

impl ByteRange {
    /// The value of the response's `Content-Range`.
    pub(crate) fn content_range(self, size: u64) -> String {
        let last = i128::from(self.offset) + i128::from(self.length) - 1;
        format!("bytes {}-{last}/{size}", self.offset)
    }
}

/// The part of `size` bytes that the headers ask for; `None` is all of it.
pub(crate) fn requested(
    range: Option<&str>,
    content_range: Option<&str>,
    size: u64,
) -> Result<Option<ByteRange>, Fault> {
    match (range, content_range) {
        (Some(range), _) => parse_range(range, size).map(Some),
        (None, Some(content_range)) => parse_content_range(content_range, size).map(Some),
        (None, None) => Ok(None),
    }
}

fn parse_range(header: &str, size: u64) -> Result<ByteRange, Fault> {
    if header.contains(',') {
        return Err(Fault::bad_request(
            "Requests with multiple ranges are not supported in Glance. You may make multiple \
             single-range requests instead.",
        ));
    }
    let invalid = || Fault::range_not_satisfiable("Invalid Range header.");
    let (first, last) = bounds(header).ok_or_else(invalid)?;
    let (offset, end) = match (first, last) {
        (None, None) => return Err(invalid()),
        // The last bytes; none of them means all.
        (None, Some(0)) => (0, size),
        (None, Some(count)) => (size.saturating_sub(count), size),
        (Some(first), Some(last)) if first > last => return Err(invalid()),
        (Some(first), last) => (
            first,
            last.map_or(size, |last| last.saturating_add(1).min(size)),
        ),
    };
    if first.is_some_and(|first| first >= size) || (last == Some(0) && size == 0) {
        return Err(beyond("start position in Range", "Start", size));
    }
    Ok(ByteRange {
        offset,
        length: end.saturating_sub(offset),
    })
}

fn beyond(what: &str, which: &str, size: u64) -> Fault {
    let last = i128::from(size) - 1;
    Fault::range_not_satisfiable(format!(
        "Invalid {what} header. {which} position MUST be in the inclusive range [0, {last}]."
    ))
}

/// The two numbers behind `bytes=`, of which each may be absent. What follows them is not read.
fn bounds(header: &str) -> Option<(Option<u64>, Option<u64>)> {
    let unit = header.get(..5)?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    let rest = header.get(5..)?.trim_start_matches(' ').strip_prefix('=')?;
    let (first, rest) = number(rest.trim_start_matches(' '));
    let rest = rest.trim_start_matches(' ').strip_prefix('-')?;
    let (last, _) = number(rest.trim_start_matches(' '));
    Some((first, last))
}

/// The digits at the beginning, as a number that saturates, and what follows.
fn number(text: &str) -> (Option<u64>, &str) {
    let length = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, rest) = text.split_at(length);
    let value = (length > 0).then(|| digits.parse().unwrap_or(u64::MAX));
    (value, rest)
}

/// `bytes first-last/length`, whose length may be `*` and is not compared with the image's.
fn parse_content_range(header: &str, size: u64) -> Result<ByteRange, Fault> {
    let invalid = || Fault::range_not_satisfiable("Invalid Content-Range header.");
    let rest = header.strip_prefix("bytes ").ok_or_else(invalid)?;
    let (first, rest) = number(rest);
    let rest = rest.strip_prefix('-').ok_or_else(invalid)?;
    let (last, rest) = number(rest);
    let rest = rest.strip_prefix('/').ok_or_else(invalid)?;
    let length = match number(rest) {
        (Some(length), _) => Some(length),
        (None, rest) if rest.starts_with('*') => None,
        (None, _) => return Err(invalid()),
    };
    let (Some(first), Some(last)) = (first, last) else {
        return Err(invalid());
    };
    if first > last || length.is_some_and(|length| last >= length) {
        return Err(invalid());
    }
    if length.is_none() && last >= size {
        return Err(beyond("stop position in Content-Range", "The stop", size));
    }
    if first >= size {
        return Err(beyond("start position in Content-Range", "Start", size));
    }
    Ok(ByteRange {
        offset: first,
        length: last.min(size - 1) - first + 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    fn range(header: &str, size: u64) -> Result<String, Fault> {
        let found = requested(Some(header), None, size)?.unwrap();
        Ok(found.content_range(size))
    }

    #[rstest]
    #[case("bytes=0-9", "bytes 0-9/100")]
    #[case("bytes=10-", "bytes 10-99/100")]
    #[case("bytes=-5", "bytes 95-99/100")]
    #[case("bytes=-0", "bytes 0-99/100")]
    #[case("bytes=-500", "bytes 0-99/100")]
    #[case("bytes=90-99999999999999999999999", "bytes 90-99/100")]
    #[case("BYTES = 1 - 2 x", "bytes 1-2/100")]
    #[case("bytes=-1-5", "bytes 99-99/100")]
    fn one_part_is_served(#[case] header: &str, #[case] content_range: &str) {
        assert_eq!(range(header, 100).as_deref(), Ok(content_range));
    }

    #[rstest]
    #[case("items=0-5")]
    #[case("0-5")]
    #[case("")]
    #[case("bytes=-")]
    #[case("bytes=5")]
    #[case("bytes=5-2")]
    #[case("büte=0-1")]
    fn what_is_no_range_is_refused(#[case] header: &str) {
        let fault = Fault::range_not_satisfiable("Invalid Range header.");
        assert_eq!(range(header, 100), Err(fault));
    }

    #[test]
    fn a_part_begins_inside_the_image() {
        let fault = range("bytes=100-", 100).unwrap_err();
        assert!(fault.render(Some("text/plain")).1.contains("[0, 99]"));
        assert_eq!(range("bytes=0-1,3-4", 100).unwrap_err().status().0, 400);
    }

    #[rstest]
    #[case("bytes 0-9/100", Some("bytes 0-9/100"))]
    #[case("bytes 0-9/*", Some("bytes 0-9/100"))]
    #[case("bytes 90-150/999", Some("bytes 90-99/100"))]
    #[case("bytes 90-150/*", None)]
    #[case("bytes 0-9/5", None)]
    #[case("bytes */100", None)]
    #[case("bytes=0-9", None)]
    #[case("bytes 100-101/999", None)]
    fn content_range_is_read_too(#[case] header: &str, #[case] served: Option<&str>) {
        let found = requested(None, Some(header), 100);
        let found = found.map(|range| range.unwrap().content_range(100));
        assert_eq!(found.ok().as_deref(), served);
    }

    proptest! {
        #[test]
        fn a_part_never_exceeds_the_data(header in "(bytes *= *)?[0-9]{0,4}-?[0-9]{0,21}.*", size in 0_u64..2000) {
            for found in [requested(Some(&header), None, size), requested(None, Some(&header), size)] {
                if let Ok(Some(range)) = found {
                    prop_assert!(range.offset + range.length <= size);
                }
            }
        }
    }
}

//! Paths as Python's WSGI servers rebuild them.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};

/// The characters that are percent-encoded in a path that a WSGI server has decoded and that a
/// program encodes again: all but letters, digits and RFC 3986's `pchar`, and the slash.
pub const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
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
    .remove(b'@');

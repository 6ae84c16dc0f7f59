//! A query string as an ordered list in which a name may occur more than once.

use std::fmt::Write as _;

/// The parameters of a request, in the order sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Params(Vec<(String, String)>);

/// A query that holds bytes that are no UTF-8.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotUtf8;

impl Params {
    /// Both `&` and `;` separate parameters; one without a value has the empty one.
    pub(super) fn parse(query: &str) -> Result<Self, NotUtf8> {
        let mut params = Vec::new();
        for pair in query.split(['&', ';']).filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            params.push((decode(name)?, decode(value)?));
        }
        Ok(Self(params))
    }

    /// Takes the first value of that name out; later ones stay, as Glance leaves them.
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        let position = self.0.iter().position(|(own, _)| own == name)?;
        Some(self.0.remove(position).1)
    }

    /// Takes every value of that name out.
    pub(super) fn take_all(&mut self, name: &str) -> Vec<String> {
        std::iter::from_fn(|| self.take(name)).collect()
    }

    /// The last value of that name.
    pub(super) fn last(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .rev()
            .find(|(own, _)| own == name)
            .map(|(_, value)| value.as_str())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(own, _)| own == name)
    }

    /// Each name once where it first stood, with its last value.
    pub(super) fn into_unique(self) -> Vec<(String, String)> {
        let mut unique: Vec<(String, String)> = Vec::with_capacity(self.0.len());
        for (name, value) in self.0 {
            match unique.iter_mut().find(|(own, _)| *own == name) {
                Some(entry) => entry.1 = value,
                None => unique.push((name, value)),
            }
        }
        unique
    }
}

fn decode(text: &str) -> Result<String, NotUtf8> {
    let spaced = text.replace('+', " ");
    match percent_encoding::percent_decode_str(&spaced).decode_utf8() {
        Ok(decoded) => Ok(decoded.into_owned()),
        Err(_) => Err(NotUtf8),
    }
}

/// Writes parameters as Glance does in its links: a space is `+`, and all but letters, digits and
/// `_.-~` is escaped.
pub(super) fn encode(params: &[(String, String)]) -> String {
    let mut query = String::new();
    for (name, value) in params {
        if !query.is_empty() {
            query.push('&');
        }
        push_encoded(&mut query, name);
        query.push('=');
        push_encoded(&mut query, value);
    }
    query
}

fn push_encoded(query: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b' ' => query.push('+'),
            b'_' | b'.' | b'-' | b'~' => query.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => query.push(char::from(byte)),
            _ => {
                // Writing to a string cannot fail.
                let _ = write!(query, "%{byte:02X}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_value_is_taken_and_the_last_one_linked() {
        let mut params = Params::parse("limit=2&a=b+c;limit=3&x").unwrap();
        assert_eq!(encode(&params.clone().into_unique()), "limit=3&a=b+c&x=");
        assert_eq!(params.take("limit").as_deref(), Some("2"));
        assert_eq!(params.last("limit"), Some("3"));
    }

    #[test]
    fn links_are_escaped() {
        let params = Params::parse("k%20y=%C3%A9:/,*~").unwrap();
        assert_eq!(encode(&params.into_unique()), "k+y=%C3%A9%3A%2F%2C%2A~");
    }

    #[test]
    fn bytes_that_are_no_text_are_refused() {
        assert_eq!(Params::parse("name=%ff"), Err(NotUtf8));
    }
}

//! Image metadata in headers: `x-image-meta-*` to typed metadata. Pure.
//!
//! Names are read in lower case with `_` for `-`; a repeated header counts once, its values joined
//! with `,`. An empty value means null. Values are UTF-8 as they came; only the clients named in
//! `glance_v1.decode_headers_of` percent-encode names and values.

use percent_encoding::percent_decode;
use thiserror::Error;

/// The prefix of every header with metadata.
const PREFIX: &str = "x-image-meta-";
/// The prefix of a header with a property.
const PROPERTY_PREFIX: &str = "property-";
/// The longest image name, in characters.
const MAX_NAME: usize = 255;
/// The longest checksum, in characters.
const MAX_CHECKSUM: usize = 32;
/// The largest `min_disk` and `min_ram`: what the database's integers hold.
pub const MAX_DATABASE_INTEGER: u64 = 2_147_483_647;
/// The formats that come in pairs: an image of one of them has it for its disk and its container.
const AMAZON_FORMATS: [&str; 3] = ["aki", "ari", "ami"];

/// A text attribute as a client names it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Field {
    /// The client does not name it.
    #[default]
    Absent,
    /// The client names it without a value.
    Null,
    /// The client's value.
    Value(String),
}

impl Field {
    /// The value, if there is one.
    #[must_use]
    pub fn value(&self) -> Option<&str> {
        match self {
            Self::Value(text) => Some(text),
            Self::Absent | Self::Null => None,
        }
    }

    /// Whether the client names the attribute, with or without a value.
    #[must_use]
    pub const fn is_named(&self) -> bool {
        !matches!(self, Self::Absent)
    }

    /// The value as Python prints it in a message: `None` for null.
    fn python_str(&self) -> &str {
        self.value().unwrap_or("None")
    }
}

/// The metadata of one request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageMetadata {
    /// `x-image-meta-id`
    pub id: Field,
    /// `x-image-meta-name`
    pub name: Field,
    /// `x-image-meta-owner`, which counts only from an admin.
    pub owner: Field,
    /// `x-image-meta-status`, which a client may repeat and not change.
    pub status: Field,
    /// `x-image-meta-disk_format`
    pub disk_format: Field,
    /// `x-image-meta-container_format`
    pub container_format: Field,
    /// `x-image-meta-checksum`: the MD5 of the data, in hex.
    pub checksum: Field,
    /// `x-image-meta-store`
    pub store: Field,
    /// `x-image-meta-location`: a URL to take the data from.
    pub location: Field,
    /// `x-image-meta-size`, in bytes.
    pub size: Option<u64>,
    /// `x-image-meta-virtual_size`, in bytes.
    pub virtual_size: Option<u64>,
    /// `x-image-meta-min_disk`, in GB.
    pub min_disk: Option<u64>,
    /// `x-image-meta-min_ram`, in MB.
    pub min_ram: Option<u64>,
    /// `x-image-meta-is_public`
    pub is_public: Option<bool>,
    /// `x-image-meta-protected`
    pub protected: Option<bool>,
    /// `x-image-meta-created_at`, `updated_at` and `deleted_at`: checked and ignored.
    times: [Field; 3],
    /// `x-image-meta-property-*` in the order they came; an empty value is null.
    pub properties: Vec<(String, Option<String>)>,
}

/// The names of the times, in the order of [`ImageMetadata::times`].
const TIMES: [&str; 3] = ["created_at", "updated_at", "deleted_at"];

/// What is wrong with a request's metadata, in the order in which Glance looks.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MetadataError {
    /// A name or value that is not UTF-8.
    #[error("a header is not UTF-8")]
    Undecodable,
    /// A name that means nothing; the name, in lower case.
    #[error("Bad header: {0}")]
    BadHeader(String),
    /// A number that is none.
    #[error(
        "Invalid value '{value}' for parameter '{name}': Cannot convert image {name} '{value}' to an integer."
    )]
    NotAnInteger {
        /// The attribute.
        name: &'static str,
        /// What the client sent.
        value: String,
    },
    /// A number below zero.
    #[error("Invalid value '{value}' for parameter '{name}': Cannot be a negative value.")]
    Negative {
        /// The attribute.
        name: &'static str,
        /// What the client sent.
        value: String,
    },
    /// A disk format that Glance does not have.
    #[error("Invalid disk format '{0}' for image.")]
    DiskFormat(String),
    /// A container format that Glance does not have.
    #[error("Invalid container format '{0}' for image.")]
    ContainerFormat(String),
    /// One of the paired formats with another one.
    #[error(
        "Invalid mix of disk and container formats. When setting a disk or container format to one of 'aki', 'ari', or 'ami', the container and disk formats must match."
    )]
    FormatMix,
    /// A time that is none.
    #[error("Invalid time format for {0}.")]
    Time(&'static str),
    /// A name beyond 255 characters; its length.
    #[error("Image name too long: {0}")]
    NameTooLong(usize),
    /// A checksum beyond 32 characters; the checksum.
    #[error("Invalid checksum '{0}': can't exceed 32 characters")]
    ChecksumTooLong(String),
}

/// The formats a Glance takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Formats {
    /// The disk formats.
    pub disk: Vec<String>,
    /// The container formats.
    pub container: Vec<String>,
}

impl Default for Formats {
    /// The formats that Glance 15 takes.
    fn default() -> Self {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Self {
            disk: owned(&[
                "ami", "ari", "aki", "vhd", "vhdx", "vmdk", "raw", "qcow2", "vdi", "iso", "ploop",
            ]),
            container: owned(&["ami", "ari", "aki", "bare", "ovf", "ova", "docker"]),
        }
    }
}

/// The integers of the metadata, in the order in which Glance checks them.
#[derive(Debug, Default)]
struct Numbers {
    size: Field,
    min_disk: Field,
    min_ram: Field,
    virtual_size: Field,
}

impl ImageMetadata {
    /// Reads the headers of a request. `decode` says that the client percent-encodes.
    pub fn parse<'h>(
        headers: impl IntoIterator<Item = (&'h str, &'h [u8])>,
        decode: bool,
    ) -> Result<Self, MetadataError> {
        let mut metadata = Self::default();
        let mut numbers = Numbers::default();
        for (name, value) in merged(headers, decode)? {
            let field = if value.is_empty() {
                Field::Null
            } else {
                Field::Value(value)
            };
            metadata.set(&name, field, &mut numbers)?;
        }
        metadata.size = integer("size", &numbers.size)?;
        metadata.min_disk = integer("min_disk", &numbers.min_disk)?;
        metadata.min_ram = integer("min_ram", &numbers.min_ram)?;
        metadata.virtual_size = match numbers.virtual_size.value() {
            Some("None") => None,
            _ => integer("virtual_size", &numbers.virtual_size)?,
        };
        Ok(metadata)
    }

    /// Takes one header; `name` is in lower case, without the prefix.
    fn set(
        &mut self,
        name: &str,
        field: Field,
        numbers: &mut Numbers,
    ) -> Result<(), MetadataError> {
        if let Some(property) = name.strip_prefix(PROPERTY_PREFIX) {
            let value = field.value().map(str::to_owned);
            self.properties.push((property.replace('-', "_"), value));
            return Ok(());
        }
        match name.replace('-', "_").as_str() {
            "id" => self.id = field,
            "name" => self.name = field,
            "owner" => self.owner = field,
            "status" => self.status = field,
            "disk_format" => self.disk_format = field,
            "container_format" => self.container_format = field,
            "checksum" => self.checksum = field,
            "store" => self.store = field,
            "location" => self.location = field,
            "size" => numbers.size = field,
            "min_disk" => numbers.min_disk = field,
            "min_ram" => numbers.min_ram = field,
            "virtual_size" => numbers.virtual_size = field,
            "is_public" => self.is_public = Some(python_bool(&field)),
            "protected" => self.protected = Some(python_bool(&field)),
            "created_at" => self.times[0] = field,
            "updated_at" => self.times[1] = field,
            "deleted_at" => self.times[2] = field,
            "deleted" | "uri" | "copy_from" => {}
            _ => return Err(MetadataError::BadHeader(format!("{PREFIX}{name}"))),
        }
        Ok(())
    }

    /// Checks formats, times, name and checksum, and completes a paired format that stands alone.
    pub fn check(&mut self, formats: &Formats) -> Result<(), MetadataError> {
        let known = |field: &Field, formats: &[String]| {
            !field.is_named()
                || field
                    .value()
                    .is_some_and(|value| formats.iter().any(|format| format == value))
        };
        if !known(&self.disk_format, &formats.disk) {
            let format = self.disk_format.python_str().to_owned();
            return Err(MetadataError::DiskFormat(format));
        }
        if !known(&self.container_format, &formats.container) {
            let format = self.container_format.python_str().to_owned();
            return Err(MetadataError::ContainerFormat(format));
        }
        self.pair_formats()?;
        for (name, time) in TIMES.into_iter().zip(&self.times) {
            if time.value().is_some_and(|text| !is_time(text)) {
                return Err(MetadataError::Time(name));
            }
        }
        let length = self.name.value().map_or(0, |name| name.chars().count());
        if length > MAX_NAME {
            return Err(MetadataError::NameTooLong(length));
        }
        match self.checksum.value() {
            Some(checksum) if checksum.chars().count() > MAX_CHECKSUM => {
                Err(MetadataError::ChecksumTooLong(checksum.to_owned()))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn pair_formats(&mut self) -> Result<(), MetadataError> {
        let is_paired = |field: &Field| {
            field
                .value()
                .is_some_and(|format| AMAZON_FORMATS.contains(&format))
        };
        let (disk, container) = (&self.disk_format, &self.container_format);
        if !is_paired(disk) && !is_paired(container) {
            return Ok(());
        }
        match (disk.value(), container.value()) {
            (Some(disk), Some(container)) if disk != container => Err(MetadataError::FormatMix),
            (Some(_), None) => {
                self.container_format = self.disk_format.clone();
                Ok(())
            }
            (None, Some(_)) => {
                self.disk_format = self.container_format.clone();
                Ok(())
            }
            (Some(_), Some(_)) | (None, None) => Ok(()),
        }
    }
}

/// The metadata headers by name, decoded, each name once.
fn merged<'h>(
    headers: impl IntoIterator<Item = (&'h str, &'h [u8])>,
    decode: bool,
) -> Result<Vec<(String, String)>, MetadataError> {
    let mut merged: Vec<(String, String)> = Vec::new();
    for (name, value) in headers {
        let Some(name) = name.get(..PREFIX.len()).and_then(|prefix| {
            prefix
                .eq_ignore_ascii_case(PREFIX)
                .then(|| name.get(PREFIX.len()..))
                .flatten()
        }) else {
            continue;
        };
        let name = text(name.as_bytes(), decode)?.to_lowercase();
        let value = text(value, decode)?;
        match merged.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => {
                known.push(',');
                known.push_str(&value);
            }
            None => merged.push((name, value)),
        }
    }
    Ok(merged)
}

fn text(bytes: &[u8], decode: bool) -> Result<String, MetadataError> {
    let bytes = if decode {
        percent_decode(bytes).collect()
    } else {
        bytes.to_vec()
    };
    String::from_utf8(bytes).map_err(|_| MetadataError::Undecodable)
}

/// A whole number as Python's `int` reads it: outer white space and a sign are allowed.
fn integer(name: &'static str, field: &Field) -> Result<Option<u64>, MetadataError> {
    if !field.is_named() {
        return Ok(None);
    }
    let value = field.value().unwrap_or_default();
    let trimmed = value.trim();
    let (is_negative, digits) = match trimmed.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, trimmed.strip_prefix('+').unwrap_or(trimmed)),
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        let value = value.to_owned();
        return Err(MetadataError::NotAnInteger { name, value });
    }
    // A number beyond 64 bits is beyond every bound as well.
    let number = digits.parse().unwrap_or(u64::MAX);
    if is_negative && number > 0 {
        let value = trimmed.to_owned();
        return Err(MetadataError::Negative { name, value });
    }
    Ok(Some(number))
}

/// A Boolean as oslo's `bool_from_string` reads it.
#[must_use]
pub fn python_bool(field: &Field) -> bool {
    field.value().is_some_and(|text| {
        matches!(
            text.trim().to_lowercase().as_str(),
            "1" | "t" | "true" | "on" | "y" | "yes"
        )
    })
}

/// Whether a text is an ISO 8601 time or date of the year 1900 or later.
fn is_time(text: &str) -> bool {
    use chrono::{DateTime, Datelike as _, NaiveDate, NaiveDateTime};
    let text = text.trim();
    let naive = [
        "%Y-%m-%dT%H:%M:%S%.f",
        "%Y-%m-%d %H:%M:%S%.f",
        "%Y-%m-%dT%H:%M",
    ];
    let year = DateTime::parse_from_rfc3339(text)
        .map(|time| time.year())
        .ok()
        .or_else(|| {
            naive
                .iter()
                .find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())
                .map(|time| time.year())
        })
        .or_else(|| {
            NaiveDate::parse_from_str(text, "%Y-%m-%d")
                .ok()
                .map(|date| date.year())
        });
    year.is_some_and(|year| year >= 1900)
}

/// Whether the client keeps the properties it does not name: its
/// `x-glance-registry-purge-props` is present and not true.
#[must_use]
pub fn keeps_properties(header: Option<&str>) -> bool {
    header.is_some_and(|value| !python_bool(&Field::Value(value.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    fn parse(headers: &[(&str, &str)]) -> Result<ImageMetadata, MetadataError> {
        let headers = headers
            .iter()
            .map(|(name, value)| (*name, value.as_bytes()));
        let mut metadata = ImageMetadata::parse(headers, false)?;
        metadata.check(&Formats::default())?;
        Ok(metadata)
    }

    fn value(text: &str) -> Field {
        Field::Value(text.to_owned())
    }

    #[test]
    fn names_are_read_in_any_case_and_with_dashes() {
        let metadata = parse(&[
            ("X-Image-Meta-Disk-Format", "raw"),
            ("x-image-meta-container_format", "bare"),
            ("X-Image-Meta-Property-Kernel_Id", "abc"),
            ("x-image-meta-property-with-dash", "d"),
            ("x-image-meta-property-empty", ""),
            ("x-other", "1"),
        ])
        .unwrap();
        assert_eq!(metadata.disk_format, value("raw"));
        assert_eq!(metadata.container_format, value("bare"));
        let property =
            |name: &str, value: Option<&str>| (name.to_owned(), value.map(str::to_owned));
        assert_eq!(
            metadata.properties,
            [
                property("kernel_id", Some("abc")),
                property("with_dash", Some("d")),
                property("empty", None)
            ]
        );
    }

    #[rstest]
    #[case(&[("x-image-meta-bogus", "x")], "Bad header: x-image-meta-bogus")]
    #[case(&[("X-Image-Meta-Visibility", "x")], "Bad header: x-image-meta-visibility")]
    #[case(
        &[("x-image-meta-size", "abc")],
        "Invalid value 'abc' for parameter 'size': Cannot convert image size 'abc' to an integer."
    )]
    #[case(
        &[("x-image-meta-min_ram", "")],
        "Invalid value '' for parameter 'min_ram': Cannot convert image min_ram '' to an integer."
    )]
    #[case(
        &[("x-image-meta-min_disk", "-1")],
        "Invalid value '-1' for parameter 'min_disk': Cannot be a negative value."
    )]
    #[case(&[("x-image-meta-disk_format", "")], "Invalid disk format 'None' for image.")]
    #[case(&[("x-image-meta-disk_format", "RAW")], "Invalid disk format 'RAW' for image.")]
    #[case(
        &[("x-image-meta-container_format", "bogus")],
        "Invalid container format 'bogus' for image."
    )]
    #[case(&[("x-image-meta-created_at", "yesterday")], "Invalid time format for created_at.")]
    #[case(
        &[("x-image-meta-created_at", "1800-01-01T00:00:00")],
        "Invalid time format for created_at."
    )]
    #[case(
        &[("x-image-meta-checksum", "111111111111111111111111111111111")],
        "Invalid checksum '111111111111111111111111111111111': can't exceed 32 characters"
    )]
    fn a_bad_header_is_told_as_glance_tells_it(
        #[case] headers: &[(&str, &str)],
        #[case] expected: &str,
    ) {
        assert_eq!(parse(headers).unwrap_err().to_string(), expected);
    }

    #[rstest]
    #[case(&[("x-image-meta-disk_format", "ami")])]
    #[case(&[("x-image-meta-container_format", "ami")])]
    #[case(&[("x-image-meta-disk_format", "ami"), ("x-image-meta-container_format", "ami")])]
    fn a_paired_format_sets_both(#[case] headers: &[(&str, &str)]) {
        let metadata = parse(headers).unwrap();
        assert_eq!(metadata.disk_format, value("ami"));
        assert_eq!(metadata.container_format, value("ami"));
    }

    #[rstest]
    #[case(&[("x-image-meta-disk_format", "ari"), ("x-image-meta-container_format", "bare")])]
    #[case(&[("x-image-meta-disk_format", "ami"), ("x-image-meta-container_format", "aki")])]
    fn paired_formats_do_not_mix(#[case] headers: &[(&str, &str)]) {
        assert_eq!(parse(headers), Err(MetadataError::FormatMix));
    }

    #[test]
    fn a_name_has_255_characters_at_most() {
        let longest = "é".repeat(255);
        assert!(parse(&[("x-image-meta-name", &longest)]).is_ok());
        let longer = "n".repeat(256);
        assert_eq!(
            parse(&[("x-image-meta-name", &longer)]),
            Err(MetadataError::NameTooLong(256))
        );
    }

    #[test]
    fn an_empty_value_is_null_and_an_absent_one_is_not() {
        let metadata = parse(&[
            ("x-image-meta-name", ""),
            ("x-image-meta-virtual_size", "None"),
        ]);
        let metadata = metadata.unwrap();
        assert_eq!(metadata.name, Field::Null);
        assert_eq!(metadata.owner, Field::Absent);
        assert_eq!(metadata.virtual_size, None);
    }

    #[test]
    fn a_repeated_header_is_joined() {
        let metadata = parse(&[("x-image-meta-name", "1"), ("X-Image-Meta-Name", "2")]).unwrap();
        assert_eq!(metadata.name, value("1,2"));
    }

    #[test]
    fn only_some_clients_percent_encode() {
        let headers = [("x-image-meta-property-os%20name", "Ubuntu%2010.04")];
        let read = |decode| {
            let headers = headers
                .iter()
                .map(|(name, value)| (*name, value.as_bytes()));
            ImageMetadata::parse(headers, decode).unwrap().properties
        };
        let property = |name: &str, value: &str| [(name.to_owned(), Some(value.to_owned()))];
        assert_eq!(read(true), property("os name", "Ubuntu 10.04"));
        assert_eq!(read(false), property("os%20name", "Ubuntu%2010.04"));
    }

    #[rstest]
    #[case("True", true)]
    #[case("yes", true)]
    #[case("ON", true)]
    #[case("bogus", false)]
    #[case("", false)]
    #[case("None", false)]
    fn a_boolean_is_true_in_six_words(#[case] text: &str, #[case] expected: bool) {
        let metadata = parse(&[("x-image-meta-protected", text)]).unwrap();
        assert_eq!(metadata.protected, Some(expected));
    }

    #[rstest]
    #[case(None, false)]
    #[case(Some("true"), false)]
    #[case(Some("False"), true)]
    #[case(Some("0"), true)]
    #[case(Some("bogus"), true)]
    #[case(Some(""), true)]
    fn properties_are_kept_on_request(#[case] header: Option<&str>, #[case] expected: bool) {
        assert_eq!(keeps_properties(header), expected);
    }

    proptest! {
        #[test]
        fn any_headers_are_read_or_refused(
            headers in prop::collection::vec(
                (("[a-zA-Z_-]{0,20}").prop_map(|name| format!("x-image-meta-{name}")), prop::collection::vec(any::<u8>(), 0..40)),
                0..10,
            ),
            decode in any::<bool>(),
        ) {
            let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
            if let Ok(mut metadata) = ImageMetadata::parse(headers, decode) {
                let _checked = metadata.check(&Formats::default());
            }
        }
    }
}

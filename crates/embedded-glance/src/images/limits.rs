//! What an image may hold: the quotas and the checks that Glance makes when it writes. Pure.

use crate::error::Fault;
use crate::model::Image;
use crate::patch::RESERVED_NAMESPACE;

/// Additional properties of an image.
const PROPERTIES: usize = 128;
/// Tags of an image.
const TAGS: usize = 128;
/// Members of an image.
pub(super) const MEMBERS: usize = 128;
/// Minima are kept in four bytes.
const LARGEST_MINIMUM: i64 = 2_147_483_647;

/// Properties that Glance sets itself do not count.
pub(super) fn check_properties(image: &Image) -> Result<(), Fault> {
    let names = image.properties.iter().map(|(name, _)| name);
    let attempted = names
        .filter(|name| !name.starts_with(RESERVED_NAMESPACE))
        .count();
    if attempted <= PROPERTIES {
        return Ok(());
    }
    Err(exceeded("properties", attempted, PROPERTIES))
}

pub(super) fn check_tags(tags: &[String]) -> Result<(), Fault> {
    if tags.len() <= TAGS {
        return Ok(());
    }
    Err(exceeded("tags", tags.len(), TAGS))
}

fn exceeded(what: &str, attempted: usize, maximum: usize) -> Fault {
    Fault::too_large(format!(
        "The limit has been exceeded on the number of allowed image {what}. Attempted: \
         {attempted}, Maximum: {maximum}"
    ))
}

/// `min_ram` and `min_disk`: not negative.
pub(super) fn check_minimum(name: &str, value: i64) -> Result<(), Fault> {
    if value >= 0 {
        return Ok(());
    }
    Err(Fault::bad_request(format!(
        "Invalid value '{value}' for parameter '{name}': Cannot be a negative value"
    )))
}

/// The checks of what is about to be written, in Glance's order.
pub(super) fn check_record(image: &Image) -> Result<(), Fault> {
    let attributes = [
        ("id", Some(image.id.as_str())),
        ("name", image.name.as_deref()),
        ("owner", image.owner.as_deref()),
    ];
    for (name, value) in attributes {
        check_value(name, value.unwrap_or_default())?;
    }
    for (name, value) in image.properties.iter() {
        if has_four_byte_character(name) {
            return Err(Fault::bad_request(
                "Property names can't contain 4 byte unicode.",
            ));
        }
        check_value(name, value)?;
    }
    for (name, value) in [("min_disk", image.min_disk), ("min_ram", image.min_ram)] {
        if value > LARGEST_MINIMUM {
            return Err(Fault::bad_request(format!(
                "'{name}' value out of range, must not exceed {LARGEST_MINIMUM}."
            )));
        }
    }
    if image.tags.iter().any(|tag| has_four_byte_character(tag)) {
        return Err(Fault::bad_request(
            "Param values can't contain 4 byte unicode.",
        ));
    }
    Ok(())
}

/// The project of a new member.
pub(super) fn check_member(name: &str) -> Result<(), Fault> {
    check_value("member", name)
}

fn check_value(name: &str, value: &str) -> Result<(), Fault> {
    if !has_four_byte_character(value) {
        return Ok(());
    }
    let name = title(name);
    Err(Fault::bad_request(format!(
        "{name} can't contain 4 byte unicode characters."
    )))
}

fn has_four_byte_character(text: &str) -> bool {
    text.chars().any(|character| character.len_utf8() == 4)
}

/// Every word with a capital, as Python's `title` does it: `Os_Distro`.
fn title(name: &str) -> String {
    let mut inside = false;
    let mut titled = String::with_capacity(name.len());
    for character in name.chars() {
        if inside {
            titled.extend(character.to_lowercase());
        } else {
            titled.extend(character.to_uppercase());
        }
        inside = character.is_alphabetic();
    }
    titled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_titled() {
        assert_eq!(title("os_distro"), "Os_Distro");
        assert_eq!(title("a1b"), "A1B");
        assert_eq!(title("UPPER"), "Upper");
    }

    #[test]
    fn a_four_byte_character_is_refused_wherever_it_is() {
        let mut image = Image::queued("i".into(), None, 0);
        image.properties.set("os_distro".into(), "😀".into());
        let message = "Os_Distro can't contain 4 byte unicode characters.";
        assert_eq!(check_record(&image), Err(Fault::bad_request(message)));
        image.properties.remove("os_distro");
        image.tags.push("😀".into());
        assert!(check_record(&image).is_err());
    }

    #[test]
    fn properties_of_glance_do_not_count() {
        let mut image = Image::queued("i".into(), None, 0);
        for number in 0..128 {
            image.properties.set(format!("k{number}"), "v".into());
        }
        image.properties.set("os_glance_x".into(), "v".into());
        assert_eq!(check_properties(&image), Ok(()));
        image.properties.set("one_more".into(), "v".into());
        assert!(check_properties(&image).is_err());
    }
}

//! Images that are coming into being: clients poll for the moment they are there.

use crate::glance::{Image, json_str, utc};
use chrono::{DateTime, TimeDelta, Utc};
use std::time::Duration;

/// Glance's states on the way to `active`.
const STATES: [&str; 4] = ["queued", "saving", "uploading", "importing"];

/// Which images are transitional. An abandoned upload stays `queued` for ever, and
/// every cloud has some: one that has not moved for the length of the window counts no more.
#[derive(Debug, Clone, Copy)]
pub struct Transitional {
    since: DateTime<Utc>,
}

impl Transitional {
    /// By the clock, with `cache.transitional_window`.
    #[must_use]
    pub fn now(window: Duration) -> Self {
        let window = TimeDelta::from_std(window).unwrap_or(TimeDelta::MAX);
        Self {
            since: Utc::now()
                .checked_sub_signed(window)
                .unwrap_or(DateTime::<Utc>::MIN_UTC),
        }
    }

    /// Whether `image` is about to change by itself.
    #[must_use]
    pub fn is_transitional(self, image: &Image<'_>) -> bool {
        let Some(status) = image.status.and_then(json_str) else {
            return false;
        };
        STATES.contains(&status.as_ref())
            && image
                .updated_at
                .and_then(json_str)
                .and_then(|date| utc(&date))
                // Without a date a TTL of one second is the safe choice.
                .is_none_or(|updated| updated >= self.since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("queued", 59, true)]
    #[case("saving", 59, true)]
    #[case("uploading", 0, true)]
    #[case("importing", 0, true)]
    #[case("queued", 61, false)]
    #[case("active", 0, false)]
    #[case("deactivated", 0, false)]
    #[case("QUEUED", 0, false)]
    fn an_image_is_transitional_for_the_length_of_the_window(
        #[case] status: &str,
        #[case] minutes: i64,
        #[case] transitional: bool,
    ) {
        let updated = Utc::now() - TimeDelta::minutes(minutes);
        let updated = updated.format("%Y-%m-%dT%H:%M:%SZ");
        let json = format!(r#"{{"status": "{status}", "updated_at": "{updated}"}}"#);
        let image = Image::parse(json.as_bytes()).unwrap();
        let rule = Transitional::now(Duration::from_secs(3600));
        assert_eq!(rule.is_transitional(&image), transitional);
    }

    #[rstest]
    #[case(r#"{"status": "queued"}"#, true)]
    #[case(r#"{"status": "queued", "updated_at": "some day"}"#, true)]
    #[case(r#"{"status": null}"#, false)]
    #[case("{}", false)]
    fn in_doubt_a_queued_image_counts(#[case] json: &str, #[case] transitional: bool) {
        let image = Image::parse(json.as_bytes()).unwrap();
        assert_eq!(
            Transitional::now(Duration::ZERO).is_transitional(&image),
            transitional
        );
    }
}

//! Sends recorded requests again and compares every answer, and what Glance holds afterwards, with what
//! Nova answered then. `tests/fixtures/README.md` describes the files.
//!
//! Nothing here knows how the service under test is started: it gets a [`Cloud`].

mod case;
mod cloud;
mod deviation;
mod normal;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::Value;

pub use case::{Case, Recorded, cases};
pub use cloud::{Cloud, RawBody};
pub use deviation::Deviations;

/// How many requests are under way at once, where order cannot matter.
const WORKERS: usize = 4;

/// Calls `check` with each case, several at once where no image is made, and fails with all that it
/// returns.
///
/// # Panics
/// `check` found a difference, or images other than the seeds are visible, so that no list could be
/// compared.
pub fn compare(cloud: &Cloud, cases: &[&Case], check: impl Fn(&Case) -> Option<String> + Sync) {
    assert!(!cases.is_empty(), "nothing to compare");
    cloud.assert_only_seeds();
    let differences = Mutex::new(Vec::new());
    let run = |case: &Case| {
        if let Some(text) = check(case) {
            differences.lock().unwrap().push(text);
        }
    };
    // Lists would show the image that another case made for itself, and Glance on sqlite refuses one of
    // two concurrent writes. So only the cases that make no image run side by side, and those go first.
    let (plain, fresh): (Vec<&Case>, Vec<&Case>) =
        cases.iter().partition(|case| case.fresh_image.is_none());
    in_parallel(&plain, run);
    fresh.into_iter().for_each(run);
    cloud.assert_only_seeds();
    let mut differences = differences.into_inner().unwrap();
    differences.sort_unstable();
    assert!(
        differences.is_empty(),
        "{} of {} answers differ:\n{}",
        differences.len(),
        cases.len(),
        differences.join("\n")
    );
}

/// Replays the cases and fails with every difference, one paragraph each.
///
/// # Panics
/// An answer differs from what is expected, or images other than the seeds are visible, so that no list
/// could be compared.
pub fn replay(cloud: &Cloud, cases: &[&Case], expected: &BTreeMap<&str, Recorded>) {
    compare(cloud, cases, |case| {
        difference(case, &expected[case.name.as_str()], &cloud.answer(case))
    });
}

fn in_parallel(cases: &[&Case], run: impl Fn(&Case) + Sync) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    run(case);
                }
            });
        }
    });
}

fn difference(case: &Case, expected: &Recorded, got: &Recorded) -> Option<String> {
    let mut lines = Vec::new();
    let mut differ = |what: &str, expected: String, got: String| {
        lines.push(format!(
            "   {what}: expected {}\n   {what}: received {}",
            cut(expected),
            cut(got)
        ));
    };
    if expected.answer.status != got.answer.status {
        let status = |each: &Recorded| each.answer.status.to_string();
        differ("status", status(expected), status(got));
    }
    if expected.answer.body != got.answer.body {
        differ(
            "body",
            expected.answer.body.to_string(),
            got.answer.body.to_string(),
        );
    }
    if expected.answer.headers != got.answer.headers {
        let only = |these: &Recorded, those: &Recorded| {
            let these = these.answer.headers.iter();
            format!(
                "{:?}",
                these
                    .filter(|h| !those.answer.headers.contains(h))
                    .collect::<Vec<_>>()
            )
        };
        differ("headers", only(expected, got), only(got, expected));
    }
    if expected.glance_after != got.glance_after {
        let show = |each: &Recorded| {
            each.glance_after
                .as_ref()
                .map_or_else(|| "nothing".to_owned(), Value::to_string)
        };
        differ("glance", show(expected), show(got));
    }
    (!lines.is_empty()).then(|| {
        let request = &case.request;
        format!(
            "{}  {} {}\n{}",
            case.name,
            request.method,
            cut(request.path.clone()),
            lines.join("\n")
        )
    })
}

/// The start of a long text; a body of a megabyte helps nobody.
fn cut(text: String) -> String {
    const MOST: usize = 1500;
    match text.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}… ({} bytes)", &text[..at], text.len()),
        None => text,
    }
}

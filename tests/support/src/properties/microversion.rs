//! Header negotiation. Each line of the input is a header: `g` and a value of the generic one, any
//! other letter and a value of Nova's own.

use nova_image_proxy::apis::nova::microversion::{Microversion, Negotiation, negotiate};

const MAX: Microversion = Microversion::new(2, 104);

/// # Panics
/// The input breaks a rule.
pub fn holds(data: &[u8]) {
    let (mut generic, mut legacy) = (Vec::new(), Vec::new());
    for line in data.split(|byte| *byte == b'\n') {
        match line.split_first() {
            Some((b'g', value)) => generic.push(value),
            Some((_, value)) => legacy.push(value),
            None => {}
        }
    }
    let settled = settle(&generic, &legacy);
    match &settled {
        Negotiation::Accepted(version) => {
            assert!((Microversion::MIN..=MAX).contains(version));
            let asked = version.to_string();
            assert_eq!(settle(&[], &[asked.as_bytes()]), settled);
            let asked = format!("compute {asked}");
            assert_eq!(settle(&[asked.as_bytes()], &legacy), settled);
        }
        Negotiation::OutOfRange(asked) => {
            let version: Microversion = asked.parse().expect("out of range, yet no version");
            assert!(!(Microversion::MIN..=MAX).contains(&version));
        }
        Negotiation::Malformed(asked) => {
            assert!(asked.parse::<Microversion>().is_err() && asked != "latest");
        }
    }
    if generic.is_empty() && legacy.is_empty() {
        assert_eq!(settled, Negotiation::Accepted(Microversion::MIN));
    }
    // A header sent twice is one header with a comma.
    let (generic_line, legacy_line) = (generic.join(&b','), legacy.join(&b','));
    let one_line = |values: &[&[u8]], line| {
        if values.is_empty() {
            vec![]
        } else {
            vec![line]
        }
    };
    let generic_once = one_line(&generic, generic_line.as_slice());
    assert_eq!(
        settle(&generic_once, &one_line(&legacy, legacy_line.as_slice())),
        settled
    );
    // Another service's version is none of ours.
    let others: Vec<&[u8]> = generic
        .iter()
        .copied()
        .chain([&b"volume 3.71"[..]])
        .collect();
    assert_eq!(settle(&others, &legacy), settled);
}

fn settle(generic: &[&[u8]], legacy: &[&[u8]]) -> Negotiation {
    negotiate(generic.iter().copied(), legacy.iter().copied(), MAX)
}

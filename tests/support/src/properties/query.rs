//! A list's query string: the first line is the marker of the next link, the rest the query.

use std::collections::BTreeMap;

use nova_image_proxy::apis::nova::list_query::{next_query, parse_list};
use url::Url;

/// # Panics
/// The input breaks a rule.
pub fn holds(data: &[u8]) {
    let (marker, query) = super::first_line(data);
    let marker = String::from_utf8_lossy(marker);
    let query = String::from_utf8_lossy(query);
    let Ok(list) = parse_list(&query) else {
        return;
    };
    let url: Url = format!("http://glance:9292{}", list.images.page(7, Some(&marker)))
        .parse()
        .expect("no URL");
    assert_eq!((url.host_str(), url.path()), (Some("glance"), "/v2/images"));
    assert_eq!(url.fragment(), None);
    let mut sent: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    assert_eq!(sent.remove(0), ("limit".to_owned(), "7".to_owned()));
    assert_eq!(
        sent.pop(),
        Some(("marker".to_owned(), marker.clone().into_owned()))
    );
    // No filter steers the list, and each arrives once, as it was meant.
    for control in ["limit", "marker", "sort", "sort_key", "sort_dir"] {
        assert!(!list.images.filters.contains_key(control), "{control}");
    }
    assert_eq!(sent.len(), list.images.filters.len());
    assert_eq!(
        sent.into_iter().collect::<BTreeMap<_, _>>(),
        list.images.filters
    );

    // The next link is understood, and says the same and where to go on.
    let next = next_query(&list.link, &marker);
    let again = parse_list(&next).expect("a next link that is refused");
    let mut expected = list.link;
    expected.insert("marker".to_owned(), marker.clone().into_owned());
    assert_eq!(again.link, expected);
    let set = (!marker.is_empty()).then(|| marker.clone().into_owned());
    assert_eq!(again.images.marker, set);
    assert_eq!(
        next_query(&again.link, &marker),
        next_query(&expected, &marker)
    );
}

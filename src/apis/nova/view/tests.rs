//! Every image is shown, whatever is odd about it.

use super::*;
use crate::apis::nova::routes::ApiVersion;
use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Value, json};

fn links() -> LinkBase {
    LinkBase::new("http://h", ApiVersion::V21, None, "http://g")
}

fn shown(glance: &Value) -> Value {
    let body = glance.to_string();
    let view = image(&Image::parse(body.as_bytes()).unwrap(), &links());
    serde_json::from_slice::<Value>(&view).unwrap()["image"].take()
}

#[test]
fn a_snapshot_is_shown_whole() {
    let view = shown(&json!({
        "id": "i", "name": "snap", "status": "active", "size": 7, "min_ram": 512, "min_disk": 1,
        "created_at": "2024-01-02T03:04:05Z", "updated_at": "2024-01-02T03:04:06Z",
        "owner": "o", "tags": ["t"], "visibility": "private", "stores": "fs",
        "instance_uuid": "s", "auto_disk_config": "True",
        "block_device_mapping": "[{\"a\": null}]", "mappings": "[]", "os_distro": "ü",
    }));
    assert_eq!(
        view,
        json!({
            "id": "i", "name": "snap", "minRam": 512, "minDisk": 1, "status": "ACTIVE",
            "progress": 100, "created": "2024-01-02T03:04:05Z", "updated": "2024-01-02T03:04:06Z",
            "OS-EXT-IMG-SIZE:size": 7, "OS-DCF:diskConfig": "AUTO",
            "metadata": {
                "instance_uuid": "s", "auto_disk_config": "True",
                "block_device_mapping": [{"a": null}], "mappings": [], "os_distro": "ü",
            },
            "links": [
                {"rel": "self", "href": "http://h/v2.1/images/i"},
                {"rel": "bookmark", "href": "http://h/images/i"},
                {"rel": "alternate", "type": "application/vnd.openstack.image",
                 "href": "http://g/images/i"},
            ],
            "server": {"id": "s", "links": [
                {"rel": "self", "href": "http://h/v2.1/servers/s"},
                {"rel": "bookmark", "href": "http://h/servers/s"},
            ]},
        })
    );
}

#[test]
fn an_image_of_nulls_is_shown() {
    let view = shown(&json!({
        "id": "i", "name": null, "status": null, "size": null, "min_ram": null, "min_disk": null,
        "created_at": null, "updated_at": null, "instance_uuid": null, "auto_disk_config": null,
    }));
    assert_eq!(view["name"], Value::Null);
    assert_eq!(view["status"], "UNKNOWN");
    assert_eq!(view["created"], Value::Null);
    assert_eq!(
        (
            &view["minRam"],
            &view["minDisk"],
            &view["OS-EXT-IMG-SIZE:size"]
        ),
        (&json!(0), &json!(0), &json!(0))
    );
    assert!(view.get("server").is_none() && view.get("OS-DCF:diskConfig").is_none());
}

#[test]
fn an_empty_image_is_shown() {
    let view = shown(&json!({}));
    assert_eq!(view["id"], Value::Null);
    assert_eq!(view["links"][0]["href"], "http://h/v2.1/images/");
}

#[rstest]
#[case("active", "ACTIVE", 100)]
#[case("queued", "SAVING", 25)]
#[case("saving", "SAVING", 50)]
#[case("deleted", "DELETED", 0)]
#[case("pending_delete", "DELETED", 0)]
#[case("killed", "ERROR", 0)]
#[case("deactivated", "UNKNOWN", 0)]
#[case("importing", "UNKNOWN", 0)]
#[case("ACTIVE", "UNKNOWN", 0)]
fn statuses_have_nova_s_names(#[case] glance: &str, #[case] status: &str, #[case] progress: u64) {
    let view = shown(&json!({"status": glance}));
    assert_eq!(
        (&view["status"], &view["progress"]),
        (&json!(status), &json!(progress))
    );
}

#[rstest]
#[case(json!(512), 512)]
#[case(json!("512"), 512)]
#[case(json!(1.9), 1)]
#[case(json!(-3), -3)]
#[case(json!("x"), 0)]
#[case(json!(""), 0)]
#[case(json!([1]), 0)]
#[case(json!(1e300), 0)]
fn minimums_are_integers(#[case] glance: Value, #[case] shown_as: i64) {
    assert_eq!(shown(&json!({"min_ram": glance}))["minRam"], shown_as);
}

#[rstest]
#[case("true", "AUTO")]
#[case(" YES ", "AUTO")]
#[case("1", "AUTO")]
#[case("t", "AUTO")]
#[case("auto", "MANUAL")]
#[case("", "MANUAL")]
fn disk_config_is_read_as_a_boolean(#[case] property: &str, #[case] config: &str) {
    assert_eq!(
        shown(&json!({"auto_disk_config": property}))["OS-DCF:diskConfig"],
        config
    );
}

#[rstest]
#[case("2024-01-02T03:04:05.678Z", "2024-01-02T03:04:05Z")]
#[case("2024-01-02T03:04:05+02:00", "2024-01-02T01:04:05Z")]
#[case("2024-01-02T03:04:05", "2024-01-02T03:04:05Z")]
#[case("2024-01-02T03:04:05Z", "2024-01-02T03:04:05Z")]
#[case("2024-13-02T03:04:61Z", "2024-13-02T03:04:61Z")]
#[case("yesterday", "yesterday")]
fn dates_are_utc_to_the_second(#[case] glance: &str, #[case] date: &str) {
    assert_eq!(shown(&json!({"created_at": glance}))["created"], date);
}

#[rstest]
#[case(json!("not json"))]
#[case(json!(""))]
#[case(json!("{\"a\": NaN}"))]
#[case(json!(7))]
#[case(json!(null))]
fn a_mapping_that_is_no_json_is_shown_as_it_is(#[case] mapping: Value) {
    let view = shown(&json!({"block_device_mapping": mapping}));
    assert_eq!(view["metadata"]["block_device_mapping"], mapping);
}

#[test]
fn one_item_of_metadata_is_found_by_its_exact_key() {
    let body = br#"{"os_distro": "ubuntu", "mappings": "[1]", "name": "n"}"#;
    let glance = Image::parse(body).unwrap();
    assert_eq!(
        metadata_item(&glance, "os_distro").unwrap(),
        br#"{"meta": {"os_distro": "ubuntu"}}"#
    );
    assert_eq!(
        metadata_item(&glance, "mappings").unwrap(),
        br#"{"meta": {"mappings": [1]}}"#
    );
    assert!(metadata_item(&glance, "name").is_none());
    assert!(metadata_item(&glance, "OS_DISTRO").is_none());
}

fn list(pages: &[Value], detail: Detail, limit: Option<u64>, max_limit: u64) -> Value {
    let mut view = ListView::new(detail, links());
    for page in pages {
        let body = json!({"images": page}).to_string();
        view.push(&ImagePage::parse(body.as_bytes(), usize::MAX).unwrap());
    }
    let parameters = limit
        .iter()
        .map(|n| ("limit".to_owned(), n.to_string()))
        .collect();
    let chunks = view.finish(&parameters, limit, max_limit);
    serde_json::from_slice(&chunks.concat()).unwrap()
}

#[rstest]
#[case(Some(3), 1000, true)]
#[case(Some(4), 1000, false)]
#[case(None, 3, true)]
#[case(None, 2, false)]
#[case(Some(99), 3, true)]
fn a_full_list_has_a_next_link(#[case] limit: Option<u64>, #[case] max: u64, #[case] next: bool) {
    let pages = [
        json!([{"id": "a"}, {"id": "b"}]),
        json!([{"id": "c"}]),
        json!([]),
    ];
    let view = list(&pages, Detail::Full, limit, max);
    assert_eq!(view["images"].as_array().unwrap().len(), 3);
    assert_eq!(view.get("images_links").is_some(), next);
    if next {
        let href = view["images_links"][0]["href"].as_str().unwrap();
        assert!(href.starts_with("http://h/v2.1/images/detail?"), "{href}");
        assert!(href.ends_with("marker=c"), "{href}");
    }
}

#[test]
fn an_empty_list_is_a_list() {
    assert_eq!(list(&[], Detail::Basic, None, 1000), json!({"images": []}));
    assert_eq!(
        list(&[json!([])], Detail::Basic, None, 1000),
        json!({"images": []})
    );
}

fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(|n| Value::from(f64::from(n) / 4.0)),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec(("\\PC{0,8}", inner), 0..4)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

fn odd_image() -> impl Strategy<Value = Value> {
    let names = prop_oneof![
        proptest::sample::select(vec![
            "id",
            "name",
            "status",
            "size",
            "min_ram",
            "min_disk",
            "created_at",
            "updated_at",
            "instance_uuid",
            "auto_disk_config",
            "block_device_mapping",
            "mappings",
        ])
        .prop_map(str::to_owned),
        "\\PC{0,8}",
    ];
    proptest::collection::vec((names, anything()), 0..12)
        .prop_map(|pairs| Value::Object(pairs.into_iter().collect()))
}

proptest! {
    #[test]
    fn every_image_of_every_page_is_shown_once_as_valid_json(
        pages in proptest::collection::vec(proptest::collection::vec(odd_image(), 0..5), 0..4),
    ) {
        let sent: Vec<Value> = pages.iter().flatten().cloned().collect();
        let pages: Vec<Value> = pages.into_iter().map(Value::from).collect();
        for detail in [Detail::Basic, Detail::Full] {
            let view = list(&pages, detail, None, 1000);
            let images = view["images"].as_array().unwrap();
            prop_assert_eq!(images.len(), sent.len());
            for (glance, nova) in sent.iter().zip(images) {
                prop_assert_eq!(glance.get("id").unwrap_or(&Value::Null), &nova["id"]);
            }
        }
    }
}

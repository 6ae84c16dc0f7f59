//! What the other tests take for granted about the services.

use serde_json::json;

use crate::stack::Stack;

#[test]
fn an_image_can_be_made_filled_changed_and_removed_through_glance() {
    let stack = Stack::shared();
    let _alone = stack.alone();
    let fields = json!({"name": "made", "disk_format": "raw", "container_format": "bare"});
    let image = stack.create_image("demo", &fields);
    assert_eq!(stack.image_record(&image).unwrap()["status"], "queued");
    stack.upload("demo", &image, b"data");
    assert_eq!(stack.image_record(&image).unwrap()["status"], "active");
    let patch = json!([
        {"op": "add", "path": "/color", "value": "red"},
        {"op": "replace", "path": "/protected", "value": true},
    ]);
    assert_eq!(
        stack.patch_image("demo", &image, &patch).json()["color"],
        "red"
    );
    assert_eq!(stack.patch_image("reader", &image, &patch).status, 403);
    stack.remove_image(&image);
    assert_eq!(stack.image_record(&image), None);
}

#[test]
fn a_revoked_token_is_worth_nothing() {
    let stack = Stack::shared();
    let token = stack.new_token("demo2", true);
    assert_eq!(stack.verify(&token), 200);
    stack.revoke(&token);
    assert_eq!(stack.verify(&token), 404);
}

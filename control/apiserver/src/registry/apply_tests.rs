use serde_json::json;
use xebec_api::resource;

use super::super::merge_schema;
use super::*;

fn node(group: &str, plural: &str) -> Node<'static> {
    merge_schema::root(resource::lookup(group, "v1", plural).unwrap())
}

fn names(list: &[&str]) -> Value {
    list.iter().map(|name| json!({"name": name})).collect()
}

#[test]
fn lists_take_the_configurations_order_and_keep_the_others_where_they_stood() {
    let cases: [(&[&str], &[&str], &[&str]); 7] = [
        (&["a", "b", "c"], &["b"], &["a", "b", "c"]),
        (&["a", "b", "c"], &["c", "a"], &["b", "c", "a"]),
        (&["a", "b"], &["x", "b"], &["a", "x", "b"]),
        (&["a", "b"], &["b", "x"], &["a", "b", "x"]),
        (&[], &["b", "a"], &["b", "a"]),
        (&["a", "b"], &[], &["a", "b"]),
        (&["a", "b", "c", "d"], &["d", "b", "x"], &["a", "c", "d", "b", "x"]),
    ];
    let list = node("", "pods").field("spec").field("containers");
    for (live, config, wanted) in cases {
        assert_eq!(merged(&names(live), &names(config), list), names(wanted), "{live:?} with {config:?}");
    }
    let set = node("", "pods").field("metadata").field("finalizers");
    assert_eq!(merged(&json!(["a", "b"]), &json!(["c", "b"]), set), json!(["a", "c", "b"]));
}

#[test]
fn what_is_atomic_is_replaced_and_null_empties_it() {
    let pod = node("", "pods");
    let cases = [
        (
            json!({"spec": {"tolerations": [{"key": "a"}]}}),
            json!({"spec": {"tolerations": [{"key": "b"}]}}),
            json!({"spec": {"tolerations": [{"key": "b"}]}}),
        ),
        (
            json!({"spec": {"nodeSelector": {"a": "1"}}}),
            json!({"spec": {"nodeSelector": {"b": "2"}}}),
            json!({"spec": {"nodeSelector": {"b": "2"}}}),
        ),
        (
            json!({"spec": {"nodeName": "a"}}),
            json!({"spec": {"nodeName": null}}),
            json!({"spec": {"nodeName": null}}),
        ),
        // Null is a map or list without anything to add.
        (
            json!({"metadata": {"labels": {"a": "1"}}}),
            json!({"metadata": {"labels": null}}),
            json!({"metadata": {"labels": {"a": "1"}}}),
        ),
        (
            json!({"spec": {"containers": [{"name": "a"}]}}),
            json!({"spec": {"containers": []}}),
            json!({"spec": {"containers": [{"name": "a"}]}}),
        ),
    ];
    for (live, config, wanted) in cases {
        assert_eq!(merged(&live, &config, pod), wanted, "{live} with {config}");
    }
}

#[test]
fn items_that_share_a_key_in_the_live_object_give_way_to_the_configurations_one() {
    let list = node("", "pods").field("spec").field("containers");
    let live = json!([{"name": "a", "image": "1"}, {"name": "b"}, {"name": "a", "image": "2"}]);
    assert_eq!(merged(&live, &names(&["b"]), list), live);
    let config = json!([{"name": "a", "image": "3"}]);
    assert_eq!(merged(&live, &config, list), json!([{"name": "a", "image": "3"}, {"name": "b"}]));
}

#[test]
fn many_conflicts_are_listed_by_owner() {
    let conflict = |name: &str, applies, path: &[&str]| Conflict {
        with: Manager {
            name: name.to_owned(),
            applies,
            version: if applies { String::new() } else { "apps/v1".to_owned() },
            subresource: if applies { String::new() } else { "scale".to_owned() },
        },
        path: path.iter().map(|name| fieldset::Step::Field((*name).to_owned())).collect(),
    };
    let error = conflict_error(&[
        conflict("a", true, &["spec", "replicas"]),
        conflict("a", true, &["spec", "paused"]),
        conflict("b", false, &["spec", "replicas"]),
    ]);
    assert_eq!(
        error.message,
        "Apply failed with 3 conflicts: conflicts with \"a\":\n- .spec.replicas\n- .spec.paused\n\
         conflicts with \"b\" with subresource \"scale\" using apps/v1:\n- .spec.replicas"
    );
}

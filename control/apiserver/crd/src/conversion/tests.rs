//! Conversions, their questions and answers.

use serde_json::{Value, json};

use super::{Plan, Review};
use crate::definition::Conversion;

fn webhook() -> Conversion {
    Conversion::Webhook { client: None, review_versions: vec!["v9".to_owned(), "v1".to_owned()] }
}

fn object(version: &str, name: &str) -> Value {
    json!({"apiVersion": format!("g.io/{version}"), "kind": "K",
        "metadata": {"name": name, "namespace": "ns", "uid": "u", "labels": {"a": "b"}, "finalizers": ["x/y"]}, "spec": {"v": version}})
}

fn ask(objects: Vec<Value>, list: bool) -> Review {
    match Plan::of(&webhook(), objects, "g.io/v2", list, "q-1").unwrap() {
        Plan::Ask(review) => review,
        Plan::Done(objects) => panic!("nothing to ask of {objects:?}"),
    }
}

fn answer(objects: Value) -> Value {
    json!({"kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1",
        "response": {"uid": "q-1", "result": {"status": "Success"}, "convertedObjects": objects}})
}

#[test]
fn without_a_webhook_the_version_is_rewritten() {
    let plan = Plan::of(&Conversion::None, vec![object("v1", "a")], "g.io/v2", false, "q").unwrap();
    let mut want = object("v1", "a");
    want["apiVersion"] = json!("g.io/v2");
    assert_eq!(plan, Plan::Done(vec![want]));
}

#[test]
fn only_objects_of_other_versions_are_sent() {
    let review = ask(vec![object("v2", "a"), object("v1", "b")], true);
    assert_eq!(review.body["apiVersion"], "apiextensions.k8s.io/v1");
    assert_eq!(review.body["request"]["desiredAPIVersion"], "g.io/v2");
    assert_eq!(review.body["request"]["objects"], json!([object("v1", "b")]));
    let mut converted = object("v2", "b");
    converted["metadata"]["labels"] = json!({"new": "label"});
    converted["metadata"]["finalizers"] = json!([]);
    let all = review.read(&answer(json!([converted]))).unwrap();
    assert_eq!(all[0], object("v2", "a"));
    assert_eq!(all[1]["metadata"]["labels"], json!({"new": "label"}));
    assert_eq!(all[1]["metadata"]["finalizers"], json!(["x/y"]), "only labels and annotations may change");
    let done = Plan::of(&webhook(), vec![object("v2", "a")], "g.io/v2", false, "q").unwrap();
    assert_eq!(done, Plan::Done(vec![object("v2", "a")]));
}

#[test]
fn bad_answers_are_refused_in_upstreams_words() {
    let head = "conversion webhook for g.io/v1, Kind=K";
    let with = |pointer: &str, value: Value| {
        let mut converted = object("v2", "a");
        *converted.pointer_mut(pointer).unwrap() = value;
        answer(json!([converted]))
    };
    let mut other_uid = answer(json!([]));
    other_uid["response"]["uid"] = json!("other");
    let failed = json!({"kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1",
        "response": {"uid": "q-1", "result": {"status": "Failed", "message": "no way"}}});
    let cases = [
        (
            json!({}),
            format!(
                "{head} failed: expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got , Kind="
            ),
        ),
        (other_uid, format!("{head} failed: expected response.uid=\"q-1\", got \"other\"")),
        (failed, format!("{head} failed: no way")),
        (answer(json!([])), format!("{head} returned 0 objects, expected 1")),
        (
            answer(json!([object("v3", "a")])),
            format!(
                "{head} returned invalid object at index 0: invalid groupVersion (expected g.io/v2, received g.io/v3)"
            ),
        ),
        (
            with("/kind", json!("L")),
            format!("{head} returned invalid object at index 0: invalid kind (expected K, received L)"),
        ),
        (
            with("/metadata/name", json!("b")),
            format!("{head} returned invalid object: must have the same name: a != b"),
        ),
        (
            with("/metadata/uid", json!("b")),
            format!("{head} returned invalid object: must have the same UID: u != b"),
        ),
        (
            with("/metadata/labels", json!({"a": 1})),
            format!(
                "{head} returned invalid metadata: metadata.labels[a] must be a string, but is int64 in converted object"
            ),
        ),
        (
            with("/metadata/labels", json!([])),
            format!(
                "{head} returned invalid metadata: invalid metadata.labels of type []interface {{}} in converted object"
            ),
        ),
    ];
    for (response, want) in cases {
        let error = ask(vec![object("v1", "a")], false).read(&response).unwrap_err();
        assert_eq!(error.to_string(), want);
    }
    let error = ask(vec![object("v1", "a"), object("v1", "b")], true)
        .read(&answer(json!([object("v2", "a"), object("v2", "c")])))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "conversion webhook for g.io/v1, Kind=KList returned invalid converted object at index 1: must have the same name: b != c"
    );
    let none = Conversion::Webhook { client: None, review_versions: vec!["v9".to_owned()] };
    let error = Plan::of(&none, vec![object("v1", "a")], "g.io/v2", false, "q").unwrap_err();
    assert_eq!(error.to_string(), "no supported ConversionReview version found");
}

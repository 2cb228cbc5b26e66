use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};

use super::graph::{Graph, Identity, Owner, Policy, Verdict, Work, judge};

fn identity(kind: &str, name: &str) -> Identity {
    Identity { group: "apps".into(), kind: kind.into(), namespace: "d".into(), name: name.into() }
}

fn meta(uid: &str, owner: Option<&str>, more: Value) -> ObjectMeta {
    let owners = owner.map(|o| {
        json!([{"apiVersion": "apps/v1", "kind": "Owner", "name": o, "uid": o, "blockOwnerDeletion": true}])
    });
    let mut value = json!({"name": uid, "namespace": "d", "uid": uid, "ownerReferences": owners});
    xebec_api::patch::merge_patch(&mut value, &more);
    serde_json::from_value(value).unwrap()
}

fn consider(uid: &str) -> Work {
    Work::Consider(uid.to_owned())
}

#[test]
fn an_unseen_owner_is_assumed_and_looked_up() {
    let mut graph = Graph::default();
    assert_eq!(graph.observe(identity("Pod", "p"), &meta("p", Some("rs"), json!({}))), [consider("rs")]);
    assert!(graph.get("rs").unwrap().assumed);
    assert_eq!(graph.observe(identity("Owner", "rs"), &meta("rs", None, json!({}))), []);
    assert!(!graph.get("rs").unwrap().assumed);
    assert_eq!(graph.dependents("rs").len(), 1);
}

#[test]
fn background_deletion_reaches_the_dependents() {
    let mut graph = Graph::default();
    graph.observe(identity("Owner", "rs"), &meta("rs", None, json!({})));
    graph.observe(identity("Pod", "p"), &meta("p", Some("rs"), json!({})));
    assert_eq!(graph.forget("rs"), [consider("p")]);
    assert_eq!(graph.forget("p"), []);
    assert_eq!(graph.len(), 0);
}

#[test]
fn foreground_deletion_waits_for_blocking_dependents() {
    let mut graph = Graph::default();
    graph.observe(identity("Owner", "rs"), &meta("rs", None, json!({})));
    graph.observe(identity("Pod", "p"), &meta("p", Some("rs"), json!({})));
    let going = json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["foregroundDeletion"]});
    let work = graph.observe(identity("Owner", "rs"), &meta("rs", None, going));
    assert_eq!(work, [consider("p"), consider("rs")]);
    assert_eq!(graph.blocking("rs"), ["p"]);
    // A dependent that arrives late is looked at too; one that goes lets the owner be looked at.
    assert_eq!(graph.observe(identity("Pod", "q"), &meta("q", Some("rs"), json!({}))), [consider("q")]);
    assert_eq!(graph.forget("p"), [consider("rs")]);
    let unlinked = graph.observe(identity("Pod", "q"), &meta("q", None, json!({})));
    assert_eq!(unlinked, [consider("rs")]);
    assert!(graph.blocking("rs").is_empty());
}

#[test]
fn orphaning_is_work_of_its_own() {
    let mut graph = Graph::default();
    let going = json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["orphan"]});
    assert_eq!(graph.observe(identity("Owner", "rs"), &meta("rs", None, going)), [Work::Orphan("rs".into())]);
}

#[test]
fn verdicts() {
    let plain = meta("p", None, json!({}));
    let orphan = meta("p", None, json!({"finalizers": ["orphan"]}));
    let foreground = meta("p", None, json!({"finalizers": ["foregroundDeletion"]}));
    let owners = |list: &[Owner]| -> Vec<(String, Owner)> {
        list.iter().enumerate().map(|(i, o)| (format!("o{i}"), *o)).collect()
    };
    use Owner::{Absent, Solid, Waiting};
    let cases: [(&ObjectMeta, &[Owner], bool, Verdict); 9] = [
        (&plain, &[], false, Verdict::Keep),
        (&plain, &[Solid], true, Verdict::Keep),
        (&plain, &[Solid, Absent, Waiting], false, Verdict::Unlink(vec!["o1".into(), "o2".into()])),
        (&plain, &[Absent], true, Verdict::Delete(Policy::Background)),
        (&plain, &[Waiting], true, Verdict::Delete(Policy::Foreground)),
        (&plain, &[Waiting], false, Verdict::Delete(Policy::Background)),
        (&orphan, &[Absent], false, Verdict::Delete(Policy::Orphan)),
        (&foreground, &[Absent], false, Verdict::Delete(Policy::Foreground)),
        (&orphan, &[Absent, Waiting], true, Verdict::Delete(Policy::Foreground)),
    ];
    for (live, states, dependents, expected) in cases {
        assert_eq!(judge(live, &owners(states), dependents), expected, "{states:?} {dependents}");
    }
}

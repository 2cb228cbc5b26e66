use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, ReplicaSet};
use serde_json::{Value, json};

use super::plan::{Plan, plan};
use super::sets::{self, Member};

fn now() -> Timestamp {
    "2026-01-01T01:00:00Z".parse().unwrap()
}

fn deployment(image: &str, replicas: i32, strategy: Value) -> Deployment {
    serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "d", "uid": "dep", "generation": 1},
        "spec": {
            "replicas": replicas, "revisionHistoryLimit": 2, "progressDeadlineSeconds": 600, "strategy": strategy,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}},
        },
    }))
    .unwrap()
}

fn rolling(surge: Value, unavailable: Value) -> Value {
    json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}})
}

/// A ReplicaSet made by the plan of `owner`, with so many pods, of which so many are available.
fn set(owner: &Deployment, created: &str, revision: i64, replicas: i32, available: i32) -> Arc<ReplicaSet> {
    let mut member = Member { before: None, set: sets::make(owner) };
    sets::set_revision(&mut member, revision);
    member.scale(owner, replicas);
    let mut value = serde_json::to_value(&member.set).unwrap();
    xebec_api::patch::merge_patch(
        &mut value,
        &json!({"metadata": {"creationTimestamp": created, "uid": created},
                "status": {"replicas": replicas, "readyReplicas": available, "availableReplicas": available}}),
    );
    Arc::new(serde_json::from_value(value).unwrap())
}

const OLD: &str = "2026-01-01T00:00:00Z";
const NEW: &str = "2026-01-01T00:30:00Z";

fn sizes(plan: &Plan) -> Vec<(String, i32, i32)> {
    let changed = plan.members.iter().filter(|m| m.replicas() != m.replicas_before());
    let image = |m: &Member| {
        let template = m.set.spec.as_ref().unwrap().template.as_ref().unwrap();
        template.spec.as_ref().unwrap().containers[0].image.clone().unwrap()
    };
    changed.map(|m| (image(m), m.replicas_before(), m.replicas())).collect()
}

fn condition<'a>(plan: &'a Plan, kind: &str) -> &'a DeploymentCondition {
    plan.status.conditions.as_ref().unwrap().iter().find(|c| c.type_ == kind).unwrap()
}

#[test]
fn a_new_deployment_gets_its_replica_set() {
    let plan = plan(&deployment("a", 3, Value::Null), &[], &[], now());
    assert_eq!(sizes(&plan), [("a".to_owned(), 0, 3)]);
    let made = &plan.members[0].set;
    let hash = &made.metadata.labels.as_ref().unwrap()["pod-template-hash"];
    assert_eq!(made.metadata.name.as_deref(), Some(format!("web-{hash}").as_str()));
    assert_eq!(made.metadata.annotations.as_ref().unwrap()[sets::REVISION], "1");
    assert_eq!(plan.revision.as_deref(), Some("1"));
    let progressing = condition(&plan, "Progressing");
    assert_eq!(progressing.reason.as_deref(), Some("NewReplicaSetCreated"));
    assert_eq!(
        progressing.message.as_deref(),
        Some(format!("Created new replica set \"web-{hash}\"").as_str())
    );
    assert_eq!(condition(&plan, "Available").reason.as_deref(), Some("MinimumReplicasUnavailable"));
}

#[test]
fn rolling_update_steps() {
    // (maxSurge, maxUnavailable, old size, old available, new size (-1: missing), new available) -> changes
    type Case = (Value, Value, i32, i32, i32, i32, &'static [(&'static str, i32, i32)]);
    let cases: [Case; 7] = [
        (json!("25%"), json!("25%"), 4, 4, -1, 0, &[("old", 4, 3), ("new", 0, 1)]),
        (json!(1), json!(0), 3, 3, -1, 0, &[("new", 0, 1)]),
        (json!(1), json!(0), 3, 3, 1, 0, &[]),
        (json!(1), json!(0), 3, 3, 1, 1, &[("old", 3, 2)]),
        (json!(0), json!(1), 3, 3, -1, 0, &[("old", 3, 2)]),
        (json!(0), json!(1), 2, 2, 0, 0, &[("new", 0, 1)]),
        // Old pods that never became available go first, even below the floor that counts available ones.
        (json!(1), json!(0), 3, 1, 1, 1, &[("old", 3, 2)]),
    ];
    for (surge, unavailable, old, old_available, new, new_available, expected) in cases {
        let strategy = rolling(surge.clone(), unavailable.clone());
        let wanted = if old == 4 { 4 } else { 3 };
        let (before, after) =
            (deployment("old", wanted, strategy.clone()), deployment("new", wanted, strategy));
        let mut now_there = vec![set(&before, OLD, 1, old, old_available)];
        if new >= 0 {
            now_there.push(set(&after, NEW, 2, new, new_available));
        }
        let found = sizes(&plan(&after, &now_there, &[], now()));
        let expected: Vec<_> = expected.iter().map(|(i, a, b)| ((*i).to_owned(), *a, *b)).collect();
        assert_eq!(
            found, expected,
            "surge {surge} unavailable {unavailable} old {old}/{old_available} new {new}"
        );
    }
}

#[test]
fn a_finished_rollout_says_so_and_prunes_history() {
    let owner = deployment("e", 2, rolling(json!(1), json!(0)));
    let mut sets_now: Vec<_> = ["a", "b", "c", "d"]
        .iter()
        .enumerate()
        .map(|(i, image)| {
            let at = format!("2026-01-01T00:0{i}:00Z");
            set(&deployment(image, 2, Value::Null), &at, i64::try_from(i).unwrap() + 1, 0, 0)
        })
        .collect();
    let current = set(&owner, NEW, 5, 2, 2);
    let name = current.metadata.name.clone().unwrap();
    sets_now.push(current);
    let plan = plan(&owner, &sets_now, &[], now());
    assert!(sizes(&plan).is_empty());
    let deleted: Vec<_> = plan.delete.iter().map(|s| s.metadata.uid.clone().unwrap()).collect();
    assert_eq!(deleted, ["2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"]);
    let progressing = condition(&plan, "Progressing");
    assert_eq!(progressing.reason.as_deref(), Some("NewReplicaSetAvailable"));
    assert_eq!(
        progressing.message.as_deref(),
        Some(format!("ReplicaSet \"{name}\" has successfully progressed.").as_str())
    );
    assert_eq!(condition(&plan, "Available").reason.as_deref(), Some("MinimumReplicasAvailable"));
    assert_eq!(
        (plan.status.replicas, plan.status.updated_replicas, plan.status.unavailable_replicas),
        (Some(2), Some(2), None)
    );
}

#[test]
fn undoing_takes_the_old_set_up_again_under_a_new_revision() {
    let (first, second) = (deployment("a", 2, Value::Null), deployment("b", 2, Value::Null));
    let sets_now = [set(&first, OLD, 1, 0, 0), set(&second, NEW, 2, 2, 2)];
    let plan = plan(&first, &sets_now, &[], now());
    assert_eq!(plan.revision.as_deref(), Some("3"));
    let again = plan.members.iter().find(|m| m.annotation(sets::REVISION) == Some("3")).unwrap();
    assert_eq!(again.annotation(sets::HISTORY), Some("1"));
    assert_eq!(sizes(&plan), [("a".to_owned(), 0, 1)]);
}

#[test]
fn recreate_waits_for_the_last_old_pod() {
    let strategy = json!({"type": "Recreate"});
    let (before, after) = (deployment("old", 2, strategy.clone()), deployment("new", 2, strategy));
    let first = plan(&after, &[set(&before, OLD, 1, 2, 2)], &[], now());
    assert_eq!(sizes(&first), [("old".to_owned(), 2, 0)]);
    let pod = Arc::new(
        serde_json::from_value(json!({"metadata": {"name": "p", "deletionTimestamp": OLD}})).unwrap(),
    );
    let empty = set(&before, OLD, 1, 0, 0);
    let second = plan(&after, std::slice::from_ref(&empty), &[vec![pod]], now());
    assert!(sizes(&second).is_empty());
    let third = plan(&after, &[empty], &[vec![]], now());
    assert_eq!(sizes(&third), [("new".to_owned(), 0, 2)]);
}

#[test]
fn scaling_in_the_middle_of_a_rollout_is_proportional() {
    let strategy = rolling(json!(2), json!(1));
    let (before, after) = (deployment("old", 10, strategy.clone()), deployment("new", 10, strategy.clone()));
    let sets_now = [set(&before, OLD, 1, 8, 8), set(&after, NEW, 2, 4, 4)];
    let grown = plan(&deployment("new", 20, strategy), &sets_now, &[], now());
    // 22 allowed, 12 there: 8 and 4 grow by 22/12.
    assert_eq!(sizes(&grown), [("old".to_owned(), 8, 15), ("new".to_owned(), 4, 7)]);
}

#[test]
fn a_paused_deployment_scales_but_does_not_roll() {
    let mut owner = deployment("new", 3, Value::Null);
    let sets_now = [set(&deployment("old", 3, Value::Null), OLD, 1, 3, 3)];
    owner.spec.as_mut().unwrap().paused = Some(true);
    let still = plan(&owner, &sets_now, &[], now());
    assert!(sizes(&still).is_empty());
    assert_eq!(condition(&still, "Progressing").reason.as_deref(), Some("DeploymentPaused"));
    owner.spec.as_mut().unwrap().replicas = Some(5);
    assert_eq!(sizes(&plan(&owner, &sets_now, &[], now())), [("old".to_owned(), 3, 5)]);
}

#[test]
fn no_progress_until_the_deadline_is_a_failure() {
    let mut owner = deployment("a", 2, Value::Null);
    let sets_now = [set(&owner, OLD, 1, 2, 0)];
    let first = plan(&owner, &sets_now, &[], "2026-01-01T00:00:00Z".parse().unwrap());
    owner.status = Some(first.status);
    let waiting = plan(&owner, &sets_now, &[], "2026-01-01T00:05:00Z".parse().unwrap());
    assert_eq!(waiting.again.unwrap().as_secs(), 301);
    let late = plan(&owner, &sets_now, &[], "2026-01-01T00:10:02Z".parse().unwrap());
    let progressing = condition(&late, "Progressing");
    assert_eq!(
        (progressing.status.as_str(), progressing.reason.as_deref()),
        ("False", Some("ProgressDeadlineExceeded"))
    );
    assert!(progressing.message.as_ref().unwrap().ends_with("has timed out progressing."));
}

#[test]
fn percentages_round_surge_up_and_unavailable_down() {
    let owner = |n| deployment("a", n, rolling(json!("25%"), json!("25%")));
    assert_eq!((sets::max_surge(&owner(10)), sets::max_unavailable(&owner(10))), (3, 2));
    assert_eq!((sets::max_surge(&owner(1)), sets::max_unavailable(&owner(1))), (1, 0));
    let none = deployment("a", 3, rolling(json!(0), json!("10%")));
    assert_eq!((sets::max_surge(&none), sets::max_unavailable(&none)), (0, 1));
}

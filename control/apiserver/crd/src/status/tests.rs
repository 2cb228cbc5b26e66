//! From new to served to gone.

use serde_json::{Value, json};

use super::{
    Deletion, InstancesGone, Step, TakenNames, begin_deletion, deletion_step, finish_deletion, is_served,
    plan,
};
use crate::definition::CLEANUP_FINALIZER;

fn now() -> jiff::Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn crd(plural: &str, kind: &str) -> Value {
    json!({"metadata": {"name": format!("{plural}.g.io")}, "spec": {"group": "g.io", "scope": "Namespaced",
        "names": {"plural": plural, "singular": kind.to_lowercase(), "kind": kind, "listKind": format!("{kind}List"), "shortNames": ["s"]},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]},
        "status": {"acceptedNames": {"kind": "", "plural": ""}, "storedVersions": ["v1"]}})
}

fn condition(crd: &Value, kind: &str) -> String {
    super::conditions::find(crd, kind).map_or_else(
        || "none".to_owned(),
        |found| ["status", "reason", "message"].map(|key| found[key].as_str().unwrap()).join(" "),
    )
}

/// Follows the steps to the end.
fn settle(mut crd: Value, others: &[Value]) -> Value {
    let taken = TakenNames::of(&crd, others);
    for _ in 0..5 {
        match plan(&crd, &taken, now()) {
            Step::Nothing => return crd,
            Step::Write(next) | Step::Establish(next) => crd = *next,
        }
    }
    panic!("does not settle: {crd}")
}

#[test]
fn a_new_definition_is_established_in_two_steps() {
    let taken = TakenNames::default();
    let Step::Write(accepted) = plan(&crd("tabs", "Tab"), &taken, now()) else { panic!("names first") };
    assert_eq!(condition(&accepted, "NamesAccepted"), "True NoConflicts no conflicts found");
    assert_eq!(condition(&accepted, "Established"), "False Installing the initial names have been accepted");
    assert_eq!(
        accepted["status"]["acceptedNames"],
        json!({"plural": "tabs", "singular": "tab", "kind": "Tab", "listKind": "TabList", "shortNames": ["s"]})
    );
    assert!(is_served(&accepted));
    let Step::Establish(done) = plan(&accepted, &taken, now()) else { panic!("then established") };
    assert_eq!(
        condition(&done, "Established"),
        "True InitialNamesAccepted the initial names have been accepted"
    );
    assert_eq!(done["status"]["conditions"][1]["lastTransitionTime"], "2026-01-01T00:00:00Z");
    assert_eq!(plan(&done, &taken, now()), Step::Nothing);
}

#[test]
fn names_of_others_are_not_given_twice() {
    let first = settle(crd("tabs", "Tab"), &[]);
    let second = settle(crd("tabbies", "Tab"), std::slice::from_ref(&first));
    // Singular, short name, kind and list kind are taken; the last conflict is the one told.
    assert_eq!(condition(&second, "NamesAccepted"), "False ListKindConflict \"TabList\" is already in use");
    assert_eq!(condition(&second, "Established"), "False NotAccepted not all names are accepted");
    assert_eq!(second["status"]["acceptedNames"], json!({"plural": "tabbies", "kind": ""}));
    assert!(!is_served(&second));
    // When the first is gone, the second gets its names.
    let second = settle(second, &[]);
    assert_eq!(
        condition(&second, "Established"),
        "True InitialNamesAccepted the initial names have been accepted"
    );
}

#[test]
fn an_established_definition_stays_served_when_new_names_conflict() {
    let first = settle(crd("tabs", "Tab"), &[]);
    let mut other = crd("cows", "Cow");
    other["spec"]["names"]["shortNames"] = json!(["c"]);
    let mut other = settle(other, std::slice::from_ref(&first));
    other["spec"]["names"]["shortNames"] = json!(["c", "s"]);
    let other = settle(other, &[first]);
    assert_eq!(condition(&other, "NamesAccepted"), "False ShortNamesConflict \"s\" is already in use");
    assert_eq!(other["status"]["acceptedNames"]["shortNames"], json!(["c"]));
    assert!(is_served(&other) && super::is_true(&other, "Established"));
}

#[test]
fn built_in_names_are_taken() {
    let mut deployments = crd("deployments", "Deployment");
    deployments["spec"]["group"] = json!("apps");
    let settled = settle(deployments, &[]);
    assert_eq!(
        condition(&settled, "NamesAccepted"),
        "False ListKindConflict \"DeploymentList\" is already in use"
    );
}

#[test]
fn what_is_wrong_with_a_definition_is_told() {
    let mut odd = crd("tabs", "Tab");
    odd["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = json!({"properties": {"a": {}}});
    let settled = settle(odd, &[]);
    assert_eq!(
        condition(&settled, "NonStructuralSchema"),
        "True Violations [spec.versions[0].schema.openAPIV3Schema.properties[a].type: Required value: must not be empty for specified object fields, spec.versions[0].schema.openAPIV3Schema.type: Required value: must not be empty at the root]"
    );
    let mut good = settled;
    good["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = json!({"type": "object"});
    assert_eq!(condition(&settle(good, &[]), "NonStructuralSchema"), "none");
    let mut protected = crd("tabs", "Tab");
    protected["spec"]["group"] = json!("x.k8s.io");
    protected["metadata"]["annotations"] = json!({"api-approved.kubernetes.io": "unapproved, test"});
    assert_eq!(
        condition(&settle(protected, &[]), "KubernetesAPIApprovalPolicyConformant"),
        "False UnapprovedAnnotation not approved: \"unapproved, test\""
    );
}

#[test]
fn a_bad_ca_bundle_holds_a_definition_back() {
    let mut crd = crd("tabs", "Tab");
    crd["spec"]["conversion"] = json!({"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v1"],
        "clientConfig": {"url": "https://a/b", "caBundle": "bm8="}}});
    let settled = settle(crd, &[]);
    assert_eq!(
        condition(&settled, "Established"),
        "False InvalidCABundle The conversion webhook CABundle is invalid"
    );
}

#[test]
fn a_definition_goes_after_its_objects() {
    let established = settle(crd("tabs", "Tab"), &[]);
    let marked = begin_deletion(&established, now());
    assert_eq!(marked["metadata"]["finalizers"], json!([CLEANUP_FINALIZER]));
    assert_eq!(
        condition(&marked, "Terminating"),
        "True InstanceDeletionPending CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon"
    );
    let Deletion::Announce(running) = deletion_step(&marked, now()) else { panic!("announced first") };
    assert_eq!(deletion_step(&running, now()), Deletion::DeleteInstances);
    let waiting = finish_deletion(&running, &InstancesGone::Remaining("timed out".to_owned()), now());
    assert_eq!(
        condition(&waiting, "Terminating"),
        "True InstanceDeletionCheck could not confirm zero CustomResources remaining: timed out"
    );
    assert!(matches!(deletion_step(&waiting, now()), Deletion::Announce(_)));
    let gone = finish_deletion(&running, &InstancesGone::All, now());
    assert_eq!(condition(&gone, "Terminating"), "False InstanceDeletionCompleted removed all instances");
    assert_eq!(gone["metadata"]["finalizers"], json!([]));
    assert_eq!(deletion_step(&gone, now()), Deletion::Nothing);
}

#[test]
fn a_definition_that_was_never_served_goes_at_once() {
    let marked = begin_deletion(&crd("tabs", "Tab"), now());
    let Deletion::Announce(running) = deletion_step(&marked, now()) else { panic!("announced first") };
    let Deletion::Finish(done) = deletion_step(&running, now()) else { panic!("nothing to delete") };
    assert_eq!(condition(&done, "Terminating"), "False NeverEstablished resource was never established");
    assert_eq!(deletion_step(&established_only(), now()), Deletion::Nothing);
}

fn established_only() -> Value {
    settle(crd("tabs", "Tab"), &[])
}

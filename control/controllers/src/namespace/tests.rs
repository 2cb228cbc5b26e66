use super::plan::{Sweep, conditions, resource_name};

#[test]
fn conditions_speak_upstreams_words_and_keep_their_times() {
    let then: jiff::Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let now: jiff::Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
    let sweep = Sweep {
        remaining: vec![(resource_name("pods", ""), 2)],
        finalizers: vec![("example.com/keep".to_owned(), 1)],
        ..Sweep::default()
    };
    let first = conditions(&sweep, &[], then);
    assert_eq!(first.len(), 5);
    let get = |list: &[k8s_openapi::api::core::v1::NamespaceCondition], kind: &str| {
        list.iter().find(|c| c.type_ == kind).unwrap().clone()
    };
    let remaining = get(&first, "NamespaceContentRemaining");
    assert_eq!(remaining.status, "True");
    assert_eq!(remaining.message.unwrap(), "Some resources are remaining: pods. has 2 resource instances");
    assert_eq!(
        get(&first, "NamespaceFinalizersRemaining").message.unwrap(),
        "Some content in the namespace has finalizers remaining: example.com/keep in 1 resource instances"
    );
    let second = conditions(&Sweep::default(), &first, now);
    assert_eq!(get(&second, "NamespaceContentRemaining").last_transition_time.unwrap().0, now);
    assert_eq!(get(&second, "NamespaceDeletionDiscoveryFailure").last_transition_time.unwrap().0, then);
    assert!(!sweep.is_empty() && Sweep::default().is_empty());
}

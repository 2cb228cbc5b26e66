//! What a terminating namespace still holds, and what its status says about that. Pure.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::NamespaceCondition;

use crate::machinery::time::seconds;

/// What one sweep over a namespace's resources found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sweep {
    /// Why discovery failed, if it did.
    pub discovery_error: Option<String>,
    /// What could not be deleted.
    pub delete_errors: Vec<String>,
    /// Resources with objects left: `plural.group` and how many.
    pub remaining: Vec<(String, usize)>,
    /// Finalizers on the objects left and how many objects have each.
    pub finalizers: Vec<(String, usize)>,
}

impl Sweep {
    /// Whether the namespace is empty for certain.
    pub fn is_empty(&self) -> bool {
        self.discovery_error.is_none() && self.delete_errors.is_empty() && self.remaining.is_empty()
    }
}

/// The name upstream gives a resource in these messages.
pub fn resource_name(plural: &str, group: &str) -> String {
    format!("{plural}.{group}")
}

fn condition(kind: &str, problem: Option<(&str, String)>, fine: (&str, &str)) -> NamespaceCondition {
    let (status, reason, message) = match problem {
        Some((reason, message)) => ("True", reason.to_owned(), message),
        None => ("False", fine.0.to_owned(), fine.1.to_owned()),
    };
    NamespaceCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: Some(reason),
        message: Some(message),
        last_transition_time: None,
    }
}

/// The five deletion conditions, in upstream's words; times move only when a status does.
pub fn conditions(sweep: &Sweep, old: &[NamespaceCondition], now: Timestamp) -> Vec<NamespaceCondition> {
    let list = |items: &[(String, usize)], what: &str| {
        let parts: Vec<String> =
            items.iter().map(|(name, count)| format!("{name} {what} {count} resource instances")).collect();
        parts.join(", ")
    };
    let discovery = sweep
        .discovery_error
        .as_ref()
        .map(|error| ("DiscoveryFailed", format!("Discovery failed for some groups, 1 failing: {error}")));
    let deletion = (!sweep.delete_errors.is_empty()).then(|| {
        (
            "ContentDeletionFailed",
            format!(
                "Failed to delete all resource types, {} remaining: {}",
                sweep.delete_errors.len(),
                sweep.delete_errors.join(", ")
            ),
        )
    });
    let remaining = (!sweep.remaining.is_empty()).then(|| {
        ("SomeResourcesRemain", format!("Some resources are remaining: {}", list(&sweep.remaining, "has")))
    });
    let finalizers = (!sweep.finalizers.is_empty()).then(|| {
        (
            "SomeFinalizersRemain",
            format!(
                "Some content in the namespace has finalizers remaining: {}",
                list(&sweep.finalizers, "in")
            ),
        )
    });
    let wanted = [
        condition(
            "NamespaceDeletionDiscoveryFailure",
            discovery,
            ("ResourcesDiscovered", "All resources successfully discovered"),
        ),
        condition(
            "NamespaceDeletionGroupVersionParsingFailure",
            None,
            ("ParsedGroupVersions", "All legacy kube types successfully parsed"),
        ),
        condition(
            "NamespaceDeletionContentFailure",
            deletion,
            ("ContentDeleted", "All content successfully deleted, may be waiting on finalization"),
        ),
        condition(
            "NamespaceContentRemaining",
            remaining,
            ("ContentRemoved", "All content successfully removed"),
        ),
        condition(
            "NamespaceFinalizersRemaining",
            finalizers,
            ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
        ),
    ];
    let mut all = old.to_vec();
    for mut new in wanted {
        match all.iter_mut().find(|c| c.type_ == new.type_) {
            Some(current) => {
                let moved = current.status != new.status;
                new.last_transition_time =
                    if moved { Some(seconds(now)) } else { current.last_transition_time.clone() };
                *current = new;
            }
            None => {
                new.last_transition_time = Some(seconds(now));
                all.push(new);
            }
        }
    }
    all
}

//! What a quota's status should say. Pure.

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_quota::{Evaluator, ResourceList, selectors, used};

/// What there is in the quota's namespace.
pub trait Holdings {
    /// The objects of a resource that are counted by what they say; none while they are not known.
    fn objects(&self, group: &str, plural: &str) -> Option<Vec<Value>>;

    /// How many objects of any other resource there are; none when nobody knows the resource.
    fn count(&self, group: &str, plural: &str) -> Option<u64>;
}

/// The status of a quota as counted now; none when it says so already.
///
/// What cannot be counted (a custom resource that is not there) keeps the number it had, or has none: admission then
/// refuses to go by it.
pub fn status(quota: &Value, holdings: &impl Holdings, now: Timestamp) -> Option<Value> {
    let hard = ResourceList::at(quota, "/spec/hard");
    let names = hard.names();
    let scopes = selectors(quota);
    let mut sources: Vec<(String, String)> = names.iter().flat_map(|name| Evaluator::sources(name)).collect();
    sources.sort();
    sources.dedup();
    let mut after = used(quota).mask(&names);
    for (group, plural) in sources {
        let Some(evaluator) = Evaluator::of(&group, &plural) else { continue };
        let total = match &evaluator {
            Evaluator::Count { .. } => {
                let Some(count) = holdings.count(&group, &plural) else { continue };
                // A scope selects pods or claims, never a plain object.
                let count = if scopes.is_empty() { i64::try_from(count).unwrap_or(i64::MAX) } else { 0 };
                let mut total = ResourceList::new();
                evaluator.matching(&names).into_iter().for_each(|name| total.set_count(name, count));
                total
            }
            _ => {
                let Some(objects) = holdings.objects(&group, &plural) else { continue };
                evaluator.total(&names, &scopes, objects.iter(), now)
            }
        };
        for (name, amount) in total.iter() {
            after.set(name, amount);
        }
    }
    let same = ResourceList::at(quota, "/status/hard") == hard && used(quota) == after;
    let written = quota.pointer("/status/used").is_some_and(|used| !used.is_null());
    (!(same && written)).then(|| json!({"hard": hard.to_value(), "used": after.to_value()}))
}

/// Whether one of a quota's limits counts objects of the resource.
pub fn counts(quota: &Value, group: &str, plural: &str) -> bool {
    let Some(evaluator) = Evaluator::of(group, plural) else { return false };
    ResourceList::at(quota, "/spec/hard").iter().any(|(name, _)| evaluator.counts(name))
}

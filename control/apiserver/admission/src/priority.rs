//! Priority: `priorityClassName` becomes a number. Pure over the reader.
//!
//! Authority: plugin/pkg/admission/priority upstream.

use std::sync::Arc;

use serde_json::{Value, json};
use xebec_api::meta;
use xebec_api::status::ApiError;

use crate::{Call, Operation};

const GROUP: &str = "scheduling.k8s.io";

/// The class for pods that name none; of several (a lost race) the lowest.
fn default_class(call: &Call<'_>) -> Option<Arc<Value>> {
    let classes = call.reader.list(GROUP, "priorityclasses", None).into_iter();
    classes.filter(|class| class["globalDefault"] == true).min_by_key(|class| class["value"].as_i64())
}

/// Sets a new pod's priority, class and preemption policy; keeps them on an update that leaves them out.
pub(crate) fn mutate(call: &Call<'_>, pod: &mut Value) -> Result<(), ApiError> {
    if call.request.creates_pod() {
        return complete(call, pod);
    }
    let Some(old) = call.old.filter(|_| call.request.updates_pod()) else { return Ok(()) };
    for field in ["priority", "preemptionPolicy"] {
        if pod["spec"][field].is_null() && !old["spec"][field].is_null() {
            pod["spec"][field] = old["spec"][field].clone();
        }
    }
    Ok(())
}

fn complete(call: &Call<'_>, pod: &mut Value) -> Result<(), ApiError> {
    let named = meta::str_at(pod, "/spec/priorityClassName").to_owned();
    let class = if named.is_empty() {
        default_class(call)
    } else {
        let Some(class) = call.reader.get(GROUP, "priorityclasses", "", &named) else {
            return Err(call.forbidden(pod, format!("no PriorityClass with name {named} was found")));
        };
        Some(class)
    };
    let value = class.as_ref().and_then(|class| class["value"].as_i64()).unwrap_or(0);
    let policy =
        class.as_ref().and_then(|class| class["preemptionPolicy"].as_str()).unwrap_or("PreemptLowerPriority");
    if let Some(sent) = pod["spec"]["priority"].as_i64().filter(|sent| *sent != value) {
        let why = format!(
            "the integer value of priority ({sent}) must not be provided in pod spec; priority admission controller \
             computed {value} from the given PriorityClass name"
        );
        return Err(call.forbidden(pod, why));
    }
    if let Some(sent) = pod["spec"]["preemptionPolicy"].as_str().filter(|sent| *sent != policy) {
        let why = format!(
            "the string value of PreemptionPolicy ({sent}) must not be provided in pod spec; priority admission \
             controller computed {policy} from the given PriorityClass name"
        );
        return Err(call.forbidden(pod, why));
    }
    if let (true, Some(class)) = (named.is_empty(), &class) {
        pod["spec"]["priorityClassName"] = json!(meta::name(class));
    }
    pod["spec"]["priority"] = json!(value);
    pod["spec"]["preemptionPolicy"] = json!(policy);
    Ok(())
}

/// At most one class is the default for pods that name none.
pub(crate) fn validate(call: &Call<'_>, class: &Value) -> Result<(), ApiError> {
    let writes = matches!(call.request.operation, Operation::Create | Operation::Update);
    if !call.request.is(GROUP, "priorityclasses", "") || !writes || class["globalDefault"] != true {
        return Ok(());
    }
    let update = call.request.operation == Operation::Update;
    match default_class(call).filter(|other| !(update && meta::name(other) == meta::name(class))) {
        Some(other) => Err(call.forbidden(
            class,
            format!(
                "PriorityClass {} is already marked as default. Only one default can exist",
                meta::name(&other)
            ),
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{World, request};

    fn world() -> World {
        let world = World::default();
        for (name, value, default, policy) in
            [("high", 100, false, "Never"), ("usual", 5, true, "PreemptLowerPriority")]
        {
            world.put(
                GROUP,
                "priorityclasses",
                json!({"metadata": {"name": name}, "value": value, "globalDefault": default, "preemptionPolicy": policy}),
            );
        }
        world
    }

    fn created(spec: Value) -> Result<Value, String> {
        let world = world();
        let mut pod = json!({"metadata": {"name": "p"}, "spec": spec});
        let call = world.call(request(Operation::Create, "", "pods", "ns", "p"), None);
        mutate(&call, &mut pod).map(|()| pod["spec"].take()).map_err(|error| error.message)
    }

    #[test]
    fn classes_become_numbers() {
        assert_eq!(
            created(json!({})).unwrap(),
            json!({"priorityClassName": "usual", "priority": 5, "preemptionPolicy": "PreemptLowerPriority"})
        );
        assert_eq!(
            created(json!({"priorityClassName": "high", "priority": 100})).unwrap(),
            json!({"priorityClassName": "high", "priority": 100, "preemptionPolicy": "Never"})
        );
        for (spec, why) in [
            (json!({"priorityClassName": "x"}), "no PriorityClass with name x was found"),
            (
                json!({"priority": 7}),
                "the integer value of priority (7) must not be provided in pod spec; priority admission controller \
                 computed 5 from the given PriorityClass name",
            ),
            (
                json!({"priorityClassName": "high", "preemptionPolicy": "PreemptLowerPriority"}),
                "the string value of PreemptionPolicy (PreemptLowerPriority) must not be provided in pod spec; priority \
                 admission controller computed Never from the given PriorityClass name",
            ),
        ] {
            assert_eq!(created(spec).unwrap_err(), format!("pods \"p\" is forbidden: {why}"));
        }
    }

    #[test]
    fn updates_keep_what_was_computed() {
        let world = world();
        let old = json!({"spec": {"priority": 5, "preemptionPolicy": "Never"}});
        let mut new = json!({"spec": {}});
        mutate(&world.call(request(Operation::Update, "", "pods", "ns", "p"), Some(&old)), &mut new).unwrap();
        assert_eq!(new, old);
    }

    #[test]
    fn one_default() {
        let world = world();
        let class = |name: &str| json!({"metadata": {"name": name}, "globalDefault": true});
        let check = |operation, name: &str| {
            let object = class(name);
            let call = world.call(request(operation, GROUP, "priorityclasses", "", name), None);
            validate(&call, &object).map_err(|error| error.message)
        };
        assert_eq!(
            check(Operation::Create, "more").unwrap_err(),
            "priorityclasses.scheduling.k8s.io \"more\" is forbidden: PriorityClass usual is already marked as default. \
             Only one default can exist"
        );
        assert_eq!(check(Operation::Update, "usual"), Ok(()));
        assert!(check(Operation::Update, "high").is_err());
    }
}

//! LimitRanger: defaults and bounds for containers, pods and volume claims, by the namespace's LimitRanges.
//!
//! Pure over the reader. Authority: plugin/pkg/admission/limitranger upstream.

use serde_json::{Value, json};
use xebec_api::gotext::aggregate;
use xebec_api::meta;
use xebec_api::quantity::Quantity;
use xebec_api::status::ApiError;
use xebec_quota::{ResourceList, pod};

use crate::{Call, Operation};

/// The largest number upstream compares in thousandths.
const MAX_MILLI: i64 = i64::MAX / 1000;

/// Whether a write is looked at: containers cannot change after a pod's creation, but for its resize.
fn applies(call: &Call<'_>) -> bool {
    let request = &call.request;
    let alive = call.old.is_none_or(|old| !meta::is_being_deleted(old));
    let looked_at = matches!(
        (request.plural, request.subresource, request.operation),
        ("pods", "resize", Operation::Update)
            | ("pods", "", Operation::Create)
            | ("persistentvolumeclaims", "", Operation::Create | Operation::Update)
    );
    request.group.is_empty() && looked_at && alive
}

fn limits(range: &Value) -> &[Value] {
    meta::list_at(range, "/spec/limits")
}

/// Gives containers the requests and limits they leave out, and notes which in an annotation.
pub(crate) fn mutate(call: &Call<'_>, object: &mut Value) {
    if !applies(call) || call.request.plural != "pods" {
        return;
    }
    for range in call.reader.list("", "limitranges", Some(call.request.namespace)) {
        complete(object, &range);
    }
}

fn complete(pod: &mut Value, range: &Value) {
    let (mut requests, mut maxima) = (ResourceList::new(), ResourceList::new());
    for limit in limits(range).iter().filter(|limit| limit["type"] == "Container") {
        for (name, amount) in ResourceList::from_value(&limit["defaultRequest"]).iter() {
            requests.set(name, amount);
        }
        for (name, amount) in ResourceList::from_value(&limit["default"]).iter() {
            maxima.set(name, amount);
        }
    }
    let mut notes = Vec::new();
    for (list, what) in [("containers", "container"), ("initContainers", "init container")] {
        let containers = pod["spec"].get_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let name = meta::str_at(container, "/name").to_owned();
            for (part, defaults, word) in [("requests", &requests, "request"), ("limits", &maxima, "limit")] {
                let set = fill(container, part, defaults);
                if !set.is_empty() {
                    notes.push(format!("{} {word} for {what} {name}", set.join(", ")));
                }
            }
        }
    }
    if !notes.is_empty() {
        let note = format!("LimitRanger plugin set: {}", notes.join("; "));
        meta::set(pod, "/metadata/annotations/kubernetes.io~1limit-ranger", note);
    }
}

/// Sets the amounts a container leaves out; their names.
fn fill(container: &mut Value, part: &str, defaults: &ResourceList) -> Vec<String> {
    let present = ResourceList::from_value(&container["resources"][part]);
    let missing: Vec<(&str, Quantity)> =
        defaults.iter().filter(|(name, _)| !present.contains(name)).collect();
    for (name, amount) in &missing {
        let key = name.replace('~', "~0").replace('/', "~1");
        meta::set(container, &format!("/resources/{part}/{key}"), json!(amount.to_string()));
    }
    missing.into_iter().map(|(name, _)| name.to_owned()).collect()
}

/// Refuses what lies outside the bounds.
pub(crate) fn validate(call: &Call<'_>, object: &Value) -> Result<(), ApiError> {
    if !applies(call) {
        return Ok(());
    }
    for range in call.reader.list("", "limitranges", Some(call.request.namespace)) {
        let errors = match call.request.plural {
            "pods" => pod_errors(object, &range),
            _ => claim_errors(object, &range),
        };
        if !errors.is_empty() {
            return Err(call.forbidden(object, aggregate(errors)));
        }
    }
    Ok(())
}

fn pod_errors(object: &Value, range: &Value) -> Vec<String> {
    let mut errors = Vec::new();
    for limit in limits(range) {
        match meta::str_at(limit, "/type") {
            "Container" => {
                for list in ["/spec/containers", "/spec/initContainers"] {
                    for container in meta::list_at(object, list) {
                        let resources = &container["resources"];
                        let requests = ResourceList::from_value(&resources["requests"]);
                        let limits = ResourceList::from_value(&resources["limits"]);
                        bounds("Container", limit, &requests, &limits, &mut errors);
                    }
                }
            }
            "Pod" => {
                let (requests, limits) = (pod::wanted(object, "requests"), pod::wanted(object, "limits"));
                bounds("Pod", limit, &requests, &limits, &mut errors);
            }
            _ => {}
        }
    }
    errors
}

fn claim_errors(object: &Value, range: &Value) -> Vec<String> {
    const KIND: &str = "PersistentVolumeClaim";
    let requests = ResourceList::at(object, "/spec/resources/requests");
    let mut errors = Vec::new();
    for limit in limits(range).iter().filter(|limit| limit["type"] == KIND) {
        for (name, bound) in ResourceList::from_value(&limit["min"]).iter() {
            errors.extend(below(KIND, name, bound, requests.get(name), None));
        }
        for (name, bound) in ResourceList::from_value(&limit["max"]).iter() {
            let (word, usage) = ("maximum", requests.get(name));
            errors.extend(match usage {
                None => Some(unspecified(word, KIND, name, bound, "request")),
                Some(asked) if compare(asked, bound).is_gt() => {
                    Some(outside(word, KIND, name, bound, "request", asked))
                }
                Some(_) => None,
            });
        }
    }
    errors
}

fn bounds(
    kind: &str,
    limit: &Value,
    requests: &ResourceList,
    limits: &ResourceList,
    errors: &mut Vec<String>,
) {
    for (name, bound) in ResourceList::from_value(&limit["min"]).iter() {
        errors.extend(below(kind, name, bound, requests.get(name), limits.get(name)));
    }
    for (name, bound) in ResourceList::from_value(&limit["max"]).iter() {
        errors.extend(above(kind, name, bound, requests.get(name), limits.get(name)));
    }
    for (name, bound) in ResourceList::from_value(&limit["maxLimitRequestRatio"]).iter() {
        errors.extend(ratio(kind, name, bound, requests.get(name), limits.get(name)));
    }
}

/// Whole units when one of the two is too large for thousandths, as upstream compares.
fn compare(a: Quantity, b: Quantity) -> std::cmp::Ordering {
    if a.value() <= MAX_MILLI && b.value() <= MAX_MILLI {
        return a.milli_value().cmp(&b.milli_value());
    }
    a.value().cmp(&b.value())
}

fn unspecified(word: &str, kind: &str, name: &str, bound: Quantity, what: &str) -> String {
    format!("{word} {name} usage per {kind} is {bound}.  No {what} is specified")
}

fn outside(word: &str, kind: &str, name: &str, bound: Quantity, what: &str, value: Quantity) -> String {
    format!("{word} {name} usage per {kind} is {bound}, but {what} is {value}")
}

fn below(
    kind: &str,
    name: &str,
    bound: Quantity,
    request: Option<Quantity>,
    limit: Option<Quantity>,
) -> Option<String> {
    let word = "minimum";
    let Some(asked) = request else { return Some(unspecified(word, kind, name, bound, "request")) };
    if compare(asked, bound).is_lt() {
        return Some(outside(word, kind, name, bound, "request", asked));
    }
    let limit = limit.filter(|limit| compare(*limit, bound).is_lt())?;
    Some(outside(word, kind, name, bound, "limit", limit))
}

fn above(
    kind: &str,
    name: &str,
    bound: Quantity,
    request: Option<Quantity>,
    limit: Option<Quantity>,
) -> Option<String> {
    let word = "maximum";
    let Some(limit) = limit else { return Some(unspecified(word, kind, name, bound, "limit")) };
    if compare(limit, bound).is_gt() {
        return Some(outside(word, kind, name, bound, "limit", limit));
    }
    let asked = request.filter(|asked| compare(*asked, bound).is_gt())?;
    Some(outside(word, kind, name, bound, "request", asked))
}

fn ratio(
    kind: &str,
    name: &str,
    bound: Quantity,
    request: Option<Quantity>,
    limit: Option<Quantity>,
) -> Option<String> {
    let head = format!("{name} max limit to request ratio per {kind} is {bound}, but");
    let given = |amount: Option<Quantity>| amount.filter(|amount| !amount.is_zero());
    let Some(asked) = given(request) else {
        return Some(format!("{head} no request is specified or request is 0"));
    };
    let Some(limit) = given(limit) else {
        return Some(format!("{head} no limit is specified or limit is 0"));
    };
    let ratio = limit.as_f64() / asked.as_f64();
    (ratio > bound.as_f64()).then(|| format!("{head} provided ratio is {ratio:.6}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{World, request};

    fn world(limits: Value) -> World {
        let world = World::default();
        let range = json!({"metadata": {"name": "r", "namespace": "ns"}, "spec": {"limits": limits}});
        world.put("", "limitranges", range);
        world
    }

    fn pod(resources: Value) -> Value {
        json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "resources": resources}]}})
    }

    fn refusal(limits: Value, plural: &str, object: &Value) -> String {
        let world = world(limits);
        let name = meta::name(object);
        let call = world.call(request(Operation::Create, "", plural, "ns", name), None);
        validate(&call, object).map_or_else(|error| error.message, |()| String::new())
    }

    #[test]
    fn defaults_are_set_and_noted() {
        let world = world(json!([{"type": "Container", "default": {"cpu": "500m", "memory": "1Gi"},
            "defaultRequest": {"cpu": "100m", "memory": "512Mi", "example.com/x": "1"}}]));
        let mut pod = json!({"spec": {
            "containers": [{"name": "a", "resources": {"requests": {"cpu": "1"}}}, {"name": "b"}],
            "initContainers": [{"name": "i", "resources": {"limits": {"cpu": "1", "memory": "1"},
                "requests": {"cpu": "1", "memory": "1", "example.com/x": "1"}}}]}});
        mutate(&world.call(request(Operation::Create, "", "pods", "ns", ""), None), &mut pod);
        assert_eq!(
            pod["metadata"]["annotations"]["kubernetes.io/limit-ranger"],
            "LimitRanger plugin set: example.com/x, memory request for container a; cpu, memory limit for container a; \
             cpu, example.com/x, memory request for container b; cpu, memory limit for container b"
        );
        assert_eq!(
            pod["spec"]["containers"][0]["resources"],
            json!({"requests": {"cpu": "1", "memory": "512Mi", "example.com/x": "1"},
                "limits": {"cpu": "500m", "memory": "1Gi"}})
        );
        let mut update = json!({"spec": {"containers": [{"name": "a"}]}});
        mutate(&world.call(request(Operation::Update, "", "pods", "ns", ""), None), &mut update);
        assert_eq!(update, json!({"spec": {"containers": [{"name": "a"}]}}));
    }

    #[test]
    fn container_bounds() {
        let range = |key: &str, amount: &str| json!([{"type": "Container", key: {"cpu": amount}}]);
        let asks = |request: &str, limit: &str| {
            let mut resources = json!({});
            for (part, amount) in [("requests", request), ("limits", limit)] {
                if !amount.is_empty() {
                    resources[part] = json!({"cpu": amount});
                }
            }
            pod(resources)
        };
        for (key, bound, request, limit, expected) in [
            ("min", "1", "1", "", ""),
            ("min", "1", "", "", "minimum cpu usage per Container is 1.  No request is specified"),
            ("min", "1", "900m", "2", "minimum cpu usage per Container is 1, but request is 900m"),
            ("min", "1", "1", "900m", "minimum cpu usage per Container is 1, but limit is 900m"),
            ("max", "1", "", "1", ""),
            ("max", "1", "1", "", "maximum cpu usage per Container is 1.  No limit is specified"),
            ("max", "1", "1", "2", "maximum cpu usage per Container is 1, but limit is 2"),
            ("max", "1", "1500m", "1", "maximum cpu usage per Container is 1, but request is 1500m"),
            ("maxLimitRequestRatio", "2", "1", "2", ""),
            (
                "maxLimitRequestRatio",
                "2",
                "0",
                "2",
                "cpu max limit to request ratio per Container is 2, but no request is specified or request is 0",
            ),
            (
                "maxLimitRequestRatio",
                "2",
                "1",
                "",
                "cpu max limit to request ratio per Container is 2, but no limit is specified or limit is 0",
            ),
            (
                "maxLimitRequestRatio",
                "1500m",
                "1",
                "2",
                "cpu max limit to request ratio per Container is 1500m, but provided ratio is 2.000000",
            ),
        ] {
            let got = refusal(range(key, bound), "pods", &asks(request, limit));
            let expected = if expected.is_empty() {
                String::new()
            } else {
                format!("pods \"p\" is forbidden: {expected}")
            };
            assert_eq!(got, expected);
        }
    }

    #[test]
    fn several_faults_and_pod_bounds() {
        let range = json!([
            {"type": "Container", "min": {"cpu": "1"}, "max": {"memory": "1Mi"}},
            {"type": "Pod", "max": {"memory": "1Mi"}}]);
        let resources = json!({"requests": {"cpu": "500m"}, "limits": {"memory": "2Mi"}});
        assert_eq!(
            refusal(range, "pods", &pod(resources)),
            "pods \"p\" is forbidden: [minimum cpu usage per Container is 1, but request is 500m, maximum memory usage \
             per Container is 1Mi, but limit is 2Mi, maximum memory usage per Pod is 1Mi, but limit is 2Mi]"
        );
    }

    #[test]
    fn claims() {
        let range =
            json!([{"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}, "max": {"storage": "2Gi"}}]);
        let claim = |amount: &str| json!({"metadata": {"name": "c"}, "spec": {"resources": {"requests": {"storage": amount}}}});
        let check = |amount: &str| refusal(range.clone(), "persistentvolumeclaims", &claim(amount));
        assert_eq!(check("2Gi"), "");
        assert_eq!(
            check("3Gi"),
            "persistentvolumeclaims \"c\" is forbidden: maximum storage usage per PersistentVolumeClaim is 2Gi, but \
             request is 3Gi"
        );
        assert!(
            check("1Mi")
                .contains("minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 1Mi")
        );
    }
}

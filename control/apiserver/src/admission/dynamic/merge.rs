//! Apply configurations of MutatingAdmissionPolicies: merged as server-side apply merges, without owners. Pure.
//!
//! Authority: pkg/admission/plugin/policy/mutating/patch/smd.go.

use serde_json::Value;
use xebec_dynamic_admission::MergeError;

use crate::registry::{Node, merged};

/// `live` with `patch` laid over it. A patch that holds an atomic list, map or struct is refused: what it does not name
/// there would be lost.
pub(super) fn merge(live: &Value, patch: &Value, node: Node<'_>) -> Result<Value, MergeError> {
    let mut atomics = Vec::new();
    walk(patch, node, "", &mut atomics);
    if !atomics.is_empty() {
        return Err(MergeError::Refused(format!(
            "invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {}",
            atomics.join(", ")
        )));
    }
    Ok(merged(live, patch, node))
}

fn walk(value: &Value, node: Node<'_>, path: &str, atomics: &mut Vec<String>) {
    match (value, node) {
        (Value::Object(_) | Value::Array(_), Node::Atomic) => atomics.push(path.to_owned()),
        (Value::Object(fields), _) => {
            for (name, field) in fields {
                walk(field, node.field(name), &format!("{path}.{name}"), atomics);
            }
        }
        (Value::Array(items), Node::List { .. }) => {
            for (index, item) in items.iter().enumerate() {
                walk(item, node.element(), &format!("{path}[{index}]"), atomics);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::merge_root;
    use serde_json::json;
    use xebec_api::resource::lookup;

    fn deployment() -> Node<'static> {
        merge_root(lookup("apps", "v1", "deployments").unwrap())
    }

    #[test]
    fn lists_merge_by_their_keys() {
        let live = json!({"spec": {"template": {"spec": {"containers": [{"name": "a", "image": "1"}]}}}});
        let patch = json!({"spec": {"replicas": 3, "template": {"spec": {"containers": [
            {"name": "a", "env": [{"name": "E", "value": "1"}]}, {"name": "b", "image": "2"},
        ]}}}, "metadata": {"labels": {"x": "y"}}});
        let new = merge(&live, &patch, deployment()).unwrap();
        assert_eq!(
            new["spec"]["template"]["spec"]["containers"],
            json!([{"name": "a", "image": "1", "env": [{"name": "E", "value": "1"}]}, {"name": "b", "image": "2"}])
        );
        assert_eq!((&new["spec"]["replicas"], &new["metadata"]["labels"]["x"]), (&json!(3), &json!("y")));
    }

    #[test]
    fn atomics_are_refused() {
        let spec = json!({"spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {"spec": {
            "tolerations": [{"key": "k"}], "containers": [{"name": "c", "command": ["sh"]}],
        }}}});
        let error = merge(&json!({}), &spec, deployment()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: .spec.selector, \
             .spec.template.spec.containers[0].command, .spec.template.spec.tolerations"
        );
    }
}

//! kubectl's way from client-side to server-side apply: the annotation it keeps its last configuration in. Pure.
//!
//! Enters: the live object and the configuration `kubectl` applies. Leaves: the fields it may take over without a
//! conflict, and the annotation's new text. Called by `managed::applied`. Authority: apimachinery's lastApplied managers.

use serde_json::Value;
use xebec_api::meta;

use super::fieldset::{self, FieldSet};
use super::merge_schema::Node;
use super::{metadata, typed};

/// The manager the annotation belongs to.
pub const KUBECTL: &str = "kubectl";
/// The annotation.
pub const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Most bytes all annotations of an object may have, keys included.
const MAX_ANNOTATIONS: usize = 256 * 1024;

/// The fields of the annotation's configuration that are in the live object as they are there: those were kubectl's. None
/// without an annotation of the same version.
#[must_use]
pub fn still_true(live: &Value, version: &str, node: Node<'_>) -> Option<FieldSet> {
    let text = meta::annotation(live, ANNOTATION).filter(|text| !text.is_empty())?;
    let config: Value = serde_json::from_str(text).ok()?;
    if meta::api_version(&config) != version || !typed::complaints(&config, node).is_empty() {
        return None;
    }
    let differ = typed::compare(&config, live, node);
    let mut fields = fieldset::fields_of(&config, node);
    fields.retain(|path| {
        !differ.added.contains(path) && !differ.modified.contains(path) && !differ.removed.contains(path)
    });
    Some(fields)
}

/// Brings an annotation that is there up to date, for clients that still apply by it; one that would be too large goes.
pub fn renew(object: &mut Value, config: &Value) {
    if meta::annotation(object, ANNOTATION).is_none_or(str::is_empty) {
        return;
    }
    let mut config = config.clone();
    let annotations = config.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut);
    if let Some(annotations) = annotations {
        annotations.remove(ANNOTATION);
        if annotations.is_empty() {
            metadata::metadata(&mut config).remove("annotations");
        }
    }
    let text = as_go_prints(&config);
    let others = meta::annotations(object);
    let size: usize =
        others.iter().filter(|(key, _)| *key != ANNOTATION).map(|(key, value)| key.len() + value.len()).sum();
    let Some(annotations) = object["metadata"]["annotations"].as_object_mut() else { return };
    if size + ANNOTATION.len() + text.len() > MAX_ANNOTATIONS {
        annotations.remove(ANNOTATION);
    } else {
        annotations.insert(ANNOTATION.to_owned(), Value::String(text));
    }
}

/// JSON as Go's encoder writes it: what HTML minds is escaped, and a line ends it.
fn as_go_prints(value: &Value) -> String {
    let mut text = String::new();
    for character in meta::canonical_json(value).chars() {
        match character {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                text.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            other => text.push(other),
        }
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use xebec_api::resource;

    use super::super::merge_schema;
    use super::*;

    #[test]
    fn what_was_changed_since_is_not_kubectls() {
        let node = merge_schema::root(resource::lookup("", "v1", "configmaps").unwrap());
        let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "1", "b": "2", "c": "3"}});
        let live = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "1", "b": "9"},
            "metadata": {"annotations": {ANNOTATION: config.to_string()}}});
        let mine = still_true(&live, "v1", node).unwrap();
        let shown: Vec<String> = mine.iter().map(|path| fieldset::display(path)).collect();
        assert_eq!(shown, [".apiVersion", ".data.a", ".kind"]);
        assert_eq!(still_true(&live, "v2", node), None);
        assert_eq!(still_true(&json!({"metadata": {}}), "v1", node), None);
    }

    #[test]
    fn the_annotation_follows_and_has_a_bound() {
        let mut live = json!({"metadata": {"annotations": {ANNOTATION: "{}", "x": "y"}}});
        let config = json!({"kind": "ConfigMap", "data": {"a": "<&>"}, "metadata": {"annotations": {ANNOTATION: "{}"}}});
        renew(&mut live, &config);
        let text = live["metadata"]["annotations"][ANNOTATION].as_str().unwrap();
        assert_eq!(
            text,
            "{\"data\":{\"a\":\"\\u003c\\u0026\\u003e\"},\"kind\":\"ConfigMap\",\"metadata\":{}}\n"
        );
        renew(&mut live, &json!({"data": {"a": "x".repeat(MAX_ANNOTATIONS)}}));
        assert_eq!(live["metadata"]["annotations"], json!({"x": "y"}));
        let mut without = json!({"metadata": {"annotations": {"x": "y"}}});
        renew(&mut without, &config);
        assert_eq!(without["metadata"]["annotations"], json!({"x": "y"}));
    }
}

//! Metrics of an autoscaler between v2 and the form that v1 keeps in its annotations.
//!
//! v1's metrics are flat (`targetAverageValue`), v2's have a `metric` and a `target`. Authority: the MetricSpec and
//! MetricStatus of api/autoscaling/v1, and pkg/apis/autoscaling/v1/conversion.go.

use serde_json::{Map, Value, json};

use super::rules::source_of;
use crate::shared::access::{at, has, set, text};

/// A field's path in v2 and its name in v1.
type Pair = (&'static [&'static str], &'static str);

const NAME: Pair = (&["metric", "name"], "metricName");
const SELECTOR: Pair = (&["metric", "selector"], "selector");
const ABOUT: Pair = (&["describedObject"], "target");
const RESOURCE: [Pair; 2] = [(&["name"], "name"), (&["container"], "container")];

fn of_spec(kind: &str) -> Vec<Pair> {
    const VALUE: Pair = (&["target", "value"], "targetValue");
    const AVERAGE: Pair = (&["target", "averageValue"], "targetAverageValue");
    const PERCENT: Pair = (&["target", "averageUtilization"], "targetAverageUtilization");
    match kind {
        "Object" => vec![ABOUT, NAME, SELECTOR, VALUE, (&["target", "averageValue"], "averageValue")],
        "Pods" => vec![NAME, SELECTOR, AVERAGE],
        "External" => vec![NAME, (&["metric", "selector"], "metricSelector"), VALUE, AVERAGE],
        _ => [RESOURCE.as_slice(), &[PERCENT, AVERAGE]].concat(),
    }
}

fn of_status(kind: &str) -> Vec<Pair> {
    const VALUE: Pair = (&["current", "value"], "currentValue");
    const AVERAGE: Pair = (&["current", "averageValue"], "currentAverageValue");
    const PERCENT: Pair = (&["current", "averageUtilization"], "currentAverageUtilization");
    match kind {
        "Object" => vec![ABOUT, NAME, SELECTOR, VALUE, (&["current", "averageValue"], "averageValue")],
        "Pods" => vec![NAME, SELECTOR, AVERAGE],
        "External" => vec![NAME, (&["metric", "selector"], "metricSelector"), VALUE, AVERAGE],
        _ => [RESOURCE.as_slice(), &[PERCENT, AVERAGE]].concat(),
    }
}

/// A metric of the spec as v1 writes it; `required` values are there even when v2 has none.
pub fn spec_to_v1(metric: &Value) -> Value {
    let required = match text(metric, &["type"]) {
        "Object" => Some("targetValue"),
        "Pods" => Some("targetAverageValue"),
        _ => None,
    };
    flatten(metric, &of_spec(text(metric, &["type"])), required)
}

/// A metric of the status as v1 writes it.
pub fn status_to_v1(metric: &Value) -> Value {
    let required = match text(metric, &["type"]) {
        "Object" | "External" => "currentValue",
        _ => "currentAverageValue",
    };
    flatten(metric, &of_status(text(metric, &["type"])), Some(required))
}

fn flatten(metric: &Value, fields: &[Pair], required: Option<&str>) -> Value {
    let kind = text(metric, &["type"]);
    let source = at(metric, &[&source_of(kind)]);
    let mut flat = Map::new();
    for (path, name) in fields {
        match at(source, path) {
            Value::Null if required == Some(name) => flat.insert((*name).to_owned(), json!("0")),
            Value::Null => None,
            value => flat.insert((*name).to_owned(), value.clone()),
        };
    }
    json!({"type": kind, source_of(kind): flat})
}

/// A metric of the spec that v1 wrote.
pub fn spec_from_v1(metric: &Value) -> Value {
    let kind = text(metric, &["type"]);
    let mut made = nest(metric, &of_spec(kind));
    let source = source_of(kind);
    let gives = |key: &str| has(&made, &[&source, "target", key]);
    let target = match kind {
        "Object" if !gives("averageValue") => "Value",
        "External" if gives("value") => "Value",
        "Resource" | "ContainerResource" if gives("averageUtilization") => "Utilization",
        _ => "AverageValue",
    };
    set(&mut made, &[&source, "target", "type"], json!(target));
    made
}

/// A metric of the status that v1 wrote.
pub fn status_from_v1(metric: &Value) -> Value {
    nest(metric, &of_status(text(metric, &["type"])))
}

/// v1 has a zero where it must have a value, which v2 leaves out.
fn nest(metric: &Value, fields: &[Pair]) -> Value {
    let kind = text(metric, &["type"]);
    let source = source_of(kind);
    let mut made = json!({"type": kind, source.clone(): {}});
    for (path, name) in fields {
        let value = at(metric, &[&source, name]);
        let absent = name.ends_with("Value") && value == "0";
        if !value.is_null() && !absent {
            let path: Vec<&str> = [source.as_str()].iter().chain(path.iter()).copied().collect();
            set(&mut made, &path, value.clone());
        }
    }
    made
}

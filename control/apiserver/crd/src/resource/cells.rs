//! The columns of a version and their cells.
//!
//! Authority: apiextensions-apiserver, pkg/registry/customresource/tableconvertor.

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_kinds::table;

use crate::definition::{ColumnDefinition, Version};
use crate::path::JsonPath;
use crate::value::go_float;

const CREATED: &str = "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed to be set in happens-before order across separate operations. Clients may not set this value. It is represented in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";
const NAME: &str = "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a client to request the generation of an appropriate name automatically. Name is primarily intended for creation idempotence and configuration definition. Cannot be updated. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names";

/// The columns of a version beside the name, ready to be filled.
#[derive(Clone, Debug)]
pub struct Columns {
    columns: Vec<(ColumnDefinition, JsonPath)>,
}

impl Columns {
    /// Those of a version; the age for one that names none. A column whose path cannot be read, and what comes after
    /// it, is left out, as upstream does.
    pub fn of(version: &Version) -> Self {
        let age = ColumnDefinition {
            name: "Age".to_owned(),
            kind: "date".to_owned(),
            description: CREATED.to_owned(),
            path: ".metadata.creationTimestamp".to_owned(),
            ..ColumnDefinition::default()
        };
        let defined = if version.columns.is_empty() { vec![age] } else { version.columns.clone() };
        let readable =
            |column: ColumnDefinition| JsonPath::parse(&column.path).ok().map(|path| (column, path));
        Self { columns: defined.into_iter().map_while(readable).collect() }
    }

    /// The TableColumnDefinitions.
    pub fn definitions(&self) -> Vec<Value> {
        let name =
            json!({"name": "Name", "type": "string", "format": "name", "description": NAME, "priority": 0});
        let own = self.columns.iter().map(|(column, _)| {
            let description = match column.description.as_str() {
                "" => format!("Custom resource definition column (in JSONPath format): {}", column.path),
                given => given.to_owned(),
            };
            json!({
                "name": column.name, "type": column.kind, "format": column.format,
                "description": description, "priority": column.priority,
            })
        });
        std::iter::once(name).chain(own).collect()
    }

    /// The cells of an object.
    pub fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let own = self.columns.iter().map(|(column, path)| match path.first(object) {
            Some(value) => cell(&column.kind, value, now),
            None => Value::Null,
        });
        std::iter::once(table::name(object)).chain(own).collect()
    }
}

#[expect(clippy::cast_possible_truncation, reason = "upstream cuts the fraction of an integer column too")]
fn cell(kind: &str, value: &Value, now: Timestamp) -> Value {
    match (kind, value) {
        ("string", value) => json!(printed(value)),
        (_, Value::Null) => Value::Null,
        ("integer", Value::Number(number)) => {
            json!(number.as_i64().or_else(|| number.as_f64().map(|float| float as i64)))
        }
        ("number", Value::Number(number)) => json!(number.as_f64()),
        ("boolean", Value::Bool(flag)) => json!(flag),
        ("date", Value::String(text)) => match xebec_api::time::parse_rfc3339(text) {
            Some(then) => json!(table::human_duration(now.as_second() - then.as_second())),
            None if text.is_empty() || text == "null" => json!("<unknown>"),
            None => json!("<invalid>"),
        },
        _ => Value::Null,
    }
}

/// A value as client-go's jsonpath prints it: texts as they are, lists and objects as JSON.
fn printed(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "<nil>".to_owned(),
        Value::Number(number) if number.is_f64() => go_float(number.as_f64().unwrap_or_default()),
        other => xebec_api::gotext::json(other),
    }
}

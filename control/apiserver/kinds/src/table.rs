//! Tables: what `kubectl get` prints.
//!
//! Enters: objects and the time. Leaves: column definitions and cells, as upstream's printers make them.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::shared::access::{at, text};

/// One column of a Table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Heading as upstream writes it; kubectl prints it in capitals.
    pub name: &'static str,
    /// OpenAPI type: `string`, `integer`, `boolean`, `date`.
    pub kind: &'static str,
    /// OpenAPI format, `name` for the name column.
    pub format: &'static str,
    /// What the column says.
    pub description: &'static str,
    /// 0 is always shown; 1 only with `-o wide`.
    pub priority: i32,
}

impl Column {
    /// The column as a TableColumnDefinition.
    pub fn to_value(&self) -> Value {
        json!({
            "name": self.name,
            "type": self.kind,
            "format": self.format,
            "description": self.description,
            "priority": self.priority,
        })
    }
}

/// A column that is always shown.
pub const fn column(name: &'static str, kind: &'static str, description: &'static str) -> Column {
    Column { name, kind, format: "", description, priority: 0 }
}

/// A column of `-o wide`.
pub const fn wide(name: &'static str, kind: &'static str, description: &'static str) -> Column {
    Column { name, kind, format: "", description, priority: 1 }
}

/// The Name column.
pub const NAME: Column = Column {
    name: "Name",
    kind: "string",
    format: "name",
    description: "Name must be unique within a namespace. Is required when creating resources.",
    priority: 0,
};

/// The Age column.
pub const AGE: Column = column("Age", "string", "Time since the object was created.");

/// The containers of a workload's template, `-o wide`; the cell is of [`containers_and_images`].
pub const CONTAINERS: Column = wide("Containers", "string", "Names of each container in the template.");

/// Their images.
pub const IMAGES: Column = wide("Images", "string", "Images referenced by each container in the template.");

/// The columns of a kind without its own.
pub const NAME_AGE: &[Column] = &[NAME, AGE];

/// The row of a kind without its own columns.
pub fn name_age_row(obj: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(obj), age(obj, now)]
}

/// The columns of a kind upstream prints with its creation time.
pub const NAME_CREATED: &[Column] = &[NAME, column("Created At", "date", "When the object was created.")];

/// The row of a kind upstream prints with its creation time.
pub fn name_created_row(obj: &Value) -> Vec<Value> {
    vec![name(obj), json!(text(obj, &["metadata", "creationTimestamp"]))]
}

/// The name cell.
pub fn name(obj: &Value) -> Value {
    json!(text(obj, &["metadata", "name"]))
}

/// The age cell, from the creation time.
pub fn age(obj: &Value, now: Timestamp) -> Value {
    json!(since(at(obj, &["metadata", "creationTimestamp"]), now))
}

/// Time since a timestamp value as kubectl prints it, `<unknown>` when it is missing.
pub fn since(value: &Value, now: Timestamp) -> String {
    match parse_time(value) {
        Some(time) => human_duration(now.as_second() - time.as_second()),
        None => "<unknown>".to_owned(),
    }
}

/// A timestamp value, `None` when missing or unreadable.
pub fn parse_time(value: &Value) -> Option<Timestamp> {
    value.as_str().and_then(|text| text.parse().ok())
}

/// A duration as upstream's HumanDuration prints it: at most two units, coarser as it grows.
pub fn human_duration(seconds: i64) -> String {
    if seconds < -1 {
        return "<invalid>".to_owned();
    }
    let seconds = seconds.max(0);
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let pair = |big: i64, unit: &str, small: i64, small_unit: &str| {
        if small == 0 { format!("{big}{unit}") } else { format!("{big}{unit}{small}{small_unit}") }
    };
    if seconds < 120 {
        format!("{seconds}s")
    } else if minutes < 10 {
        pair(minutes, "m", seconds % 60, "s")
    } else if minutes < 180 {
        format!("{minutes}m")
    } else if hours < 8 {
        pair(hours, "h", minutes % 60, "m")
    } else if hours < 48 {
        format!("{hours}h")
    } else if hours < 24 * 8 {
        pair(hours / 24, "d", hours % 24, "h")
    } else if hours < 24 * 365 * 2 {
        format!("{}d", hours / 24)
    } else if hours < 24 * 365 * 8 {
        pair(hours / 24 / 365, "y", (hours / 24) % 365, "d")
    } else {
        format!("{}y", hours / 24 / 365)
    }
}

/// `<none>` for an empty text.
pub fn or_none(text: impl Into<String>) -> String {
    let text = text.into();
    if text.is_empty() { "<none>".to_owned() } else { text }
}

/// Labels as `a=1,b=2`, `<none>` when there are none.
pub fn labels(value: &Value) -> String {
    let pairs: Vec<String> = value
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    or_none(pairs.join(","))
}

/// A label selector as upstream's FormatLabelSelector: `<none>` when it selects everything.
pub fn selector(value: &Value) -> String {
    let mut parts: Vec<(String, String)> = Vec::new();
    for (key, value) in at(value, &["matchLabels"]).as_object().into_iter().flatten() {
        parts.push((key.clone(), format!("{key}={}", value.as_str().unwrap_or_default())));
    }
    for item in crate::shared::access::list(value, &["matchExpressions"]) {
        let key = text(item, &["key"]);
        let mut values = crate::shared::access::texts(item, &["values"]);
        values.sort_unstable();
        let values = values.join(",");
        parts.push((
            key.to_owned(),
            match text(item, &["operator"]) {
                "In" => format!("{key} in ({values})"),
                "NotIn" => format!("{key} notin ({values})"),
                "Exists" => key.to_owned(),
                "DoesNotExist" => format!("!{key}"),
                _ => "<error>".to_owned(),
            },
        ));
    }
    parts.sort();
    or_none(parts.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(","))
}

/// Names and images of a pod template's containers.
pub fn containers_and_images(pod_spec: &Value) -> (String, String) {
    let containers = crate::shared::access::list(pod_spec, &["containers"]);
    let join = |key: &str| containers.iter().map(|c| text(c, &[key])).collect::<Vec<_>>().join(",");
    (join("name"), join("image"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_get_coarser_as_they_grow() {
        let cases = [
            (-5, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (150, "2m30s"),
            (600, "10m"),
            (179 * 60, "179m"),
            (3 * 3600, "3h"),
            (3 * 3600 + 60, "3h1m"),
            (8 * 3600 + 60, "8h"),
            (48 * 3600, "2d"),
            (49 * 3600, "2d1h"),
            (8 * 86400, "8d"),
            (2 * 365 * 86400, "2y"),
            ((2 * 365 + 3) * 86400, "2y3d"),
            (9 * 365 * 86400, "9y"),
        ];
        for (seconds, want) in cases {
            assert_eq!(human_duration(seconds), want, "{seconds}");
        }
    }

    #[test]
    fn a_selector_prints_like_upstream() {
        assert_eq!(selector(&json!({"matchLabels": {"b": "2", "a": "1"}})), "a=1,b=2");
        let expressions = json!({"matchExpressions": [
            {"key": "x", "operator": "In", "values": ["q", "p"]},
            {"key": "y", "operator": "DoesNotExist"}
        ]});
        assert_eq!(selector(&expressions), "x in (p,q),!y");
        assert_eq!(selector(&json!({})), "<none>");
    }
}

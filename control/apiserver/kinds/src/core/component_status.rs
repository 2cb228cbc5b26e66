//! ComponentStatuses: whether the control plane's parts answer. Made when asked for, never stored.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::shared::access::{list, text};
use crate::table::{NAME, column, name};
use crate::{Column, Facts, Strategy};

static FACTS: Facts = Facts::cluster("", "ComponentStatus", "componentstatuses");
const COLUMNS: &[Column] = &[
    NAME,
    column("Status", "string", "Status of the component conditions"),
    column("Message", "string", "Message of the component conditions"),
    column("Error", "string", "Error of the component conditions"),
];

/// The strategy of ComponentStatuses.
pub struct ComponentStatus;

impl Strategy for ComponentStatus {
    fn facts(&self) -> &Facts {
        &FACTS
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn row(&self, obj: &Value, _now: Timestamp) -> Vec<Value> {
        let conditions = list(obj, &["conditions"]);
        let healthy = conditions.iter().find(|condition| text(condition, &["type"]) == "Healthy");
        let part = |key: &str| healthy.map_or("", |condition| text(condition, &[key]));
        let status = match (healthy.is_some(), part("status")) {
            (false, _) => "Unknown",
            (true, "True") => "Healthy",
            (true, _) => "Unhealthy",
        };
        vec![name(obj), json!(status), json!(part("message")), json!(part("error"))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Table;

    #[test]
    fn health_is_shown() {
        let table = Table::of(&ComponentStatus, json!({"metadata": {"name": "etcd-0"}}));
        table.columns(&["Name", "Status", "Message", "Error"]);
        let condition = |status: &str| json!({"conditions": [{"type": "Healthy", "status": status, "message": "ok", "error": "e"}]});
        table.rows(&[
            (json!({}), json!(["etcd-0", "Unknown", "", ""])),
            (condition("True"), json!(["etcd-0", "Healthy", "ok", "e"])),
            (condition("False"), json!(["etcd-0", "Unhealthy", "ok", "e"])),
        ]);
    }
}

//! Tables of pods: each rule with the text upstream answers.

use serde_json::{Value, json};

use super::Pod;
use crate::testing::Table;

mod containers;
mod placement;
mod pods;
mod security;
mod statuses;
mod subresources;
mod updates;
mod volumes;

fn base() -> Value {
    json!({"metadata": {"name": "p", "labels": {"app": "a"}},
        "spec": {"containers": [{"name": "c", "image": "i:1"}]}})
}

fn table() -> Table<'static> {
    Table::of(&Pod, base())
}

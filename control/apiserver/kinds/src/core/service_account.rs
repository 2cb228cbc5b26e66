//! ServiceAccounts: the identities of pods.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::shared::access::{drop_nulls, list};
use crate::table::{AGE, NAME, age, column, name};
use crate::{Column, Facts, Strategy};

static FACTS: Facts = Facts::namespaced("", "ServiceAccount", "serviceaccounts");
const COLUMNS: &[Column] = &[NAME, column("Secrets", "string", "The number of secrets it lists."), AGE];

/// The strategy of ServiceAccounts.
pub struct ServiceAccount;

impl Strategy for ServiceAccount {
    fn facts(&self) -> &Facts {
        &FACTS
    }

    fn defaults(&self, obj: &mut Value) {
        drop_nulls(obj);
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![name(obj), json!(list(obj, &["secrets"]).len()), age(obj, now)]
    }
}

//! ServiceAccounts: the identities of pods.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::shared::access::{drop_nulls, list, list_mut, text};
use crate::table::{AGE, NAME, age, column, name};
use crate::{Column, Context, Facts, Strategy, generic};

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

    fn prepare_for_create(&self, _ctx: &Context<'_>, obj: &mut Value) {
        generic::prepare_for_create(&FACTS, obj);
        only_names(obj);
    }

    fn prepare_for_update(&self, _ctx: &Context<'_>, obj: &mut Value, old: &Value) {
        generic::prepare_for_update(&FACTS, obj, old);
        only_names(obj);
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![name(obj), json!(list(obj, &["secrets"]).len()), age(obj, now)]
    }
}

/// The secrets of an account are references by name, whatever else a client says of them.
fn only_names(obj: &mut Value) {
    for secret in list_mut(obj, &["secrets"]) {
        *secret = match text(secret, &["name"]) {
            "" => json!({}),
            name => json!({"name": name}),
        };
    }
}

//! Who asks, written into the objects that say so: a CertificateSigningRequest carries its requester's uid, groups and
//! extra facts (the kind itself knows the name only), by which it is approved later.
//!
//! Authority: `pkg/registry/certificates/certificates/strategy.go` (PrepareForCreate).

use serde_json::{Map, Value, json};
use xebec_identity::User;

use super::Target;

/// Replaces what the client may have written about itself.
pub(super) fn complete(target: &Target, user: &User, value: &mut Value) {
    if (target.stored.group, target.stored.plural) != ("certificates.k8s.io", "certificatesigningrequests") {
        return;
    }
    let Some(spec) = value.get_mut("spec").and_then(Value::as_object_mut) else { return };
    set(spec, "uid", json!(user.uid), user.uid.is_empty());
    set(spec, "groups", json!(user.groups), user.groups.is_empty());
    set(spec, "extra", json!(user.extra), user.extra.is_empty());
}

fn set(spec: &mut Map<String, Value>, field: &str, value: Value, is_empty: bool) {
    if is_empty {
        spec.remove(field);
    } else {
        spec.insert(field.to_owned(), value);
    }
}

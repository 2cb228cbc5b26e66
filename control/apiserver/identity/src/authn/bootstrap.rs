//! Bootstrap tokens: `<id>.<secret>` of a Secret in kube-system, for nodes that join.
//!
//! Enters: a bearer token and the cluster's Secrets. Leaves: `system:bootstrap:<id>`, or nothing: a token that is
//! expired, unknown, or not for authentication is no credential of this kind, whatever else it may be.
//!
//! Authority: `plugin/pkg/auth/authenticator/token/bootstrap`, `k8s.io/cluster-bootstrap/token/{api,util}`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::Value;

use crate::{ObjectReader, User, text};

/// The namespace of the Secrets.
pub const NAMESPACE: &str = "kube-system";
/// The Secrets' type.
pub const SECRET_TYPE: &str = "bootstrap.kubernetes.io/token";
/// What the Secrets' names start with; the token's id follows.
pub const NAME_PREFIX: &str = "bootstrap-token-";
/// The group of every bootstrap token.
pub const GROUP: &str = "system:bootstrappers";
const USER_PREFIX: &str = "system:bootstrap:";

/// The two halves of a token of this form: six and sixteen lower-case letters or digits.
pub fn parse(token: &str) -> Option<(&str, &str)> {
    let (id, secret) = token.split_once('.')?;
    let plain = |part: &str| part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    (id.len() == 6 && secret.len() == 16 && plain(id) && plain(secret)).then_some((id, secret))
}

/// A value of the Secret's data.
fn datum(secret: &Value, key: &str) -> String {
    let encoded = secret["data"][key].as_str().unwrap_or_default();
    STANDARD.decode(encoded).ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default()
}

/// Whether the token's time is up; a time that cannot be read is up.
fn is_expired(secret: &Value, now: Timestamp) -> bool {
    let until = datum(secret, "expiration");
    !until.is_empty() && until.parse::<Timestamp>().map_or(true, |until| until <= now)
}

/// Whether a group may be given by a token: `system:bootstrappers:` and at most 256 of `[a-z0-9:-]`, the last one
/// a letter or digit.
pub fn is_bootstrap_group(group: &str) -> bool {
    let Some(rest) = group.strip_prefix("system:bootstrappers:") else { return false };
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    rest.len() <= 256
        && rest.bytes().all(|b| word(b) || b == b':' || b == b'-')
        && rest.bytes().last().is_some_and(word)
}

/// Compares without telling by its time where the two differ.
#[expect(deprecated, reason = "ring offers no other constant-time comparison")]
fn equal(a: &str, b: &str) -> bool {
    ring::constant_time::verify_slices_are_equal(a.as_bytes(), b.as_bytes()).is_ok()
}

/// The user of a bootstrap token.
pub(super) fn user(reader: &dyn ObjectReader, token: &str, now: Timestamp) -> Option<User> {
    let (id, secret_half) = parse(token)?;
    let secret = reader.get("", "secrets", NAMESPACE, &format!("{NAME_PREFIX}{id}"))?;
    let refused = |reason: &str| {
        tracing::debug!(token_id = id, reason, "bootstrap token refused");
        None::<User>
    };
    if !text(&secret, "/metadata/deletionTimestamp").is_empty() {
        return refused("its secret is being deleted");
    }
    if text(&secret, "/type") != SECRET_TYPE {
        return refused("its secret has another type");
    }
    if !equal(&datum(&secret, "token-secret"), secret_half) {
        return refused("wrong secret");
    }
    if datum(&secret, "token-id") != id {
        return refused("its secret names another token-id");
    }
    if is_expired(&secret, now) {
        return refused("expired");
    }
    if datum(&secret, "usage-bootstrap-authentication") != "true" {
        return refused("not for authentication");
    }
    let mut groups = vec![GROUP.to_owned()];
    let extra = datum(&secret, "auth-extra-groups");
    for group in extra.split(',').filter(|group| !group.is_empty()) {
        if !is_bootstrap_group(group) {
            return refused("auth-extra-groups holds a group outside system:bootstrappers:");
        }
        if !groups.iter().any(|own| own == group) {
            groups.push(group.to_owned());
        }
    }
    Some(User { name: format!("{USER_PREFIX}{id}"), groups, ..User::default() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::MemoryReader;

    fn secret(change: impl FnOnce(&mut Value)) -> Value {
        let encode = |text: &str| STANDARD.encode(text);
        let mut secret = json!({
            "apiVersion": "v1", "kind": "Secret", "type": SECRET_TYPE,
            "metadata": {"name": "bootstrap-token-abc123", "namespace": "kube-system"},
            "data": {
                "token-id": encode("abc123"),
                "token-secret": encode("0123456789abcdef"),
                "expiration": encode("2026-02-01T00:00:00Z"),
                "usage-bootstrap-authentication": encode("true"),
                "auth-extra-groups": encode("system:bootstrappers:a,system:bootstrappers:b-c"),
            },
        });
        change(&mut secret);
        secret
    }

    fn ask(secret: Value, token: &str) -> Option<User> {
        let now = "2026-01-31T00:00:00Z".parse().unwrap();
        user(MemoryReader::with(vec![secret]).as_ref(), token, now)
    }

    const TOKEN: &str = "abc123.0123456789abcdef";

    #[test]
    fn a_good_token_is_a_bootstrapper() {
        let found = ask(secret(|_| {}), TOKEN).unwrap();
        assert_eq!(found.name, "system:bootstrap:abc123");
        assert_eq!(found.groups, [GROUP, "system:bootstrappers:a", "system:bootstrappers:b-c"]);
        let endless = ask(secret(|s| drop(s["data"].as_object_mut().unwrap().remove("expiration"))), TOKEN);
        assert!(endless.is_some());
    }

    #[test]
    fn anything_wrong_is_no_credential() {
        let set = |key: &'static str, value: &'static str| {
            secret(|s| s["data"][key] = json!(STANDARD.encode(value)))
        };
        let cases = [
            ("other secret half", secret(|_| {}), "abc123.0123456789abcdeg"),
            ("unknown id", secret(|_| {}), "abc124.0123456789abcdef"),
            ("form", secret(|_| {}), "abc123.0123456789ABCDEF"),
            ("form", secret(|_| {}), "abc123"),
            ("type", secret(|s| s["type"] = json!("Opaque")), TOKEN),
            (
                "deleted",
                secret(|s| s["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z")),
                TOKEN,
            ),
            ("id differs", set("token-id", "abc124"), TOKEN),
            ("expired", set("expiration", "2026-01-30T23:59:59Z"), TOKEN),
            ("no time", set("expiration", "tomorrow"), TOKEN),
            ("usage", set("usage-bootstrap-authentication", "false"), TOKEN),
            ("usage", set("usage-bootstrap-authentication", "True"), TOKEN),
            ("group", set("auth-extra-groups", "system:masters"), TOKEN),
            ("group", set("auth-extra-groups", "system:bootstrappers:-"), TOKEN),
        ];
        for (what, secret, token) in cases {
            assert_eq!(ask(secret, token), None, "{what}");
        }
    }
}

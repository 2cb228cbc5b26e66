//! When a token's Secret goes, and which signatures cluster-info carries. Pure.
//!
//! Authority: `pkg/controller/bootstrap/{tokencleaner,bootstrapsigner}.go`, `k8s.io/cluster-bootstrap/token`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use ring::hmac;

use crate::machinery::Key;
use crate::machinery::time::until;

/// The namespace of the tokens.
pub const NAMESPACE: &str = "kube-system";
const TYPE: &str = "bootstrap.kubernetes.io/token";
const NAME_PREFIX: &str = "bootstrap-token-";
const SIGNATURE_PREFIX: &str = "jws-kubeconfig-";
/// The header of every signature: `{"alg":"HS256","kid":"<id>"}`.
const SIGNED_KEY: &str = "kubeconfig";

/// The ConfigMap that is signed.
pub fn cluster_info() -> Key {
    Key::new("kube-public", "cluster-info")
}

/// What becomes of a token's Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It has no end, or is no token.
    Keep,
    /// It stays for so long.
    KeepFor(Duration),
    /// Its time is up, or its end cannot be read.
    Remove,
}

fn datum<'a>(secret: &'a Secret, key: &str) -> &'a str {
    let bytes = secret.data.as_ref().and_then(|data| data.get(key));
    bytes.and_then(|bytes| std::str::from_utf8(&bytes.0).ok()).unwrap_or_default()
}

/// Whether a Secret goes now.
pub fn fate(secret: &Secret, now: Timestamp) -> Fate {
    if secret.type_.as_deref() != Some(TYPE) {
        return Fate::Keep;
    }
    match datum(secret, "expiration") {
        "" => Fate::Keep,
        end => match end.parse::<Timestamp>() {
            Ok(end) if end > now => Fate::KeepFor(until(end, now)),
            _ => Fate::Remove,
        },
    }
}

/// Id and secret of a token that may sign.
fn signer(secret: &Secret, now: Timestamp) -> Option<(&str, &str)> {
    let id = secret.metadata.name.as_deref()?.strip_prefix(NAME_PREFIX)?;
    let is_alive = secret.metadata.deletion_timestamp.is_none() && fate(secret, now) != Fate::Remove;
    let (own_id, half) = (datum(secret, "token-id"), datum(secret, "token-secret"));
    let may = datum(secret, "usage-bootstrap-signing") == "true";
    (secret.type_.as_deref() == Some(TYPE) && is_alive && may && own_id == id && !half.is_empty())
        .then_some((id, half))
}

/// A detached JWS (RFC 7515 appendix F) of the content: HS256 with the whole token as the key.
pub fn signature(content: &str, id: &str, half: &str) -> String {
    let header = URL_SAFE_NO_PAD.encode(format!("{{\"alg\":\"HS256\",\"kid\":\"{id}\"}}"));
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(content));
    let key = hmac::Key::new(hmac::HMAC_SHA256, format!("{id}.{half}").as_bytes());
    format!("{header}..{}", URL_SAFE_NO_PAD.encode(hmac::sign(&key, signed.as_bytes())))
}

/// The ConfigMap with a signature for each token, and for no other; `None` if that is what it has, or if it has no
/// kubeconfig to sign.
pub fn signed(info: &ConfigMap, tokens: &[Arc<Secret>], now: Timestamp) -> Option<ConfigMap> {
    let data = info.data.as_ref()?;
    let content = data.get(SIGNED_KEY)?;
    let mut wanted: BTreeMap<String, String> = data
        .iter()
        .filter(|(key, _)| !key.starts_with(SIGNATURE_PREFIX))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    for (id, half) in tokens.iter().filter_map(|token| signer(token, now)) {
        wanted.insert(format!("{SIGNATURE_PREFIX}{id}"), signature(content, id, half));
    }
    (wanted != *data).then(|| ConfigMap { data: Some(wanted), ..info.clone() })
}

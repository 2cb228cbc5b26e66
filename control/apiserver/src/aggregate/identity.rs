//! Who asks, told to a remote API server that trusts this one's front-proxy certificate. Pure.
//!
//! Authority: k8s.io/client-go/transport SetAuthProxyHeaders.

use http::{HeaderMap, HeaderName, HeaderValue};
use xebec_identity::User;

const USER: HeaderName = HeaderName::from_static("x-remote-user");
const UID: HeaderName = HeaderName::from_static("x-remote-uid");
const GROUP: HeaderName = HeaderName::from_static("x-remote-group");
const EXTRA: &str = "x-remote-extra-";

/// Replaces whatever a client may have claimed by `user`.
pub fn set(headers: &mut HeaderMap, user: &User) {
    let claimed: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with(EXTRA)).cloned().collect();
    for name in claimed.iter().chain([&USER, &UID, &GROUP]) {
        headers.remove(name);
    }
    let mut add = |name: HeaderName, value: &str| {
        // A value no header can hold does not reach the server: less is known, never something else.
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.append(name, value);
        }
    };
    add(USER, &user.name);
    if !user.uid.is_empty() {
        add(UID, &user.uid);
    }
    for group in &user.groups {
        add(GROUP, group);
    }
    for (key, values) in &user.extra {
        let Ok(name) = HeaderName::from_bytes(format!("{EXTRA}{}", escaped(key)).as_bytes()) else {
            continue;
        };
        for value in values {
            add(name.clone(), value);
        }
    }
}

/// What no header name may hold is percent-encoded, and so is the percent sign.
fn escaped(key: &str) -> String {
    let mut out = String::new();
    for byte in key.bytes() {
        if byte.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_replaces_every_claim() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-remote-user", "root"),
            ("x-remote-group", "system:masters"),
            ("x-remote-extra-scope", "all"),
            ("accept", "*/*"),
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let mut user = User::new("ann", &["dev", "ops"]);
        user.uid = "7".into();
        user.extra.insert("authentication.kubernetes.io/pod-name".into(), vec!["p".into(), "q".into()]);
        set(&mut headers, &user);
        let mut shown: Vec<String> =
            headers.iter().map(|(n, v)| format!("{n}={}", v.to_str().unwrap())).collect();
        shown.sort();
        let extra = "x-remote-extra-authentication.kubernetes.io%2fpod-name";
        assert_eq!(
            shown,
            [
                "accept=*/*".to_owned(),
                format!("{extra}=p"),
                format!("{extra}=q"),
                "x-remote-group=dev".to_owned(),
                "x-remote-group=ops".to_owned(),
                "x-remote-uid=7".to_owned(),
                "x-remote-user=ann".to_owned(),
            ]
        );
    }
}

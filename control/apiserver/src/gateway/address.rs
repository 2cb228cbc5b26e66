//! Names, addresses and paths of proxied requests. Pure.
//!
//! Authority: k8s.io/apimachinery/pkg/util/net (SplitSchemeNamePort), k8s.io/kubernetes/pkg/proxy/util
//! (IsProxyableIP).

use std::net::IpAddr;

use xebec_api::status::ApiError;

/// What stands between `nodes/`, `pods/` or `services/` and `/proxy`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// `https` was asked for; otherwise the kind's default.
    pub https: bool,
    /// The object's name.
    pub name: String,
    /// Port number or name; empty for the kind's default.
    pub port: String,
}

/// Takes `name`, `name:port` or `scheme:name:port` apart; `kind` (`node`, `pod`, `service`) is for the message.
pub fn split(kind: &str, text: &str) -> Result<Asked, ApiError> {
    let parts: Vec<&str> = text.split(':').collect();
    let (scheme, name, port) = match parts.as_slice() {
        [name] => ("", *name, ""),
        [name, port] => ("", *name, *port),
        [scheme, name, port] => (*scheme, *name, *port),
        _ => ("invalid", "", ""),
    };
    if name.is_empty() || !matches!(scheme, "" | "http" | "https") {
        return Err(ApiError::bad_request(format!("invalid {kind} request {text:?}")));
    }
    Ok(Asked { https: scheme == "https", name: name.to_owned(), port: port.to_owned() })
}

/// 400 unless the address is one that pods and nodes may have: no loopback, link-local or multicast address, or
/// proxying would open what listens for this machine alone.
pub fn proxyable(address: &str) -> Result<IpAddr, ApiError> {
    let refused = || ApiError::bad_request("address not allowed");
    let ip: IpAddr = address.parse().map_err(|_| refused())?;
    let local = match ip.to_canonical() {
        IpAddr::V4(v4) => {
            v4.is_loopback()
                || v4.is_unspecified()
                || v4.is_link_local()
                || v4.is_multicast()
                || v4.is_broadcast()
        }
        IpAddr::V6(v6) => {
            v6.is_loopback() || v6.is_unspecified() || v6.is_unicast_link_local() || v6.is_multicast()
        }
    };
    if local { Err(refused()) } else { Ok(ip) }
}

/// An address as it stands in a URL.
pub fn bracketed(address: &str) -> String {
    match address.parse::<IpAddr>() {
        Ok(IpAddr::V6(v6)) => format!("[{v6}]"),
        _ => address.to_owned(),
    }
}

/// An absolute path without `.`, `..` and empty segments; a slash at its end stays. Escapes stay as they are.
pub fn clean(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment.to_ascii_lowercase().replace("%2e", ".").as_str() {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            _ => kept.push(segment),
        }
    }
    let mut out = String::new();
    for segment in &kept {
        out.push('/');
        out.push_str(segment);
    }
    if out.is_empty() || path.ends_with('/') {
        out.push('/');
    }
    out
}

/// Appends `name=value` to a query, escaped.
pub fn push(query: &mut String, name: &str, value: &str) {
    if !query.is_empty() {
        query.push('&');
    }
    query.push_str(name);
    query.push('=');
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            query.push(char::from(byte));
        } else {
            query.push_str(&format!("%{byte:02X}"));
        }
    }
}

/// `path?query`, or the path alone.
pub fn with_query(path: &str, query: &str) -> String {
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_up_to_three_parts() {
        let of = |text| split("pod", text).map(|a| (a.https, a.name, a.port));
        assert_eq!(of("web").unwrap(), (false, "web".into(), String::new()));
        assert_eq!(of("web:8080").unwrap(), (false, "web".into(), "8080".into()));
        assert_eq!(of("https:web:").unwrap(), (true, "web".into(), String::new()));
        assert_eq!(of("http:web:80").unwrap(), (false, "web".into(), "80".into()));
        for wrong in ["ftp:web:80", ":80", "a:b:c:d", ""] {
            let error = of(wrong).unwrap_err();
            assert_eq!((error.code, error.message), (400, format!("invalid pod request {wrong:?}")));
        }
    }

    #[test]
    fn this_machine_is_not_proxied_to() {
        for good in ["10.0.0.1", "192.0.2.2", "fd00::2", "8.8.8.8"] {
            assert!(proxyable(good).is_ok(), "{good}");
        }
        for bad in
            ["127.0.0.1", "::1", "169.254.169.254", "fe80::1", "224.0.0.1", "0.0.0.0", "", "::ffff:127.0.0.1"]
        {
            assert_eq!(proxyable(bad).unwrap_err().message, "address not allowed", "{bad}");
        }
    }

    #[test]
    fn paths_are_cleaned_and_keep_their_last_slash() {
        for (path, cleaned) in [
            ("", "/"),
            ("/", "/"),
            ("a/b", "/a/b"),
            ("a//b/", "/a/b/"),
            ("a/../../b", "/b"),
            ("a/%2E%2e/b/./c", "/b/c"),
            ("a%2Fb", "/a%2Fb"),
        ] {
            assert_eq!(clean(path), cleaned, "{path}");
        }
    }

    #[test]
    fn queries_are_escaped() {
        let mut query = String::new();
        push(&mut query, "command", "sh -c 'a&b'");
        push(&mut query, "tty", "1");
        assert_eq!(with_query("/exec", &query), "/exec?command=sh%20-c%20%27a%26b%27&tty=1");
        assert_eq!((bracketed("fd00::1"), bracketed("10.0.0.1")), ("[fd00::1]".into(), "10.0.0.1".into()));
    }
}

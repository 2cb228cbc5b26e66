//! Which headers go on to a backend, and which come back. Pure.
//!
//! Authority: net/http/httputil.ReverseProxy, k8s.io/apimachinery/pkg/util/proxy, and the filters of
//! k8s.io/apiserver/pkg/endpoints/filters that take credentials out of a request.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Headers about one connection, not about the request (RFC 9110 section 7.6.1).
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Cross-origin permissions of a backend: they would be taken for the API server's.
const CROSS_ORIGIN: [HeaderName; 4] = [
    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    header::ACCESS_CONTROL_ALLOW_HEADERS,
    header::ACCESS_CONTROL_ALLOW_METHODS,
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
];

/// Whether the client asks for another protocol on its connection.
pub fn is_upgrade(headers: &HeaderMap) -> bool {
    let mut named = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    headers.contains_key(header::UPGRADE) && named.any(|value| value.to_ascii_lowercase().contains("upgrade"))
}

/// Credentials of this server's clients, which are no backend's business.
fn is_credential(name: &HeaderName) -> bool {
    let name = name.as_str();
    matches!(name, "authorization" | "x-remote-user" | "x-remote-uid" | "x-remote-group")
        || name.starts_with("impersonate-")
        || name.starts_with("x-remote-extra-")
}

/// What goes on to the backend; `client` is added to X-Forwarded-For.
///
/// An upgrade keeps the headers that ask for it and announces no body.
pub fn onward(headers: &HeaderMap, client: Option<IpAddr>, upgrading: bool) -> HeaderMap {
    let named = listed(headers);
    let mut out = HeaderMap::new();
    for (name, value) in headers {
        let hop = HOP_BY_HOP.contains(name) || named.contains(&name.as_str().to_owned());
        let no_body = upgrading && *name == header::CONTENT_LENGTH;
        if !hop && !no_body && !is_credential(name) && *name != header::HOST {
            out.append(name.clone(), value.clone());
        }
    }
    if upgrading {
        out.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        if let Some(protocol) = headers.get(header::UPGRADE) {
            out.insert(header::UPGRADE, protocol.clone());
        }
    }
    if let Some(client) = client {
        let before = out.get_all(&FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok());
        let chain: Vec<String> = before.map(str::to_owned).chain([client.to_string()]).collect();
        if let Ok(value) = HeaderValue::from_str(&chain.join(", ")) {
            out.insert(FORWARDED_FOR, value);
        }
    }
    out
}

/// The host the client asked for, which backends see too.
pub fn host(headers: &HeaderMap, uri: &Uri) -> Option<HeaderValue> {
    let authority = || HeaderValue::from_str(uri.authority()?.as_str()).ok();
    headers.get(header::HOST).cloned().or_else(authority)
}

/// Takes out of a backend's answer what is not for the client.
pub fn homeward(headers: &mut HeaderMap) {
    for name in listed(headers) {
        headers.remove(name);
    }
    for name in HOP_BY_HOP.iter().chain(&CROSS_ORIGIN) {
        headers.remove(name);
    }
}

fn listed(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let names = values.flat_map(|value| value.split(',')).map(|name| name.trim().to_ascii_lowercase());
    names.filter(|name| !name.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    fn shown(headers: &HeaderMap) -> Vec<String> {
        let mut all: Vec<_> = headers.iter().map(|(n, v)| format!("{n}={}", v.to_str().unwrap())).collect();
        all.sort();
        all
    }

    #[test]
    fn credentials_and_hops_stay_here() {
        let headers = map(&[
            ("authorization", "Bearer x"),
            ("connection", "keep-alive, Upgrade, x-mine"),
            ("upgrade", "SPDY/3.1"),
            ("x-mine", "1"),
            ("content-length", "0"),
            ("impersonate-user", "u"),
            ("impersonate-extra-a", "b"),
            ("x-remote-user", "root"),
            ("x-remote-extra-scope", "all"),
            ("x-stream-protocol-version", "v4.channel.k8s.io"),
            ("x-forwarded-for", "192.0.2.1"),
            ("cookie", "a=b"),
            ("host", "api"),
        ]);
        assert!(is_upgrade(&headers));
        let client = Some("192.0.2.9".parse().unwrap());
        let same = ["x-forwarded-for=192.0.2.1, 192.0.2.9", "x-stream-protocol-version=v4.channel.k8s.io"];
        let upgrade = ["connection=Upgrade", "cookie=a=b", "upgrade=SPDY/3.1", same[0], same[1]];
        assert_eq!(shown(&onward(&headers, client, true)), upgrade);
        assert_eq!(
            shown(&onward(&headers, client, false)),
            ["content-length=0", "cookie=a=b", same[0], same[1]]
        );
        assert_eq!(host(&headers, &Uri::from_static("/x")).unwrap(), "api");
        assert_eq!(host(&HeaderMap::new(), &Uri::from_static("https://a:1/x")).unwrap(), "a:1");
    }

    #[test]
    fn answers_lose_hops_and_cross_origin_permissions() {
        let mut headers = map(&[
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("transfer-encoding", "chunked"),
            ("access-control-allow-origin", "*"),
            ("content-type", "text/html"),
            ("set-cookie", "a=b"),
        ]);
        homeward(&mut headers);
        assert_eq!(shown(&headers), ["content-type=text/html", "set-cookie=a=b"]);
        assert!(!is_upgrade(&map(&[("upgrade", "websocket"), ("connection", "close")])));
    }
}

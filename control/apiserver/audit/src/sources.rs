//! From where a request came: what proxies say, then the connection itself.
//!
//! Authority: `k8s.io/apimachinery/pkg/util/net.SourceIPs`.

use std::net::IpAddr;

use http::HeaderMap;

/// The most addresses that are kept of one request.
const MAX_SOURCES: usize = 32;

/// The client's addresses: those of `X-Forwarded-For`, of `X-Real-Ip`, and the connection's, each once.
pub fn source_ips(headers: &HeaderMap, remote: Option<IpAddr>) -> Vec<String> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut found: Vec<IpAddr> = Vec::new();
    for part in text("x-forwarded-for").split(',').take(MAX_SOURCES) {
        if let Ok(address) = part.trim().parse() {
            found.push(address);
        }
    }
    if let Ok(address) = text("x-real-ip").trim().parse::<IpAddr>()
        && !found.contains(&address)
    {
        found.push(address);
    }
    if let Some(remote) = remote.map(|address| address.to_canonical())
        && found.last() != Some(&remote)
    {
        found.push(remote);
    }
    found.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_believed_in_their_order() {
        let mut headers = HeaderMap::new();
        let remote = Some("127.0.0.1".parse().unwrap());
        assert_eq!(source_ips(&headers, remote), ["127.0.0.1"]);
        headers.insert("x-forwarded-for", "192.0.2.7, nonsense, 10.0.0.1".parse().unwrap());
        headers.insert("x-real-ip", "10.0.0.1".parse().unwrap());
        assert_eq!(source_ips(&headers, remote), ["192.0.2.7", "10.0.0.1", "127.0.0.1"]);
        assert_eq!(source_ips(&headers, Some("::ffff:10.0.0.1".parse().unwrap())), ["192.0.2.7", "10.0.0.1"]);
    }
}

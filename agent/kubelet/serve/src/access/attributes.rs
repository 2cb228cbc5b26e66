//! Which permission a request needs. Enters: method and path. Leaves: the attributes to be asked about, in order.

use http::Method;

/// What a request does, in the words of authorization: always about `nodes/<subresource>` of this node, group core, v1.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Attributes {
    /// get, create, update, patch or delete; empty for any other method, which no rule allows but `*`.
    pub verb: &'static str,
    /// The subresource of `nodes`.
    pub subresource: &'static str,
    /// The node's name.
    pub node: String,
}

/// The permissions of which one suffices: a fine one where there is one (KEP-2862), else `nodes/proxy`.
pub(crate) fn wanted(method: &Method, path: &str, node: &str) -> Vec<Attributes> {
    let verb = match method.as_str() {
        "GET" => "get",
        "POST" => "create",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" => "delete",
        _ => "",
    };
    let under =
        |root: &str| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let fine =
        [("/pods", "pods"), ("/runningpods", "pods"), ("/healthz", "healthz"), ("/configz", "configz")];
    let coarse =
        [("/stats", "stats"), ("/metrics", "metrics"), ("/logs", "log"), ("/checkpoint", "checkpoint")];
    let first = fine.iter().find(|(root, _)| under(root)).map(|(_, subresource)| *subresource);
    let last = coarse.iter().find(|(root, _)| under(root)).map_or("proxy", |(_, subresource)| subresource);
    first
        .into_iter()
        .chain([last])
        .map(|subresource| Attributes { verb, subresource, node: node.to_owned() })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_map_as_the_upstream_kubelet_maps_them() {
        let table: &[(Method, &str, &str, &[&str])] = &[
            (Method::GET, "/pods", "get", &["pods", "proxy"]),
            (Method::GET, "/runningpods/", "get", &["pods", "proxy"]),
            (Method::GET, "/healthz/ping", "get", &["healthz", "proxy"]),
            (Method::GET, "/configz", "get", &["configz", "proxy"]),
            (Method::GET, "/podsecrets", "get", &["proxy"]),
            (Method::GET, "/stats/summary", "get", &["stats"]),
            (Method::GET, "/metrics", "get", &["metrics"]),
            (Method::GET, "/metrics/resource", "get", &["metrics"]),
            (Method::GET, "/metricsfoo", "get", &["proxy"]),
            (Method::GET, "/logs/", "get", &["log"]),
            (Method::GET, "/containerLogs/ns/p/c", "get", &["proxy"]),
            (Method::POST, "/exec/ns/p/c", "create", &["proxy"]),
            (Method::PUT, "/run/ns/p/c", "update", &["proxy"]),
            (Method::DELETE, "/", "delete", &["proxy"]),
            (Method::HEAD, "/pods", "", &["pods", "proxy"]),
        ];
        for (method, path, verb, subresources) in table {
            let got = wanted(method, path, "n1");
            assert_eq!(got.iter().map(|a| a.subresource).collect::<Vec<_>>(), *subresources, "{path}");
            assert!(got.iter().all(|a| a.verb == *verb && a.node == "n1"), "{method} {path}");
        }
    }
}

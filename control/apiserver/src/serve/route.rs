//! What a request is about, from its method, path and query alone.
//!
//! Pure. Upstream's rules: k8s.io/apiserver/pkg/endpoints/request/requestinfo.go.

use http::Method;
use xebec_api::selector::FieldSelector;

use super::query::Query;

/// A request, taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestInfo {
    /// Whether it is about an API resource; otherwise only `path` and `verb` mean something.
    pub is_resource: bool,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`, or the lower-case method.
    pub verb: String,
    /// The path as sent.
    pub path: String,
    /// API group, empty for the core group.
    pub group: String,
    /// API version.
    pub version: String,
    /// Namespace, empty for none.
    pub namespace: String,
    /// Resource (plural).
    pub resource: String,
    /// Subresource, or empty.
    pub subresource: String,
    /// Object name; for lists and watches the one that `fieldSelector=metadata.name=X` names.
    pub name: String,
    /// Whether the name stands in the path.
    pub named_in_path: bool,
    /// Path behind the subresource (`proxy/a/b` gives `a/b`), with its trailing slash.
    pub rest: Option<String>,
}

/// Takes a request apart.
#[must_use]
pub fn parse(method: &Method, path: &str, query: &Query) -> RequestInfo {
    let mut info = RequestInfo {
        path: path.to_owned(),
        verb: method.as_str().to_ascii_lowercase(),
        ..Default::default()
    };
    let trimmed = path.trim_matches('/');
    let mut parts: Vec<&str> = trimmed.split('/').collect();
    let versioned = match parts.first() {
        Some(&"api") if parts.len() >= 3 => 2,
        Some(&"apis") if parts.len() >= 4 => 3,
        _ => return info,
    };
    if versioned == 3 {
        info.group = parts[1].to_owned();
    }
    info.version = parts[versioned - 1].to_owned();
    parts.drain(..versioned);
    info.is_resource = true;
    info.verb = verb(method).to_owned();
    if parts.first() == Some(&"watch") && parts.len() > 1 {
        info.verb = "watch".to_owned();
        parts.remove(0);
    }
    if let ["namespaces", namespace, rest @ ..] = parts.as_slice() {
        info.namespace = (*namespace).to_owned();
        if rest.first().is_some_and(|first| !matches!(*first, "status" | "finalize")) {
            parts.drain(..2);
        }
    }
    info.resource = parts[0].to_owned();
    if let Some(name) = parts.get(1) {
        info.name = (*name).to_owned();
        info.named_in_path = true;
    }
    if let Some(subresource) = parts.get(2) {
        info.subresource = (*subresource).to_owned();
    }
    if parts.len() > 3 || (parts.len() == 3 && path.ends_with('/')) {
        let mut rest = parts[3..].join("/");
        if path.ends_with('/') && !rest.is_empty() {
            rest.push('/');
        }
        info.rest = Some(rest);
    }
    if info.resource == "namespaces" && info.named_in_path {
        info.namespace = info.name.clone();
    }
    finish_verb(&mut info, query);
    info
}

fn verb(method: &Method) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::GET | Method::HEAD => "get",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "",
    }
}

fn finish_verb(info: &mut RequestInfo, query: &Query) {
    if info.named_in_path {
        return;
    }
    match info.verb.as_str() {
        "get" => info.verb = if query.flag("watch") { "watch" } else { "list" }.to_owned(),
        "delete" => info.verb = "deletecollection".to_owned(),
        _ => {}
    }
    if matches!(info.verb.as_str(), "list" | "watch" | "deletecollection")
        && let Some(name) = query.get("fieldSelector").and_then(selected_name)
    {
        info.name = name;
    }
}

/// The name a field selector pins down, which is what the Node authorizer goes by.
fn selected_name(selector: &str) -> Option<String> {
    FieldSelector::parse(selector).ok()?;
    selector.split(',').find_map(|term| {
        let (field, value) = term.split_once('=')?;
        let value = value.strip_prefix('=').unwrap_or(value);
        (field.trim() == "metadata.name" && !value.is_empty()).then(|| value.trim().to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(method: &str, uri: &str) -> RequestInfo {
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        parse(&Method::from_bytes(method.as_bytes()).unwrap(), path, &Query::parse(query))
    }

    fn short(info: &RequestInfo) -> String {
        format!(
            "{} {}/{} {} {} {} {}",
            info.verb, info.group, info.version, info.namespace, info.resource, info.name, info.subresource
        )
    }

    #[test]
    fn resources() {
        for (method, uri, expected) in [
            ("GET", "/api/v1/pods", "list /v1  pods  "),
            ("GET", "/api/v1/namespaces/d/pods?watch=1", "watch /v1 d pods  "),
            ("GET", "/api/v1/namespaces/d/pods/p", "get /v1 d pods p "),
            ("POST", "/apis/apps/v1/namespaces/d/deployments", "create apps/v1 d deployments  "),
            (
                "PATCH",
                "/apis/apps/v1/namespaces/d/deployments/x/scale",
                "patch apps/v1 d deployments x scale",
            ),
            ("DELETE", "/api/v1/namespaces/d/pods", "deletecollection /v1 d pods  "),
            ("GET", "/api/v1/namespaces/d", "get /v1 d namespaces d "),
            ("PUT", "/api/v1/namespaces/d/finalize", "update /v1 d namespaces d finalize"),
            ("GET", "/api/v1/namespaces", "list /v1  namespaces  "),
            ("GET", "/api/v1/secrets?fieldSelector=metadata.name%3Dtop", "list /v1  secrets top "),
            ("GET", "/api/v1/watch/namespaces/d/pods/p", "watch /v1 d pods p "),
        ] {
            assert_eq!(short(&of(method, uri)), expected, "{method} {uri}");
        }
    }

    #[test]
    fn proxies_keep_the_rest_of_the_path() {
        assert_eq!(of("GET", "/api/v1/nodes/n/proxy/metrics/").rest.as_deref(), Some("metrics/"));
        assert_eq!(of("GET", "/api/v1/nodes/n/proxy/").rest.as_deref(), Some(""));
        assert_eq!(of("GET", "/api/v1/nodes/n/proxy").rest, None);
    }

    #[test]
    fn other_paths() {
        for path in ["/", "/healthz", "/api", "/api/v1", "/apis/apps", "/apis/apps/v1", "/version"] {
            let info = of("GET", path);
            assert!(!info.is_resource, "{path}");
            assert_eq!(info.verb, "get");
        }
    }
}

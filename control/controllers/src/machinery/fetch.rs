//! Discovery: which resources the server has, custom ones included.
//!
//! Enters: the two aggregated discovery documents. Leaves: every resource in its preferred version. Called by the
//! namespace controller and the garbage collector, never inside a reconcile loop over objects.

use serde_json::Value;

use super::write::{Failed, Writer};

/// A resource as discovery names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Discovered {
    /// The group, empty for core.
    pub group: String,
    /// The group's preferred version.
    pub version: String,
    /// The plural.
    pub plural: String,
    /// The kind.
    pub kind: String,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// What it can do.
    pub verbs: Vec<String>,
}

impl Discovered {
    /// The group and version as objects carry it.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// The path of the collection, in a namespace if given.
    pub fn path(&self, namespace: &str) -> String {
        let root = if self.group.is_empty() { "/api".to_owned() } else { format!("/apis/{}", self.group) };
        if namespace.is_empty() {
            format!("{root}/{}/{}", self.version, self.plural)
        } else {
            format!("{root}/{}/namespaces/{namespace}/{}", self.version, self.plural)
        }
    }

    /// Whether it has all these verbs.
    pub fn can(&self, verbs: &[&str]) -> bool {
        verbs.iter().all(|verb| self.verbs.iter().any(|v| v == verb))
    }
}

const ACCEPT: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";

/// Reads an APIGroupDiscoveryList: of each group the preferred (first) version that has a resource.
pub fn parse(document: &Value) -> Vec<Discovered> {
    let mut found: Vec<Discovered> = Vec::new();
    for group in document["items"].as_array().into_iter().flatten() {
        let name = group["metadata"]["name"].as_str().unwrap_or_default();
        for version in group["versions"].as_array().into_iter().flatten() {
            for resource in version["resources"].as_array().into_iter().flatten() {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                let plural = text(&resource["resource"]);
                if found.iter().any(|f| f.group == name && f.plural == plural) {
                    continue;
                }
                found.push(Discovered {
                    group: name.to_owned(),
                    version: text(&version["version"]),
                    plural,
                    kind: text(&resource["responseKind"]["kind"]),
                    namespaced: resource["scope"] == "Namespaced",
                    verbs: resource["verbs"].as_array().into_iter().flatten().map(text).collect(),
                });
            }
        }
    }
    found
}

/// Every resource of the server.
pub async fn resources(writer: &Writer) -> Result<Vec<Discovered>, Failed> {
    let mut found = Vec::new();
    for path in ["/api", "/apis"] {
        let failed = |source| Failed {
            operation: "discover",
            kind: "resources".into(),
            key: path.into(),
            source: Box::new(source),
        };
        let request = http::Request::get(path)
            .header(http::header::ACCEPT, ACCEPT)
            .body(Vec::new())
            .map_err(|error| failed(kube::Error::HttpError(error)))?;
        found.extend(parse(&writer.client().request::<Value>(request).await.map_err(failed)?));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_preferred_version_wins_and_older_ones_fill_in() {
        let resource = |name: &str| json!({"resource": name, "responseKind": {"kind": "K"}, "scope": "Namespaced", "verbs": ["list", "delete"]});
        let document = json!({"items": [{"metadata": {"name": "g"}, "versions": [
            {"version": "v2", "resources": [resource("a")]},
            {"version": "v1", "resources": [resource("a"), resource("b")]}]}]});
        let found = parse(&document);
        let seen: Vec<_> = found.iter().map(|f| (f.plural.as_str(), f.version.as_str())).collect();
        assert_eq!(seen, [("a", "v2"), ("b", "v1")]);
        assert_eq!(found[0].path("n"), "/apis/g/v2/namespaces/n/a");
        assert!(found[0].can(&["list"]) && !found[0].can(&["watch"]));
    }
}

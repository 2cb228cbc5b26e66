//! What admission sees of a connection through the server: the options of the subresource as an object. Pure, but for
//! the call itself.
//!
//! Authority: k8s.io/apiserver/pkg/endpoints/handlers/rest.go ConnectResource.

use serde_json::{Value, json};
use xebec_api::status::ApiError;

use crate::admission::{Attributes, Operation};
use crate::registry::Target;
use crate::serve::query::Query;
use crate::serve::resource::Call;

/// Which streams of a container are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Streams {
    /// The client sends input.
    pub stdin: bool,
    /// There is a terminal.
    pub tty: bool,
}

impl Streams {
    /// From the query. Output and error are always wanted: upstream defaults both to true after it has read the
    /// query, so that `stdout=false` does not count.
    #[must_use]
    pub fn of(query: &Query) -> Self {
        Self { stdin: query.flag("stdin"), tty: query.flag("tty") }
    }
}

/// The options object of `subresource` of `plural` (`pods`, `exec`); `rest` is the path behind a proxy.
#[must_use]
pub fn options(plural: &str, subresource: &str, query: &Query, rest: Option<&str>) -> Value {
    let kind = match (plural, subresource) {
        (_, "exec") => "PodExecOptions",
        (_, "attach") => "PodAttachOptions",
        (_, "portforward") => "PodPortForwardOptions",
        ("nodes", _) => "NodeProxyOptions",
        ("services", _) => "ServiceProxyOptions",
        _ => "PodProxyOptions",
    };
    let mut value = json!({"kind": kind, "apiVersion": "v1"});
    match subresource {
        "exec" | "attach" => {
            let streams = Streams::of(query);
            for (name, wanted) in
                [("stdin", streams.stdin), ("stdout", true), ("stderr", true), ("tty", streams.tty)]
            {
                if wanted {
                    value[name] = json!(true);
                }
            }
            if let Some(container) = query.get("container").filter(|name| !name.is_empty()) {
                value["container"] = json!(container);
            }
            if subresource == "exec" {
                value["command"] = query.all("command").collect();
            }
        }
        "portforward" => {
            let ports: Vec<i64> = query.all("ports").filter_map(|port| port.parse().ok()).collect();
            if !ports.is_empty() {
                value["ports"] = json!(ports);
            }
        }
        _ => {
            if let Some(rest) = rest {
                value["path"] = json!(format!("/{rest}"));
            }
        }
    }
    value
}

/// Asks admission whether the connection may be made.
pub async fn admit(call: &Call, target: &Target) -> Result<(), ApiError> {
    let info = &call.info;
    let mut value = options(target.served.plural, &info.subresource, &call.query, info.rest.as_deref());
    let context = call.context()?;
    let attributes = Attributes::new(&context, target, &info.subresource, Operation::Connect);
    let admission = call.server.registry.admission();
    admission.mutate(&attributes, &mut value, None).await?;
    admission.validate(&attributes, Some(&value), None).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_objects() {
        let of =
            |plural, subresource, query: &str, rest| options(plural, subresource, &Query::parse(query), rest);
        assert_eq!(
            of("pods", "exec", "container=c&command=sh&command=-c&stdin=true&stdout=false", None),
            json!({"kind": "PodExecOptions", "apiVersion": "v1", "stdin": true, "stdout": true, "stderr": true,
                "container": "c", "command": ["sh", "-c"]})
        );
        assert_eq!(
            of("pods", "portforward", "ports=80&ports=443", None),
            json!({"kind": "PodPortForwardOptions", "apiVersion": "v1", "ports": [80, 443]})
        );
        assert_eq!(
            of("nodes", "proxy", "", Some("metrics/")),
            json!({"kind": "NodeProxyOptions", "apiVersion": "v1", "path": "/metrics/"})
        );
        assert_eq!(
            of("services", "proxy", "", None),
            json!({"kind": "ServiceProxyOptions", "apiVersion": "v1"})
        );
        assert_eq!(of("pods", "attach", "tty=1", None)["tty"], true);
    }
}

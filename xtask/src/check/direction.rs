//! Dependencies run one way. Enters: the workspace's manifests. Leaves: the edges that break the rule.
//!
//! The rule is the design's: `api <- store <- apiserver`; everything else is a client of the public API, so only the
//! control binary may see the API server's crates, and only the dataplane shares the eBPF layouts.

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::shell;

/// Which of our crates each crate may depend on; a crate that is not listed may depend on none.
const ALLOWED: &[(&str, &[&str])] = &[
    ("xebec-encryption", &["xebec-api", "xebec-store"]),
    ("xebec-identity", &["xebec-api", "xebec-cel"]),
    ("xebec-audit", &["xebec-api", "xebec-identity"]),
    ("xebec-kinds", &["xebec-api"]),
    ("xebec-flow", &["xebec-kinds"]),
    ("xebec-cel", &["xebec-api"]),
    ("xebec-crd", &["xebec-api", "xebec-kinds", "xebec-cel"]),
    ("xebec-dynamic-admission", &["xebec-api", "xebec-cel", "xebec-identity"]),
    ("xebec-quota", &["xebec-api"]),
    ("xebec-admission", &["xebec-api", "xebec-quota", "xebec-identity"]),
    (
        "xebec-apiserver",
        &[
            "xebec-api",
            "xebec-store",
            "xebec-identity",
            "xebec-audit",
            "xebec-kinds",
            "xebec-flow",
            "xebec-crd",
            "xebec-quota",
            "xebec-admission",
            "xebec-dynamic-admission",
            "xebec-spdy",
        ],
    ),
    ("xebec-controllers", &["xebec-api", "xebec-quota"]),
    ("xebec-scheduler", &["xebec-api"]),
    (
        "xebec-control",
        &[
            "xebec-api",
            "xebec-program",
            "xebec-store",
            "xebec-encryption",
            "xebec-identity",
            "xebec-audit",
            "xebec-apiserver",
            "xebec-controllers",
            "xebec-scheduler",
        ],
    ),
    ("xebec-host", &["xebec-api"]),
    ("xebec-kubelet-serve", &["xebec-api", "xebec-host", "xebec-cri"]),
    ("xebec-kubelet", &["xebec-api", "xebec-host", "xebec-cri", "xebec-lease"]),
    ("xebec-network", &["xebec-nft"]),
    ("xebec-dataplane", &["xebec-abi", "xebec-nft", "xebec-program", "xebec-policy"]),
    ("xebec-announce", &["xebec-dataplane", "xebec-lease", "xebec-program", "xebec-abi"]),
    ("xebec-policy", &["xebec-api"]),
    ("xebec-rig", &["xebec-abi", "xebec-dataplane"]),
    ("xebec-netbench", &["xebec-abi", "xebec-dataplane", "xebec-rig"]),
    ("xebec-dns", &["xebec-api"]),
    (
        "xebec-agent",
        &[
            "xebec-api",
            "xebec-program",
            "xebec-cri",
            "xebec-host",
            "xebec-kubelet-serve",
            "xebec-kubelet",
            "xebec-network",
            "xebec-policy",
            "xebec-dataplane",
            "xebec-announce",
            "xebec-dns",
        ],
    ),
];

/// Fails with every forbidden edge.
pub(crate) fn check() -> Result<()> {
    let text = shell::output(&mut shell::command("cargo metadata --no-deps --format-version 1"))?;
    let metadata: Value = serde_json::from_str(&text)?;
    let found = violations(&metadata).context("cargo metadata has another shape than expected")?;
    if !found.is_empty() {
        bail!("forbidden dependencies: {}", found.join(", "));
    }
    Ok(())
}

fn violations(metadata: &Value) -> Option<Vec<String>> {
    let mut found = Vec::new();
    for package in metadata["packages"].as_array()? {
        let name = package["name"].as_str()?;
        let allowed =
            ALLOWED.iter().find(|(crate_name, _)| *crate_name == name).map_or(&[][..], |(_, list)| list);
        for dependency in package["dependencies"].as_array()? {
            let to = dependency["name"].as_str()?;
            // Tests may look across rooms; the programs may not.
            if to.starts_with("xebec-") && dependency["kind"] != "dev" && !allowed.contains(&to) {
                found.push(format!("{name} -> {to}"));
            }
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_edge_against_the_direction_is_named() {
        let metadata = json!({"packages": [
            {"name": "xebec-api", "dependencies": [{"name": "xebec-store", "kind": null}, {"name": "serde", "kind": null}]},
            {"name": "xebec-dns", "dependencies": [{"name": "xebec-api", "kind": null}, {"name": "xebec-store", "kind": "dev"}]},
        ]});
        assert_eq!(violations(&metadata).unwrap(), ["xebec-api -> xebec-store"]);
    }
}

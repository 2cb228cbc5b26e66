//! Warnings about files that a volume would write to the same place.

use serde_json::Value;
use xebec_api::gotext::quote;

use crate::shared::access::{at, list, text};

/// Where a file goes, and what it is from; empty where the volume says it.
type Target = (String, String);

/// The warnings of all volumes.
pub fn of(volumes: &[Value]) -> Vec<String> {
    volumes.iter().flat_map(of_volume).collect()
}

fn of_volume(volume: &Value) -> Vec<String> {
    let name = quote(text(volume, &["name"]));
    let mut warnings = Vec::new();
    let mut report = |what: &str, found: Vec<String>| {
        let text = |pair| format!("volume {name} ({what}): overlapping paths: {pair}");
        warnings.extend(found.into_iter().map(text));
    };
    let config_map = format!("ConfigMap {}", quote(text(volume, &["configMap", "name"])));
    let secret = format!("Secret {}", quote(text(volume, &["secret", "secretName"])));
    for (key, what) in
        [("configMap", config_map.as_str()), ("secret", secret.as_str()), ("downwardAPI", "DownwardAPI")]
    {
        report(what, overlapping(targets(at(volume, &[key]), "")));
    }
    let sources = list(volume, &["projected", "sources"]);
    report("Projected", overlapping(sources.iter().flat_map(projected).collect()));
    let empty = sources.iter().filter(|source| source.as_object().is_none_or(|source| source.is_empty()));
    warnings.extend(empty.map(|_| format!("volume {name} (Projected) has no sources provided")));
    warnings
}

fn targets(source: &Value, from: &str) -> Vec<Target> {
    let items = list(source, &["items"]).iter();
    items.map(|item| (text(item, &["path"]).to_owned(), from.to_owned())).collect()
}

fn projected(source: &Value) -> Vec<Target> {
    let named = |kind: &str, key: &str| format!("{kind} {}", quote(text(source, &[key, "name"])));
    let mut found = targets(at(source, &["configMap"]), &named("ConfigMap", "configMap"));
    found.extend(targets(at(source, &["secret"]), &named("Secret", "secret")));
    found.extend(targets(at(source, &["downwardAPI"]), "DownwardAPI"));
    let bundle = ["name", "signerName"].into_iter().map(|key| text(source, &["clusterTrustBundle", key]));
    let bundle = bundle.into_iter().find(|name| !name.is_empty()).unwrap_or_default();
    let files = [
        (["serviceAccountToken", "path"], "ServiceAccountToken".to_owned()),
        (["clusterTrustBundle", "path"], format!("ClusterTrustBundle {}", quote(bundle))),
        (["podCertificate", "certificateChainPath"], "PodCertificate chain".to_owned()),
        (["podCertificate", "keyPath"], "PodCertificate key".to_owned()),
        (["podCertificate", "credentialBundlePath"], "PodCertificate credential bundle".to_owned()),
    ];
    for (path, from) in files {
        let target = text(source, &path);
        if !target.is_empty() {
            found.push((target.to_owned(), from));
        }
    }
    found
}

/// Each path that is, holds or lies below one before it, with that one.
fn overlapping(all: Vec<Target>) -> Vec<String> {
    let all: Vec<Target> =
        all.into_iter().map(|(path, from)| (path.trim_end_matches('/').to_owned(), from)).collect();
    let below = |path: &str, dir: &str| format!("{path}/").starts_with(&format!("{dir}/"));
    let mut pairs = Vec::new();
    for (index, target) in all.iter().enumerate().filter(|(_, (path, _))| !path.is_empty()) {
        for other in all[..index].iter().filter(|(path, _)| !path.is_empty()) {
            if below(&target.0, &other.0) || below(&other.0, &target.0) {
                pairs.push(format!("{} with {}", shown(target), shown(other)));
            }
        }
    }
    pairs
}

fn shown((path, from): &Target) -> String {
    if from.is_empty() { quote(path) } else { format!("{} ({from})", quote(path)) }
}

//! The managed /etc/hosts and a pod's names. Enters: the pod, its addresses. Leaves: text (pure).

use k8s_openapi::api::core::v1::Pod;

use crate::spec;

const HOST_NAME_MAX: usize = 63;

/// The host name a pod's processes see, and its domain if it has one.
pub fn names(pod: &Pod, cluster_domain: &str) -> (String, Option<String>) {
    let spec = spec::spec(pod);
    if let Some(name) = spec.hostname_override.as_ref().filter(|name| !name.is_empty()) {
        return (name.clone(), None);
    }
    let mut name = spec.hostname.clone().filter(|name| !name.is_empty());
    if name.is_none() {
        let pod_name = spec::name(pod);
        let cut = &pod_name[..pod_name.len().min(HOST_NAME_MAX)];
        name = Some(cut.trim_end_matches(['-', '.']).to_owned());
    }
    let subdomain = spec.subdomain.as_ref().filter(|subdomain| !subdomain.is_empty());
    let domain =
        subdomain.map(|subdomain| format!("{subdomain}.{}.svc.{cluster_domain}", spec::namespace(pod)));
    (name.unwrap_or_default(), domain)
}

/// The host name for the sandbox: the full name if the pod asks for it, nothing on the node's network.
pub fn sandbox_hostname(pod: &Pod, cluster_domain: &str) -> String {
    if spec::on_host_network(pod) {
        return String::new();
    }
    let (name, domain) = names(pod, cluster_domain);
    match domain {
        Some(domain) if spec::spec(pod).set_hostname_as_fqdn.unwrap_or(false) => format!("{name}.{domain}"),
        _ => name,
    }
}

/// The content of /etc/hosts; `node` is the node's own file, used on the node's network.
pub fn file(pod: &Pod, ips: &[String], cluster_domain: &str, node: &str) -> String {
    let mut text = if spec::on_host_network(pod) {
        format!("# Kubernetes-managed hosts file (host network).\n{node}")
    } else {
        let mut text = String::from(
            "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
             fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n",
        );
        let (name, domain) = names(pod, cluster_domain);
        for ip in ips {
            match &domain {
                Some(domain) => text.push_str(&format!("{ip}\t{name}.{domain}\t{name}\n")),
                None => text.push_str(&format!("{ip}\t{name}\n")),
            }
        }
        text
    };
    let spec = spec::spec(pod);
    let aliases = spec.host_aliases.as_deref().unwrap_or_default();
    if !aliases.is_empty() {
        text.push_str("\n# Entries added by HostAliases.\n");
        for alias in aliases {
            let names = alias.hostnames.clone().unwrap_or_default().join("\t");
            text.push_str(&format!("{}\t{names}\n", alias.ip));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, spec: serde_json::Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": name, "namespace": "ns"}, "spec": spec})).unwrap()
    }

    #[test]
    fn a_subdomain_gives_a_full_name() {
        let pod = pod(
            "db-0",
            json!({"containers": [], "subdomain": "db", "setHostnameAsFQDN": true,
            "hostAliases": [{"ip": "1.2.3.4", "hostnames": ["a", "b"]}]}),
        );
        assert_eq!(sandbox_hostname(&pod, "cluster.local"), "db-0.db.ns.svc.cluster.local");
        let text = file(&pod, &["10.0.0.5".to_owned()], "cluster.local", "");
        assert!(text.contains("10.0.0.5\tdb-0.db.ns.svc.cluster.local\tdb-0\n"), "{text}");
        assert!(text.ends_with("\n# Entries added by HostAliases.\n1.2.3.4\ta\tb\n"), "{text}");
    }

    #[test]
    fn a_long_name_is_cut_and_the_nodes_network_has_none() {
        let long = format!("{}-tail", "x".repeat(62));
        let own = pod(&long, json!({"containers": []}));
        assert_eq!(sandbox_hostname(&own, "c").len(), 62);
        let host = pod("p", json!({"containers": [], "hostNetwork": true}));
        assert_eq!(sandbox_hostname(&host, "c"), "");
        assert!(
            file(&host, &[], "c", "127.0.0.1 localhost\n")
                .starts_with("# Kubernetes-managed hosts file (host")
        );
    }
}

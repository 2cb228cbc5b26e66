//! Which addresses a pod has, in which order. Enters: what the runtime says, and the node's addresses. Leaves: at most one
//! address of each family, the node's primary family first. Called by `observe`, `jobs`, `worker` and `status`. Pure.
//!
//! Authority: `sortPodIPs` and `generateAPIPodStatus` of upstream's kubelet.

fn is_six(ip: &str) -> bool {
    ip.contains(':')
}

/// The first address of each family, that of the node's first address before the other.
pub fn ordered(found: &[String], node_ips: &[String]) -> Vec<String> {
    let primary = node_ips.first().is_some_and(|ip| is_six(ip));
    let first = |six: bool| found.iter().find(|ip| is_six(ip) == six).cloned();
    first(primary).into_iter().chain(first(!primary)).collect()
}

/// The addresses of a pod on the node's network: those it had, which do not change, and one of a second family if the
/// node has it since.
pub fn on_host(had: Vec<String>, node_ips: &[String]) -> Vec<String> {
    let node_ips = ordered(node_ips, node_ips);
    match (&had[..], &node_ips[..]) {
        ([], _) => node_ips,
        ([only], [_, second]) if is_six(only) != is_six(second) => vec![only.clone(), second.clone()],
        _ => had,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(ips: &[&str]) -> Vec<String> {
        ips.iter().map(|ip| (*ip).to_owned()).collect()
    }

    #[test]
    fn the_nodes_first_family_comes_first() {
        let four = list(&["192.0.2.1", "2001:db8::1"]);
        let six = list(&["2001:db8::1", "192.0.2.1"]);
        for found in [&["10.244.0.5", "fd00::5"][..], &["fd00::5", "10.244.0.5"]] {
            assert_eq!(ordered(&list(found), &four), ["10.244.0.5", "fd00::5"]);
            assert_eq!(ordered(&list(found), &six), ["fd00::5", "10.244.0.5"]);
        }
        assert_eq!(
            ordered(&list(&["10.0.0.1", "10.0.0.2", "fd00::1", "fd00::2"]), &four),
            ["10.0.0.1", "fd00::1"]
        );
        assert_eq!(ordered(&list(&["fd00::5"]), &four[..1]), ["fd00::5"]);
        assert!(ordered(&[], &four).is_empty());
    }

    #[test]
    fn a_pod_on_the_nodes_network_keeps_what_it_had() {
        let both = list(&["192.0.2.1", "2001:db8::1"]);
        assert_eq!(on_host(Vec::new(), &both), both);
        assert_eq!(on_host(list(&["192.0.2.1"]), &both), both);
        assert_eq!(on_host(list(&["192.0.2.9"]), &both), ["192.0.2.9", "2001:db8::1"]);
        assert_eq!(on_host(list(&["192.0.2.9"]), &both[..1]), ["192.0.2.9"]);
        assert_eq!(on_host(list(&["2001:db8::9"]), &both), ["2001:db8::9"]);
        assert_eq!(on_host(both.clone(), &both[..1]), both);
    }
}

//! Variables for the services of a namespace. Enters: services. Leaves: `{NAME}_SERVICE_HOST` and its kin.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Service;

/// A service as far as environments go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceFacts {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// The cluster IP, never `None` or empty.
    pub cluster_ip: String,
    /// Port name (or empty), number and protocol, in order.
    pub ports: Vec<(String, i32, String)>,
}

impl ServiceFacts {
    /// The facts of a service that has an address and ports; headless and external ones give `None`.
    pub fn of(service: &Service) -> Option<Self> {
        let spec = service.spec.as_ref()?;
        let cluster_ip = spec.cluster_ip.clone().filter(|ip| !ip.is_empty() && ip != "None")?;
        let ports: Vec<_> = spec.ports.iter().flatten().collect();
        if ports.is_empty() {
            return None;
        }
        let port = |p: &&k8s_openapi::api::core::v1::ServicePort| {
            let protocol = p.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
            (p.name.clone().unwrap_or_default(), p.port, protocol)
        };
        Some(Self {
            namespace: service.metadata.namespace.clone().unwrap_or_default(),
            name: service.metadata.name.clone().unwrap_or_default(),
            cluster_ip,
            ports: ports.iter().map(port).collect(),
        })
    }
}

fn upper(name: &str) -> String {
    name.to_uppercase().replace('-', "_")
}

/// The variables a pod of `namespace` gets: its own namespace's services if it enables links, and in every case the
/// API server's (`kubernetes` in `default`), unless its namespace has a service of that name.
pub fn service_variables(
    services: &[ServiceFacts],
    namespace: &str,
    enable_links: bool,
) -> BTreeMap<String, String> {
    let mut chosen: BTreeMap<&str, &ServiceFacts> = BTreeMap::new();
    for service in services {
        let master = service.namespace == "default" && service.name == "kubernetes";
        if service.namespace == namespace && (enable_links || master) {
            chosen.insert(&service.name, service);
        } else if master {
            chosen.entry(&service.name).or_insert(service);
        }
    }
    let mut out = BTreeMap::new();
    for service in chosen.values() {
        add(&mut out, service);
    }
    out
}

fn add(out: &mut BTreeMap<String, String>, service: &ServiceFacts) {
    let prefix = upper(&service.name);
    let Some((_, first, protocol)) = service.ports.first() else { return };
    let host = &service.cluster_ip;
    let joined = if host.contains(':') { format!("[{host}]") } else { host.clone() };
    let url = |protocol: &str, port: i32| format!("{}://{joined}:{port}", protocol.to_lowercase());
    out.insert(format!("{prefix}_SERVICE_HOST"), host.clone());
    out.insert(format!("{prefix}_SERVICE_PORT"), first.to_string());
    for (name, port, _) in service.ports.iter().filter(|(name, ..)| !name.is_empty()) {
        out.insert(format!("{prefix}_SERVICE_PORT_{}", upper(name)), port.to_string());
    }
    out.insert(format!("{prefix}_PORT"), url(protocol, *first));
    for (_, port, protocol) in &service.ports {
        let base = format!("{prefix}_PORT_{port}_{}", protocol.to_uppercase());
        out.insert(base.clone(), url(protocol, *port));
        out.insert(format!("{base}_PROTO"), protocol.to_lowercase());
        out.insert(format!("{base}_PORT"), port.to_string());
        out.insert(format!("{base}_ADDR"), host.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(namespace: &str, name: &str, ip: &str) -> ServiceFacts {
        let ports = vec![("web-ui".to_owned(), 80, "TCP".to_owned()), (String::new(), 53, "UDP".to_owned())];
        ServiceFacts { namespace: namespace.into(), name: name.into(), cluster_ip: ip.into(), ports }
    }

    #[test]
    fn variables_in_both_styles() {
        let vars = service_variables(&[service("n", "my-svc", "10.96.0.7")], "n", true);
        let want = [
            ("MY_SVC_SERVICE_HOST", "10.96.0.7"),
            ("MY_SVC_SERVICE_PORT", "80"),
            ("MY_SVC_SERVICE_PORT_WEB_UI", "80"),
            ("MY_SVC_PORT", "tcp://10.96.0.7:80"),
            ("MY_SVC_PORT_80_TCP", "tcp://10.96.0.7:80"),
            ("MY_SVC_PORT_80_TCP_PROTO", "tcp"),
            ("MY_SVC_PORT_80_TCP_PORT", "80"),
            ("MY_SVC_PORT_80_TCP_ADDR", "10.96.0.7"),
            ("MY_SVC_PORT_53_UDP", "udp://10.96.0.7:53"),
            ("MY_SVC_PORT_53_UDP_PROTO", "udp"),
            ("MY_SVC_PORT_53_UDP_PORT", "53"),
            ("MY_SVC_PORT_53_UDP_ADDR", "10.96.0.7"),
        ];
        let want: BTreeMap<_, _> = want.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        assert_eq!(vars, want);
        assert_eq!(
            service_variables(&[service("n", "s", "fd00::1")], "n", true)["S_PORT"],
            "tcp://[fd00::1]:80"
        );
    }

    #[test]
    fn links_off_leave_the_api_server() {
        let all = [
            service("default", "kubernetes", "10.96.0.1"),
            service("n", "a", "10.96.0.2"),
            service("m", "b", "10.96.0.3"),
        ];
        let hosts = |namespace, links| -> Vec<String> {
            let vars = service_variables(&all, namespace, links);
            vars.keys().filter(|k| k.ends_with("_SERVICE_HOST")).cloned().collect()
        };
        assert_eq!(hosts("n", true), ["A_SERVICE_HOST", "KUBERNETES_SERVICE_HOST"]);
        assert_eq!(hosts("n", false), ["KUBERNETES_SERVICE_HOST"]);
        assert_eq!(hosts("default", false), ["KUBERNETES_SERVICE_HOST"]);
    }

    #[test]
    fn headless_services_have_no_variables() {
        let of = |value| ServiceFacts::of(&serde_json::from_value(value).unwrap());
        let ports = serde_json::json!([{"port": 1}]);
        assert!(of(serde_json::json!({"spec": {"clusterIP": "None", "ports": ports}})).is_none());
        assert!(of(serde_json::json!({"spec": {"clusterIP": "10.0.0.1"}})).is_none());
        assert!(of(serde_json::json!({"spec": {"clusterIP": "10.0.0.1", "ports": ports}})).is_some());
    }
}

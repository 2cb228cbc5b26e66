//! The CNI protocol's data (CNI specification 1.1.0). Enters: a request as the plugin sends it. Leaves: what the plugin
//! prints. Shared by the agent's server and its tests; `xebec-cni` itself only passes bytes on.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{Bandwidth, NetworkError, PortMapping, SERVICE_PATH, ServicePath, gateway};

/// The capability by which containerd passes a pod's annotations.
pub const ANNOTATIONS: &str = "io.kubernetes.cri.pod-annotations";

/// One call of the plugin: its environment and standard input.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Request {
    /// CNI_COMMAND.
    pub command: String,
    /// CNI_CONTAINERID.
    #[serde(default)]
    pub container_id: String,
    /// CNI_NETNS: path of the pod's network namespace; may be empty in a DEL.
    #[serde(default)]
    pub netns: String,
    /// CNI_IFNAME.
    #[serde(default)]
    pub ifname: String,
    /// CNI_ARGS: `K8S_POD_NAME=...;K8S_POD_NAMESPACE=...`.
    #[serde(default)]
    pub args: String,
    /// Standard input: the network configuration.
    #[serde(default)]
    pub config: Value,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Connect a container.
    Add,
    /// Disconnect it; must succeed when there is nothing to do.
    Del,
    /// Is it still connected as it was?
    Check,
    /// Can an ADD be served now?
    Status,
    /// Remove what none of the named attachments owns.
    Gc,
}

impl Request {
    /// The command, after checking that what it needs is there.
    ///
    /// # Errors
    /// [`NetworkError::BadRequest`] naming the missing or wrong variable.
    pub fn checked(&self) -> Result<Command, NetworkError> {
        let command = match self.command.as_str() {
            "ADD" => Command::Add,
            "DEL" => Command::Del,
            "CHECK" => Command::Check,
            "STATUS" => Command::Status,
            "GC" => Command::Gc,
            other => return Err(NetworkError::BadRequest(format!("CNI_COMMAND {other:?} is not known"))),
        };
        if matches!(command, Command::Status | Command::Gc) {
            return Ok(command);
        }
        let mut required = vec![("CNI_CONTAINERID", &self.container_id), ("CNI_IFNAME", &self.ifname)];
        if command != Command::Del {
            required.push(("CNI_NETNS", &self.netns));
        }
        match required.into_iter().find(|(_, value)| value.is_empty()) {
            Some((name, _)) => Err(NetworkError::BadRequest(format!("{name} is not set"))),
            // IFNAMSIZ: 15 bytes and a NUL.
            None if self.ifname.len() > 15 || self.ifname.contains(['/', ' ', ':']) => {
                Err(NetworkError::BadRequest(format!("CNI_IFNAME {:?} is no interface name", self.ifname)))
            }
            None => Ok(command),
        }
    }

    /// Who a reservation belongs to.
    pub fn owner(&self) -> String {
        format!("{} {}", self.container_id, self.ifname)
    }

    /// Namespace and name of the pod, if a Kubernetes runtime calls (CNI_ARGS).
    pub fn pod(&self) -> Option<(&str, &str)> {
        let arguments = || self.args.split(';').filter_map(|pair| pair.split_once('='));
        let value = |key| arguments().find(|(name, _)| *name == key).map(|(_, value)| value);
        Some((value("K8S_POD_NAMESPACE")?, value("K8S_POD_NAME")?))
    }

    /// The pod's host ports (`runtimeConfig.portMappings`), without those that ask for none.
    ///
    /// # Errors
    /// [`NetworkError::BadRequest`] naming what is wrong.
    pub fn port_mappings(&self) -> Result<Vec<PortMapping>, NetworkError> {
        let Some(list) = self.config.pointer("/runtimeConfig/portMappings").filter(|list| !list.is_null())
        else {
            return Ok(Vec::new());
        };
        let bad = |error| NetworkError::BadRequest(format!("runtimeConfig.portMappings: {error}"));
        let mut ports: Vec<PortMapping> = serde_json::from_value(list.clone()).map_err(bad)?;
        ports.retain(|port| port.host_port != 0);
        Ok(ports)
    }

    /// The pod's limits (`runtimeConfig.bandwidth`).
    ///
    /// # Errors
    /// [`NetworkError::BadRequest`] naming what is wrong.
    pub fn bandwidth(&self) -> Result<Bandwidth, NetworkError> {
        Bandwidth::read(self.config.pointer("/runtimeConfig/bandwidth").unwrap_or(&Value::Null))
    }

    /// How the pod reaches Services, by its annotation (`runtimeConfig` of [`ANNOTATIONS`]).
    ///
    /// # Errors
    /// [`NetworkError::BadRequest`] naming what is wrong.
    pub fn service_path(&self) -> Result<ServicePath, NetworkError> {
        // Names of annotations hold what a JSON pointer takes for a path.
        let given = &self.config["runtimeConfig"][ANNOTATIONS][SERVICE_PATH];
        match given.as_str() {
            Some("socket") => Ok(ServicePath::Socket),
            Some("packet") => Ok(ServicePath::Packet),
            None if given.is_null() => Ok(ServicePath::default()),
            _ => Err(NetworkError::BadRequest(format!(
                "the pod's annotation {SERVICE_PATH} is {given}, must be \"socket\" or \"packet\""
            ))),
        }
    }

    /// The owners that a GC must keep (`cni.dev/valid-attachments`); none when the key is missing.
    pub fn valid_attachments(&self) -> Option<Vec<String>> {
        let list = self.config.get("cni.dev/valid-attachments")?.as_array()?;
        let owner =
            |item: &Value| Some(format!("{} {}", item["containerID"].as_str()?, item["ifname"].as_str()?));
        Some(list.iter().filter_map(owner).collect())
    }

    fn version(&self) -> &str {
        self.config.get("cniVersion").and_then(Value::as_str).unwrap_or("0.3.0")
    }

    /// The result of an ADD.
    pub fn result(&self, addresses: &[IpAddr], mac: &str) -> Value {
        let ip = |address: &IpAddr| {
            let (version, length) = if address.is_ipv4() { ("4", 32) } else { ("6", 128) };
            let gateway = gateway(*address);
            json!({"version": version, "address": format!("{address}/{length}"), "gateway": gateway, "interface": 0})
        };
        let route = |address: &IpAddr| {
            let all = if address.is_ipv4() { "0.0.0.0/0" } else { "::/0" };
            json!({"dst": all, "gw": gateway(*address)})
        };
        json!({
            "cniVersion": self.version(),
            "interfaces": [{"name": self.ifname, "mac": mac, "sandbox": self.netns}],
            "ips": addresses.iter().map(ip).collect::<Vec<_>>(),
            "routes": addresses.iter().map(route).collect::<Vec<_>>(),
            "dns": {},
        })
    }

    /// An error as the specification's section 5 wants it.
    pub fn error(&self, error: &NetworkError) -> Value {
        // 4: invalid environment; 11: try again later; 100 and above: the plugin's own.
        let code = match error {
            NetworkError::BadRequest(_) => 4,
            NetworkError::Exhausted(_) | NetworkError::NotAdmitted { .. } => 11,
            _ => 100,
        };
        json!({"cniVersion": self.version(), "code": code, "msg": error.to_string()})
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Transport;

    fn request(command: &str) -> Request {
        Request {
            command: command.to_owned(),
            container_id: "c1".to_owned(),
            netns: "/run/netns/x".to_owned(),
            ifname: "eth0".to_owned(),
            args: String::new(),
            config: json!({"cniVersion": "1.0.0"}),
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(request("ADD").checked().unwrap(), Command::Add);
        let error = |request: Request| request.checked().unwrap_err().to_string();
        assert_eq!(error(request("FROB")), "CNI request: CNI_COMMAND \"FROB\" is not known");
        assert_eq!(
            error(Request { netns: String::new(), ..request("ADD") }),
            "CNI request: CNI_NETNS is not set"
        );
        assert_eq!(
            error(Request { container_id: String::new(), ..request("DEL") }),
            "CNI request: CNI_CONTAINERID is not set"
        );
        assert!(error(Request { ifname: "a/b".to_owned(), ..request("ADD") }).contains("CNI_IFNAME"));
        assert_eq!(Request { netns: String::new(), ..request("DEL") }.checked().unwrap(), Command::Del);
    }

    #[test]
    fn results_and_errors_have_the_specified_shape() {
        let addresses = ["10.244.0.5", "fd00::5"].map(|address| address.parse().unwrap());
        let result = request("ADD").result(&addresses, "aa:bb:cc:dd:ee:ff");
        let expected = json!([
            {"version": "4", "address": "10.244.0.5/32", "gateway": "169.254.1.1", "interface": 0},
            {"version": "6", "address": "fd00::5/128", "gateway": "fe80::1", "interface": 0},
        ]);
        assert_eq!(result["ips"], expected);
        assert_eq!(result["routes"][1], json!({"dst": "::/0", "gw": "fe80::1"}));
        assert_eq!(result["interfaces"][0]["sandbox"], "/run/netns/x");
        let full = NetworkError::Exhausted("10.0.0.0/30".parse().unwrap());
        assert_eq!(request("ADD").error(&full)["code"], 11);
    }

    #[test]
    fn a_pod_is_named_by_the_arguments() {
        let pod = |args: &str| {
            let request = Request { args: args.to_owned(), ..request("ADD") };
            request.pod().map(|(namespace, name)| format!("{namespace}/{name}"))
        };
        let all = "IgnoreUnknown=1;K8S_POD_NAMESPACE=x;K8S_POD_NAME=a;K8S_POD_INFRA_CONTAINER_ID=1";
        assert_eq!(pod(all).as_deref(), Some("x/a"));
        for other in ["", "K8S_POD_NAME=a", "XK8S_POD_NAMESPACE=x;K8S_POD_NAME=a"] {
            assert_eq!(pod(other), None, "{other}");
        }
    }

    #[test]
    fn host_ports_are_checked() {
        let ports = |list: Value| {
            let config = json!({"cniVersion": "1.0.0", "runtimeConfig": {"portMappings": list}});
            let request = Request { config, ..request("ADD") };
            request.port_mappings().map_err(|error| error.to_string())
        };
        assert_eq!(request("ADD").port_mappings().unwrap(), []);
        assert_eq!(ports(Value::Null), Ok(vec![]));
        let given = ports(json!([
            {"hostPort": 8080, "containerPort": 80, "protocol": "udp", "hostIP": ""},
            {"HostPort": 8443, "ContainerPort": 443, "Protocol": "TCP", "HostIP": "127.0.0.1"},
            {"hostPort": 0, "containerPort": 1, "protocol": "tcp"},
        ]))
        .unwrap();
        assert_eq!(given.len(), 2);
        assert_eq!((given[0].protocol, given[0].host_ip), (Transport::Udp, None));
        assert_eq!((given[1].protocol, given[1].host_ip), (Transport::Tcp, "127.0.0.1".parse().ok()));
        let error = ports(json!([{"hostPort": 1, "containerPort": 1, "hostIP": "here"}])).unwrap_err();
        assert_eq!(error, "CNI request: runtimeConfig.portMappings: hostIP \"here\" is no IP address");
        for bad in [
            json!([{"hostPort": 70000, "containerPort": 1}]),
            json!([{"hostPort": 1, "containerPort": 1, "protocol": "icmp"}]),
        ] {
            assert!(ports(bad).unwrap_err().starts_with("CNI request: runtimeConfig.portMappings: "));
        }
    }

    #[test]
    fn a_pods_annotation_says_how_it_reaches_services() {
        let path = |annotations: Value| {
            let config = json!({"cniVersion": "1.0.0", "runtimeConfig": {ANNOTATIONS: annotations}});
            Request { config, ..request("ADD") }.service_path().map_err(|error| error.to_string())
        };
        assert_eq!(request("ADD").service_path().unwrap(), ServicePath::Socket);
        assert_eq!(path(json!({"a/b": "c"})), Ok(ServicePath::Socket));
        assert_eq!(path(json!({SERVICE_PATH: "socket"})), Ok(ServicePath::Socket));
        assert_eq!(path(json!({SERVICE_PATH: "packet"})), Ok(ServicePath::Packet));
        let error = path(json!({SERVICE_PATH: "quick"})).unwrap_err();
        assert_eq!(
            error,
            "CNI request: the pod's annotation network.xebec.dev/service-path is \"quick\", must be \"socket\" or \
             \"packet\""
        );
    }

    #[test]
    fn gc_keeps_the_named_attachments() {
        let mut gc = request("GC");
        assert_eq!(gc.valid_attachments(), None);
        gc.config = json!({"cni.dev/valid-attachments": [{"containerID": "a", "ifname": "eth0"}]});
        assert_eq!(gc.valid_attachments().unwrap(), ["a eth0"]);
    }
}

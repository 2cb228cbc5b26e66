//! The tables as the kernel has them, for people. Enters: nft's JSON. Leaves: service ports with where they lead. Called by
//! inspect.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::Serialize;
use serde_json::Value;
use xebec_nft::NftError;

use super::TABLE;
use super::rules::{
    CLUSTER_IPS, FIREWALL_IPS, HOST_PORTS, HOST_PORTS_AT, NO_ENDPOINT_NODE_PORTS, NO_ENDPOINT_SERVICES,
    NODE_IPS, NODE_PORT_IPS, SERVICE_IPS, SERVICE_NODE_PORTS,
};
use super::ruleset::keyword;
use crate::model::Family;

/// One service port of SCTP.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LiveService {
    /// `namespace/name:port`, or that it is a pod's hostPort.
    pub name: String,
    /// Its frontends with their kinds, the ClusterIP first.
    pub frontends: Vec<(String, String)>,
    /// What holds for it.
    pub flags: Vec<String>,
    /// Endpoints for everybody, as far as somebody is sent there.
    pub cluster: Vec<SocketAddr>,
    /// Endpoints on this node, where a Local policy sends somebody there.
    pub local: Vec<SocketAddr>,
    /// Where clients are turned away: `refused`, or `dropped` (a Local policy without an endpoint here).
    pub turned_away: Option<String>,
    /// What it answers at.
    #[serde(skip)]
    at: BTreeSet<(IpAddr, u16)>,
}

impl LiveService {
    /// Whether it answers at an address and port; node ports answer at the unspecified address, too.
    pub fn answers(&self, address: IpAddr, port: u16) -> bool {
        self.at.contains(&(address, port))
    }
}

/// Every service port of SCTP that the kernel serves, in the network namespace of the calling thread.
///
/// # Errors
/// [`NftError`].
pub fn live() -> Result<Vec<LiveService>, NftError> {
    let mut out = Vec::new();
    for family in [Family::V4, Family::V6] {
        if let Some(table) = xebec_nft::table(keyword(family), TABLE, false)? {
            out.extend(parse(&table, family));
        }
    }
    Ok(out)
}

/// The table's parts by name.
struct Parts<'a> {
    family: Family,
    /// Elements of sets and maps.
    elements: BTreeMap<&'a str, &'a [Value]>,
    timeouts: BTreeMap<&'a str, u64>,
    /// Expressions of chains, rule after rule.
    chains: BTreeMap<&'a str, Vec<&'a Value>>,
}

/// PURE.
fn parse(table: &Value, family: Family) -> Vec<LiveService> {
    let parts = Parts::of(table, family);
    let mut out: BTreeMap<String, LiveService> = BTreeMap::new();
    for map in [
        SERVICE_IPS,
        NO_ENDPOINT_SERVICES,
        SERVICE_NODE_PORTS,
        NO_ENDPOINT_NODE_PORTS,
        HOST_PORTS,
        HOST_PORTS_AT,
    ] {
        for element in parts.of_set(map) {
            let (Some(key), Some(chain)) = (element.get(0), element.get(1).and_then(target)) else {
                continue;
            };
            let Some((kind, label)) = chain.split_once('-') else { continue };
            // An endpoint's chain says which, too.
            let label = label.split("__").next().unwrap_or(label);
            let service = out.entry(label.to_owned()).or_default();
            if matches!(kind, "refused" | "dropped") {
                service.turned_away = Some(kind.to_owned());
            }
            if kind == "endpoint" {
                service.cluster = parts.endpoint(chain).into_iter().collect();
            }
            parts.frontend(service, map, key);
        }
    }
    for (label, service) in &mut out {
        parts.describe(label, service);
    }
    out.into_values().collect()
}

/// The chain that a verdict leads to.
fn target(verdict: &Value) -> Option<&str> {
    ["goto", "jump"].iter().find_map(|verb| verdict[verb]["target"].as_str())
}

impl<'a> Parts<'a> {
    fn of(table: &'a Value, family: Family) -> Self {
        let (elements, timeouts, chains) = Default::default();
        let mut parts = Self { family, elements, timeouts, chains };
        for object in table["nftables"].as_array().into_iter().flatten() {
            for kind in ["set", "map"] {
                let set = &object[kind];
                let Some(name) = set["name"].as_str() else { continue };
                parts.elements.insert(name, set["elem"].as_array().map_or(&[], Vec::as_slice));
                parts.timeouts.extend(set["timeout"].as_u64().map(|seconds| (name, seconds)));
            }
            if let (Some(chain), Some(rule)) = (object["rule"]["chain"].as_str(), object["rule"].get("expr"))
            {
                parts.chains.entry(chain).or_default().push(rule);
            }
        }
        parts
    }

    fn of_set(&self, name: &str) -> &'a [Value] {
        self.elements.get(name).copied().unwrap_or_default()
    }

    fn addresses(&self, set: &str) -> impl Iterator<Item = IpAddr> {
        self.of_set(set).iter().filter_map(|element| element.as_str()?.parse().ok())
    }

    fn frontend(&self, service: &mut LiveService, map: &str, key: &Value) {
        let number = |value: &Value| value.as_u64().and_then(|number| u16::try_from(number).ok());
        let (text, kind) = if let Some(concat) = key["concat"].as_array() {
            let address = concat.first().and_then(|address| address.as_str()?.parse::<IpAddr>().ok());
            let (Some(address), Some(port)) = (address, concat.get(1).and_then(number)) else { return };
            service.at.insert((address, port));
            let kind = if map == HOST_PORTS_AT {
                "hostPort"
            } else if self.addresses(CLUSTER_IPS).any(|own| own == address) {
                "ClusterIP"
            } else {
                "external or load balancer IP"
            };
            (format!("{}/SCTP", SocketAddr::new(address, port)), kind)
        } else {
            let Some(port) = number(key) else { return };
            let (set, kind) =
                if map == HOST_PORTS { (NODE_IPS, "hostPort") } else { (NODE_PORT_IPS, "NodePort") };
            let any = crate::model::unspecified(self.family);
            service.at.extend(self.addresses(set).chain([any]).map(|address| (address, port)));
            let node = if self.family == Family::V4 { "<node>" } else { "[<node>]" };
            (format!("{node}:{port}/SCTP"), kind)
        };
        let frontend = (text, kind.to_owned());
        if !service.frontends.contains(&frontend) {
            service.frontends.push(frontend);
        }
    }

    /// The endpoint of a chain.
    fn endpoint(&self, chain: &str) -> Option<SocketAddr> {
        let rules = self.chains.get(chain)?.iter();
        let to =
            rules.flat_map(|rule| rule.as_array().into_iter().flatten()).find_map(|part| part.get("dnat"))?;
        let port = u16::try_from(to["port"].as_u64()?).ok()?;
        Some(SocketAddr::new(to["addr"].as_str()?.parse().ok()?, port))
    }

    /// The endpoints that a chain chooses from.
    fn choice(&self, chain: &str) -> Vec<SocketAddr> {
        let rules = self.chains.get(chain).into_iter().flatten();
        let chosen = rules.flat_map(|rule| rule.as_array().into_iter().flatten());
        let chosen = chosen.filter_map(|part| part["vmap"]["data"]["set"].as_array()).flatten();
        chosen.filter_map(|pair| self.endpoint(pair.get(1).and_then(target)?)).collect()
    }

    fn describe(&self, label: &str, service: &mut LiveService) {
        service.name = match label.strip_prefix("HOST/") {
            Some(_) => "(a pod's hostPort)".to_owned(),
            None => match label.rsplit_once('/') {
                Some((name, port)) => format!("{name}:{port}"),
                None => label.to_owned(),
            },
        };
        service.frontends.sort_unstable_by_key(|(text, kind)| (kind != "ClusterIP", text.clone()));
        if service.cluster.is_empty() {
            service.cluster = self.choice(&format!("service-{label}"));
        }
        service.local = self.choice(&format!("local-{label}"));
        if self.leads(SERVICE_IPS, &format!("local-{label}")) {
            service.flags.push("internalTrafficPolicy Local".to_owned());
        }
        let tells_apart =
            |rule: &&Value| rule.as_array().into_iter().flatten().any(|part| part.get("match").is_some());
        if self.chains.get(&*format!("external-{label}")).is_some_and(|rules| rules.iter().any(tells_apart)) {
            service.flags.push("externalTrafficPolicy Local".to_owned());
        }
        let clients = format!("affinity-{label}__");
        if let Some((_, seconds)) = self.timeouts.iter().find(|(name, _)| name.starts_with(&clients)) {
            service.flags.push(format!("sessionAffinity ClientIP {seconds} s"));
        }
        if self.leads(FIREWALL_IPS, &format!("firewall-{label}")) {
            service.flags.push("loadBalancerSourceRanges".to_owned());
        }
    }

    /// Whether an element of a map leads to a chain.
    fn leads(&self, map: &str, chain: &str) -> bool {
        self.of_set(map).iter().any(|element| element.get(1).and_then(target) == Some(chain))
    }
}

impl fmt::Display for LiveService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}  nft table {TABLE}", self.name)?;
        for flag in &self.flags {
            write!(f, ", {flag}")?;
        }
        for (frontend, kind) in &self.frontends {
            write!(f, "\n  {frontend:<32} {kind}")?;
        }
        match self.turned_away.as_deref() {
            Some("refused") => write!(f, "\n    no endpoints: refused")?,
            Some(_) => write!(f, "\n    no endpoints here: who is outside is dropped, by its Local policy")?,
            None => {}
        }
        for endpoint in &self.cluster {
            let here = if self.local.contains(endpoint) { " here" } else { "" };
            write!(f, "\n    -> {endpoint}{here}")?;
        }
        for endpoint in self.local.iter().filter(|local| !self.cluster.contains(local)) {
            write!(f, "\n    -> {endpoint} here, for Local policies only")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_table_of_the_kernel_tells_its_services() {
        let goto = |chain: &str| json!({"goto": {"target": chain}});
        let at = |ip: &str, chain: &str| json!([{"concat": [ip, 80]}, goto(chain)]);
        let map =
            |name: &str, elements: Value| json!({"map": {"name": name, "map": "verdict", "elem": elements}});
        let set = |name: &str, elements: Value| json!({"set": {"name": name, "elem": elements}});
        let rule = |chain: &str, expr: Value| json!({"rule": {"chain": chain, "expr": expr}});
        let end = "endpoint-ns/s/sctp__10.0.0.1/8080";
        let table = json!({"nftables": [
            {"metainfo": {}},
            map("service-ips", json!([at("10.96.0.1", "service-ns/s/sctp"), at("198.51.100.8", "external-ns/s/sctp")])),
            map("service-nodeports", json!([[30080, goto("external-ns/s/sctp")]])),
            map("no-endpoint-services", json!([at("10.96.0.2", "refused-ns/other/99")])),
            map("host-ports", json!([[8081, goto("endpoint-HOST/any/8081__10.0.0.2/9")]])),
            set("cluster-ips", json!(["10.96.0.1", "10.96.0.2"])),
            set("nodeport-ips", json!(["192.0.2.1"])),
            {"set": {"name": "affinity-ns/s/sctp__10.0.0.1/8080-90", "timeout": 90}},
            rule("service-ns/s/sctp", json!([{"vmap": {"key": {}, "data": {"set": [[0, goto(end)]]}}}])),
            rule("external-ns/s/sctp", json!([{"match": {}}, goto("service-ns/s/sctp")])),
            rule(end, json!([{"match": {}}, {"jump": {"target": "mark-for-masquerade"}}])),
            rule(end, json!([{"match": {}}, {"dnat": {"addr": "10.0.0.1", "port": 8080}}])),
            rule("endpoint-HOST/any/8081__10.0.0.2/9", json!([{"dnat": {"addr": "10.0.0.2", "port": 9}}])),
        ]});
        let found = parse(&table, Family::V4);
        let text: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            text,
            [
                "(a pod's hostPort)  nft table xebec-sctp\n  <node>:8081/SCTP                 hostPort\n    -> 10.0.0.2:9",
                "ns/other:99  nft table xebec-sctp\n  10.96.0.2:80/SCTP                ClusterIP\n    no endpoints: refused",
                "ns/s:sctp  nft table xebec-sctp, externalTrafficPolicy Local, sessionAffinity ClientIP 90 s\n  \
                 10.96.0.1:80/SCTP                ClusterIP\n  198.51.100.8:80/SCTP             external or load balancer IP\n  \
                 <node>:30080/SCTP                NodePort\n    -> 10.0.0.1:8080",
            ]
        );
        let answers = |address: &str, port| found[2].answers(address.parse().unwrap(), port);
        assert!(answers("10.96.0.1", 80) && answers("192.0.2.1", 30080) && answers("0.0.0.0", 30080));
        assert!(!answers("10.96.0.1", 81) && !answers("192.0.2.2", 30080));
        assert_eq!(parse(&json!({"nftables": []}), Family::V6), []);
    }
}

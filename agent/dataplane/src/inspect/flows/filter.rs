//! Which flows are shown. PURE.

use crate::model::SourceRange;

use super::flow::{End, Flow, VERDICTS};

/// All of these hold; of several values of one, any. Empty is everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// `namespace/name` of a pod at any end, or whose policies decided.
    pub pods: Vec<String>,
    /// Namespace of a pod at any end, or of the Service.
    pub namespaces: Vec<String>,
    /// `namespace/name` of the Service.
    pub services: Vec<String>,
    /// Addresses at any end.
    pub networks: Vec<SourceRange>,
    /// Ports at any end.
    pub ports: Vec<u16>,
    /// Protocols by name.
    pub protocols: Vec<String>,
}

impl Filter {
    /// Whether a flow is to be shown.
    pub fn accepts(&self, flow: &Flow) -> bool {
        let ends: Vec<&End> =
            [&flow.source, &flow.destination].into_iter().chain(flow.endpoint.as_ref()).collect();
        let pods: Vec<&str> = ends.iter().filter_map(|end| end.name.as_deref()).collect();
        let service = flow.service.as_deref().unwrap_or_default();
        let is_in = |name: &str, namespace: &String| {
            name.split_once('/').is_some_and(|(found, _)| found == namespace)
        };
        any(&self.pods, |pod| pods.contains(&pod.as_str()))
            && any(&self.namespaces, |ns| is_in(service, ns) || pods.iter().any(|pod| is_in(pod, ns)))
            && any(&self.services, |wanted| {
                service == wanted || service.rsplit_once(':').is_some_and(|(name, _)| name == wanted)
            })
            && any(&self.networks, |network| {
                ends.iter().any(|end| end.address.is_some_and(|address| network.contains(&address)))
            })
            && any(&self.ports, |port| ends.iter().any(|end| end.port == Some(*port)))
            && any(&self.protocols, |protocol| flow.protocol == *protocol)
    }

    /// Whether it needs names of pods.
    pub fn needs_pods(&self) -> bool {
        !self.pods.is_empty() || !self.namespaces.is_empty()
    }
}

fn any<T>(wanted: &[T], is: impl FnMut(&T) -> bool) -> bool {
    wanted.is_empty() || wanted.iter().any(is)
}

/// The bit of a verdict by its name.
///
/// # Errors
/// Names every verdict there is.
pub fn verdict(text: &str) -> Result<u32, String> {
    let names = || VERDICTS.map(|(_, name)| name).join(", ");
    let found = VERDICTS.iter().find(|(_, name)| *name == text);
    found.map(|(verdict, _)| 1 << *verdict as u32).ok_or_else(|| format!("give one of {}", names()))
}

/// A network, or an address alone.
///
/// # Errors
/// Says what would be right.
pub fn network(text: &str) -> Result<SourceRange, String> {
    let whole = |address: std::net::IpAddr| format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 });
    let text = text.parse().map_or_else(|_| text.to_owned(), whole);
    SourceRange::parse(&text).ok_or_else(|| "give an IP address, or a network such as 10.0.0.0/8".to_owned())
}

/// A namespace and a name.
///
/// # Errors
/// Says what would be right.
pub fn namespaced(text: &str) -> Result<String, String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok(text.to_owned())
        }
        _ => Err("give namespace/name, such as default/web".to_owned()),
    }
}

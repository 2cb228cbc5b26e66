//! What a Service asks of the pools: families, addresses, a pool. Enters: a Service. Leaves: [`Request`]. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::Service;
use xebec_api::load_balancer::CLASS;

use super::pool::Family;

/// The addresses that a Service wants, one of each family, separated by a comma.
pub const ADDRESSES: &str = "network.xebec.dev/load-balancer-ips";
/// The pool that a Service wants its addresses from.
pub const POOL: &str = "network.xebec.dev/load-balancer-pool";

/// What a Service wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// One address of each.
    pub families: Vec<Family>,
    /// All of them or nothing new (`RequireDualStack`).
    pub all: bool,
    /// Just these.
    pub addresses: BTreeMap<Family, IpAddr>,
    /// From this pool only.
    pub pool: Option<String>,
}

/// Whether the Service is for this controller: a load balancer of our class or of none, not on its way out.
pub fn is_ours(service: &Service) -> bool {
    let Some(spec) = &service.spec else { return false };
    spec.type_.as_deref() == Some("LoadBalancer")
        && spec.load_balancer_class.as_deref().is_none_or(|class| class == CLASS)
        && service.metadata.deletion_timestamp.is_none()
}

/// Reads what a Service wants.
///
/// # Errors
/// The field or annotation, its value, and what would be right.
pub fn request(service: &Service) -> Result<Request, String> {
    let Some(spec) = &service.spec else { return Ok(Request::default()) };
    let mut families: Vec<Family> = Vec::new();
    for family in spec.ip_families.iter().flatten() {
        families.push(if family == "IPv6" { Family::V6 } else { Family::V4 });
    }
    if families.is_empty() {
        let first = spec.cluster_ip.as_deref().and_then(|ip| ip.parse().ok());
        families.push(first.map_or(Family::V4, Family::of));
    }
    let annotation = |name: &str| {
        let annotations = service.metadata.annotations.as_ref();
        annotations.and_then(|all| all.get(name)).map(|text| text.trim()).filter(|text| !text.is_empty())
    };
    let mut addresses = BTreeMap::new();
    let mut ask = |source: &str, text: &str| {
        let Ok(address) = text.trim().parse::<IpAddr>() else {
            return Err(format!("{source} {text:?}: not an IP address"));
        };
        let family = Family::of(address);
        if !families.contains(&family) {
            return Err(format!("{source} {text:?}: spec.ipFamilies has no {family}"));
        }
        match addresses.insert(family, address) {
            Some(other) if other != address => {
                Err(format!("{source} {text:?}: {other} is requested, too; give one {family} address"))
            }
            _ => Ok(()),
        }
    };
    for text in annotation(ADDRESSES).into_iter().flat_map(|list| list.split(',')) {
        ask(&format!("annotation {ADDRESSES}"), text)?;
    }
    if let Some(text) = spec.load_balancer_ip.as_deref().filter(|text| !text.is_empty()) {
        ask("spec.loadBalancerIP", text)?;
    }
    Ok(Request {
        all: spec.ip_family_policy.as_deref() == Some("RequireDualStack"),
        families,
        addresses,
        pool: annotation(POOL).map(str::to_owned),
    })
}

/// The addresses in a Service's status, and whether there is anything else, such as a host name.
pub fn ingress(service: &Service) -> (Vec<IpAddr>, bool) {
    let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let mut addresses = Vec::new();
    let mut others = false;
    for entry in status.and_then(|status| status.ingress.as_ref()).into_iter().flatten() {
        match entry.ip.as_deref().and_then(|ip| ip.parse().ok()) {
            Some(address) => addresses.push(address),
            None => others = true,
        }
    }
    (addresses, others)
}

//! The custom resource LoadBalancerPool and the addresses it names. Enters: objects of the API. Leaves: [`Pool`]s for the
//! plan. Its definition, with the checks at admission, is in `definition`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use k8s_openapi::ClusterResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use kube::Resource;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use xebec_api::selector::LabelSelector;

const GROUP: &str = "network.xebec.dev";
const VERSION: &str = "v1alpha1";
const KIND: &str = "LoadBalancerPool";
const PLURAL: &str = "loadbalancerpools";

/// Addresses that Services of type LoadBalancer are given.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoadBalancerPool {
    /// Always `network.xebec.dev/v1alpha1`.
    pub api_version: String,
    /// Always `LoadBalancerPool`.
    pub kind: String,
    /// Metadata; there is no namespace.
    pub metadata: ObjectMeta,
    /// What is wanted.
    pub spec: PoolSpec,
    /// What is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<PoolStatus>,
}

/// Which addresses, and for whom.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolSpec {
    /// Networks (`192.0.2.0/28`), ranges (`192.0.2.1-192.0.2.9`) or single addresses, of either family.
    pub addresses: Vec<String>,
    /// The Services that may have one, by their labels; all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_selector: Option<Value>,
    /// The namespaces whose Services may have one, by their labels; all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<Value>,
    /// Whether a Service gets one without asking for the pool or the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_assign: Option<bool>,
}

/// How full a pool is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolStatus {
    /// Its addresses, at most `i64::MAX`.
    #[serde(default)]
    pub total: i64,
    /// Those that Services have.
    #[serde(default)]
    pub used: i64,
    /// `Ready`: whether everything the spec names can be used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

impl Resource for LoadBalancerPool {
    type DynamicType = ();
    type Scope = ClusterResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        KIND.into()
    }

    fn group((): &()) -> Cow<'_, str> {
        GROUP.into()
    }

    fn version((): &()) -> Cow<'_, str> {
        VERSION.into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        PLURAL.into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// A family of addresses, as `spec.ipFamilies` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// An address's.
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    const fn bits(self) -> u32 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }

    fn address(self, number: u128) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::from_bits(number as u32).into(),
            Self::V6 => Ipv6Addr::from_bits(number).into(),
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(four) => four.to_bits().into(),
        IpAddr::V6(six) => six.to_bits(),
    }
}

/// Addresses from the first to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Range {
    family: Family,
    first: u128,
    last: u128,
}

impl Range {
    /// Reads a network, a range or an address.
    ///
    /// # Errors
    /// What is wrong with the text and what would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bad = |why: &str| {
            Err(format!(
                "{text:?}: {why}; give a network such as 192.0.2.0/28 or a range such as 192.0.2.1-192.0.2.9"
            ))
        };
        let address = |text: &str| text.trim().parse::<IpAddr>();
        if let Some((first, last)) = text.split_once('-') {
            let (Ok(first), Ok(last)) = (address(first), address(last)) else {
                return bad("not two addresses");
            };
            let (family, from, to) = (Family::of(first), number(first), number(last));
            return match (family == Family::of(last), from <= to) {
                (false, _) => bad("two families"),
                (true, false) => bad("the first address is after the last"),
                (true, true) => Ok(Self { family, first: from, last: to }),
            };
        }
        let (base, length) = text.split_once('/').map_or((text, None), |(base, length)| (base, Some(length)));
        let Ok(base) = address(base) else { return bad("not an address") };
        let family = Family::of(base);
        let length = match length.map(str::parse::<u32>) {
            None => family.bits(),
            Some(Ok(length)) if length <= family.bits() => length,
            Some(_) => return bad("the prefix length is no number of this family"),
        };
        // A shift by the whole width is an empty mask's, which `checked_shl` leaves out.
        let hosts = (1_u128.checked_shl(family.bits() - length)).map_or(u128::MAX, |size| size - 1);
        let first = number(base) & !hosts;
        Ok(Self { family, first, last: first | hosts })
    }

    fn contains(&self, address: IpAddr) -> bool {
        self.family == Family::of(address) && (self.first..=self.last).contains(&number(address))
    }
}

/// A pool as the plan sees it.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// In ascending order, without overlap.
    ranges: Vec<Range>,
    services: LabelSelector,
    namespaces: LabelSelector,
    /// Whether Services get addresses without asking.
    pub auto: bool,
    /// Whether it is for some Services only.
    pub selective: bool,
    /// What of its spec cannot be used, with the reason.
    pub problems: Vec<String>,
}

impl Pool {
    /// Reads a pool; what cannot be used is left out and named in `problems`.
    pub fn new(object: &LoadBalancerPool) -> Self {
        let spec = &object.spec;
        let mut problems = Vec::new();
        let mut ranges = Vec::new();
        for (index, text) in spec.addresses.iter().enumerate() {
            match Range::parse(text) {
                Ok(range) => ranges.push(range),
                Err(why) => problems.push(format!("spec.addresses[{index}]: {why}")),
            }
        }
        let mut selector = |field: &str, given: &Option<Value>| match given {
            None => LabelSelector::everything(),
            Some(given) => LabelSelector::from_object(given).unwrap_or_else(|why| {
                problems.push(format!("spec.{field}: {why}"));
                LabelSelector::nothing()
            }),
        };
        let services = selector("serviceSelector", &spec.service_selector);
        let namespaces = selector("namespaceSelector", &spec.namespace_selector);
        Self {
            name: object.metadata.name.clone().unwrap_or_default(),
            ranges: merged(ranges),
            selective: !services.is_empty() || !namespaces.is_empty(),
            services,
            namespaces,
            auto: spec.auto_assign.unwrap_or(true),
            problems,
        }
    }

    /// Whether a Service with these labels, in a namespace with those, may have its addresses.
    pub fn serves(&self, service: &BTreeMap<String, String>, namespace: &BTreeMap<String, String>) -> bool {
        self.services.matches(service) && self.namespaces.matches(namespace)
    }

    /// Whether an address is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.ranges.iter().any(|range| range.contains(address))
    }

    /// Whether it has addresses of a family.
    pub fn has(&self, family: Family) -> bool {
        self.ranges.iter().any(|range| range.family == family)
    }

    /// Its first address of a family that is not taken. As many looks as addresses are taken, and one.
    pub fn free(&self, family: Family, taken: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
        let ranges = self.ranges.iter().filter(|range| range.family == family);
        ranges
            .flat_map(|range| (range.first..=range.last).map(|number| family.address(number)))
            .find(|address| !taken(*address))
    }

    /// How many addresses it has.
    pub fn total(&self) -> i64 {
        let sizes = self.ranges.iter().map(|range| (range.last - range.first).saturating_add(1));
        i64::try_from(sizes.fold(0, u128::saturating_add)).unwrap_or(i64::MAX)
    }
}

/// In ascending order, those that touch as one.
fn merged(mut ranges: Vec<Range>) -> Vec<Range> {
    ranges.sort_unstable();
    let mut out: Vec<Range> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match out.last_mut() {
            Some(last) if last.family == range.family && range.first <= last.last.saturating_add(1) => {
                last.last = last.last.max(range.last);
            }
            _ => out.push(range),
        }
    }
    out
}

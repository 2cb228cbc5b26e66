//! Which Service has which address. Pure: everything there is comes in, statuses to write go out.
//!
//! An address that a Service has and may have stays. What is missing is given in the order of the Services' age, requested
//! addresses before any others, the lowest free one of the first pool that serves the Service: pools with a selector go
//! before those without, then by name. Whatever is in a status, even if it is about to leave, is given to nobody else.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{LoadBalancerIngress, LoadBalancerStatus, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::ResourceExt;
use xebec_api::load_balancer::CONDITION;

use super::pool::{Family, Pool};
use super::request::{Request, ingress, is_ours, request};

/// Everything the decision hangs on.
pub struct Known<'a> {
    /// Pools.
    pub pools: &'a [Pool],
    /// All Services.
    pub services: &'a [Arc<Service>],
    /// The labels of namespaces.
    pub namespaces: &'a BTreeMap<String, BTreeMap<String, String>>,
    /// Addresses of nodes, with their names.
    pub nodes: &'a BTreeMap<IpAddr, String>,
    /// Now.
    pub now: Timestamp,
}

/// What is to be said of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Something an operator may want to act on.
    pub warning: bool,
    /// Its reason.
    pub reason: &'static str,
    /// Its text.
    pub message: String,
}

/// A status to write.
#[derive(Clone, Debug)]
pub struct Write {
    /// The Service with its new status.
    pub service: Service,
    /// What to say once it is written.
    pub note: Option<Note>,
}

/// The decision.
#[derive(Debug, Default)]
pub struct Plan {
    /// In the order of the Services' age.
    pub writes: Vec<Write>,
    /// How many addresses of each pool Services have.
    pub used: BTreeMap<String, i64>,
}

/// A Service that is ours to serve.
struct Claim<'a> {
    service: &'a Service,
    name: String,
    asked: Result<Request, String>,
    pools: Vec<&'a Pool>,
    given: BTreeMap<Family, IpAddr>,
    problems: Vec<String>,
}

/// Decides.
pub fn plan(known: &Known<'_>) -> Plan {
    let mut taken: BTreeMap<IpAddr, String> = BTreeMap::new();
    taken.extend(known.nodes.iter().map(|(address, node)| (*address, format!("node {node}"))));
    let mut claims = Vec::new();
    let mut plan = Plan::default();
    let mut services: Vec<&Arc<Service>> = known.services.iter().collect();
    services.sort_by_key(|service| age(service));
    for service in services {
        reserve(service, &mut taken);
        let (addresses, others) = ingress(service);
        let marked = is_marked(service);
        let foreign =
            others || (!addresses.is_empty() && !addresses.iter().any(|a| in_a_pool(known.pools, *a)));
        if known.pools.is_empty() || !is_ours(service) {
            plan.writes.extend(marked.then(|| released(service)));
        } else if marked || !foreign {
            claims.push(Claim::new(service, known));
            continue;
        }
        hold(&addresses, service, &mut taken);
    }
    for claim in &mut claims {
        claim.keep(&mut taken);
    }
    // What is to leave a status is free once that is written.
    for claim in &claims {
        hold(&ingress(claim.service).0, claim.service, &mut taken);
    }
    for requested in [true, false] {
        for claim in &mut claims {
            claim.allocate(requested, &mut taken);
        }
    }
    for pool in known.pools {
        let used =
            claims.iter().flat_map(|claim| claim.given.values()).filter(|a| pool.contains(**a)).count();
        plan.used.insert(pool.name.clone(), i64::try_from(used).unwrap_or(i64::MAX));
    }
    plan.writes.extend(claims.into_iter().filter_map(|claim| claim.write(known.now)));
    plan
}

/// Older Services come first; the UID decides between equals.
fn age(service: &Service) -> (Option<Timestamp>, String, String, String) {
    let meta = &service.metadata;
    (
        meta.creation_timestamp.as_ref().map(|time| time.0),
        meta.namespace.clone().unwrap_or_default(),
        meta.name.clone().unwrap_or_default(),
        meta.uid.clone().unwrap_or_default(),
    )
}

fn name(service: &Service) -> String {
    format!("{}/{}", service.namespace().unwrap_or_default(), service.name_any())
}

fn in_a_pool(pools: &[Pool], address: IpAddr) -> bool {
    pools.iter().any(|pool| pool.contains(address))
}

fn condition(service: &Service) -> Option<&Condition> {
    service.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == CONDITION)
}

/// Whether a Service's addresses are ours.
pub fn is_marked(service: &Service) -> bool {
    condition(service).is_some()
}

/// Addresses that a Service has for other reasons.
fn reserve(service: &Service, taken: &mut BTreeMap<IpAddr, String>) {
    let Some(spec) = &service.spec else { return };
    let lists = [("cluster IP", &spec.cluster_ips), ("external IP", &spec.external_ips)];
    for (what, list) in lists {
        for address in list.iter().flatten().filter_map(|text| text.parse().ok()) {
            taken.entry(address).or_insert_with(|| format!("Service {} ({what})", name(service)));
        }
    }
}

/// Addresses of a status.
fn hold(addresses: &[IpAddr], service: &Service, taken: &mut BTreeMap<IpAddr, String>) {
    for address in addresses {
        taken.entry(*address).or_insert_with(|| format!("Service {}", name(service)));
    }
}

/// A Service that is no longer ours, without what we gave it.
fn released(service: &Service) -> Write {
    let mut service = service.clone();
    let status = service.status.get_or_insert_default();
    status.load_balancer = Some(LoadBalancerStatus::default());
    let others = status.conditions.take().into_iter().flatten();
    let others: Vec<Condition> = others.filter(|condition| condition.type_ != CONDITION).collect();
    status.conditions = (!others.is_empty()).then_some(others);
    Write { service, note: None }
}

impl<'a> Claim<'a> {
    fn new(service: &'a Service, known: &Known<'a>) -> Self {
        let nothing = BTreeMap::new();
        let asked = request(service);
        let labels = service.metadata.labels.as_ref().unwrap_or(&nothing);
        let namespace = known.namespaces.get(&service.namespace().unwrap_or_default()).unwrap_or(&nothing);
        let wanted = asked.as_ref().ok().and_then(|request| request.pool.as_deref());
        let named = |pool: &Pool| wanted.is_none_or(|wanted| wanted == pool.name);
        let pools = known.pools.iter().filter(|pool| named(pool) && pool.serves(labels, namespace));
        let mut pools: Vec<&Pool> = pools.collect();
        pools.sort_by_key(|pool| (!pool.selective, pool.name.clone()));
        Self {
            service,
            name: name(service),
            problems: asked.as_ref().err().cloned().into_iter().collect(),
            asked,
            pools,
            given: BTreeMap::new(),
        }
    }

    /// Keeps what the Service has and may have.
    fn keep(&mut self, taken: &mut BTreeMap<IpAddr, String>) {
        let present = ingress(self.service).0;
        for address in present {
            let family = Family::of(address);
            // A request that cannot be read takes nothing away.
            let wanted = self.asked.as_ref().map_or(true, |request| {
                let asked = request.addresses.get(&family);
                request.families.contains(&family) && asked.is_none_or(|asked| *asked == address)
            });
            let fits = wanted && self.pools.iter().any(|pool| pool.contains(address));
            if fits && !self.given.contains_key(&family) && !taken.contains_key(&address) {
                taken.insert(address, format!("Service {}", self.name));
                self.given.insert(family, address);
            }
        }
    }

    /// Gives what is missing: the addresses that the Service names, or any.
    fn allocate(&mut self, requested: bool, taken: &mut BTreeMap<IpAddr, String>) {
        let Ok(request) = &self.asked else { return };
        // Nothing is half given: with all families wanted, the requested wait for the others.
        if request.all && requested {
            return;
        }
        let missing = request.families.iter().filter(|family| !self.given.contains_key(family));
        let due = missing.filter(|family| request.all || request.addresses.contains_key(family) == requested);
        let mut found = BTreeMap::new();
        let mut problems = Vec::new();
        for family in due {
            match self.find(*family, request, taken) {
                Ok(address) => drop(found.insert(*family, address)),
                Err(problem) => problems.push(problem),
            }
        }
        if request.all && !problems.is_empty() {
            found.clear();
        }
        self.problems.extend(problems);
        for (family, address) in found {
            taken.insert(address, format!("Service {}", self.name));
            self.given.insert(family, address);
        }
    }

    fn find(
        &self,
        family: Family,
        request: &Request,
        taken: &BTreeMap<IpAddr, String>,
    ) -> Result<IpAddr, String> {
        if let Some(address) = request.addresses.get(&family) {
            if !self.pools.iter().any(|pool| pool.contains(*address)) {
                return Err(format!(
                    "requested address {address} is in no LoadBalancerPool that serves this Service"
                ));
            }
            return match taken.get(address) {
                Some(holder) => Err(format!("requested address {address} is held by {holder}")),
                None => Ok(*address),
            };
        }
        let pools =
            self.pools.iter().filter(|pool| (pool.auto || request.pool.is_some()) && pool.has(family));
        let pools: Vec<_> = pools.collect();
        if pools.is_empty() {
            return Err(match &request.pool {
                Some(pool) => format!("LoadBalancerPool {pool:?} has no {family} addresses for this Service"),
                None => format!("no LoadBalancerPool has {family} addresses for this Service"),
            });
        }
        let free = pools.iter().find_map(|pool| pool.free(family, |address| taken.contains_key(&address)));
        free.ok_or_else(|| {
            let names: Vec<&str> = pools.iter().map(|pool| pool.name.as_str()).collect();
            format!("no {family} address is free in LoadBalancerPool {}", names.join(", "))
        })
    }

    /// The status as decided, if it is another.
    fn write(self, now: Timestamp) -> Option<Write> {
        let addresses: Vec<IpAddr> = match &self.asked {
            Ok(request) => {
                request.families.iter().filter_map(|family| self.given.get(family)).copied().collect()
            }
            Err(_) => self.given.values().copied().collect(),
        };
        let entry = |address: &IpAddr| LoadBalancerIngress {
            ip: Some(address.to_string()),
            ip_mode: Some("VIP".to_owned()),
            ..LoadBalancerIngress::default()
        };
        let wanted: Vec<LoadBalancerIngress> = addresses.iter().map(entry).collect();
        let status = self.service.status.as_ref();
        let present =
            status.and_then(|status| status.load_balancer.as_ref()?.ingress.clone()).unwrap_or_default();
        let (state, reason, message) = self.verdict(&addresses);
        let old = condition(self.service);
        let said = old.is_some_and(|old| {
            (old.status.as_str(), old.reason.as_str(), &old.message) == (state, reason, &message)
        });
        if said && present == wanted {
            return None;
        }
        let since =
            old.filter(|old| old.status == state).map_or(Time(now), |old| old.last_transition_time.clone());
        let condition = Condition {
            type_: CONDITION.to_owned(),
            status: state.to_owned(),
            reason: reason.to_owned(),
            message: message.clone(),
            observed_generation: None,
            last_transition_time: since,
        };
        let mut service = self.service.clone();
        let status = service.status.get_or_insert_default();
        status.load_balancer = Some(LoadBalancerStatus { ingress: (!wanted.is_empty()).then_some(wanted) });
        let conditions = status.conditions.get_or_insert_default();
        conditions.retain(|condition| condition.type_ != CONDITION);
        conditions.push(condition);
        let note = Note { warning: state == "False", reason, message };
        Some(Write { service, note: Some(note) })
    }

    fn verdict(&self, addresses: &[IpAddr]) -> (&'static str, &'static str, String) {
        let pools: BTreeSet<&str> = addresses
            .iter()
            .filter_map(|address| self.pools.iter().find(|pool| pool.contains(*address)))
            .map(|pool| pool.name.as_str())
            .collect();
        let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        let pools: Vec<&str> = pools.into_iter().collect();
        let gave = format!("assigned {} from LoadBalancerPool {}", texts.join(" and "), pools.join(", "));
        // One family is enough for PreferDualStack, but a request that is not met is always said.
        let enough = !addresses.is_empty()
            && self.asked.as_ref().is_ok_and(|request| {
                let met = |(family, address): (&Family, &IpAddr)| self.given.get(family) == Some(address);
                !request.all && request.addresses.iter().all(met)
            });
        match (self.problems.is_empty(), enough) {
            (true, _) => ("True", "IPAllocated", gave),
            (false, true) => ("True", "IPAllocated", format!("{gave}; {}", self.problems.join("; "))),
            (false, false) => ("False", "AllocationFailed", self.problems.join("; ")),
        }
    }
}

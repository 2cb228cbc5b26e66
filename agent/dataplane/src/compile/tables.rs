//! Who has which frontend. PURE. Two Services may claim one frontend: an external IP given to both, or a ClusterIP
//! already given away again while the old Service's deletion is still on its way to us. The older Service has it.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use super::facts::Owner;
use crate::endpoints::Endpoints;
use crate::model::{FrontKey, Protocol, ServicePort, Sets};

/// [`Sets`] as they are kept.
#[derive(Clone, Debug)]
struct Kept {
    cluster: Endpoints,
    local: Endpoints,
    serving: Endpoints,
}

impl Kept {
    fn of(sets: &Sets) -> Self {
        let [cluster, local, serving] =
            [&sets.cluster, &sets.local, &sets.serving].map(|all| Endpoints::of(all));
        Self { cluster, local, serving }
    }

    fn sets(&self) -> Sets {
        let [cluster, local, serving] =
            [&self.cluster, &self.local, &self.serving].map(|all| all.addresses().collect());
        Sets { cluster, local, serving }
    }

    /// As [`Sets::answering`].
    fn answering(&self) -> impl Iterator<Item = SocketAddr> {
        self.cluster.addresses().chain(self.local.addresses()).chain(self.serving.addresses())
    }
}

/// A service port of somebody who claims its frontends.
#[derive(Debug)]
struct Claim {
    created: i64,
    owner: Owner,
    port: ServicePort<Kept>,
}

impl Claim {
    fn before(&self, other: &Self) -> bool {
        (self.created, &self.owner, self.port.primary) < (other.created, &other.owner, other.port.primary)
    }
}

/// The desired state: every compiled service port, and the claims on each frontend.
#[derive(Debug, Default)]
pub struct Tables {
    by_owner: HashMap<Owner, Box<[Arc<Claim>]>>,
    /// Mostly one for a frontend.
    claims: HashMap<FrontKey, Vec<Arc<Claim>>>,
}

impl Tables {
    /// Replaces what one Service has (nothing, when it is gone) and returns the primaries to be looked at again.
    pub fn set(&mut self, owner: &Owner, created: i64, ports: Vec<ServicePort>) -> BTreeSet<FrontKey> {
        let mut dirty = BTreeSet::new();
        for claim in self.by_owner.remove(owner).unwrap_or_default() {
            for key in keys(&claim.port) {
                let Some(claims) = self.claims.get_mut(&key) else { continue };
                dirty.extend(claims.iter().map(|c| c.port.primary));
                claims.retain(|c| c.owner != *owner);
                if claims.is_empty() {
                    self.claims.remove(&key);
                }
            }
        }
        let own: Box<[Arc<Claim>]> = ports
            .into_iter()
            .map(|mut port| {
                port.name.shrink_to_fit();
                port.aliases.shrink_to_fit();
                let kept = Kept::of(&port.sets);
                Arc::new(Claim { created, owner: owner.clone(), port: port.with(kept) })
            })
            .collect();
        for claim in &own {
            for key in keys(&claim.port) {
                let claims = self.claims.entry(key).or_default();
                claims.reserve_exact(1);
                claims.push(Arc::clone(claim));
                dirty.extend(claims.iter().map(|c| c.port.primary));
            }
        }
        if !own.is_empty() {
            self.by_owner.insert(owner.clone(), own);
        }
        dirty
    }

    /// The endpoints of one Service's UDP ports that answer, by primary.
    pub fn answering(&self, owner: &Owner) -> BTreeSet<(FrontKey, SocketAddr)> {
        let ports = self.by_owner.get(owner).into_iter().flatten().map(|claim| &claim.port);
        let udp = ports.filter(|port| port.primary.protocol == Protocol::Udp);
        udp.flat_map(|port| port.sets.answering().map(|endpoint| (port.primary, endpoint))).collect()
    }

    /// Whether an endpoint answers for a frontend.
    pub fn answers(&self, frontend: &FrontKey, endpoint: &SocketAddr) -> bool {
        self.holder(frontend).is_some_and(|claim| claim.port.sets.answering().any(|a| a == *endpoint))
    }

    fn holder(&self, key: &FrontKey) -> Option<&Arc<Claim>> {
        self.claims.get(key)?.iter().reduce(|a, b| if b.before(a) { b } else { a })
    }

    /// The service port at a primary frontend, with those of its aliases that it really has.
    pub fn effective(&self, primary: &FrontKey) -> Option<ServicePort> {
        let holder = self.holder(primary)?;
        if holder.port.primary != *primary {
            return None;
        }
        let mut port = holder.port.clone();
        port.aliases.retain(|(key, _)| self.holder(key).is_some_and(|h| Arc::ptr_eq(h, holder)));
        let sets = port.sets.sets();
        Some(port.with(sets))
    }

    /// The name of the service port at a primary frontend.
    pub fn name(&self, primary: &FrontKey) -> Option<&str> {
        let holder = self.holder(primary)?;
        (holder.port.primary == *primary).then_some(holder.port.name.as_str())
    }

    fn ports(&self) -> impl Iterator<Item = &ServicePort<Kept>> {
        self.by_owner.values().flatten().map(|claim| &claim.port)
    }

    /// The service ports with endpoints none of which is on this node.
    pub fn without_local(&self) -> impl Iterator<Item = &ServicePort<impl Sized>> {
        self.ports().filter(|port| !port.sets.cluster.is_empty() && port.sets.local.is_empty())
    }

    /// Every primary frontend.
    pub fn primaries(&self) -> BTreeSet<FrontKey> {
        self.ports().map(|port| port.primary).collect()
    }
}

fn keys<S>(port: &ServicePort<S>) -> impl Iterator<Item = FrontKey> {
    std::iter::once(port.primary).chain(port.aliases.iter().map(|(key, _)| *key))
}

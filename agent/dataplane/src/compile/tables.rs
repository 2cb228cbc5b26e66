//! Who has which frontend. PURE. Two Services may claim one frontend: an external IP given to both, or a ClusterIP
//! already given away again while the old Service's deletion is still on its way to us. The older Service has it.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use super::facts::Owner;
use crate::model::{FrontKey, Protocol, ServicePort};

#[derive(Clone, Debug)]
struct Claim {
    created: i64,
    owner: Owner,
    port: Arc<ServicePort>,
}

impl Claim {
    fn before(&self, other: &Self) -> bool {
        (self.created, &self.owner, self.port.primary) < (other.created, &other.owner, other.port.primary)
    }
}

/// The desired state: every compiled service port, and the claims on each frontend.
#[derive(Debug, Default)]
pub struct Tables {
    by_owner: HashMap<Owner, Vec<Arc<ServicePort>>>,
    claims: HashMap<FrontKey, Vec<Claim>>,
}

impl Tables {
    /// Replaces what one Service has (nothing, when it is gone) and returns the primaries to be looked at again.
    pub fn set(&mut self, owner: &Owner, created: i64, ports: Vec<ServicePort>) -> BTreeSet<FrontKey> {
        let mut dirty = BTreeSet::new();
        for port in self.by_owner.remove(owner).unwrap_or_default() {
            for key in keys(&port) {
                let Some(claims) = self.claims.get_mut(&key) else { continue };
                dirty.extend(claims.iter().map(|c| c.port.primary));
                claims.retain(|c| c.owner != *owner);
                if claims.is_empty() {
                    self.claims.remove(&key);
                }
            }
        }
        let ports: Vec<Arc<ServicePort>> = ports.into_iter().map(Arc::new).collect();
        for port in &ports {
            for key in keys(port) {
                let claims = self.claims.entry(key).or_default();
                claims.push(Claim { created, owner: owner.clone(), port: Arc::clone(port) });
                dirty.extend(claims.iter().map(|c| c.port.primary));
            }
        }
        if !ports.is_empty() {
            self.by_owner.insert(owner.clone(), ports);
        }
        dirty
    }

    /// The endpoints of one Service's UDP ports that answer, by primary.
    pub fn answering(&self, owner: &Owner) -> BTreeSet<(FrontKey, SocketAddr)> {
        let ports = self.by_owner.get(owner).into_iter().flatten();
        let udp = ports.filter(|port| port.primary.protocol == Protocol::Udp);
        udp.flat_map(|port| port.sets.answering().map(|endpoint| (port.primary, *endpoint))).collect()
    }

    /// Whether an endpoint answers for a frontend.
    pub fn answers(&self, frontend: &FrontKey, endpoint: &SocketAddr) -> bool {
        self.holder(frontend).is_some_and(|claim| claim.port.sets.answering().any(|a| a == endpoint))
    }

    fn holder(&self, key: &FrontKey) -> Option<&Claim> {
        self.claims.get(key)?.iter().reduce(|a, b| if b.before(a) { b } else { a })
    }

    /// The service port at a primary frontend, with those of its aliases that it really has.
    pub fn effective(&self, primary: &FrontKey) -> Option<ServicePort> {
        let holder = self.holder(primary)?;
        if holder.port.primary != *primary {
            return None;
        }
        let mut port = ServicePort::clone(&holder.port);
        port.aliases.retain(|(key, _)| self.holder(key).is_some_and(|h| Arc::ptr_eq(&h.port, &holder.port)));
        Some(port)
    }

    /// The name of the service port at a primary frontend.
    pub fn name(&self, primary: &FrontKey) -> Option<&str> {
        let holder = self.holder(primary)?;
        (holder.port.primary == *primary).then_some(holder.port.name.as_str())
    }

    /// Every service port.
    pub fn ports(&self) -> impl Iterator<Item = &ServicePort> {
        self.by_owner.values().flatten().map(|port| &**port)
    }

    /// Every primary frontend.
    pub fn primaries(&self) -> BTreeSet<FrontKey> {
        self.by_owner.values().flatten().map(|p| p.primary).collect()
    }
}

fn keys(port: &ServicePort) -> impl Iterator<Item = FrontKey> {
    std::iter::once(port.primary).chain(port.aliases.iter().map(|(key, _)| *key))
}

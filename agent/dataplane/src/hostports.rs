//! Ports of the node that lead to one pod each (`hostPort`). Enters: all of them, from whoever connects pods. Leaves: what
//! the loop compiles, and the word that it is in the maps. Called by the agent and by run.
//!
//! A Service's node port of the same number goes first where it answers, as portmap's rules come after kube-proxy's.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::sync::watch;

use crate::model::{Family, FrontKey, Kind, Protocol, ServicePort, Sets, Vip};

/// A port of the node that leads to a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// At this address of the node only (`hostIP`); at every one if absent, at every one of its family if unspecified.
    pub host: Option<IpAddr>,
    /// The node's port.
    pub port: u16,
    /// Transport.
    pub protocol: Protocol,
    /// The pod.
    pub endpoint: SocketAddr,
}

impl HostPort {
    /// Where it answers; `None` if the pod has no address of that family.
    fn key(&self) -> Option<FrontKey> {
        let family = Family::of(&self.endpoint.ip());
        let vip = match self.host {
            Some(host) if Family::of(&host) != family => return None,
            Some(host) if !host.is_unspecified() => Vip::HostAddress(host),
            _ => Vip::Host(family),
        };
        Some(FrontKey { vip, port: self.port, protocol: self.protocol })
    }
}

/// One pod's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodPorts {
    /// `namespace/name`, for people.
    pub pod: String,
    /// When it got its network, in seconds: of two pods that claim one port the older has it.
    pub created: i64,
    /// Its ports.
    pub ports: Vec<HostPort>,
}

/// The service ports of a pod. PURE.
pub(crate) fn compile(pod: &PodPorts) -> Vec<ServicePort> {
    let port = |port: &HostPort| {
        let endpoints = vec![port.endpoint];
        Some(ServicePort {
            name: format!("{}:hostPort-{}", pod.pod, port.port),
            primary: port.key()?,
            kind: Kind::HostPort,
            aliases: Vec::new(),
            internal_local: false,
            external_local: false,
            direct: false,
            source_ranges: std::collections::BTreeSet::new(),
            affinity: None,
            // Only this node has it.
            consistent: false,
            sets: Sets { cluster: endpoints.clone(), local: endpoints, serving: Vec::new() },
        })
    };
    pod.ports.iter().filter_map(port).collect()
}

/// All pods' ports, by an owner's name that stays the same.
pub type AllPorts = BTreeMap<String, PodPorts>;

#[derive(Clone, Debug, Default)]
struct Wanted {
    version: u64,
    pods: Arc<AllPorts>,
}

/// Between whoever connects pods and the loop that writes maps.
#[derive(Clone, Debug)]
pub struct HostPorts {
    wanted: watch::Sender<Wanted>,
    applied: watch::Sender<u64>,
}

impl Default for HostPorts {
    fn default() -> Self {
        Self::new(AllPorts::new())
    }
}

impl HostPorts {
    /// Those of the pods that are there already: what is not among them is removed with the first synchronisation.
    pub fn new(pods: AllPorts) -> Self {
        let wanted = Wanted { version: 0, pods: Arc::new(pods) };
        Self { wanted: watch::Sender::new(wanted), applied: watch::Sender::new(0) }
    }

    /// Replaces all, from this call on; what it returns waits until they are in the maps.
    pub fn set(&self, pods: AllPorts) -> impl Future<Output = ()> + Send + use<> {
        let mut version = 0;
        self.wanted.send_modify(|wanted| {
            version = wanted.version + 1;
            *wanted = Wanted { version, pods: Arc::new(pods) };
        });
        let mut applied = self.applied.subscribe();
        async move {
            // An error says that the agent ends: nobody is left to wait for.
            let _ = applied.wait_for(|applied| *applied >= version).await;
        }
    }

    pub(crate) fn follow(&self) -> Follower {
        Follower { wanted: self.wanted.subscribe(), applied: self.applied.clone(), version: 0 }
    }
}

/// The loop's end.
pub(crate) struct Follower {
    wanted: watch::Receiver<Wanted>,
    applied: watch::Sender<u64>,
    version: u64,
}

impl Follower {
    /// Returns after a change; for ever pending once nobody can make one.
    pub(crate) async fn changed(&mut self) {
        if self.wanted.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// What there is to be.
    pub(crate) fn take(&mut self) -> Arc<AllPorts> {
        let wanted = self.wanted.borrow_and_update();
        self.version = wanted.version;
        Arc::clone(&wanted.pods)
    }

    /// What was taken is in the maps.
    pub(crate) fn applied(&self) {
        self.applied.send_if_modified(|applied| std::mem::replace(applied, self.version) != self.version);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn port(host: Option<&str>) -> HostPort {
        HostPort {
            host: host.map(|host| host.parse().unwrap()),
            port: 8080,
            protocol: Protocol::Udp,
            endpoint: "10.244.0.5:80".parse().unwrap(),
        }
    }

    #[test]
    fn a_port_answers_everywhere_or_at_one_address_of_the_pods_family() {
        let key = |host| port(host).key().map(|key| key.to_string());
        assert_eq!(key(None).as_deref(), Some("<host>:8080/UDP"));
        assert_eq!(key(Some("0.0.0.0")).as_deref(), Some("<host>:8080/UDP"));
        assert_eq!(key(Some("::")), None, "as portmap has it");
        assert_eq!(key(Some("127.0.0.1")).as_deref(), Some("<host 127.0.0.1>:8080/UDP"));
        assert_eq!(key(Some("::1")), None);
        let pod = PodPorts { pod: "ns/a".to_owned(), created: 0, ports: vec![port(None), port(Some("::1"))] };
        let compiled = compile(&pod);
        assert_eq!(compiled.len(), 1);
        assert_eq!((compiled[0].name.as_str(), compiled[0].kind), ("ns/a:hostPort-8080", Kind::HostPort));
        assert_eq!(compiled[0].sets.cluster, compiled[0].sets.local);
    }

    #[tokio::test]
    async fn a_change_waits_until_it_is_applied() {
        let ports = HostPorts::default();
        let mut follower = ports.follow();
        assert!(follower.take().is_empty());
        follower.applied();
        let pod = PodPorts { pod: "ns/a".to_owned(), created: 0, ports: vec![port(None)] };
        let mut set = Box::pin(ports.set(AllPorts::from([("a".to_owned(), pod)])));
        assert!((&mut set).now_or_never().is_none());
        follower.applied();
        assert!((&mut set).now_or_never().is_none(), "that was the one before");
        follower.changed().await;
        assert_eq!(follower.take().len(), 1);
        follower.applied();
        set.await;
    }
}

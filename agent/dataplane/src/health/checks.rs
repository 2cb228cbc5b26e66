//! The health check ports of Services (`spec.healthCheckNodePort`), with kube-proxy's answers
//! (pkg/proxy/healthcheck/service_health.go). Enters: the checks there should be. Leaves: listeners that answer.
//!
//! kube-proxy of two families is two proxiers, each with a server of its own that knows the Services with a ClusterIP of
//! its family and counts endpoints of its family alone; since Kubernetes 1.36 (pull request 137370, issue 114702) the one
//! listens on IPv4 sockets, the other on IPv6 sockets, so that a balancer hears of the family that it asks by. (Before,
//! both wanted one socket, and whoever came first answered for both.) So it is here: a check is of a Service and a
//! family. As there, it listens where node ports answer (`--nodeport-addresses`).
//!
//! Otherwise than there, addresses are followed as they come and go, and one that cannot be taken takes none of the
//! others from the Service.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hyper::header::HeaderValue;
use parking_lot::RwLock;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::Status;
use super::server::{Answer, accept, answer, bind_one, code, is_without_family};
use crate::compile::facts::Owner;
use crate::failures::{Failed, Failure, Failures};
use crate::model::Family;

/// How often a failure that lasts is told: upstream's sync period, with which it tries, and tells, again.
const REMINDER: Duration = Duration::from_secs(30);

/// A Service's health check in one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The Service's UID.
    pub uid: Arc<str>,
    /// The port it answers at.
    pub port: u16,
    /// Its ready endpoints of the family on this node, by distinct address.
    pub endpoints: usize,
}

/// The checks there should be.
pub type Wanted = BTreeMap<(Owner, Family), Check>;

/// Where they listen; the unspecified address for all of its family.
pub type Places = BTreeSet<IpAddr>;

#[derive(Debug)]
struct Open {
    endpoints: Arc<AtomicUsize>,
    server: JoinHandle<()>,
}

/// A listener's Service and address.
type At = (Owner, SocketAddr);

/// The ports that are open.
#[derive(Debug)]
pub struct Checks {
    status: Arc<RwLock<Status>>,
    open: BTreeMap<At, Open>,
    failures: Box<dyn Failures>,
    /// Those that could not be taken, and when that was last told.
    closed: BTreeMap<At, Instant>,
}

impl Checks {
    /// None yet; answers take the proxy's own health into account.
    pub fn new(status: Arc<RwLock<Status>>, failures: impl Failures) -> Self {
        Self { status, failures: Box::new(failures), open: BTreeMap::new(), closed: BTreeMap::new() }
    }

    /// Opens, closes and updates until the ports are those that are `wanted`, at `places`; true if one could not be
    /// taken and has to be tried again: with the next call, as upstream tries with each of its syncs. A failure is told
    /// at once, and again while it lasts.
    pub async fn sync(&mut self, wanted: &Wanted, places: &Places) -> bool {
        let wanted = listeners(wanted, places);
        // What is not needed goes first: its port may be another's by now.
        let gone: Vec<At> = self.open.keys().filter(|at| !wanted.contains_key(at)).cloned().collect();
        for at in gone {
            if let Some(open) = self.open.remove(&at) {
                open.server.abort();
                // The port is free once the task is gone; that it was cancelled is no news.
                let _ = open.server.await;
                let (owner, address) = at;
                tracing::debug!(namespace = %owner.namespace, name = %owner.name, %address, "closed a health check");
            }
        }
        self.closed.retain(|at, _| wanted.contains_key(at));
        for (at, check) in wanted {
            if let Some(open) = self.open.get(&at) {
                open.endpoints.store(check.endpoints, Ordering::Relaxed);
                continue;
            }
            let (owner, address) = &at;
            match bind_one(*address) {
                Ok(listener) => {
                    self.closed.remove(&at);
                    let open = start(listener, owner, check.endpoints, &self.status);
                    self.open.insert(at, open);
                }
                // Nobody can ask by that family.
                Err(error) if is_without_family(&error) => {}
                Err(error) => self.tell(at, check, &error),
            }
        }
        !self.closed.is_empty()
    }

    fn tell(&mut self, at: At, check: &Check, error: &io::Error) {
        let now = Instant::now();
        let told = self.closed.get(&at).copied();
        if told.is_some_and(|told| now.saturating_duration_since(told) < REMINDER) {
            return;
        }
        let (owner, address) = at.clone();
        tracing::error!(
            namespace = %owner.namespace, name = %owner.name, %address, %error,
            "cannot open the Service's spec.healthCheckNodePort; will try again"
        );
        let what = Failed::HealthCheck { address, error: error.to_string() };
        let failure = Failure { owner, uid: Arc::clone(&check.uid), what };
        self.failures.failed(&failure);
        self.closed.insert(at, now);
    }
}

/// The listeners of checks. PURE.
fn listeners<'a>(wanted: &'a Wanted, places: &Places) -> BTreeMap<At, &'a Check> {
    let of = |((owner, family), check): (&'a (Owner, Family), &'a Check)| {
        let places = places.iter().filter(move |place| Family::of(place) == *family);
        places.map(move |place| ((owner.clone(), SocketAddr::new(*place, check.port)), check))
    };
    wanted.iter().flat_map(of).collect()
}

impl Drop for Checks {
    fn drop(&mut self) {
        self.open.values().for_each(|open| open.server.abort());
    }
}

fn start(listener: TcpListener, owner: &Owner, endpoints: usize, status: &Arc<RwLock<Status>>) -> Open {
    let endpoints = Arc::new(AtomicUsize::new(endpoints));
    let (owner, count, status) = (owner.clone(), Arc::clone(&endpoints), Arc::clone(status));
    let respond = move |_: &_| {
        let healthy = status.read().is_healthy(Instant::now());
        respond(&owner, count.load(Ordering::Relaxed), healthy)
    };
    Open { endpoints, server: tokio::spawn(accept(listener, respond)) }
}

/// The answer to any request. PURE.
fn respond(owner: &Owner, endpoints: usize, healthy: bool) -> Answer {
    let (namespace, name) = (&owner.namespace, &owner.name);
    let body = format!(
        "{{\n\t\"service\": {{\n\t\t\"namespace\": {namespace:?},\n\t\t\"name\": {name:?}\n\t}},\n\t\
         \"localEndpoints\": {endpoints},\n\t\"serviceProxyHealthy\": {healthy}\n}}"
    );
    let mut answer = answer(code(endpoints != 0 && healthy), "application/json", body);
    answer.headers_mut().insert("x-load-balancing-endpoint-weight", HeaderValue::from(endpoints));
    answer
}

//! The health check ports of Services (`spec.healthCheckNodePort`), with kube-proxy's answers
//! (pkg/proxy/healthcheck/service_health.go). Enters: the checks there should be. Leaves: listeners that answer.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use hyper::header::HeaderValue;
use parking_lot::RwLock;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::Status;
use super::server::{Answer, accept, answer, bind, code};
use crate::compile::facts::Owner;

/// A Service's health check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Check {
    /// The port it answers at.
    pub port: u16,
    /// Its ready endpoints on this node, by distinct address.
    pub endpoints: usize,
}

#[derive(Debug)]
struct Open {
    port: u16,
    endpoints: Arc<AtomicUsize>,
    server: JoinHandle<()>,
}

/// The ports that are open.
#[derive(Debug)]
pub struct Checks {
    status: Arc<RwLock<Status>>,
    open: BTreeMap<Owner, Open>,
    /// Those whose port could not be taken, which was logged.
    closed: BTreeSet<(Owner, u16)>,
}

impl Checks {
    /// None yet; answers take the proxy's own health into account.
    pub fn new(status: Arc<RwLock<Status>>) -> Self {
        Self { status, open: BTreeMap::new(), closed: BTreeSet::new() }
    }

    /// Opens, closes and updates until the ports are those that are `wanted`; true if a port could not be taken and
    /// has to be tried again.
    pub async fn sync(&mut self, wanted: &BTreeMap<Owner, Check>) -> bool {
        // What is not needed goes first: its port may be another's by now.
        let keep = |owner: &Owner, open: &Open| wanted.get(owner).is_some_and(|w| w.port == open.port);
        let gone: Vec<Owner> =
            self.open.iter().filter(|(owner, open)| !keep(owner, open)).map(|(o, _)| o.clone()).collect();
        for owner in gone {
            if let Some(open) = self.open.remove(&owner) {
                open.server.abort();
                // The port is free once the task is gone; that it was cancelled is no news.
                let _ = open.server.await;
                tracing::debug!(namespace = %owner.namespace, name = %owner.name, port = open.port, "closed a health check");
            }
        }
        self.closed.retain(|(owner, port)| wanted.get(owner).is_some_and(|w| w.port == *port));
        for (owner, check) in wanted {
            if let Some(open) = self.open.get(owner) {
                open.endpoints.store(check.endpoints, Ordering::Relaxed);
                continue;
            }
            match listen(check.port) {
                Ok(listener) => {
                    self.closed.remove(&(owner.clone(), check.port));
                    self.open.insert(owner.clone(), start(listener, owner, *check, &self.status));
                }
                Err(error) if self.closed.insert((owner.clone(), check.port)) => tracing::error!(
                    namespace = %owner.namespace, name = %owner.name, port = check.port, %error,
                    "cannot open the Service's spec.healthCheckNodePort; will try again"
                ),
                Err(_) => {}
            }
        }
        !self.closed.is_empty()
    }
}

impl Drop for Checks {
    fn drop(&mut self) {
        self.open.values().for_each(|open| open.server.abort());
    }
}

/// At every address of the node, of both families where the kernel has both.
fn listen(port: u16) -> io::Result<TcpListener> {
    match bind((Ipv6Addr::UNSPECIFIED, port).into()) {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => bind((Ipv4Addr::UNSPECIFIED, port).into()),
        result => result,
    }
}

fn start(listener: TcpListener, owner: &Owner, check: Check, status: &Arc<RwLock<Status>>) -> Open {
    let endpoints = Arc::new(AtomicUsize::new(check.endpoints));
    let (owner, count, status) = (owner.clone(), Arc::clone(&endpoints), Arc::clone(status));
    let respond = move |_: &_| {
        let healthy = status.read().is_healthy(Instant::now());
        respond(&owner, count.load(Ordering::Relaxed), healthy)
    };
    Open { port: check.port, endpoints, server: tokio::spawn(accept(listener, respond)) }
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

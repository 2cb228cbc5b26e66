//! The soak's Services, as they are in the API and as the judge of answers knows them.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use super::api::{Api, Kind};
use super::plan::{self, Dice, Verdict, Window};
use super::{NODE_NAME, stage};

/// All Services, and the clock of synchronised time.
pub(super) struct Objects {
    windows: Vec<Mutex<Window>>,
    /// Services from here on come and go, and nobody calls them.
    pub(super) steady: usize,
    present: Vec<Mutex<bool>>,
    clock: AtomicU64,
}

impl Objects {
    /// So many, all in the API.
    pub(super) fn new(services: usize, api: &Api) -> Self {
        let steady = (services - services / 10).max(1);
        let objects = Self {
            windows: (0..services).map(|_| Mutex::default()).collect(),
            steady,
            present: (0..services).map(|_| Mutex::new(true)).collect(),
            clock: AtomicU64::new(0),
        };
        api.put(Kind::Node, NODE_NAME, json!({"metadata": {"name": NODE_NAME}, "spec": {}}));
        for (index, window) in objects.windows.iter().enumerate() {
            let window = window.lock().unwrap_or_else(PoisonError::into_inner);
            api.put(Kind::Service, &name(index), service(index));
            api.put(Kind::EndpointSlice, &name(index), slice(index, &window));
        }
        objects
    }

    /// Milliseconds in which an agent was synchronised.
    pub(super) fn now(&self) -> u64 {
        self.clock.load(Ordering::Relaxed)
    }

    /// An agent was synchronised for that long.
    pub(super) fn tick(&self, milliseconds: u64) {
        self.clock.fetch_add(milliseconds, Ordering::Relaxed);
    }

    /// One change: mostly an endpoint for another, sometimes a whole Service that goes or comes.
    pub(super) fn change(&self, dice: &mut Dice, api: &Api) {
        let coming = self.windows.len() - self.steady;
        if coming > 0 && dice.below(20) == 0 {
            let index = self.steady + dice.below(coming);
            let mut present = self.present[index].lock().unwrap_or_else(PoisonError::into_inner);
            if *present {
                api.delete(Kind::EndpointSlice, &name(index));
                api.delete(Kind::Service, &name(index));
            } else {
                let mut window = self.windows[index].lock().unwrap_or_else(PoisonError::into_inner);
                window.advance(self.now());
                api.put(Kind::Service, &name(index), service(index));
                api.put(Kind::EndpointSlice, &name(index), slice(index, &window));
            }
            *present = !*present;
            return;
        }
        let index = dice.below(self.steady);
        let mut window = self.windows[index].lock().unwrap_or_else(PoisonError::into_inner);
        window.advance(self.now());
        api.put(Kind::EndpointSlice, &name(index), slice(index, &window));
    }

    /// What an answer to a call that began at some time is worth.
    pub(super) fn judge(&self, service: usize, answer: Ipv4Addr, began: u64, tolerance: u64) -> Verdict {
        let window = self.windows[service].lock().unwrap_or_else(PoisonError::into_inner);
        window.judge(service, answer, began, tolerance)
    }
}

fn name(index: usize) -> String {
    format!("s{index:05}")
}

fn service(index: usize) -> Value {
    let ip = plan::virtual_ip(index);
    let mut port = json!({"name": "web", "port": 80, "targetPort": stage::port(), "protocol": "TCP"});
    let node_port = plan::node_port(index);
    if let Some(number) = node_port {
        port["nodePort"] = number.into();
    }
    json!({
        "metadata": {"name": name(index), "namespace": "soak", "uid": name(index), "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {
            "type": if node_port.is_some() { "NodePort" } else { "ClusterIP" },
            "clusterIP": ip, "clusterIPs": [ip], "ports": [port],
        },
    })
}

fn slice(index: usize, window: &Window) -> Value {
    let endpoint = |number| json!({"addresses": [plan::address(index, number).to_string()], "nodeName": NODE_NAME, "conditions": {"ready": true}});
    json!({
        "metadata": {
            "name": name(index), "namespace": "soak",
            "labels": {"kubernetes.io/service-name": name(index)},
        },
        "addressType": "IPv4",
        "ports": [{"name": "web", "port": stage::port(), "protocol": "TCP"}],
        "endpoints": window.numbers().map(endpoint).collect::<Vec<Value>>(),
    })
}

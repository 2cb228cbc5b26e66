//! Service addresses and node ports: who holds which.
//!
//! Enters: a Service about to be written. Leaves: the Service with its `clusterIP`, `clusterIPs`, `nodePort`s and
//! `healthCheckNodePort`, and a [`Reservation`] that is given back when the write fails. The truth about addresses is one `IPAddress` object per
//! address, created with compare-and-swap, so several API servers cannot hand out the same one; ports are held in
//! memory, rebuilt from the Services at start.

mod cidr;
mod families;
mod ports;
mod service;

use std::net::IpAddr;
use std::ops::RangeInclusive;

use bytes::Bytes;
use serde_json::{Value, json};
use tracing::{info, warn};
use uuid::Uuid;
use xebec_api::field::{FieldError, Path};
use xebec_api::status::ApiError;
use xebec_api::{meta, time};
use xebec_store::{Expect, StoreError};

pub use cidr::{Cidr, CidrError};
use ports::Ports;
use service::ServicePlan;

use super::{Registry, Target, WriteContext};
use crate::watch::{Cut, Selection};

/// The allocation ranges make no sense.
#[derive(Debug, thiserror::Error)]
pub enum AllocError {
    /// A range of addresses cannot be parsed.
    #[error(transparent)]
    Cidr(#[from] CidrError),
    /// No range was given.
    #[error("at least one service range is needed, such as 10.96.0.0/12")]
    NoRange,
}

/// The ranges Services get their addresses and ports from.
pub struct Allocators {
    ranges: Vec<Cidr>,
    ports: Ports,
}

/// What a write took, to be given back if it fails, and what it lets go of if it succeeds.
#[derive(Default)]
pub struct Reservation {
    taken_addresses: Vec<IpAddr>,
    taken_ports: Vec<(String, u16)>,
    freed_addresses: Vec<IpAddr>,
    freed_ports: Vec<(String, u16)>,
}

impl Allocators {
    /// Allocators over these address ranges (the first is the default family) and node ports.
    pub fn new(ranges: &[String], ports: RangeInclusive<u16>) -> Result<Self, AllocError> {
        let ranges = ranges.iter().map(|text| text.parse()).collect::<Result<Vec<Cidr>, _>>()?;
        if ranges.is_empty() {
            return Err(AllocError::NoRange);
        }
        Ok(Self { ranges, ports: Ports::new(ports) })
    }

    /// The address ranges.
    #[must_use]
    pub fn ranges(&self) -> &[Cidr] {
        &self.ranges
    }

    /// The first address of the default range: the `kubernetes` Service's.
    #[must_use]
    pub fn first_address(&self) -> IpAddr {
        self.ranges[0].nth(1)
    }

    fn range_of(&self, address: IpAddr) -> Option<&Cidr> {
        self.ranges.iter().find(|range| range.contains(address))
    }

    fn described(&self) -> String {
        let ranges: Vec<String> = self.ranges.iter().map(ToString::to_string).collect();
        ranges.join(",")
    }
}

/// As upstream, a port for health checks that cannot be had is a failure of the server's.
fn health_error(wanted: Option<u16>, why: &ports::PortError) -> ApiError {
    ApiError::internal(match wanted {
        Some(port) => format!("failed to allocate requested HealthCheck NodePort {port}: {why}"),
        None => format!("failed to allocate a HealthCheck NodePort 0: {why}"),
    })
}

impl Registry {
    /// Fills in a Service's addresses and ports (creating: `old` is none); nothing for other kinds.
    pub(super) async fn reserve(
        &self,
        context: &WriteContext,
        target: &Target,
        value: &mut Value,
        old: Option<&Value>,
    ) -> Result<Reservation, ApiError> {
        if !target.stored.group.is_empty() || target.stored.plural != "services" {
            return Ok(Reservation::default());
        }
        let plan = service::plan(value, old, &self.allocators.ranges)
            .map_err(|errors| ApiError::invalid("", "Service", &target.name, errors))?;
        let mut reservation = Reservation::default();
        let result = self.carry_out(context, target, value, &plan, &mut reservation).await;
        match result {
            Ok(()) => {
                reservation.freed_addresses = plan.free_addresses;
                reservation.freed_ports = plan.free_ports;
                Ok(reservation)
            }
            Err(error) => {
                self.release(reservation).await;
                Err(error)
            }
        }
    }

    async fn carry_out(
        &self,
        context: &WriteContext,
        target: &Target,
        value: &mut Value,
        plan: &ServicePlan,
        reservation: &mut Reservation,
    ) -> Result<(), ApiError> {
        let invalid = |error: FieldError| ApiError::invalid("", "Service", &target.name, vec![error]);
        let at = Path::new("spec").child("clusterIPs");
        let mut addresses = Vec::new();
        for wanted in &plan.addresses {
            let address = match wanted {
                service::Wanted::This(text) => {
                    let fail = |why: String| {
                        invalid(FieldError::invalid(
                            &at,
                            json!([text]),
                            format!("failed to allocate IP {text}: {why}"),
                        ))
                    };
                    let address: IpAddr =
                        text.parse().map_err(|_| fail("not a valid IP address".to_owned()))?;
                    if self.allocators.range_of(address).is_none_or(|range| !range.usable(address)) {
                        let ranges = self.allocators.described();
                        return Err(fail(format!(
                            "provided IP is not in the valid range. The range of valid IPs is {ranges}"
                        )));
                    }
                    if !self.take(context, target, address).await? {
                        return Err(fail("provided IP is already allocated".to_owned()));
                    }
                    address
                }
                service::Wanted::AnyOf(range) => self.take_any(context, target, range).await?,
            };
            if !context.dry_run {
                reservation.taken_addresses.push(address);
            }
            addresses.push(address.to_string());
        }
        service::set_addresses(value, &addresses);
        for wanted in &plan.ports {
            let owner = (target.namespace.as_str(), target.name.as_str());
            let taken = self.allocators.ports.take(&wanted.protocol, wanted.port, owner, context.dry_run);
            let port = taken.map_err(|why| match wanted.index {
                Some(index) => {
                    let path = Path::new("spec").child("ports").index(index).child("nodePort");
                    invalid(FieldError::invalid(&path, wanted.port.unwrap_or(0), why.to_string()))
                }
                None => health_error(wanted.port, &why),
            })?;
            if !context.dry_run {
                reservation.taken_ports.push((wanted.protocol.clone(), port));
            }
            match wanted.index {
                Some(index) => value["spec"]["ports"][index]["nodePort"] = json!(port),
                None => value["spec"]["healthCheckNodePort"] = json!(port),
            }
        }
        Ok(())
    }

    async fn take_any(
        &self,
        context: &WriteContext,
        target: &Target,
        range: &Cidr,
    ) -> Result<IpAddr, ApiError> {
        for address in range.candidates(rand::random()) {
            let known = self.caches.of("networking.k8s.io", "ipaddresses");
            if known.is_some_and(|cache| cache.get("", &address.to_string()).is_some()) {
                continue;
            }
            if self.take(context, target, address).await? {
                return Ok(address);
            }
        }
        Err(ApiError::internal(format!("failed to allocate a serviceIP: range {range} is full")))
    }

    /// Creates the address's IPAddress object; false when somebody has it.
    async fn take(&self, context: &WriteContext, target: &Target, address: IpAddr) -> Result<bool, ApiError> {
        let Some(cache) = self.caches.of("networking.k8s.io", "ipaddresses") else { return Ok(true) };
        let key = cache.key("", &address.to_string());
        if context.dry_run {
            return Ok(cache.get("", &address.to_string()).is_none());
        }
        let object = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "IPAddress",
            "metadata": {
                "name": address.to_string(), "uid": Uuid::new_v4().to_string(),
                "creationTimestamp": time::format_rfc3339_seconds(self.now()),
                "labels": {
                    "ipaddress.kubernetes.io/ip-family": if address.is_ipv4() { "IPv4" } else { "IPv6" },
                    "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
                },
            },
            "spec": {"parentRef": {
                "group": "", "resource": "services", "namespace": target.namespace, "name": target.name,
            }},
        });
        match self.store.put(&key, Bytes::from(object.to_string()), Expect::Absent).await {
            Ok(_) => Ok(true),
            Err(StoreError::Conflict { .. }) => Ok(false),
            Err(error) => Err(super::store_error(error)),
        }
    }

    /// Gives back what a failed write took.
    pub(super) async fn release(&self, reservation: Reservation) {
        self.free(&reservation.taken_addresses, &reservation.taken_ports).await;
    }

    /// Lets go of what a successful write no longer needs.
    pub(super) async fn settle_reservation(&self, reservation: Reservation) {
        self.free(&reservation.freed_addresses, &reservation.freed_ports).await;
    }

    /// Lets go of everything a removed object held.
    pub(super) async fn release_all(&self, target: &Target, value: &Value) {
        if target.stored.group.is_empty() && target.stored.plural == "services" {
            self.free(&service::addresses(value), &service::node_ports(value)).await;
        }
    }

    async fn free(&self, addresses: &[IpAddr], ports: &[(String, u16)]) {
        for (protocol, port) in ports {
            self.allocators.ports.free(protocol, *port);
        }
        let Some(cache) = self.caches.of("networking.k8s.io", "ipaddresses") else { return };
        for address in addresses {
            match self.store.delete(&cache.key("", &address.to_string()), Expect::Any).await {
                Ok(_) | Err(StoreError::Conflict { .. }) => {}
                Err(error) => {
                    warn!(%address, %error, "a service address could not be released, the next start will")
                }
            }
        }
    }

    /// Makes the allocation state agree with the stored Services; called once at start.
    pub async fn rebuild_allocations(&self) -> Result<(), ApiError> {
        self.settle().await?;
        let everything = Selection::everything(None);
        let services = Target::find(&self.resources, "", "services", "", "")?;
        let context =
            WriteContext::new(xebec_identity::User::system_master("system:apiserver"), String::new(), false);
        let mut held = std::collections::HashSet::new();
        for object in services.cache.list(&everything, Cut::default()).objects {
            let value = object.value();
            let target = services.named(&object.namespace, &object.name);
            for address in service::addresses(&value) {
                held.insert(address.to_string());
                if self.allocators.range_of(address).is_none() {
                    warn!(%address, service = meta::key(&value), "a service's address is outside of the service ranges");
                } else if self.take(&context, &target, address).await? {
                    info!(%address, service = meta::key(&value), "restored the record of a service's address");
                }
            }
            for (protocol, port) in service::node_ports(&value) {
                if self
                    .allocators
                    .ports
                    .take(&protocol, Some(port), (&object.namespace, &object.name), false)
                    .is_err()
                {
                    warn!(
                        port,
                        protocol,
                        service = meta::key(&value),
                        "a service's node port is taken twice or out of range"
                    );
                }
            }
        }
        self.settle().await?;
        let records = Target::find(&self.resources, "networking.k8s.io", "ipaddresses", "", "")?;
        for object in records.cache.list(&everything, Cut::default()).objects {
            let ours = object
                .labels
                .get("ipaddress.kubernetes.io/managed-by")
                .is_some_and(|m| m == "ipallocator.k8s.io");
            if ours && !held.contains(&object.name) {
                info!(address = object.name, "released an address no service has");
                let key = records.cache.key("", &object.name);
                self.store.delete(&key, Expect::Revision(object.revision)).await.map(drop).or_else(
                    |error| match error {
                        StoreError::Conflict { .. } => Ok(()),
                        error => Err(super::store_error(error)),
                    },
                )?;
            }
        }
        self.settle().await
    }
}

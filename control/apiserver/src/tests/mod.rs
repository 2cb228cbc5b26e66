//! The whole server, started on a store in a temporary directory, with its own PKI, driven over TLS by kube-rs and by
//! plain requests.

mod access;
mod admission;
mod aggregate;
mod apply;
mod audit;
mod authorization;
mod certificates;
mod crds;
mod crud;
mod custom;
mod devices;
mod dynamic;
mod events;
mod fairness;
mod gateway;
pub mod harness;
mod identity;
mod kubectl;
mod lists;
mod older;
mod panics;
mod pods;
mod services;
mod watches;
mod wire;

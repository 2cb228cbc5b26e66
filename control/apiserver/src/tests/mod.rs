//! The whole server, started on a store in a temporary directory, with its own PKI, driven over TLS by kube-rs and by
//! plain requests.

mod access;
mod admission;
mod apply;
mod crud;
mod custom;
mod events;
mod fairness;
mod gateway;
mod harness;
mod kubectl;
mod lists;
mod pods;
mod services;
mod watches;
mod wire;

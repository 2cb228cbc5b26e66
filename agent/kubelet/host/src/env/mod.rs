//! A container's environment and command line, all pure. Enters: the container, its pod and what the environment
//! refers to, already fetched. Leaves: variables in order, or the text of a CreateContainerConfigError. Called by
//! whoever builds a container.

mod downward;
mod expand;
mod resolve;
mod services;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;

pub(crate) use downward::{field_value, resource_value};
pub use expand::{expand, expand_all, expand_path};
pub use resolve::resolve;
pub use services::{ServiceFacts, service_variables};

use crate::qos::Amounts;
use crate::volumes::Objects;

/// What a container's environment may refer to.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// The node's name.
    pub node_name: &'a str,
    /// The pod's addresses, the primary one first; empty before it has any.
    pub pod_ips: &'a [String],
    /// The node's addresses, the primary one first.
    pub host_ips: &'a [String],
    /// The node's allocatable resources: what a container without a limit is limited by.
    pub allocatable: &'a Amounts,
    /// Fetched ConfigMaps and Secrets ([`crate::volumes::fetch_objects`]).
    pub objects: &'a Objects,
    /// Variables of services ([`service_variables`]).
    pub services: &'a BTreeMap<String, String>,
}

/// Why an environment could not be made: the message of the waiting reason CreateContainerConfigError.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvError {
    /// A ConfigMap or Secret does not exist.
    #[error("{kind} {name:?} not found")]
    NotFound {
        /// `configmap` or `secret`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// It exists without the key.
    #[error("couldn't find key {key} in {kind} {namespace}/{name}")]
    NoKey {
        /// The key.
        key: String,
        /// `ConfigMap` or `Secret`.
        kind: &'static str,
        /// The namespace.
        namespace: String,
        /// The object's name.
        name: String,
    },
    /// A fieldRef to something that is no field.
    #[error("unsupported fieldPath: {0}")]
    Field(String),
    /// A resourceFieldRef to something that is no resource.
    #[error("unsupported container resource : {0}")]
    Resource(String),
    /// A resourceFieldRef to a container the pod has not.
    #[error("container {0} not found")]
    Container(String),
    /// A source this node does not serve.
    #[error("env variable {0}: unsupported value source")]
    Source(String),
}

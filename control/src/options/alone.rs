//! Options of the controllers and the scheduler, and where pods' addresses come from. Enters: the command line, or the
//! server's options. Leaves: the controllers' options, looked through.

use std::path::PathBuf;

use clap::Args;
use xebec_controllers::Options as Controllers;
use xebec_program::Failure;

use crate::ranges::ServiceRanges;

/// Where pods' addresses come from.
#[derive(Args, Clone, Debug)]
pub(crate) struct PodRanges {
    /// Addresses of pods: a network, or one of each family separated by a comma, the primary family's first; each node
    /// gets a part.
    #[arg(long, default_value = "10.244.0.0/16")]
    pub(super) cluster_cidr: String,
    /// Prefix length of a node's part of --cluster-cidr; not with two networks.
    #[arg(long)]
    pub(super) node_cidr_mask_size: Option<u8>,
    /// Prefix length of a node's part of an IPv4 network [default: 24].
    #[arg(long)]
    pub(super) node_cidr_mask_size_ipv4: Option<u8>,
    /// Prefix length of a node's part of an IPv6 network, at most 16 longer than the network's [default: 64].
    #[arg(long)]
    pub(super) node_cidr_mask_size_ipv6: Option<u8>,
}

impl PodRanges {
    /// The controllers' options with these and the ranges of Services, which no node gets a part of.
    pub(crate) fn controllers(&self, services: &ServiceRanges) -> Result<Controllers, Failure> {
        let options = Controllers {
            cluster_cidr: self.cluster_cidr.clone(),
            node_cidr_mask_size: self.node_cidr_mask_size,
            node_cidr_mask_size_ipv4: self.node_cidr_mask_size_ipv4,
            node_cidr_mask_size_ipv6: self.node_cidr_mask_size_ipv6,
            service_cidr: services.texts().join(","),
            ..Controllers::default()
        };
        options.check().map_err(|error| Failure::Option(error.to_string()))?;
        Ok(options)
    }
}

/// Of the controllers alone.
#[derive(Args, Clone, Debug)]
pub(crate) struct ControllerOptions {
    /// How to reach the API server.
    #[arg(long)]
    pub(crate) kubeconfig: PathBuf,
    /// The CA certificate that goes into each namespace's kube-root-ca.crt.
    #[arg(long)]
    pub(crate) root_ca_file: PathBuf,
    #[command(flatten)]
    pub(crate) pod_ranges: PodRanges,
    /// Addresses of Services: a network, or one of each family separated by a comma.
    #[arg(long, default_value = "10.96.0.0/12")]
    pub(crate) service_cluster_ip_range: String,
}

/// Of the scheduler alone.
#[derive(Args, Clone, Debug)]
pub(crate) struct SchedulerOptions {
    /// How to reach the API server.
    #[arg(long)]
    pub(crate) kubeconfig: PathBuf,
    /// Pods with this `spec.schedulerName` are scheduled.
    #[arg(long, default_value = "default-scheduler")]
    pub(crate) scheduler_name: String,
}

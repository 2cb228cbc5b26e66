//! `xebec-agent run`: a whole node. Enters: options. Leaves: running parts, until a signal or until one of them ends.

use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use xebec_cri::{Client as Cri, Runtime};
use xebec_dataplane::{MoreMetrics, PodRanges};
use xebec_host::cgroups::{CgroupOptions, Cgroups};
use xebec_kubelet::Deps;
use xebec_network::{Gate, Hooks};
use xebec_program::{Failure, first_end};

use crate::client::Server;
use crate::options::RunOptions;
use crate::packet_pods::PacketGate;
use crate::pod_paths::PathGate;
use crate::policy::{self, Enforcer};
use crate::{client, dns, hostports, network, serve};

/// Runs until `stop`; pods, connections and virtual IPs outlive it.
pub(crate) async fn run(options: RunOptions, stop: CancellationToken) -> Result<(), Failure> {
    let options = Arc::new(options);
    let config = options.kubelet()?;
    let (api, requests) =
        client::measured(Server { kubeconfig: Some(&options.kubeconfig), url: None }).await?;
    let cri = Cri::new(&options.container_runtime_endpoint);
    let runtime: Arc<dyn Runtime> = Arc::new(cri.clone());
    // Before anything else is started: a port in use is the most common mistake.
    let server = serve::bind(&options).await?;

    if options.no_proxy {
        tracing::info!("Services, host ports and load balancers' addresses are left to somebody else");
    }
    let mut parts: JoinSet<Result<(), Failure>> = JoinSet::new();
    let mut dataplane = options.bpf.options(&options.node_name);
    dataplane.more_metrics = requests;
    // Whose pods they are, enforces their policies: a foreign pod network has its own way.
    let mut hooks = Hooks::default();
    if !options.no_network {
        let dns = if options.no_dns { &[][..] } else { &options.cluster_dns };
        let enforcer = Enforcer::new(&dataplane, dns)?;
        let policies: Arc<dyn Gate> = enforcer.gate();
        hooks.gate = Some(policies.clone());
        if let Some(paths) = PathGate::install(&dataplane, options.no_pod_path, policies)? {
            hooks.gate = Some(paths.clone());
            let stop = stop.clone();
            parts.spawn(async move {
                paths.clean(stop).await;
                Ok(())
            });
        }
        if !options.no_proxy {
            if let Some(next) = hooks.gate.take() {
                let pods = dataplane.packet_pods.clone();
                hooks.gate = Some(Arc::new(PacketGate { pods, next }));
            }
            dataplane.host_ports = hostports::of_node(&options.network.ipam_dir)?;
            dataplane.pod_ranges = PodRanges::These(options.network.pod_ranges()?);
            hooks.host_ports = Some(Arc::new(hostports::ToDataplane(dataplane.host_ports.clone())));
        }
        dataplane.more_metrics = policy::metrics(dataplane.more_metrics, enforcer.policies());
        let (api, stop) = (api.clone(), stop.clone());
        parts.spawn(async move {
            enforcer.follow(api, stop).await;
            Ok(())
        });
    }
    // Whoever is told to send its packets here must find the programs that take them.
    if !options.no_proxy && !options.no_announce {
        let announce = xebec_announce::Options {
            node_name: options.node_name.clone(),
            devices: dataplane.devices.clone(),
        };
        let (api, stop) = (api.clone(), stop.clone());
        parts.spawn(async move {
            xebec_announce::run(api, announce, stop)
                .await
                .map_err(|error| Failure::part("load balancers' addresses")(&error))
        });
    }
    // Without a proxy of ours its address is another's: then the kubelet's server has them.
    let mut more_metrics = MoreMetrics::default();
    if options.no_proxy {
        more_metrics = dataplane.more_metrics;
    } else {
        let (api, stop) = (api.clone(), stop.clone());
        parts.spawn(async move {
            xebec_dataplane::run(api, dataplane, stop)
                .await
                .map_err(|error| Failure::part("service dataplane")(&error))
        });
    }
    if !options.no_network {
        let (api, options, stop) = (api.clone(), options.clone(), stop.clone());
        parts.spawn(
            async move { network::serve(api, &options.node_name, &options.network, hooks, stop).await },
        );
    }
    if !options.no_dns {
        let (api, options, stop) = (api.clone(), options.clone(), stop.clone());
        parts.spawn(async move {
            dns::serve(api, &options.cluster_dns, &options.cluster_domain, &options.resolv_conf, stop).await
        });
    }
    let cgroups = Cgroups::discover(CgroupOptions {
        root: config.cgroup_root.clone(),
        pod_pids_limit: config.pod_pids_limit,
        linear_weights: config.linear_cpu_weights,
    })
    .map_err(|error| Failure::part("cgroups")(&error))?;
    let deps = Deps::of_node(config, api.clone(), cri, stop.clone())
        .map_err(|error| Failure::part("kubelet")(&error))?;
    let (registry, node_name) = (deps.registry.clone(), options.node_name.clone());
    let source = serve::Source { registry, cgroups, node_name, more_metrics };
    let kubelet_stop = stop.clone();
    parts.spawn(async move {
        xebec_kubelet::run(deps, kubelet_stop).await.map_err(|error| Failure::part("kubelet")(&error))
    });
    let serve_stop = stop.clone();
    parts.spawn(async move { serve::run(server, source, runtime, api, serve_stop).await });
    first_end("agent", parts, &stop).await
}

//! Putting the parts together. Enters: options. Leaves: running parts, until a signal or until one of them ends.

use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use xebec_apiserver::{ApiServer, Config};
use xebec_identity::User;
use xebec_identity::pki::Pki;
use xebec_program::{Failure, first_end};
use xebec_store::{Embedded, Etcd, Store};

use crate::options::{ControllerOptions, SchedulerOptions, Server};
use crate::ranges::ServiceRanges;
use crate::{certs, client, etcd, service_dns, store};

/// The API server, and with `all` the controllers and the scheduler on its in-memory client.
pub(crate) async fn server(options: Server, all: bool, stop: CancellationToken) -> Result<(), Failure> {
    let started = std::time::Instant::now();
    // Of the controllers' options, too, the wrong ones are told before anything starts.
    let controllers = options.pod_ranges.controllers(&options.service_ranges)?;
    let own = options.service_ranges.firsts();
    let names = certs::options(&own, options.advertise_address, &options.cluster_domain);
    let pki =
        Pki::ensure(&options.cert_dir, &names).map_err(|error| Failure::part("certificates")(&error))?;

    let mut config = Config::new(options.cert_dir.clone(), options.advertise_address);
    config.bind = (xebec_program::every_family(options.bind_address), options.secure_port).into();
    config.advertise_port = options.secure_port;
    config.service_cluster_ip_range = options.service_ranges.texts();
    config.event_ttl = options.event_ttl;
    config.compaction_interval = options.compaction_interval;
    config.priority_and_fairness = options.priority_and_fairness;
    config.max_requests_in_flight = options.max_requests_inflight;
    config.max_mutating_requests_in_flight = options.max_mutating_requests_inflight;
    config.service_account_issuer = format!("https://kubernetes.default.svc.{}", options.cluster_domain);
    config.runtime_config = options.runtime_config.clone();
    config.enable_admission_plugins.clone_from(&options.enable_admission_plugins);
    config.disable_admission_plugins.clone_from(&options.disable_admission_plugins);
    config.admission_control_config_file.clone_from(&options.admission_control_config_file);
    config.default_not_ready_toleration_seconds = options.default_not_ready_toleration_seconds;
    config.default_unreachable_toleration_seconds = options.default_unreachable_toleration_seconds;
    // Before anything else is started: a port in use is the most common mistake.
    let listener =
        xebec_apiserver::bind(config.bind).await.map_err(|error| Failure::part("API server")(&error))?;
    config.anonymous_auth = options.security.anonymous();
    config.identity = options.security.identity()?;
    config.audit = options.security.auditor().await?;
    let store = options.security.encrypted(open_store(&options, &stop).await?, &stop)?;
    let api = ApiServer::build(config, store).await.map_err(|error| Failure::part("API server")(&error))?;
    let url =
        format!("https://{}", std::net::SocketAddr::new(options.advertise_address, options.secure_port));
    pki.ensure_kubeconfigs(&options.kubeconfig_dir, &url)
        .map_err(|error| Failure::part("kubeconfigs")(&error))?;

    let mut parts = JoinSet::new();
    let (served, serve_stop) = (Arc::clone(&api), stop.clone());
    parts.spawn(async move {
        served.serve(listener, serve_stop).await.map_err(|error| Failure::part("API server")(&error))
    });
    api.ready().await;
    tracing::info!(url, ready_ms = started.elapsed().as_millis(), "API server serves");
    if all {
        let local = |name: &str| api.local_client(User::system_master(name));
        service_dns::ensure(&local("xebec:bootstrap"), &options.cluster_dns).await;
        let controllers = xebec_controllers::Options {
            root_ca: pki.ca_pem().to_owned(),
            signing: Some(signing_authority(&pki)?),
            ..controllers
        };
        parts.spawn(run_controllers(local("system:kube-controller-manager"), controllers, stop.clone()));
        let scheduler = xebec_scheduler::Options::default();
        parts.spawn(run_scheduler(local("system:kube-scheduler"), scheduler, stop.clone()));
    }
    let outcome = first_end("control plane", parts, &stop).await;
    api.shutdown();
    outcome
}

async fn open_store(options: &Server, stop: &CancellationToken) -> Result<Arc<dyn Store>, Failure> {
    let failed = |error: &dyn std::error::Error| Failure::part("store")(error);
    if options.etcd_servers.is_empty() {
        let path = options.data_dir.join(store::FILE);
        let opened = Embedded::open(&path, xebec_store::embedded::Options::default());
        let store = opened.map_err(|error| failed(&error))?;
        store::socket::serve(&options.data_dir, Arc::clone(&store), stop.clone());
        return Ok(store);
    }
    let etcd = etcd::options(options.etcd_cafile.as_deref(), options.etcd_client.as_ref())?;
    Ok(Etcd::connect(&options.etcd_servers, etcd).await.map_err(|error| failed(&error))?)
}

/// The cluster's CA as the signer of certificate requests, for a year at most (upstream's default).
fn signing_authority(pki: &Pki) -> Result<xebec_controllers::SigningAuthority, Failure> {
    let path = pki.path("ca.key");
    let key = std::fs::read_to_string(&path)
        .map_err(|error| Failure::Option(format!("{}: {error}", path.display())))?;
    let longest = std::time::Duration::from_secs(365 * 24 * 3600);
    xebec_controllers::SigningAuthority::from_pem(pki.ca_pem(), &key, longest)
        .map_err(|error| Failure::part("certificate signing")(&error))
}

/// The controllers over the network.
pub(crate) async fn controllers_alone(
    options: &ControllerOptions,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let services = ServiceRanges::parse(&options.service_cluster_ip_range)?;
    let ranges = options.pod_ranges.controllers(&services)?;
    let path = options.root_ca_file.display();
    let root_ca = std::fs::read_to_string(&options.root_ca_file)
        .map_err(|error| Failure::Option(format!("--root-ca-file {path}: {error}")))?;
    let client = client::from_kubeconfig(&options.kubeconfig).await?;
    let controllers = xebec_controllers::Options { root_ca, ..ranges };
    run_controllers(client, controllers, stop).await
}

/// The scheduler over the network.
pub(crate) async fn scheduler_alone(
    options: &SchedulerOptions,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let client = client::from_kubeconfig(&options.kubeconfig).await?;
    let scheduler = xebec_scheduler::Options { scheduler_name: options.scheduler_name.clone() };
    run_scheduler(client, scheduler, stop).await
}

async fn run_controllers(
    client: kube::Client,
    options: xebec_controllers::Options,
    stop: CancellationToken,
) -> Result<(), Failure> {
    xebec_controllers::run(client, options, stop).await.map_err(|error| Failure::part("controllers")(&error))
}

async fn run_scheduler(
    client: kube::Client,
    options: xebec_scheduler::Options,
    stop: CancellationToken,
) -> Result<(), Failure> {
    xebec_scheduler::run(client, options, stop).await.map_err(|error| Failure::part("scheduler")(&error))
}

//! What all controllers share: one reflector per kind, the way to write, Events, time and chance.
//!
//! Enters: a client and the options. Leaves: a [`World`]; [`World::follow`] starts the reflectors once every controller
//! has registered its handlers.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{
    ConfigMap, Endpoints, Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, ResourceQuota,
    Secret, Service, ServiceAccount,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::ClusterRole;
use k8s_openapi::api::resource::v1::ResourceClaim;
use k8s_openapi::api::storage::v1::VolumeAttributesClass;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::runtime::watcher;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::cache::{Cache, Cached};
use super::census::Census;
use super::events::{Recorder, Sink};
use super::time::Clock;
use super::write::Writer;
use crate::Options;
use crate::loadbalancer::DEFINITION;
use crate::loadbalancer::pool::LoadBalancerPool;

/// The shared state of the controllers of one process.
pub struct World {
    /// The way to write.
    pub writer: Writer,
    /// Events.
    pub events: Recorder,
    /// Time.
    pub clock: Clock,
    /// What the operator chose.
    pub options: Options,
    rng: Mutex<StdRng>,
    /// Namespaces.
    pub namespaces: Arc<Cache<Namespace>>,
    /// Service accounts.
    pub service_accounts: Arc<Cache<ServiceAccount>>,
    /// The ConfigMaps named `kube-root-ca.crt`, no others.
    pub root_cas: Arc<Cache<ConfigMap>>,
    /// CertificateSigningRequests.
    pub signing_requests: Arc<Cache<CertificateSigningRequest>>,
    /// ClusterRoles.
    pub cluster_roles: Arc<Cache<ClusterRole>>,
    /// The Secrets of bootstrap tokens in kube-system, no others.
    pub bootstrap_tokens: Arc<Cache<Secret>>,
    /// The ConfigMap `cluster-info` in kube-public (those of its name elsewhere too).
    pub cluster_infos: Arc<Cache<ConfigMap>>,
    /// Pods.
    pub pods: Arc<Cache<Pod>>,
    /// Nodes.
    pub nodes: Arc<Cache<Node>>,
    /// The Leases of kube-node-lease.
    pub node_leases: Arc<Cache<Lease>>,
    /// Services.
    pub services: Arc<Cache<Service>>,
    /// The definition of the pools that load balancers get addresses from, no others.
    pub pool_definitions: Arc<Cache<CustomResourceDefinition>>,
    /// Those pools; followed once their kind is served.
    pub pools: Arc<Cache<LoadBalancerPool>>,
    /// Legacy Endpoints.
    pub endpoints: Arc<Cache<Endpoints>>,
    /// EndpointSlices.
    pub slices: Arc<Cache<EndpointSlice>>,
    /// ReplicaSets.
    pub replica_sets: Arc<Cache<ReplicaSet>>,
    /// Deployments.
    pub deployments: Arc<Cache<Deployment>>,
    /// StatefulSets.
    pub stateful_sets: Arc<Cache<StatefulSet>>,
    /// DaemonSets.
    pub daemon_sets: Arc<Cache<DaemonSet>>,
    /// ControllerRevisions.
    pub revisions: Arc<Cache<ControllerRevision>>,
    /// Persistent volume claims.
    pub claims: Arc<Cache<PersistentVolumeClaim>>,
    /// Jobs.
    pub jobs: Arc<Cache<Job>>,
    /// CronJobs.
    pub cron_jobs: Arc<Cache<CronJob>>,
    /// PodDisruptionBudgets.
    pub budgets: Arc<Cache<PodDisruptionBudget>>,
    /// ResourceQuotas.
    pub quotas: Arc<Cache<ResourceQuota>>,
    /// Persistent volumes.
    pub volumes: Arc<Cache<PersistentVolume>>,
    /// VolumeAttributesClasses.
    pub attributes_classes: Arc<Cache<VolumeAttributesClass>>,
    /// ResourceClaims.
    pub resource_claims: Arc<Cache<ResourceClaim>>,
    /// How many objects of every resource there are.
    pub census: Arc<Census>,
}

impl World {
    /// A world with empty caches, and the sink that writes its Events.
    pub fn new(client: kube::Client, options: Options) -> (Arc<Self>, Sink) {
        let (events, sink) = Recorder::new();
        let rng = options.seed.map_or_else(StdRng::from_os_rng, StdRng::seed_from_u64);
        let world = Self {
            writer: Writer::new(client),
            events,
            clock: options.clock.clone(),
            options,
            rng: Mutex::new(rng),
            namespaces: Arc::default(),
            service_accounts: Arc::default(),
            root_cas: Arc::default(),
            signing_requests: Arc::default(),
            cluster_roles: Arc::default(),
            bootstrap_tokens: Arc::default(),
            cluster_infos: Arc::default(),
            pods: Arc::default(),
            nodes: Arc::default(),
            node_leases: Arc::default(),
            services: Arc::default(),
            pool_definitions: Arc::default(),
            pools: Arc::default(),
            endpoints: Arc::default(),
            slices: Arc::default(),
            replica_sets: Arc::default(),
            deployments: Arc::default(),
            stateful_sets: Arc::default(),
            daemon_sets: Arc::default(),
            revisions: Arc::default(),
            claims: Arc::default(),
            jobs: Arc::default(),
            cron_jobs: Arc::default(),
            budgets: Arc::default(),
            quotas: Arc::default(),
            volumes: Arc::default(),
            attributes_classes: Arc::default(),
            resource_claims: Arc::default(),
            census: Arc::default(),
        };
        (Arc::new(world), sink)
    }

    /// Draws a random number.
    pub fn random(&self) -> u64 {
        self.rng.lock().random()
    }

    /// A random suffix out of the alphabet of generated names.
    pub fn random_suffix(&self, length: usize) -> String {
        xebec_api::names::random_suffix(length, &mut *self.rng.lock())
    }

    /// Starts the reflectors, but for that of `pools`.
    pub fn follow(&self, tasks: &mut JoinSet<()>, cancel: &CancellationToken) {
        let all = watcher::Config::default;
        self.spawn(tasks, cancel, &self.namespaces, all());
        self.spawn(tasks, cancel, &self.service_accounts, all());
        self.spawn(tasks, cancel, &self.root_cas, all().fields("metadata.name=kube-root-ca.crt"));
        self.spawn(tasks, cancel, &self.signing_requests, all());
        self.spawn(tasks, cancel, &self.cluster_roles, all());
        let tokens = "metadata.namespace=kube-system,type=bootstrap.kubernetes.io/token";
        self.spawn(tasks, cancel, &self.bootstrap_tokens, all().fields(tokens));
        self.spawn(tasks, cancel, &self.cluster_infos, all().fields("metadata.name=cluster-info"));
        self.spawn(tasks, cancel, &self.pods, all());
        self.spawn(tasks, cancel, &self.nodes, all());
        self.spawn(tasks, cancel, &self.node_leases, all().fields("metadata.namespace=kube-node-lease"));
        self.spawn(tasks, cancel, &self.services, all());
        let definition = format!("metadata.name={DEFINITION}");
        self.spawn(tasks, cancel, &self.pool_definitions, all().fields(&definition));
        self.spawn(tasks, cancel, &self.endpoints, all());
        self.spawn(tasks, cancel, &self.slices, all());
        self.spawn(tasks, cancel, &self.replica_sets, all());
        self.spawn(tasks, cancel, &self.deployments, all());
        self.spawn(tasks, cancel, &self.stateful_sets, all());
        self.spawn(tasks, cancel, &self.daemon_sets, all());
        self.spawn(tasks, cancel, &self.revisions, all());
        self.spawn(tasks, cancel, &self.claims, all());
        self.spawn(tasks, cancel, &self.jobs, all());
        self.spawn(tasks, cancel, &self.cron_jobs, all());
        self.spawn(tasks, cancel, &self.budgets, all());
        self.spawn(tasks, cancel, &self.quotas, all());
        self.spawn(tasks, cancel, &self.volumes, all());
        self.spawn(tasks, cancel, &self.attributes_classes, all());
        self.spawn(tasks, cancel, &self.resource_claims, all());
    }

    fn spawn<K: Cached>(
        &self,
        tasks: &mut JoinSet<()>,
        cancel: &CancellationToken,
        cache: &Arc<Cache<K>>,
        config: watcher::Config,
    ) {
        tasks.spawn(cache.clone().follow(self.writer.client().clone(), config, cancel.clone()));
    }
}

//! The server put together, started and stopped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::info;
use xebec_api::status::ApiError;
use xebec_flow::FlowControl;
use xebec_identity::authn::PeerAuthorities;
use xebec_identity::pki::tls::{TlsError, server_config_for};
use xebec_identity::reload::Reloads;
use xebec_identity::token::{TokenError, TokenSigner, TokenVerifier};
use xebec_identity::{Authenticator, Authorizer};
use xebec_store::Store;

use crate::admission::{self, Admission};
use crate::aggregate::{self, Aggregator};
use crate::config::Config;
use crate::custom::{Definitions, Webhooks};
use crate::discovery::Documents;
use crate::gateway::{Dialer, GatewayError};
use crate::identity::{Followed, IdentityError};
use crate::registry::{AllocError, Allocators, Registry};
use crate::resources::{self, Resources, stored_as};
use crate::serve::fairness;
use crate::serve::limits::InFlight;
use crate::serve::metrics::Metrics;
use crate::watch::{Caches, FeederError};
use crate::{bootstrap, id, maintenance, watch};

/// The server cannot be put together.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The token key is missing or wrong.
    #[error("service account key: {0}")]
    Token(#[from] TokenError),
    /// The options of authentication or authorization are wrong.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The client certificate for kubelets is missing or wrong.
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    /// The service ranges are wrong.
    #[error("--service-cluster-ip-range: {0}")]
    Ranges(#[from] AllocError),
    /// The store cannot be read.
    #[error(transparent)]
    Caches(#[from] FeederError),
    /// The objects every cluster has cannot be written.
    #[error("bootstrap: {0}")]
    Bootstrap(#[from] bootstrap::BootstrapError),
    /// The stored Services cannot be read.
    #[error("service addresses: {0}")]
    Allocation(ApiError),
    /// The admission plug-ins or their configuration are wrong.
    #[error(transparent)]
    Admission(#[from] admission::ConfigurationError),
}

/// The server cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The serving certificate or client CA is missing or wrong.
    #[error("serving certificate: {0}")]
    Tls(#[from] TlsError),
}

/// The API server.
pub struct ApiServer {
    pub(crate) config: Config,
    pub(crate) registry: Arc<Registry>,
    pub(crate) authenticator: Arc<Authenticator>,
    pub(crate) authorizer: Arc<Authorizer>,
    pub(crate) dialer: Arc<Dialer>,
    pub(crate) aggregator: Arc<Aggregator>,
    pub(crate) openapi: Documents,
    pub(crate) in_flight: InFlight,
    pub(crate) flow: Option<Arc<FlowControl>>,
    pub(crate) metrics: Metrics,
    /// How the reloads of configuration files went.
    pub(crate) reloads: Vec<Arc<Reloads>>,
    /// Names this server among several.
    pub(crate) id: String,
    ready: AtomicBool,
    draining: CancellationToken,
    stop: CancellationToken,
}

impl ApiServer {
    /// Builds the server on a store: fills the caches, rebuilds allocations, writes what every cluster has.
    ///
    /// The PKI files must exist. The server's background tasks end with [`ApiServer::shutdown`].
    pub async fn build(config: Config, store: Arc<dyn Store>) -> Result<Arc<Self>, BuildError> {
        let stop = CancellationToken::new();
        let stored = resources::built_in().filter(|r| r.storage).map(stored_as);
        let caches = Arc::new(Caches::new(stored.map(|r| (r.group, r.plural))));
        watch::start(Arc::clone(&store), Arc::clone(&caches), stop.clone()).await?;
        let reader: Arc<Caches> = Arc::clone(&caches);
        let mut followed = Followed::new(stop.clone());
        let authorizer = config.identity.authorizer(reader.clone(), &mut followed).await?;
        let issuers = vec![config.service_account_issuer.clone()];
        let verifier = TokenVerifier::load(&config.pki_dir.join("sa.pub"), &issuers)?;
        let signer = TokenSigner::load(&config.pki_dir.join("sa.key"), &config.service_account_issuer)?;
        let issuer = config.service_account_issuer.clone();
        let anonymous = config.anonymous_auth;
        let authenticator =
            config.identity.authenticator(reader, verifier, anonymous, &issuer, &mut followed).await?;
        let file = |name: &str| config.pki_dir.join(name);
        let dialer = Arc::new(Dialer::new(
            &file("ca.crt"),
            &file("apiserver-kubelet-client.crt"),
            &file("apiserver-kubelet-client.key"),
        )?);
        let allocators =
            Allocators::new(&config.service_cluster_ip_range, config.service_node_port_range.clone())?;
        let clock = Arc::new(Timestamp::now);
        let resources = Arc::new(Resources::new(&caches, &config.runtime_config));
        let (plugins, settings) = admission::configuration(&config)?;
        let admission = Admission::new(
            Arc::clone(&caches),
            Arc::clone(&resources),
            Arc::clone(&store),
            Arc::clone(&authorizer),
            plugins,
            settings,
        );
        let signer = Arc::new(signer);
        let registry =
            Arc::new(Registry::new(store, caches, resources, admission, allocators, signer, clock));
        registry.rebuild_allocations().await.map_err(BuildError::Allocation)?;
        bootstrap::run(&registry, &config).await?;
        bootstrap::keep(&registry, &config, &stop);
        let services = Arc::new(admission::Services::new(Arc::clone(registry.caches())));
        let mut definitions = Definitions::new(Arc::clone(&registry), Arc::new(Webhooks::new(services)));
        definitions.load().await?;
        definitions.start(stop.clone());
        admission::start_type_checking(Arc::clone(&registry), stop.clone());
        let front_proxy = (file("front-proxy-client.crt"), file("front-proxy-client.key"));
        let aggregator = Arc::new(Aggregator::new(Arc::clone(&registry), Arc::clone(&dialer), front_proxy));
        aggregate::start(&aggregator, stop.clone()).await;
        let total = config.max_requests_in_flight + config.max_mutating_requests_in_flight;
        let flow = config.priority_and_fairness.then(|| Arc::new(FlowControl::new(total)));
        if let Some(flow) = &flow {
            fairness::start(Arc::clone(flow), Arc::clone(&registry), stop.clone());
        }
        maintenance::start(Arc::clone(&registry), config.event_ttl, config.compaction_interval, stop.clone());
        info!(revision = registry.caches().applied(), "API server ready");
        let openapi = Documents::new(config.runtime_config.served());
        Ok(Arc::new(Self {
            config,
            registry,
            authenticator,
            authorizer,
            dialer,
            openapi,
            aggregator,
            in_flight: InFlight::default(),
            flow,
            metrics: Metrics::default(),
            reloads: followed.reloads,
            id: id::of_this_host(),
            ready: AtomicBool::new(true),
            draining: CancellationToken::new(),
            stop,
        }))
    }

    /// Serves TLS on `listener` until `stop`; returns when the last request is done or the grace period is over.
    pub async fn serve(
        self: &Arc<Self>,
        listener: TcpListener,
        stop: CancellationToken,
    ) -> Result<(), ServeError> {
        let file = |name: &str| self.config.pki_dir.join(name);
        let (cert, key) = (file("apiserver.crt"), file("apiserver.key"));
        let (ca, proxy_ca) = (file("ca.crt"), file("front-proxy-ca.crt"));
        let tls = server_config_for(&cert, &key, &[&ca, &proxy_ca], &["h2", "http/1.1"])?;
        let authorities = Arc::new(PeerAuthorities::load(&ca, Some(&proxy_ca))?);
        let router = crate::serve::router(Arc::clone(self));
        let draining = self.draining.clone();
        let watcher = stop.clone();
        let drain = tokio::spawn(async move {
            watcher.cancelled().await;
            draining.cancel();
        });
        let grace = self.config.shutdown_grace;
        crate::serve::listener::serve(listener, router, Arc::new(tls), authorities, stop, grace).await;
        drain.abort();
        Ok(())
    }

    /// Whether requests are answered from complete caches.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// Waits until the server is ready and its caches are at the store's head.
    pub async fn ready(&self) {
        while !self.is_ready() || self.registry.settle().await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Ends watches and the background tasks; requests after it find a server that is no longer kept up to date.
    pub fn shutdown(&self) {
        self.ready.store(false, Ordering::Release);
        self.draining.cancel();
        self.stop.cancel();
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    pub(crate) fn draining(&self) -> CancellationToken {
        self.draining.clone()
    }
}

//! The Service through which pods reach the API, its Endpoints and its EndpointSlice, kept for as long as the server runs.
//!
//! Enters: where this server is. Leaves: the three objects, made again or put right within [`EVERY`] when somebody
//! deletes or changes them. Of a Service that exists only ports and type are put right, and only at the start: the rest
//! is an operator's. Called by [`super::run`], then by a task of its own, which also keeps what they stand on.
//!
//! Authority: `pkg/controlplane/controller/{kubernetesservice,systemnamespaces,defaultservicecidr}`.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{BootstrapError, Existing, ensure, foundations, objects, own_context};
use crate::config::Config;
use crate::registry::Registry;

/// How often the objects are looked at: upstream's `DefaultEndpointReconcilerInterval`.
const EVERY: Duration = Duration::from_secs(10);

/// Where this server is reached.
#[derive(Clone, Copy)]
pub(super) struct Place {
    address: IpAddr,
    port: u16,
}

impl Place {
    pub(super) fn of(config: &Config) -> Self {
        Self { address: config.advertise_address, port: config.advertise_port }
    }
}

/// Makes the objects what they must be, once.
pub(super) async fn reconcile(
    registry: &Registry,
    place: Place,
    service: Existing,
) -> Result<(), BootstrapError> {
    let context = own_context();
    let address = registry.allocators().first_address();
    ensure(registry, &context, objects::service(address, place.port), service).await?;
    for endpoints in objects::endpoints(place.address, place.port) {
        ensure(registry, &context, endpoints, Existing::Overwrite).await?;
    }
    Ok(())
}

/// Keeps them until `stop`.
pub(super) fn keep(registry: Arc<Registry>, config: &Config, stop: CancellationToken) {
    let place = Place::of(config);
    let work = async move {
        loop {
            tokio::time::sleep(EVERY).await;
            let put_right = async {
                foundations(&registry).await?;
                reconcile(&registry, place, Existing::Keep).await
            };
            if let Err(error) = put_right.await {
                warn!(%error, "what every cluster has cannot be put right");
            }
        }
    };
    tokio::spawn(stop.run_until_cancelled_owned(work));
}

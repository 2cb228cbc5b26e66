//! Following the API server. Enters: watch events. Leaves: changes of the index. A lost connection is retried with
//! back-off by kube-rs; meanwhile the index stands.

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use tokio::sync::watch;

use crate::world::{Shared, World};

/// Follows Services, EndpointSlices and Namespaces for ever.
pub(crate) async fn follow(client: Client, world: Shared) {
    let (services, slices, namespaces) =
        (watch::Sender::new(false), watch::Sender::new(false), watch::Sender::new(false));
    let mut first = [services.subscribe(), slices.subscribe(), namespaces.subscribe()];
    let when_synced = async {
        for receiver in &mut first {
            if receiver.wait_for(|synced| *synced).await.is_err() {
                return std::future::pending().await;
            }
        }
        world.set_synced();
        std::future::pending::<()>().await
    };
    tokio::join!(
        one::<Service>(
            client.clone(),
            &world,
            &services,
            |w| w.services.clear(),
            World::put_service,
            World::remove_service
        ),
        one::<EndpointSlice>(
            client.clone(),
            &world,
            &slices,
            |w| w.slices.clear(),
            World::put_slice,
            World::remove_slice
        ),
        one::<Namespace>(
            client,
            &world,
            &namespaces,
            |w| w.namespaces.clear(),
            |w, namespace| w.namespaces.extend(namespace.metadata.name.clone()),
            |w, namespace| {
                namespace.metadata.name.as_ref().map(|name| w.namespaces.remove(name));
            },
        ),
        when_synced,
    );
}

/// One kind. A relist is gathered first and then swapped in, so that no name disappears while it runs.
async fn one<K>(
    client: Client,
    world: &Shared,
    synced: &watch::Sender<bool>,
    clear: fn(&mut World),
    put: fn(&mut World, &K),
    remove: fn(&mut World, &K),
) where
    K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde_bound::Object,
{
    let mut events =
        watcher::watcher(Api::<K>::all(client), watcher::Config::default()).default_backoff().boxed();
    let mut gathered = Vec::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => gathered.clear(),
            Ok(Event::InitApply(object)) => gathered.push(object),
            Ok(Event::InitDone) => {
                world.change(|world| {
                    clear(world);
                    gathered.drain(..).for_each(|object| put(world, &object));
                });
                synced.send_replace(true);
            }
            Ok(Event::Apply(object)) => world.change(|world| put(world, &object)),
            Ok(Event::Delete(object)) => world.change(|world| remove(world, &object)),
            Err(error) => {
                tracing::warn!(%error, kind = std::any::type_name::<K>(), "DNS serves what it knows")
            }
        }
    }
}

/// What kube-rs asks of a watched kind.
mod serde_bound {
    /// Decodable and shareable.
    pub(crate) trait Object: k8s_openapi::serde::de::DeserializeOwned + Send + Sync + 'static {}
    impl<T: k8s_openapi::serde::de::DeserializeOwned + Send + Sync + 'static> Object for T {}
}

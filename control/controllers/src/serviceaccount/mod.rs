//! The ServiceAccount `default` and the ConfigMap `kube-root-ca.crt` of every active namespace.
//!
//! Enters: namespaces, service accounts, root CA ConfigMaps. Leaves: both objects, made again when deleted or changed.

mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::machinery::{Failed, Key, Queue, World, work};

/// Wires the controller.
pub fn start(world: &Arc<World>, tasks: &mut JoinSet<()>, cancel: &CancellationToken) {
    let queue = Arc::new(Queue::<String>::default());
    let adder = queue.clone();
    world.namespaces.on_change(move |change| adder.add(Key::of(&**change.object()).name));
    let adder = queue.clone();
    world.service_accounts.on_change(move |change| {
        let key = Key::of(&**change.object());
        if key.name == plan::ACCOUNT {
            adder.add(key.namespace);
        }
    });
    let adder = queue.clone();
    world.root_cas.on_change(move |change| adder.add(Key::of(&**change.object()).namespace));
    let (world, cancel) = (world.clone(), cancel.clone());
    tasks.spawn(async move {
        world.namespaces.wait_synced().await;
        world.service_accounts.wait_synced().await;
        world.root_cas.wait_synced().await;
        let workers = world.options.concurrency;
        work("serviceaccount", queue, workers, cancel, move |namespace| {
            let world = world.clone();
            async move { reconcile(&world, &namespace).await }
        })
        .await;
    });
}

async fn reconcile(world: &World, namespace: &str) -> Result<Option<Duration>, Failed> {
    let Some(found) = world.namespaces.get(&Key::new("", namespace)) else { return Ok(None) };
    if !plan::is_active(&found) {
        return Ok(None);
    }
    if world.service_accounts.get(&Key::new(namespace, plan::ACCOUNT)).is_none() {
        tolerate(world.writer.create(&plan::account(namespace)).await)?;
    }
    if world.options.root_ca.is_empty() {
        return Ok(None);
    }
    let current = world.root_cas.get(&Key::new(namespace, plan::ROOT_CA));
    match plan::root_ca(namespace, current.as_deref(), &world.options.root_ca) {
        plan::RootCa::Fine => {}
        plan::RootCa::Create(wanted) => tolerate(world.writer.create(&wanted).await)?,
        plan::RootCa::Update(wanted) => tolerate(world.writer.replace(&wanted).await)?,
    }
    Ok(None)
}

/// Made by somebody else meanwhile, or the namespace is going: both are fine.
fn tolerate<K>(outcome: Result<K, Failed>) -> Result<(), Failed> {
    match outcome {
        Err(error) if !error.already_exists() && !error.namespace_terminating() && !error.is_not_found() => {
            Err(error)
        }
        _ => Ok(()),
    }
}

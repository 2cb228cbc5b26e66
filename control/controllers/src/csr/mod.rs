//! Certificate signing requests: the built-in signers, approval of nodes' own requests, and removal of what is over.
//!
//! Enters: CertificateSigningRequests. Leaves: `status.certificate` for approved requests of the four built-in signers,
//! approvals of kubelets' client certificates that a SubjectAccessReview allows, deletions of old requests. Without a
//! signing authority ([`crate::Options::signing`]) nothing is signed.

mod plan;
mod request;
mod sign;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::machinery::time::seconds;
use crate::machinery::{Failed, Key, Queue, World, work};
use plan::Signing;
use request::Parsed;
pub use sign::{SigningAuthority, SigningError};

/// How often old requests are looked for.
const CLEAN_EVERY: Duration = Duration::from_secs(3600);

/// Wires the controllers.
pub fn start(world: &Arc<World>, tasks: &mut JoinSet<()>, cancel: &CancellationToken) {
    let queue = Arc::new(Queue::<String>::default());
    let adder = queue.clone();
    world.signing_requests.on_change(move |change| adder.add(Key::of(&**change.object()).name));
    let (own, stop) = (world.clone(), cancel.clone());
    tasks.spawn(async move {
        own.signing_requests.wait_synced().await;
        let workers = own.options.concurrency;
        work("csr", queue, workers, stop, move |name| {
            let world = own.clone();
            async move { reconcile(&world, &name).await }
        })
        .await;
    });
    let (own, stop) = (world.clone(), cancel.clone());
    tasks.spawn(async move {
        own.signing_requests.wait_synced().await;
        loop {
            clean(&own).await;
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(CLEAN_EVERY) => {}
            }
        }
    });
}

async fn clean(world: &World) {
    let now = world.clock.now();
    for request in world.signing_requests.list() {
        let Some(reason) = plan::is_over(&request, now) else { continue };
        match world.writer.delete_object(&*request).await {
            Ok(()) => tracing::info!(name = request.metadata.name, reason, "signing request removed"),
            Err(error) if error.is_not_found() || error.is_conflict() => {}
            Err(error) => tracing::warn!(%error, "signing request not removed"),
        }
    }
}

async fn reconcile(world: &World, name: &str) -> Result<Option<Duration>, Failed> {
    let Some(request) = world.signing_requests.get(&Key::new("", name)) else { return Ok(None) };
    let outcome = match plan::next(&request) {
        plan::Next::Nothing => return Ok(None),
        plan::Next::Approve => approve(world, &request).await,
        plan::Next::Sign => sign(world, &request).await,
    };
    match outcome {
        Err(error) if error.is_not_found() || error.is_conflict() => Ok(None),
        other => other.map(|()| None),
    }
}

/// Approves a kubelet's request if the requester may make such requests.
async fn approve(world: &World, request: &CertificateSigningRequest) -> Result<(), Failed> {
    let Ok(parsed) = Parsed::read(&request.spec.request.0) else { return Ok(()) };
    for way in plan::approvals(&request.spec, &parsed) {
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: request.spec.username.clone(),
                uid: request.spec.uid.clone(),
                groups: request.spec.groups.clone(),
                extra: request.spec.extra.clone(),
                resource_attributes: Some(ResourceAttributes {
                    group: Some("certificates.k8s.io".to_owned()),
                    resource: Some("certificatesigningrequests".to_owned()),
                    verb: Some("create".to_owned()),
                    version: Some("*".to_owned()),
                    subresource: Some(way.subresource.to_owned()),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let answered = world.writer.create(&review).await?;
        if answered.status.is_some_and(|status| status.allowed) {
            let mut approved = request.clone();
            let condition = condition(world, "Approved", "AutoApproved", way.message);
            approved.status.get_or_insert_default().conditions.get_or_insert_default().push(condition);
            world.writer.replace_sub("approval", &approved).await?;
            return Ok(());
        }
    }
    Ok(())
}

fn condition(world: &World, kind: &str, reason: &str, message: &str) -> CertificateSigningRequestCondition {
    let now = seconds(world.clock.now());
    CertificateSigningRequestCondition {
        type_: kind.to_owned(),
        status: "True".to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_update_time: Some(now.clone()),
        last_transition_time: Some(now),
    }
}

async fn sign(world: &World, request: &CertificateSigningRequest) -> Result<(), Failed> {
    let Some(authority) = &world.options.signing else { return Ok(()) };
    let outcome =
        Parsed::read(&request.spec.request.0).map_err(|error| error.to_string()).and_then(|parsed| {
            match plan::check(&request.spec, &parsed) {
                Signing::Refused(reason) => Err(reason),
                Signing::Granted(grant) => {
                    authority.sign(&parsed, &grant, world.clock.now()).map_err(|error| error.to_string())
                }
            }
        });
    let mut signed = request.clone();
    let status = signed.status.get_or_insert_default();
    match outcome {
        Ok(pem) => status.certificate = Some(ByteString(pem.into_bytes())),
        Err(reason) => {
            tracing::info!(name = request.metadata.name, reason, "signing request refused");
            let failed = condition(world, "Failed", "SignerValidationFailure", &reason);
            status.conditions.get_or_insert_default().push(failed);
        }
    }
    world.writer.replace_status(&signed).await?;
    Ok(())
}

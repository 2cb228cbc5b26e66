//! ValidatingAdmissionWebhook: all that are concerned are asked at once; the first refusal to arrive is the answer.

use std::time::Instant;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use serde_json::Value;
use xebec_api::status::ApiError;

use super::{Flavor, Round, Webhooks};
use crate::versions::Versions;
use crate::{Attributes, Record, World};

/// Key of the audit annotation of a webhook that failed open.
const FAILED_OPEN: &str = "failed-open.validating.webhook.admission.k8s.io/";

impl Webhooks {
    /// Asks every concerned validating webhook. All are waited for, as upstream: a refusal must not leave the others'
    /// side effects half done, and their warnings belong to the answer too.
    pub(crate) async fn validate(
        &self,
        world: &World,
        attributes: &Attributes<'_>,
        object: Option<&Value>,
        record: &dyn Record,
    ) -> Result<(), ApiError> {
        let hooks = self.hooks(Flavor::Validating, world);
        if hooks.is_empty() {
            return Ok(());
        }
        let round = Round { world, client: &self.client, attributes, record, flavor: Flavor::Validating };
        let mut versions = Versions::new(world.types.as_ref(), attributes, object);
        let mut concerned = Vec::new();
        for hook in hooks.iter() {
            let Some(matched) = round.matched(hook, object)? else { continue };
            let objects = versions.get(&matched.kind).await?;
            if round.conditions_hold(hook, &matched, &objects)? {
                concerned.push((hook, matched, objects));
            }
        }
        if concerned.is_empty() {
            return Ok(());
        }
        attributes.check_deadline()?;
        let mut calls: FuturesUnordered<_> = concerned
            .iter()
            .enumerate()
            .map(|(index, (hook, matched, objects))| {
                let round = &round;
                async move {
                    let started = Instant::now();
                    let error = round.ask(hook, matched, objects).await.err();
                    round.count(hook, started, error.as_ref());
                    let key = format!("{FAILED_OPEN}round_0_index_{index}");
                    error.map_or(Ok(()), |error| round.settle(hook, error, &key))
                }
            })
            .collect();
        let mut first = Ok(());
        while let Some(result) = calls.next().await {
            first = first.and(result);
        }
        first
    }
}

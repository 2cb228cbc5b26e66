//! Does a demand fit, and what does it add to which quota? Pure.

use serde_json::Value;
use xebec_api::meta;
use xebec_api::status::{ApiError, Reason};
use xebec_quota::{ResourceList, ScopeSelector, hard, names_text, selectors, used};

use super::{Demand, LimitedResource};

/// A quota as a check sees it: `used` grows with every demand that was let through.
#[derive(Clone, Debug)]
pub(super) struct Quota {
    pub stored: Value,
    pub hard: ResourceList,
    pub used: ResourceList,
    scopes: Vec<ScopeSelector>,
}

impl Quota {
    pub fn new(stored: Value) -> Self {
        Self { hard: hard(&stored), used: used(&stored), scopes: selectors(&stored), stored }
    }

    pub fn name(&self) -> &str {
        meta::name(&self.stored)
    }

    /// Whether the quota is about the object: one of its limits counts such objects, and every scope selects it.
    fn covers(&self, demand: &Demand, object: &Value) -> bool {
        let limits = self.hard.iter().any(|(name, _)| demand.evaluator.counts(name));
        limits && self.scopes.iter().all(|scope| demand.evaluator.selects(scope, object))
    }
}

/// What a demand adds to the quota at an index.
#[derive(Clone, Debug)]
pub(super) struct Charge {
    pub quota: usize,
    pub amounts: ResourceList,
}

/// What the demand adds, or why it does not fit.
pub(super) fn check(
    quotas: &[Quota],
    demand: &Demand,
    limited: &[LimitedResource],
) -> Result<Vec<Charge>, ApiError> {
    let object = &*demand.object;
    let covering: Vec<usize> = (0..quotas.len()).filter(|i| quotas[*i].covers(demand, object)).collect();
    let mut restricted = Vec::new();
    for index in &covering {
        restricted.extend(restrict(&quotas[*index], demand)?);
    }
    let usage = demand.usage(object);
    let negative = usage.negative();
    if !negative.is_empty() {
        let names = names_text(&negative);
        return Err(demand.forbidden(format!("quota usage is negative for resource(s): {names}")));
    }
    // An update adds its growth to quotas that covered the object before, and all of it to others.
    let growth = demand.old.as_ref().map(|old| usage.minus(&demand.usage(old)));
    let amount = |index: usize| match (&growth, &demand.old) {
        (Some(growth), Some(old)) if quotas[index].covers(demand, old) => growth,
        _ => &usage,
    };
    let adds: Vec<(usize, ResourceList)> = covering
        .iter()
        .map(|index| (*index, amount(*index).clone().without_zeros()))
        .filter(|(_, added)| !added.is_empty())
        .collect();
    let uncovered_growth = growth.as_ref().unwrap_or(&usage).clone().without_zeros();
    let uncovered = covering.is_empty() && !uncovered_growth.is_empty();
    if adds.is_empty() && !uncovered {
        return Ok(Vec::new());
    }
    covered(quotas, demand, limited, &usage, &restricted)?;
    adds.into_iter().map(|(index, added)| charge(quotas, index, &added, demand)).collect()
}

/// The resources of a covering quota that the object can use; what it limits must be stated and counted.
fn restrict(quota: &Quota, demand: &Demand) -> Result<Vec<String>, ApiError> {
    let restricted = demand.evaluator.matching(&quota.hard.names());
    if let Some(missing) = demand.evaluator.missing(&restricted, &demand.object) {
        return Err(demand.forbidden(format!("failed quota: {}: {missing}", quota.name())));
    }
    if restricted.iter().any(|name| !quota.used.contains(name)) {
        let names = names_text(&restricted);
        return Err(
            demand.forbidden(format!("status unknown for quota: {}, resources: {names}", quota.name()))
        );
    }
    Ok(restricted)
}

/// What the configuration limits must be covered by some quota.
fn covered(
    quotas: &[Quota],
    demand: &Demand,
    limited: &[LimitedResource],
    usage: &ResourceList,
    restricted: &[String],
) -> Result<(), ApiError> {
    let of_this = |l: &&LimitedResource| l.api_group == demand.group && l.resource == demand.plural;
    let mut uncovered: Vec<String> = Vec::new();
    for limit in limited.iter().filter(of_this) {
        for (name, amount) in usage.iter() {
            let limits = limit.match_contains.iter().any(|part| name.contains(part.as_str()));
            if amount.sign() > 0 && limits && !restricted.iter().any(|covered| covered == name) {
                uncovered.push(name.to_owned());
            }
        }
    }
    uncovered.sort();
    uncovered.dedup();
    if !uncovered.is_empty() {
        return Err(demand.forbidden(format!("insufficient quota to consume: {}", uncovered.join(","))));
    }
    let selects = |scope: &&ScopeSelector| demand.evaluator.selects(scope, &demand.object);
    let matched: Vec<&ScopeSelector> =
        quotas.iter().flat_map(|quota| &quota.scopes).filter(selects).collect();
    let scopes = limited.iter().flat_map(|limit| &limit.match_scopes).filter(selects);
    let open: Vec<String> = scopes
        .filter(|scope| !matched.iter().any(|covering| covering.scope == scope.scope))
        .map(|scope| format!("{{{} {} [{}]}}", scope.scope, scope.operator, scope.values.join(" ")))
        .collect();
    if open.is_empty() {
        return Ok(());
    }
    // Upstream answers with a plain error here, not with a 403.
    let why = format!("insufficient quota to match these scopes: [{}]", open.join(" "));
    Err(ApiError::new(500, Reason::Unknown, why))
}

fn charge(quotas: &[Quota], index: usize, added: &ResourceList, demand: &Demand) -> Result<Charge, ApiError> {
    let quota = &quotas[index];
    let amounts = added.mask(&quota.hard.names());
    let mut after = quota.used.clone();
    after.add(&amounts);
    // What a status reports has happened already; it is counted, but not refused.
    let exceeded = after.mask(&amounts.names()).exceeding(&quota.hard);
    if demand.subresource != "status" && !exceeded.is_empty() {
        return Err(demand.forbidden(format!(
            "exceeded quota: {}, requested: {}, used: {}, limited: {}",
            quota.name(),
            amounts.mask(&exceeded),
            quota.used.mask(&exceeded),
            quota.hard.mask(&exceeded)
        )));
    }
    Ok(Charge { quota: index, amounts })
}

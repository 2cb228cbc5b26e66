//! Does a webhook or policy concern a request? Pure but for the namespace it reads.
//!
//! Enters: the rules and selectors of a configuration ([`Criteria`]), the request. Leaves: the resource and kind the
//! configuration wants to see it as ([`Matched`]). Called for every configuration at every write, so everything is
//! parsed once, when the configuration changes.

mod rules;
mod selectors;

pub use rules::{Rule, Scope};

use serde_json::Value;
use xebec_api::selector::LabelSelector;
use xebec_api::status::ApiError;
use xebec_identity::ObjectReader;

use crate::{Attributes, Kind, Resource, Types};

/// As what a request matched: its own resource, or an equivalent one the rule names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matched {
    /// The resource.
    pub resource: Resource,
    /// The kind objects are shown in.
    pub kind: Kind,
}

/// A configuration cannot be applied to a request it may concern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MatchError {
    /// The namespace is missing (404), or a selector is wrong (500).
    #[error("{0}")]
    Api(ApiError),
    /// An equivalent resource is served, its kind is not known.
    #[error("unable to convert to {0}: unknown kind")]
    UnknownKind(Resource),
}

/// What a configuration concerns.
#[derive(Clone, Debug)]
pub struct Criteria {
    /// Selects namespaces; the error of a selector that cannot be read.
    pub namespaces: Result<LabelSelector, String>,
    /// Selects objects, the old or the new one.
    pub objects: Result<LabelSelector, String>,
    /// One of these must match.
    pub rules: Vec<Rule>,
    /// None of these may.
    pub excluded: Vec<Rule>,
    /// Whether no rules at all stand for every request (policies) or for none (webhooks).
    pub all_without_rules: bool,
    /// `matchPolicy: Equivalent`: other versions and groups of the same objects match too.
    pub equivalent: bool,
}

impl Criteria {
    /// The criteria of one entry of a webhook configuration.
    #[must_use]
    pub fn of_webhook(webhook: &Value) -> Self {
        Self {
            namespaces: selector(&webhook["namespaceSelector"]),
            objects: selector(&webhook["objectSelector"]),
            rules: Rule::list(&webhook["rules"]),
            excluded: Vec::new(),
            all_without_rules: false,
            equivalent: webhook["matchPolicy"] != "Exact",
        }
    }

    /// The criteria of a policy's `matchConstraints` or a binding's `matchResources`.
    #[must_use]
    pub fn of_policy(resources: &Value) -> Self {
        Self {
            namespaces: selector(&resources["namespaceSelector"]),
            objects: selector(&resources["objectSelector"]),
            rules: Rule::list(&resources["resourceRules"]),
            excluded: Rule::list(&resources["excludeResourceRules"]),
            all_without_rules: true,
            equivalent: resources["matchPolicy"] != "Exact",
        }
    }

    /// As what the request matches; none when it does not concern this configuration. An error is only reported where
    /// everything else matches: what is not concerned is not disturbed by it.
    pub fn matches(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&Value>,
        reader: &dyn ObjectReader,
        types: &dyn Types,
    ) -> Result<Option<Matched>, MatchError> {
        let namespace = selectors::namespace(&self.namespaces, attributes, object, reader);
        if namespace == Ok(false) {
            return Ok(None);
        }
        let chosen = selectors::object(&self.objects, attributes, object);
        if chosen == Ok(false) {
            return Ok(None);
        }
        if self.rules_match(&self.excluded, attributes, types)?.is_some() {
            return Ok(None);
        }
        let matched = if self.rules.is_empty() && self.all_without_rules {
            Some(Matched { resource: attributes.resource.clone(), kind: attributes.kind.clone() })
        } else {
            self.rules_match(&self.rules, attributes, types)?
        };
        if matched.is_some() {
            namespace.map_err(MatchError::Api)?;
            chosen.map_err(MatchError::Api)?;
        }
        Ok(matched)
    }

    fn rules_match(
        &self,
        rules: &[Rule],
        attributes: &Attributes<'_>,
        types: &dyn Types,
    ) -> Result<Option<Matched>, MatchError> {
        if rules.iter().any(|rule| rule.matches(attributes, &attributes.resource)) {
            let (resource, kind) = (attributes.resource.clone(), attributes.kind.clone());
            return Ok(Some(Matched { resource, kind }));
        }
        if !self.equivalent || rules.is_empty() {
            return Ok(None);
        }
        let equivalents = types.equivalents(&attributes.resource, &attributes.subresource);
        for rule in rules {
            for resource in equivalents.iter().filter(|resource| **resource != attributes.resource) {
                if rule.matches(attributes, resource) {
                    let resource = resource.clone();
                    return match types.kind_for(&resource, &attributes.subresource) {
                        Some(kind) => Ok(Some(Matched { resource, kind })),
                        None => Err(MatchError::UnknownKind(resource)),
                    };
                }
            }
        }
        Ok(None)
    }
}

/// A selector; a missing one selects everything, as the default `{}` does.
fn selector(value: &Value) -> Result<LabelSelector, String> {
    if value.is_null() {
        return Ok(LabelSelector::default());
    }
    LabelSelector::from_object(value).map_err(|error| error.to_string())
}

/// `matchConditions` and `variables` as pairs of name and expression.
pub(crate) fn named_expressions(list: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let items = list.as_array().into_iter().flatten();
    items.map(|item| (text(&item["name"]), text(&item["expression"]))).collect()
}

#[cfg(test)]
mod tests;

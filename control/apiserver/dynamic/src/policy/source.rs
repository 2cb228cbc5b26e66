//! Policies and their bindings, read once per change; an unchanged policy is not compiled again.

use std::sync::Arc;

use serde_json::Value;
use xebec_api::meta;
use xebec_identity::ObjectReader;

use crate::Kind;
use crate::cache::Cached;
use crate::matching::{Criteria, MatchError, Matched};
use crate::{Attributes, Types};

/// A policy with its bindings. `E` is what its expressions are compiled to.
pub(super) struct Policy<E> {
    pub(super) name: String,
    version: (String, String),
    /// What it concerns; none is a mistake validation does not let through.
    criteria: Option<Criteria>,
    /// `failurePolicy: Ignore`.
    pub(super) ignores_failure: bool,
    /// The kind of its parameters.
    pub(super) param_kind: Option<Kind>,
    pub(super) bindings: Vec<Binding>,
    pub(super) compiled: Arc<E>,
}

/// A binding of a policy.
pub(super) struct Binding {
    pub(super) name: String,
    policy: String,
    criteria: Option<Criteria>,
    /// `paramRef`, null for none.
    pub(super) param_ref: Value,
    /// `validationActions`.
    pub(super) actions: Vec<String>,
}

/// All policies of one of the two kinds.
pub(super) struct Source<E> {
    cached: Cached<Vec<Policy<E>>>,
    compile: fn(&Value) -> E,
}

impl<E> Source<E> {
    /// Policies of the plural `policies`, bound by `bindings`.
    pub(super) fn new(policies: &'static str, bindings: &'static str, compile: fn(&Value) -> E) -> Self {
        Self { cached: Cached::new(&[policies, bindings]), compile }
    }

    /// The policies that are bound, by name, each with its bindings by name. (Upstream's order is a map's.)
    pub(super) fn policies(&self, reader: &dyn ObjectReader) -> Arc<Vec<Policy<E>>> {
        self.cached.get(reader, |objects, before| {
            let (policies, bindings) = match objects {
                [policies, bindings] => (policies.as_slice(), bindings.as_slice()),
                _ => return Vec::new(),
            };
            let mut bound: Vec<Policy<E>> = policies
                .iter()
                .filter_map(|policy| {
                    let bindings = bindings_of(meta::name(policy), bindings);
                    (!bindings.is_empty()).then(|| self.policy(policy, bindings, before))
                })
                .collect();
            bound.sort_by(|a, b| a.name.cmp(&b.name));
            bound
        })
    }

    fn policy(&self, policy: &Value, bindings: Vec<Binding>, before: Option<&Vec<Policy<E>>>) -> Policy<E> {
        let spec = &policy["spec"];
        let version = (meta::uid(policy).to_owned(), meta::resource_version(policy).to_owned());
        let known = before.into_iter().flatten().find(|known| {
            known.name == meta::name(policy) && known.version == version && !version.1.is_empty()
        });
        let compiled = match known {
            Some(known) => Arc::clone(&known.compiled),
            None => Arc::new((self.compile)(policy)),
        };
        let kind = &spec["paramKind"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Policy {
            name: meta::name(policy).to_owned(),
            version,
            criteria: spec["matchConstraints"]
                .is_object()
                .then(|| Criteria::of_policy(&spec["matchConstraints"])),
            ignores_failure: spec["failurePolicy"] == "Ignore",
            param_kind: kind
                .is_object()
                .then(|| Kind::from_api_version(&text(&kind["apiVersion"]), &text(&kind["kind"]))),
            bindings,
            compiled,
        }
    }
}

fn bindings_of(policy: &str, bindings: &[Arc<Value>]) -> Vec<Binding> {
    let of = |binding: &&Arc<Value>| binding["spec"]["policyName"] == policy;
    let mut found: Vec<Binding> = bindings
        .iter()
        .filter(of)
        .map(|binding| {
            let spec = &binding["spec"];
            let actions = spec["validationActions"].as_array().into_iter().flatten();
            Binding {
                name: meta::name(binding).to_owned(),
                policy: policy.to_owned(),
                criteria: spec["matchResources"]
                    .is_object()
                    .then(|| Criteria::of_policy(&spec["matchResources"])),
                param_ref: spec["paramRef"].clone(),
                actions: actions.filter_map(|action| action.as_str().map(str::to_owned)).collect(),
            }
        })
        .collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

impl<E> Policy<E> {
    /// As what the request matches the policy's constraints; the error is a mistake in the policy.
    pub(super) fn matched(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&Value>,
        reader: &dyn ObjectReader,
        types: &dyn Types,
    ) -> Result<Option<Matched>, String> {
        let Some(criteria) = &self.criteria else {
            return Err("policy contained no match constraints, a required field".to_owned());
        };
        criteria.matches(attributes, object, reader, types).map_err(text)
    }
}

impl Binding {
    /// Whether the binding is about the request.
    pub(super) fn matches(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&Value>,
        reader: &dyn ObjectReader,
        types: &dyn Types,
    ) -> Result<bool, String> {
        let Some(criteria) = &self.criteria else { return Ok(true) };
        criteria.matches(attributes, object, reader, types).map(|matched| matched.is_some()).map_err(text)
    }

    /// The policy it names.
    pub(super) fn policy(&self) -> &str {
        &self.policy
    }
}

fn text(error: MatchError) -> String {
    error.to_string()
}

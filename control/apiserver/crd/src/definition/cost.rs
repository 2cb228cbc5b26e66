//! Rules in CEL, when a definition is written: do they compile, and can they be afforded?
//!
//! Authority: apiextensions-apiserver, pkg/apis/apiextensions/validation/cel_validation.go.

use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};
use xebec_cel::{ESTIMATED_COST_LIMIT, ESTIMATED_CRD_COST_LIMIT, MAX_REQUEST_BYTES};

use crate::rules::{Compiled, CompiledRule, compile_node};
use crate::schema::{Additional, Rule, Schema};

/// How often values of a schema can be there; `None` when nothing bounds it but the size of a request.
pub(super) type Cardinality = Option<u64>;

/// How often what is below a schema can be there for each of its values.
pub(super) fn below(schema: &Schema, cardinality: Cardinality) -> Cardinality {
    let limit = |limit: Option<i64>| limit.map(|limit| u64::try_from(limit).unwrap_or(0));
    let most = match schema.kind.as_str() {
        "object" => match &schema.additional {
            Some(Additional::Schema(_) | Additional::Allowed(_)) => limit(schema.rules.max_properties)?,
            None => 1,
        },
        "array" => limit(schema.rules.max_items)?,
        _ => 1,
    };
    Some(cardinality?.saturating_mul(most))
}

/// The estimated costs of a whole schema.
#[derive(Debug, Default)]
pub(super) struct Total {
    cost: u64,
    /// The most expensive, dearest first.
    dearest: Vec<(u64, Path)>,
}

impl Total {
    fn add(&mut self, cost: u64, path: &Path) {
        self.cost = self.cost.saturating_add(cost);
        // Who contributes less than a hundredth is not told.
        if cost >= ESTIMATED_CRD_COST_LIMIT / 100 {
            self.dearest.push((cost, path.clone()));
            self.dearest.sort_by_key(|(cost, _)| std::cmp::Reverse(*cost));
            self.dearest.truncate(4);
        }
    }

    /// The errors of a schema that is too expensive as a whole.
    pub(super) fn errors(&self, path: &Path) -> Vec<FieldError> {
        if self.cost <= ESTIMATED_CRD_COST_LIMIT {
            return Vec::new();
        }
        let detail =
            "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
        let mut errors: Vec<FieldError> =
            self.dearest.iter().map(|(_, path)| FieldError::forbidden(path, detail)).collect();
        let name = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        errors.push(FieldError::forbidden(path, too_dear(name, self.cost, ESTIMATED_CRD_COST_LIMIT)));
        errors
    }
}

/// What holds at a schema node.
pub(super) struct Node<'a> {
    /// The node.
    pub schema: &'a Schema,
    /// Whether its values are whole resources.
    pub resource: bool,
    /// How often they can be there.
    pub cardinality: Cardinality,
    /// Where old and new parts cannot be told to belong together any more.
    pub uncorrelatable: Option<&'a Path>,
    /// The cost of each rule has been accepted before.
    pub accepted: bool,
}

/// The errors of the rules of one node.
pub(super) fn errors(node: &Node<'_>, path: &Path, total: &mut Total) -> Vec<FieldError> {
    let Some(compiled) = compile_node(node.schema, node.resource) else {
        let detail = "internal error: failed to construct type information for x-kubernetes-validations rules: unable to convert structural schema to CEL declarations";
        return vec![FieldError::internal(path, detail)];
    };
    let times = node.cardinality.unwrap_or_else(|| most_in_a_request(&compiled));
    let mut errors = Vec::new();
    for (at, rule) in compiled.rules.iter().enumerate() {
        rule_errors(rule, node, times, &path.index(at), total, &mut errors);
    }
    errors
}

/// As many values as fit into a request when each takes its least room and a comma.
fn most_in_a_request(compiled: &Compiled) -> u64 {
    MAX_REQUEST_BYTES / (compiled.decl.min_bytes() + 1)
}

fn rule_errors(
    rule: &CompiledRule,
    node: &Node<'_>,
    times: u64,
    path: &Path,
    total: &mut Total,
    errors: &mut Vec<FieldError>,
) {
    let (rule_path, message_path) = (path.child("rule"), path.child("messageExpression"));
    let cost = rule.cost.saturating_mul(times);
    if !node.accepted && cost > ESTIMATED_COST_LIMIT {
        let detail = too_dear("estimated rule cost", cost, ESTIMATED_COST_LIMIT);
        errors.push(FieldError::forbidden(&rule_path, detail));
    }
    total.add(cost, &rule_path);
    if let Some(Err(error)) = &rule.program {
        errors.push(FieldError::invalid(&rule_path, as_upstream(&rule.rule), error));
    }
    match &rule.message {
        Some(Err(error)) => {
            errors.push(FieldError::invalid(&message_path, as_upstream(&rule.rule), error));
        }
        Some(Ok(_)) => {
            let cost = rule.message_cost;
            if !node.accepted && cost > ESTIMATED_COST_LIMIT {
                let detail = too_dear("estimated messageExpression cost", cost, ESTIMATED_COST_LIMIT);
                errors.push(FieldError::forbidden(&message_path, detail));
            }
            total.add(cost, &message_path);
        }
        None => {}
    }
    if rule.uses_old {
        if let Some(at) = node.uncorrelatable {
            let detail =
                format!("oldSelf cannot be used on the uncorrelatable portion of the schema within {at}");
            errors.push(FieldError::invalid(&rule_path, &rule.rule.rule, detail));
        }
    } else if let Some(optional) = rule.rule.optional_old_self {
        let detail = "may not be set if oldSelf is not used in rule";
        errors.push(FieldError::invalid(&path.child("optionalOldSelf"), optional, detail));
    }
}

/// A rule as upstream's internal type prints.
fn as_upstream(rule: &Rule) -> Value {
    json!({
        "Rule": rule.rule, "Message": rule.message, "MessageExpression": rule.message_expression,
        "Reason": rule.reason, "FieldPath": rule.field_path, "OptionalOldSelf": rule.optional_old_self,
    })
}

#[expect(clippy::cast_precision_loss, reason = "a factor for a message")]
fn too_dear(name: &str, cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    let factor = if factor > 100.0 {
        "more than 100x".to_owned()
    } else if factor < 1.5 {
        format!("{factor:.6}x")
    } else {
        format!("{factor:.1}x")
    };
    format!(
        "{name} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
    )
}

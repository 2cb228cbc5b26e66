//! Match conditions: expressions that decide whether a request is a webhook's or policy's business at all.

use serde_json::Value;
use xebec_api::field::{FieldError, Path};

use crate::expression::{Admission, Environment, Expression, Role};
use crate::shared::access::{list, text};
use crate::shared::formats::qualified_name;

const MAX: usize = 64;

/// Every error of the match conditions of a holder, their expressions' compilation aside.
pub fn validate(holder: &Value, path: &Path) -> Vec<FieldError> {
    let conditions = list(holder, &["matchConditions"]);
    let path = path.child("matchConditions");
    let mut errors = Vec::new();
    if conditions.len() > MAX {
        errors.push(FieldError::too_many(&path, conditions.len(), MAX));
    }
    for (index, condition) in conditions.iter().enumerate() {
        let path = path.index(index);
        if text(condition, &["expression"]).trim().is_empty() {
            errors.push(FieldError::required(&path.child("expression"), ""));
        }
        let name = text(condition, &["name"]);
        if name.is_empty() {
            errors.push(FieldError::required(&path.child("name"), ""));
            continue;
        }
        errors.extend(qualified_name(name, &path.child("name")));
        if conditions[..index].iter().any(|earlier| text(earlier, &["name"]) == name) {
            errors.push(FieldError::duplicate(&path.child("name"), name));
        }
    }
    errors
}

/// The expressions of the match conditions of a holder; `known` has those of the stored object.
pub fn expressions(holder: &Value, params: bool, known: &[&str], path: &Path) -> Vec<Expression> {
    let path = path.child("matchConditions");
    let conditions = list(holder, &["matchConditions"]).iter().enumerate();
    conditions
        .filter(|(_, condition)| !text(condition, &["expression"]).trim().is_empty())
        .map(|(index, condition)| {
            let expression = text(condition, &["expression"]).trim();
            Expression {
                path: path.index(index).child("expression"),
                text: expression.to_owned(),
                shown: expression.to_owned(),
                environment: Environment::Admission(Admission {
                    role: Role::MatchCondition,
                    params,
                    authorizer: true,
                    variables: false,
                }),
                stored: known.contains(&expression),
            }
        })
        .collect()
}

/// The texts of the match conditions of a holder.
pub fn texts_of(holder: &Value) -> impl Iterator<Item = &str> {
    list(holder, &["matchConditions"]).iter().map(|condition| text(condition, &["expression"]))
}

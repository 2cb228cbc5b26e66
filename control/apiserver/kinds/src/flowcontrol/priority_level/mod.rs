//! PriorityLevelConfigurations: how many requests of a level run at once and what happens to the others.

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};

use super::{GROUP, mandatory, validate_conditions};
use crate::shared::access::{at, at_mut, default_number, default_to, drop_nulls, has, int, remove, text};
use crate::shared::meta;
use crate::table::{AGE, NAME, age, column, name};
use crate::{Column, Context, Facts, Generation, Strategy, generic};

static FACTS: Facts = Facts::cluster(GROUP, "PriorityLevelConfiguration", "prioritylevelconfigurations")
    .with_status()
    .with_generation(Generation::Spec);
const COLUMNS: &[Column] = &[
    NAME,
    column("Type", "string", "Whether requests of this level are limited at all."),
    column("NominalConcurrencyShares", "string", "The level's share of the server's seats."),
    column("Queues", "string", "The number of queues."),
    column("HandSize", "string", "The number of queues a flow is dealt."),
    column("QueueLengthLimit", "string", "The number of requests that may wait in a queue."),
    AGE,
];
const MAX_QUEUES: i64 = 10_000_000;
/// The bits of the hash that deals queues to flows.
const MAX_HASH_BITS: i64 = 60;

/// The strategy of PriorityLevelConfigurations.
pub struct PriorityLevelConfiguration;

fn validate_spec(level: &str, spec: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let kind = text(spec, &["type"]);
    if (level == "exempt") != (kind == "Exempt") {
        let detail = "type must be 'Exempt' if and only if name is 'exempt'";
        errors.push(FieldError::invalid(&path.child("type"), kind, detail));
    }
    let (limited, exempt) = (at(spec, &["limited"]), at(spec, &["exempt"]));
    match kind {
        "Exempt" => {
            if !limited.is_null() {
                let detail = "must be nil if the type is not Limited";
                errors.push(FieldError::forbidden(&path.child("limited"), detail));
            }
            errors.extend(validate_exempt(exempt, &path.child("exempt")));
        }
        "Limited" => {
            if !exempt.is_null() {
                let detail = "must be nil if the type is Limited";
                errors.push(FieldError::forbidden(&path.child("exempt"), detail));
            }
            if limited.is_null() {
                let detail = "must not be empty when type is Limited";
                errors.push(FieldError::required(&path.child("limited"), detail));
            } else {
                errors.extend(validate_limited(limited, &path.child("limited")));
            }
        }
        _ => errors.push(FieldError::not_supported(&path.child("type"), kind, &["Exempt", "Limited"])),
    }
    errors
}

fn bounded(
    value: &Value,
    key: &str,
    path: &Path,
    good: impl Fn(i64) -> bool,
    detail: &str,
) -> Option<FieldError> {
    let number = int(value, &[key]).filter(|number| !good(*number))?;
    Some(FieldError::invalid(&path.child(key), number, detail))
}

fn shares(value: &Value, path: &Path) -> Option<FieldError> {
    bounded(value, "nominalConcurrencyShares", path, |number| number >= 0, "must be a non-negative integer")
}

fn lendable(value: &Value, path: &Path) -> Option<FieldError> {
    let detail = "must be between 0 and 100, inclusive";
    bounded(value, "lendablePercent", path, |number| (0..=100).contains(&number), detail)
}

fn validate_exempt(exempt: &Value, path: &Path) -> Vec<FieldError> {
    shares(exempt, path).into_iter().chain(lendable(exempt, path)).collect()
}

fn validate_limited(limited: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors: Vec<FieldError> = shares(limited, path).into_iter().collect();
    errors.extend(validate_response(at(limited, &["limitResponse"]), &path.child("limitResponse")));
    errors.extend(lendable(limited, path));
    let detail = "if specified, must be a non-negative integer";
    errors.extend(bounded(limited, "borrowingLimitPercent", path, |number| number >= 0, detail));
    errors
}

fn validate_response(response: &Value, path: &Path) -> Vec<FieldError> {
    let (queuing, queuing_path) = (at(response, &["queuing"]), path.child("queuing"));
    match (text(response, &["type"]), queuing.is_null()) {
        ("Reject", true) => Vec::new(),
        ("Reject", false) => {
            let detail = "must be nil if limited.limitResponse.type is not Limited";
            vec![FieldError::forbidden(&queuing_path, detail)]
        }
        ("Queue", true) => {
            let detail = "must not be empty if limited.limitResponse.type is Limited";
            vec![FieldError::required(&queuing_path, detail)]
        }
        ("Queue", false) => validate_queuing(queuing, &queuing_path),
        (other, _) => vec![FieldError::not_supported(&path.child("type"), other, &["Queue", "Reject"])],
    }
}

fn validate_queuing(queuing: &Value, path: &Path) -> Vec<FieldError> {
    let number = |key: &str| int(queuing, &[key]).unwrap_or(0);
    let (queues, hand) = (number("queues"), number("handSize"));
    let queues_problem = match queues {
        ..=0 => Some("must be positive".to_owned()),
        _ if queues > MAX_QUEUES => Some(format!("must not be greater than {MAX_QUEUES}")),
        _ => None,
    };
    let hand_problem = match hand {
        ..=0 => Some("must be positive".to_owned()),
        _ if hand > queues => Some(format!("should not be greater than queues ({queues})")),
        _ if entropy_bits(queues, hand) > MAX_HASH_BITS => Some(format!(
            "required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {MAX_HASH_BITS}"
        )),
        _ => None,
    };
    let limit = number("queueLengthLimit");
    let limit_problem = (limit <= 0).then(|| "must be positive".to_owned());
    let found = [
        ("queueLengthLimit", limit, limit_problem),
        ("queues", queues, queues_problem),
        ("handSize", hand, hand_problem),
    ];
    let found = found.into_iter().filter_map(|(key, value, problem)| Some((key, value, problem?)));
    found.map(|(key, value, problem)| FieldError::invalid(&path.child(key), value, problem)).collect()
}

/// The bits of hash needed to deal `hand` of `deck` queues.
fn entropy_bits(deck: i64, hand: i64) -> i64 {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "both are below 10^7 here"
    )]
    let bits = ((deck as f64).log2() * hand as f64).ceil() as i64;
    bits
}

/// The error of a mandatory level that is not as it must be; the exempt level's `exempt` part is free.
fn validate_mandatory(level: &str, spec: &Value, path: &Path) -> Option<FieldError> {
    let fixed = mandatory::priority_level(level)?;
    let (mut have, mut want) = (spec.clone(), fixed);
    let except = if level == "exempt" {
        remove(&mut have, &["exempt"]);
        remove(&mut want, &["exempt"]);
        " except the 'spec.exempt' field"
    } else {
        ""
    };
    let detail = format!("spec of '{level}'{except} must equal the fixed value");
    (have != want).then(|| FieldError::invalid(path, spec, detail))
}

impl Strategy for PriorityLevelConfiguration {
    fn facts(&self) -> &Facts {
        &FACTS
    }

    fn defaults(&self, obj: &mut Value) {
        drop_nulls(obj);
        for (part, shares) in [("exempt", 0), ("limited", 30)] {
            if has(obj, &["spec", part]) {
                default_to(obj, &["spec", part, "nominalConcurrencyShares"], shares);
                default_to(obj, &["spec", part, "lendablePercent"], 0);
            }
        }
        if let Some(queuing) = at_mut(obj, &["spec", "limited", "limitResponse", "queuing"]) {
            for (key, value) in [("handSize", 8), ("queues", 64), ("queueLengthLimit", 50)] {
                default_number(queuing, &[key], value);
            }
        }
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate(&FACTS, obj);
        let (spec, path) = (at(obj, &["spec"]), Path::new("spec"));
        let level = meta::name(obj);
        errors.extend(validate_spec(level, spec, &path));
        errors.extend(validate_mandatory(level, spec, &path));
        errors.extend(validate_conditions(obj));
        errors
    }

    fn prepare_for_status_update(&self, _ctx: &Context<'_>, obj: &mut Value, old: &Value) {
        generic::prepare_for_status_update(&FACTS, obj, old);
        meta::keep_for_status(obj, old);
    }

    fn validate_status_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = validate_conditions(obj);
        errors.extend(generic::validate_update(&FACTS, obj, old));
        errors
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let queuing = at(obj, &["spec", "limited", "limitResponse", "queuing"]);
        let or_none = |value: Option<i64>| value.map_or(json!("<none>"), Value::from);
        vec![
            name(obj),
            json!(text(obj, &["spec", "type"])),
            or_none(int(obj, &["spec", "limited", "nominalConcurrencyShares"])),
            or_none(int(queuing, &["queues"])),
            or_none(int(queuing, &["handSize"])),
            or_none(int(queuing, &["queueLengthLimit"])),
            age(obj, now),
        ]
    }
}

#[cfg(test)]
mod tests;

//! Resource lists: maps from a resource's name to a quantity.

use serde_json::Value;
use xebec_api::field::{FieldError, Path};
use xebec_api::quantity::Quantity;

use super::access::at_mut;
use super::rules::NOT_NEGATIVE;

const NANOS_OF_MILLI: i128 = 1_000_000;

/// The quantity of a JSON value (a number or a text), `None` when it is neither or unreadable.
pub fn parse(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => Quantity::parse(text).ok(),
        Value::Number(number) => Quantity::parse(&number.to_string()).ok(),
        _ => None,
    }
}

/// Puts one quantity in canonical form; leaves what cannot be read for validation to find.
pub fn canonical(value: &mut Value) {
    if let Some(quantity) = parse(value) {
        *value = Value::String(quantity.to_string());
    }
}

/// Puts every quantity of the resource list at the path in canonical form; amounts below a thousandth are rounded
/// away from zero, as upstream's SetDefaults_ResourceList rounds.
pub fn canonical_list(value: &mut Value, path: &[&str]) {
    for quantity in
        at_mut(value, path).and_then(Value::as_object_mut).into_iter().flat_map(|m| m.values_mut())
    {
        match parse(quantity) {
            Some(found) if found.nano_value() % NANOS_OF_MILLI != 0 => {
                *quantity = Value::String(Quantity::from_milli(found.milli_value()).to_string());
            }
            _ => canonical(quantity),
        }
    }
}

/// The error of a quantity below zero or unreadable.
pub fn not_negative(value: &Value, path: &Path) -> Vec<FieldError> {
    match parse(value) {
        None => vec![FieldError::invalid(path, value, BAD_QUANTITY)],
        Some(quantity) if quantity.milli_value() < 0 => {
            vec![FieldError::invalid(path, value, NOT_NEGATIVE)]
        }
        Some(_) => Vec::new(),
    }
}

/// Upstream's message for text that is no quantity.
pub const BAD_QUANTITY: &str =
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_lists_amounts_are_canonical_thousandths() {
        let mut pod = json!({"limits": {"cpu": "0.0001", "memory": "1024Ki", "x/y": "-1500u", "z": "1.5"}});
        canonical_list(&mut pod, &["limits"]);
        assert_eq!(pod["limits"], json!({"cpu": "1m", "memory": "1Mi", "x/y": "-2m", "z": "1500m"}));
    }
}

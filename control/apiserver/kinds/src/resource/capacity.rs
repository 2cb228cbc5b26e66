//! A device's capacity, and the rules of sharing it (KEP-5075).

use serde_json::Value;
use xebec_api::field::{FieldError, Path};
use xebec_api::quantity::Quantity;

use super::each_unique;
use crate::shared::access::{at, has, list};
use crate::shared::quantities::parse;

const VALUES_MAX: usize = 10;

/// The errors of one capacity; only devices allocated many times may have a policy.
pub fn validate(capacity: &Value, shared: bool, path: &Path) -> Vec<FieldError> {
    let (policy, path) = (at(capacity, &["requestPolicy"]), path.child("requestPolicy"));
    if policy.is_null() {
        return Vec::new();
    }
    if !shared {
        return vec![FieldError::forbidden(&path, "allowMultipleAllocations must be true")];
    }
    let (values, range) = (list(policy, &["validValues"]), at(policy, &["validRange"]));
    let most = quantity(at(capacity, &["value"]));
    match (values.is_empty(), range.is_null(), parse(at(policy, &["default"]))) {
        (false, false, _) => {
            let detail = "exactly one policy can be specified, cannot specify \"validValues\" and \"validRange\" at the same time";
            vec![FieldError::forbidden(&path, detail)]
        }
        (true, true, _) => Vec::new(),
        (false, true, None) => {
            vec![FieldError::required(&path.child("default"), "required when validValues is defined")]
        }
        (true, false, None) => {
            vec![FieldError::required(&path.child("default"), "required when validRange is defined")]
        }
        (false, true, Some(default)) => validate_values(values, default, most, &path.child("validValues")),
        (true, false, Some(default)) => validate_range(range, default, most, &path.child("validRange")),
    }
}

fn quantity(value: &Value) -> Quantity {
    parse(value).unwrap_or_default()
}

fn wrong(path: &Path, value: Quantity, detail: String) -> FieldError {
    FieldError::invalid(path, value.to_string(), detail)
}

fn validate_values(values: &[Value], default: Quantity, most: Quantity, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let amounts: Vec<Quantity> = values.iter().map(quantity).collect();
    for (index, pair) in amounts.windows(2).enumerate().filter(|(_, pair)| pair[0] > pair[1]) {
        let detail = "values must be sorted in ascending order".to_owned();
        errors.push(wrong(&path.index(index + 1), pair[1], detail));
    }
    let key = |value: &Value| quantity(value).value().to_string();
    errors.extend(each_unique(values, VALUES_MAX, path, key, |value, path| {
        let value = quantity(value);
        match value > most {
            true => vec![wrong(path, value, format!("option is larger than capacity value: {most}"))],
            false => Vec::new(),
        }
    }));
    if !amounts.contains(&default) {
        let detail = "default value is not valid according to the requestPolicy".to_owned();
        errors.push(wrong(path, default, detail));
    }
    errors
}

fn validate_range(range: &Value, default: Quantity, most: Quantity, path: &Path) -> Vec<FieldError> {
    let bound = |key: &str| has(range, &[key]).then(|| quantity(at(range, &[key])));
    let Some(min) = bound("min") else {
        return vec![FieldError::required(&path.child("min"), "required when validRange is defined")];
    };
    let mut errors = Vec::new();
    if min > most {
        errors.push(wrong(&path.child("min"), min, format!("min is larger than capacity value: {most}")));
    }
    if default < min {
        errors.push(wrong(&path.child("default"), default, format!("default is less than min: {min}")));
    }
    let max = bound("max");
    if let Some(max) = max {
        let max_path = path.child("max");
        if min > max {
            errors.push(wrong(&max_path, min, format!("min is larger than max: {max}")));
        }
        if max > most {
            errors.push(wrong(&max_path, max, format!("max is larger than capacity value: {most}")));
        }
        if default > max {
            errors.push(wrong(&path.child("default"), default, format!("default is more than max: {max}")));
        }
    }
    if let Some(step) = bound("step") {
        errors.extend(validate_step(step, min, &[Some(default), max], most, &path.child("step")));
    }
    errors
}

fn validate_step(
    step: Quantity,
    min: Quantity,
    values: &[Option<Quantity>],
    most: Quantity,
    path: &Path,
) -> Vec<FieldError> {
    if step.sign() <= 0 {
        return vec![wrong(path, step, "must be greater than zero".to_owned())];
    }
    let mut errors = Vec::new();
    let first = min.saturating_add(step);
    if first > most {
        errors.push(wrong(path, step, format!("one step {first} is larger than capacity value: {most}")));
    }
    for value in values.iter().flatten() {
        // Whole units, as upstream counts; in i128, where no difference overflows. A step is at least one unit.
        let distance = i128::from(value.value()) - i128::from(min.value());
        if distance % i128::from(step.value()) != 0 {
            let detail = format!("value is not a multiple of a given step ({step}) from ({min})");
            errors.push(wrong(path, *value, detail));
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::messages;
    use serde_json::json;

    fn found(policy: Value) -> Vec<String> {
        messages(&validate(&json!({"value": "10", "requestPolicy": policy}), true, &Path::new("c")))
    }

    #[test]
    fn policies() {
        let none = Vec::<String>::new();
        assert_eq!(found(json!({"default": "1"})), none);
        assert_eq!(found(json!({"default": "1", "validValues": ["1", "2"]})), none);
        assert_eq!(found(json!({"default": "2", "validRange": {"min": "2", "max": "8", "step": "2"}})), none);
        let capacity = json!({"value": "1", "requestPolicy": {}});
        assert_eq!(
            messages(&validate(&capacity, false, &Path::new("c"))),
            ["c.requestPolicy: Forbidden: allowMultipleAllocations must be true"]
        );
        assert_eq!(
            found(json!({"validValues": ["1"], "validRange": {"min": "1"}})),
            [
                "c.requestPolicy: Forbidden: exactly one policy can be specified, cannot specify \"validValues\" and \"validRange\" at the same time"
            ]
        );
        assert_eq!(
            found(json!({"validValues": ["1"]})),
            ["c.requestPolicy.default: Required value: required when validValues is defined"]
        );
        assert_eq!(
            found(json!({"validRange": {"min": "1"}})),
            ["c.requestPolicy.default: Required value: required when validRange is defined"]
        );
    }

    #[test]
    fn values_and_ranges() {
        assert_eq!(
            found(json!({"default": "3", "validValues": ["2", "1", "1", "11"]})),
            [
                "c.requestPolicy.validValues[1]: Invalid value: \"1\": values must be sorted in ascending order",
                "c.requestPolicy.validValues[3]: Invalid value: \"11\": option is larger than capacity value: 10",
                "c.requestPolicy.validValues[2]: Duplicate value: \"1\"",
                "c.requestPolicy.validValues: Invalid value: \"3\": default value is not valid according to the requestPolicy",
            ]
        );
        assert_eq!(
            found(json!({"default": "1", "validRange": {}})),
            ["c.requestPolicy.validRange.min: Required value: required when validRange is defined"]
        );
        assert_eq!(
            found(json!({"default": "1", "validRange": {"min": "3", "max": "2", "step": "0"}})),
            [
                "c.requestPolicy.validRange.default: Invalid value: \"1\": default is less than min: 3",
                "c.requestPolicy.validRange.max: Invalid value: \"3\": min is larger than max: 2",
                "c.requestPolicy.validRange.step: Invalid value: \"0\": must be greater than zero",
            ]
        );
        assert_eq!(
            found(json!({"default": "12", "validRange": {"min": "2", "max": "11", "step": "9"}})),
            [
                "c.requestPolicy.validRange.max: Invalid value: \"11\": max is larger than capacity value: 10",
                "c.requestPolicy.validRange.default: Invalid value: \"12\": default is more than max: 11",
                "c.requestPolicy.validRange.step: Invalid value: \"9\": one step 11 is larger than capacity value: 10",
                "c.requestPolicy.validRange.step: Invalid value: \"12\": value is not a multiple of a given step (9) from (2)",
            ]
        );
    }
}

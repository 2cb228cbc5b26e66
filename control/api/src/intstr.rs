//! Integers or percentages: `maxSurge: 25%`, `minAvailable: 1`, `port: http`.
//!
//! Enters: the JSON of an IntOrString. Leaves: the value, or the number it means of a total.
//! Called by validation, rolling updates and disruption budgets. Authority: k8s.io/apimachinery/pkg/util/intstr.

use serde_json::Value;

/// An integer or a string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IntOrString {
    /// A number.
    Int(i32),
    /// A text: a percentage or a name.
    Text(String),
}

/// Why a value has no number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IntOrStringError {
    /// The text is no percentage.
    #[error("invalid value for IntOrString: invalid type: string is not a percentage")]
    NotPercent,
    /// The digits in front of the sign are no number.
    #[error("invalid value {0}: invalid syntax")]
    Syntax(String),
}

impl IntOrString {
    /// Reads the JSON form; `None` for anything but a 32-bit integer or a string.
    pub fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Number(n) => Some(Self::Int(i32::try_from(n.as_i64()?).ok()?)),
            Value::String(text) => Some(Self::Text(text.clone())),
            _ => None,
        }
    }

    /// The number itself, or that percentage of `total`, rounded up or down. No bounds are applied: `150%` of 2 is 3.
    pub fn scaled(&self, total: i64, round_up: bool) -> Result<i64, IntOrStringError> {
        let text = match self {
            Self::Int(n) => return Ok(i64::from(*n)),
            Self::Text(text) => text,
        };
        let digits = text.strip_suffix('%').ok_or(IntOrStringError::NotPercent)?;
        let percent: i32 =
            digits.parse().map_err(|_| IntOrStringError::Syntax(crate::gotext::quote(text)))?;
        let product = i128::from(percent) * i128::from(total);
        let (quotient, rest) = (product.div_euclid(100), product.rem_euclid(100));
        let rounded = if round_up && rest != 0 { quotient + 1 } else { quotient };
        Ok(rounded.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64)
    }
}

/// The number a JSON IntOrString means of `total`, or `default` when it is absent or no such number.
pub fn scaled_or(value: &Value, total: i64, round_up: bool, default: i64) -> i64 {
    IntOrString::from_value(value).and_then(|v| v.scaled(total, round_up).ok()).unwrap_or(default)
}

/// The surge and unavailable counts of a Deployment's rolling update, resolved against `replicas`.
///
/// Surge rounds up, unavailable down; when both come to zero one may be unavailable, or nothing could ever move.
pub fn resolve_fenceposts(max_surge: &Value, max_unavailable: &Value, replicas: i64) -> (i64, i64) {
    let surge = scaled_or(max_surge, replicas, true, 0);
    let unavailable = scaled_or(max_unavailable, replicas, false, 0);
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn scales() {
        let scaled = |v: Value, total, up| IntOrString::from_value(&v).unwrap().scaled(total, up);
        assert_eq!(scaled(json!(3), 10, true), Ok(3));
        assert_eq!(scaled(json!("25%"), 10, true), Ok(3));
        assert_eq!(scaled(json!("25%"), 10, false), Ok(2));
        assert_eq!(scaled(json!("150%"), 2, false), Ok(3));
        assert_eq!(scaled(json!("0%"), 7, true), Ok(0));
        assert_eq!(scaled(json!("http"), 7, true), Err(IntOrStringError::NotPercent));
        assert_eq!(scaled(json!("x%"), 7, true), Err(IntOrStringError::Syntax("\"x%\"".into())));
        assert_eq!(IntOrString::from_value(&json!(1.5)), None);
        assert_eq!(IntOrString::from_value(&json!(1_i64 << 40)), None);
        assert_eq!(scaled_or(&Value::Null, 5, true, 1), 1);
    }

    #[test]
    fn fenceposts() {
        assert_eq!(resolve_fenceposts(&json!("25%"), &json!("25%"), 3), (1, 0));
        assert_eq!(resolve_fenceposts(&json!(0), &json!("10%"), 3), (0, 1));
        assert_eq!(resolve_fenceposts(&json!(2), &json!(1), 3), (2, 1));
    }
}

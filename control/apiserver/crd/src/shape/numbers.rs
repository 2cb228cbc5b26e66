//! Whole numbers are written without a fraction, as Go's encoder writes them: `1.0` is stored as `1`.

use serde_json::{Number, Value};

/// Rewrites every number of a value.
pub fn canonical(value: &mut Value) {
    match value {
        Value::Number(number) => {
            if let Some(whole) = whole(number) {
                *number = Number::from(whole);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(canonical),
        Value::Object(map) => map.values_mut().for_each(canonical),
        _ => {}
    }
}

#[expect(clippy::cast_possible_truncation, reason = "within the exact range, checked just before")]
fn whole(number: &Number) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let float = number.as_f64().filter(|_| number.is_f64())?;
    (float.trunc() == float && float.abs() <= EXACT).then_some(float as i64)
}

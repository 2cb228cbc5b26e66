//! Amounts by resource name, and the arithmetic upstream does with them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use serde_json::{Map, Value};
use xebec_api::quantity::{self, Format, Quantity};

/// Amounts by resource name, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceList(BTreeMap<String, Quantity>);

impl ResourceList {
    /// Nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The list a JSON map holds; entries that are no quantities are left out (validation has refused them).
    pub fn from_value(value: &Value) -> Self {
        let Some(map) = value.as_object() else { return Self::new() };
        Self(map.iter().filter_map(|(k, v)| Some((k.clone(), quantity::from_json(v).ok()?))).collect())
    }

    /// The list at a JSON pointer, empty when absent.
    pub fn at(object: &Value, pointer: &str) -> Self {
        object.pointer(pointer).map(Self::from_value).unwrap_or_default()
    }

    /// The JSON map with canonical quantities.
    pub fn to_value(&self) -> Value {
        let entries = self.0.iter().map(|(k, v)| (k.clone(), Value::String(v.to_string())));
        Value::Object(entries.collect::<Map<_, _>>())
    }

    /// One amount.
    pub fn get(&self, name: &str) -> Option<Quantity> {
        self.0.get(name).copied()
    }

    /// Whether an amount is given.
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Sets an amount.
    pub fn set(&mut self, name: impl Into<String>, amount: Quantity) {
        self.0.insert(name.into(), amount);
    }

    /// Sets a whole number.
    pub fn set_count(&mut self, name: impl Into<String>, count: i64) {
        self.set(name, Quantity::from_value(count, Format::DecimalSi));
    }

    /// Adds to an amount.
    pub fn increase(&mut self, name: &str, by: Quantity) {
        match self.0.entry(name.to_owned()) {
            Entry::Occupied(mut there) => *there.get_mut() += by,
            Entry::Vacant(free) => {
                free.insert(by);
            }
        }
    }

    /// Adds every amount of another list.
    pub fn add(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            self.increase(name, *amount);
        }
    }

    /// Takes the larger of each amount.
    pub fn max(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            match self.0.entry(name.clone()) {
                Entry::Occupied(mut there) if *there.get() < *amount => *there.get_mut() = *amount,
                Entry::Occupied(_) => {}
                Entry::Vacant(free) => {
                    free.insert(*amount);
                }
            }
        }
    }

    /// `self - other`, never below zero, with the names of both.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        let mut result = self.clone();
        for (name, amount) in &other.0 {
            let left = result.get(name).unwrap_or_default() - *amount;
            result.set(name.clone(), if left.sign() > 0 { left } else { Quantity::ZERO });
        }
        result
    }

    /// Only the named amounts.
    #[must_use]
    pub fn mask<S: AsRef<str>>(&self, names: &[S]) -> Self {
        let kept = names.iter().filter_map(|name| Some((name.as_ref().to_owned(), self.get(name.as_ref())?)));
        Self(kept.collect())
    }

    /// The names of amounts that are greater here than in `limits`; a name without a limit is never too great.
    pub fn exceeding(&self, limits: &Self) -> Vec<String> {
        let over = |(name, amount): &(&String, &Quantity)| limits.get(name).is_some_and(|max| **amount > max);
        self.0.iter().filter(over).map(|(name, _)| name.clone()).collect()
    }

    /// Without the amounts that are zero.
    #[must_use]
    pub fn without_zeros(mut self) -> Self {
        self.0.retain(|_, amount| !amount.is_zero());
        self
    }

    /// The names of negative amounts.
    pub fn negative(&self) -> Vec<String> {
        self.0.iter().filter(|(_, amount)| amount.sign() < 0).map(|(name, _)| name.clone()).collect()
    }

    /// The names, sorted.
    pub fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    /// Names and amounts, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Quantity)> {
        self.0.iter().map(|(name, amount)| (name.as_str(), *amount))
    }

    /// Whether there is no amount.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(String, Quantity)> for ResourceList {
    fn from_iter<I: IntoIterator<Item = (String, Quantity)>>(items: I) -> Self {
        Self(items.into_iter().collect())
    }
}

impl fmt::Display for ResourceList {
    /// `limits.cpu=2,pods=1`, as messages show it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (name, amount)) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{name}={amount}")?;
        }
        Ok(())
    }
}

/// `a,b`: names sorted, as messages show them.
pub fn names_text(names: &[String]) -> String {
    let mut sorted: Vec<&str> = names.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    sorted.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn list(value: Value) -> ResourceList {
        ResourceList::from_value(&value)
    }

    #[test]
    fn arithmetic() {
        let a = list(json!({"cpu": "1500m", "memory": "1Gi"}));
        let b = list(json!({"cpu": 1, "pods": "3"}));
        let mut sum = a.clone();
        sum.add(&b);
        assert_eq!(sum.to_string(), "cpu=2500m,memory=1Gi,pods=3");
        assert_eq!(a.minus(&b).to_string(), "cpu=500m,memory=1Gi,pods=0");
        assert_eq!(a.minus(&b).without_zeros().names(), ["cpu", "memory"]);
        let mut most = a.clone();
        most.max(&b);
        assert_eq!(most.to_string(), "cpu=1500m,memory=1Gi,pods=3");
        assert_eq!(sum.mask(&["pods", "none"]).to_value(), json!({"pods": "3"}));
        assert_eq!(sum.exceeding(&list(json!({"cpu": "2", "memory": "1Gi"}))), ["cpu"]);
        assert!(list(json!({"a": "-1", "b": "1"})).negative() == ["a"]);
        assert_eq!(names_text(&["b".to_owned(), "a".to_owned()]), "a,b");
        assert!(list(json!({"cpu": "x"})).is_empty() && list(json!(null)).is_empty());
    }
}

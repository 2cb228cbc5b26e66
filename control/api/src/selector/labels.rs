//! Label selectors as values: requirements, matching, printing.

use super::SelectorError;
use crate::field::{FieldError, Path};
use crate::gotext::{aggregate, quote};
use crate::names;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// How a requirement compares a label with its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operator {
    /// `key in (a,b)`
    In,
    /// `key notin (a,b)`: also true without the label.
    NotIn,
    /// `key=a`
    Equals,
    /// `key==a`
    DoubleEquals,
    /// `key!=a`: also true without the label.
    NotEquals,
    /// `key`
    Exists,
    /// `!key`
    DoesNotExist,
    /// `key>1`
    GreaterThan,
    /// `key<1`
    LessThan,
}

/// One condition on one label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    key: String,
    operator: Operator,
    values: Vec<String>,
}

impl Requirement {
    /// A checked requirement; the error text is upstream's aggregate of field errors.
    pub fn new(key: &str, operator: Operator, mut values: Vec<String>) -> Result<Self, String> {
        Self::at(&Path::root(), key, operator, &mut values)
    }

    pub(super) fn at(
        path: &Path,
        key: &str,
        operator: Operator,
        values: &mut Vec<String>,
    ) -> Result<Self, String> {
        let mut errors = Vec::new();
        errors.extend(key_error(key, &path.child("key")));
        let at = path.child("values");
        let wrong = match operator {
            Operator::In | Operator::NotIn if values.is_empty() => {
                Some("for 'in', 'notin' operators, values set can't be empty")
            }
            Operator::Equals | Operator::DoubleEquals | Operator::NotEquals if values.len() != 1 => {
                Some("exact-match compatibility requires one single value")
            }
            Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
                Some("values set must be empty for exists and does not exist")
            }
            Operator::GreaterThan | Operator::LessThan if values.len() != 1 => {
                Some("for 'Gt', 'Lt' operators, exactly one value is required")
            }
            _ => None,
        };
        errors.extend(wrong.map(|detail| FieldError::invalid(&at, values.clone(), detail)));
        let numeric = matches!(operator, Operator::GreaterThan | Operator::LessThan);
        for (i, value) in values.iter().enumerate() {
            if numeric && value.parse::<i64>().is_err() {
                let detail = "for 'Gt', 'Lt' operators, the value must be an integer";
                errors.push(FieldError::invalid(&at.index(i), value, detail));
            }
        }
        for (i, value) in values.iter().enumerate() {
            let messages = names::is_label_value(value);
            if !messages.is_empty() {
                errors.push(FieldError::invalid(&at.index(i).key(key), value, messages.join("; ")));
            }
        }
        if !errors.is_empty() {
            return Err(aggregate(errors.iter().map(ToString::to_string)));
        }
        values.sort();
        values.dedup();
        Ok(Self { key: key.to_owned(), operator, values: std::mem::take(values) })
    }

    /// The label's key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The comparison.
    pub fn operator(&self) -> Operator {
        self.operator
    }

    /// The values, sorted, without repeats.
    pub fn values(&self) -> &[String] {
        &self.values
    }

    /// Whether a label with this value (`None`: no such label) satisfies the requirement.
    pub fn accepts(&self, label: Option<&str>) -> bool {
        let has = |v: &str| self.values.iter().any(|x| x == v);
        match self.operator {
            Operator::In | Operator::Equals | Operator::DoubleEquals => label.is_some_and(has),
            Operator::NotIn | Operator::NotEquals => !label.is_some_and(has),
            Operator::Exists => label.is_some(),
            Operator::DoesNotExist => label.is_none(),
            Operator::GreaterThan | Operator::LessThan => {
                let (Some(left), Some(right)) = (
                    label.and_then(|l| l.parse::<i64>().ok()),
                    self.values.first().and_then(|v| v.parse::<i64>().ok()),
                ) else {
                    return false;
                };
                if self.operator == Operator::GreaterThan { left > right } else { left < right }
            }
        }
    }
}

/// The error of a label key, when it is no qualified name.
pub(super) fn key_error(key: &str, path: &Path) -> Option<FieldError> {
    let messages = names::is_qualified_name(key);
    (!messages.is_empty()).then(|| FieldError::invalid(path, key, messages.join("; ")))
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, values) = (&self.key, self.values.join(","));
        match self.operator {
            Operator::DoesNotExist => write!(f, "!{key}"),
            Operator::Exists => write!(f, "{key}"),
            Operator::Equals => write!(f, "{key}={values}"),
            Operator::DoubleEquals => write!(f, "{key}=={values}"),
            Operator::NotEquals => write!(f, "{key}!={values}"),
            Operator::In => write!(f, "{key} in ({values})"),
            Operator::NotIn => write!(f, "{key} notin ({values})"),
            Operator::GreaterThan => write!(f, "{key}>{values}"),
            Operator::LessThan => write!(f, "{key}<{values}"),
        }
    }
}

/// A conjunction of requirements on labels. The empty one matches everything; [`LabelSelector::nothing`] nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
    nothing: bool,
}

impl Default for LabelSelector {
    fn default() -> Self {
        Self::everything()
    }
}

impl LabelSelector {
    /// Matches every object.
    pub fn everything() -> Self {
        Self { requirements: Vec::new(), nothing: false }
    }

    /// Matches no object.
    pub fn nothing() -> Self {
        Self { requirements: Vec::new(), nothing: true }
    }

    /// The conjunction of these requirements, sorted by key.
    pub fn new(mut requirements: Vec<Requirement>) -> Self {
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Self { requirements, nothing: false }
    }

    /// Reads the text of a `labelSelector` parameter.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        super::parse::parse(text).map(Self::new)
    }

    /// Reads a `LabelSelector` object. Null or absent matches nothing; `{}` matches everything.
    pub fn from_object(selector: &Value) -> Result<Self, SelectorError> {
        let Some(map) = selector.as_object() else {
            return if selector.is_null() {
                Ok(Self::nothing())
            } else {
                Err(SelectorError::Object("a label selector must be an object".to_owned()))
            };
        };
        let mut requirements = match map.get("matchLabels") {
            None | Some(Value::Null) => Vec::new(),
            Some(labels) => Self::from_map(labels)?.requirements,
        };
        for expression in map.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
            requirements.push(expression_requirement(expression)?);
        }
        Ok(Self::new(requirements))
    }

    /// Reads a plain map of labels, as Services and ReplicationControllers select. Null or `{}` matches everything here.
    pub fn from_map(labels: &Value) -> Result<Self, SelectorError> {
        let empty = serde_json::Map::new();
        let map = match labels {
            Value::Null => &empty,
            Value::Object(map) => map,
            _ => return Err(SelectorError::Object("matchLabels must be a map of strings".to_owned())),
        };
        let mut requirements = Vec::with_capacity(map.len());
        for (key, value) in map {
            let value = value
                .as_str()
                .ok_or_else(|| SelectorError::Object(format!("matchLabels[{key}] must be a string")))?;
            requirements.push(
                Requirement::new(key, Operator::Equals, vec![value.to_owned()])
                    .map_err(SelectorError::Object)?,
            );
        }
        Ok(Self::new(requirements))
    }

    /// Whether an object with these labels is selected.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.matches_with(|key| labels.get(key).map(String::as_str))
    }

    /// Whether an object is selected, looking up `metadata.labels` in place.
    pub fn matches_object(&self, object: &Value) -> bool {
        let labels = object.pointer("/metadata/labels");
        self.matches_with(|key| labels.and_then(|l| l.get(key)).and_then(Value::as_str))
    }

    /// Whether an object is selected whose labels `lookup` knows.
    pub fn matches_with<'a>(&self, lookup: impl Fn(&str) -> Option<&'a str>) -> bool {
        !self.nothing && self.requirements.iter().all(|r| r.accepts(lookup(&r.key)))
    }

    /// Whether it restricts nothing.
    pub fn is_empty(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }

    /// Whether it selects nothing at all.
    pub fn is_nothing(&self) -> bool {
        self.nothing
    }

    /// The requirements, sorted by key.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// The one value this selector demands of a label, for looking up an index.
    pub fn exact(&self, key: &str) -> Option<&str> {
        let r = self.requirements.iter().find(|r| r.key == key)?;
        match (r.operator, r.values.as_slice()) {
            (Operator::Equals | Operator::DoubleEquals | Operator::In, [value]) => Some(value),
            _ => None,
        }
    }
}

fn expression_requirement(expression: &Value) -> Result<Requirement, SelectorError> {
    let operator = match expression["operator"].as_str().unwrap_or_default() {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        other => {
            let message = format!("{} is not a valid label selector operator", quote(other));
            return Err(SelectorError::Object(message));
        }
    };
    let values = expression["values"].as_array().map(Vec::as_slice).unwrap_or_default();
    let values = values.iter().map(|v| v.as_str().unwrap_or_default().to_owned()).collect();
    Requirement::new(expression["key"].as_str().unwrap_or_default(), operator, values)
        .map_err(SelectorError::Object)
}

impl FromStr for LabelSelector {
    type Err = SelectorError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.requirements.iter().map(ToString::to_string).collect();
        f.write_str(&texts.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn matching() {
        let web = labels(&[("app", "web"), ("tier", "a"), ("n", "5")]);
        for (text, expected) in [
            ("", true),
            ("app=web", true),
            ("app==web,tier in (a,b)", true),
            ("app!=web", false),
            ("missing!=x", true),
            ("missing notin (x)", true),
            ("tier notin (a, b)", false),
            ("!missing", true),
            ("! app", false),
            ("app", true),
            ("n>4", true),
            ("n<4", false),
            ("app>1", false),
            ("app=", false),
        ] {
            assert_eq!(LabelSelector::parse(text).unwrap().matches(&web), expected, "{text}");
        }
    }

    #[test]
    fn objects() {
        let s = LabelSelector::from_object(&json!({
            "matchLabels": {"app": "web"},
            "matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["c"]}, {"key": "x", "operator": "DoesNotExist"}],
        }))
        .unwrap();
        assert_eq!(s.to_string(), "app=web,tier notin (c),!x");
        assert!(s.matches(&labels(&[("app", "web")])));
        assert!(s.matches_object(&json!({"metadata": {"labels": {"app": "web", "tier": "a"}}})));
        assert_eq!(s.exact("app"), Some("web"));
        assert!(!LabelSelector::from_object(&Value::Null).unwrap().matches(&labels(&[])));
        assert!(LabelSelector::from_object(&json!({})).unwrap().matches(&labels(&[])));
        assert_eq!(
            LabelSelector::from_object(&json!({"matchExpressions": [{"key": "a", "operator": "Near"}]}))
                .unwrap_err()
                .to_string(),
            r#""Near" is not a valid label selector operator"#
        );
        let e = LabelSelector::from_object(&json!({"matchExpressions": [{"key": "a", "operator": "In"}]}));
        assert_eq!(
            e.unwrap_err().to_string(),
            "values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty"
        );
    }
}

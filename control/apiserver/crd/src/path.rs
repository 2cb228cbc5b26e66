//! The JSON paths definitions use for columns, selectable fields and scales: `.spec.a`, `.status.list[0].b`,
//! `.status.conditions[?(@.type=="Ready")].status`, `.metadata.labels['a\.b']`.
//!
//! Enters: a path and an object. Leaves: the values it leads to. Called by [`crate::resource`].
//! Authority: client-go, util/jsonpath: the part of it that can stand in one `{...}` of a definition.

use serde_json::Value;

/// A path that has been read.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonPath {
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(String),
    /// Elements `start..end` by `step`; a plain index is one element.
    Slice(Option<i64>, Option<i64>, i64),
    Index(i64),
    All,
    Anywhere(String),
    Filter(Filter),
    /// `['a','b']`
    Union(Vec<String>),
}

#[derive(Clone, Debug, PartialEq)]
struct Filter {
    left: Operand,
    compare: Option<(Compare, Operand)>,
}

#[derive(Clone, Debug, PartialEq)]
enum Operand {
    Path(JsonPath),
    Literal(Value),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compare {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A path that cannot be read; such a column shows nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unrecognized JSON path {path:?}: unexpected {at:?}")]
pub struct BadPath {
    /// The path.
    pub path: String,
    /// What could not be read.
    pub at: String,
}

impl JsonPath {
    /// Reads a path.
    pub fn parse(path: &str) -> Result<Self, BadPath> {
        let steps = Parser { rest: path, depth: 0 }.steps();
        steps.map(|steps| Self { steps }).map_err(|at| BadPath { path: path.to_owned(), at })
    }

    /// The values the path leads to; missing fields lead nowhere.
    pub fn find<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        self.steps.iter().fold(vec![value], |here, step| {
            let mut next = Vec::new();
            here.into_iter().for_each(|value| step.follow(value, &mut next));
            next
        })
    }

    /// The first value the path leads to.
    pub fn first<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        self.find(value).into_iter().next()
    }
}

impl Step {
    fn follow<'a>(&self, value: &'a Value, found: &mut Vec<&'a Value>) {
        match self {
            Self::Field(name) => found.extend(value.get(name)),
            Self::Union(names) => found.extend(names.iter().filter_map(|name| value.get(name))),
            Self::All => match value {
                Value::Array(items) => found.extend(items),
                Value::Object(map) => found.extend(map.values()),
                _ => {}
            },
            Self::Index(index) => {
                let Some(items) = value.as_array() else { return };
                found.extend(place(*index, items.len()).and_then(|at| items.get(at)));
            }
            Self::Slice(start, end, step) => {
                let Some(items) = value.as_array() else { return };
                let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
                let bound = |at: i64| if at < 0 { at + length } else { at }.clamp(0, length);
                let (start, end) = (bound(start.unwrap_or(0)), bound(end.unwrap_or(length)));
                let range = usize::try_from(start).unwrap_or(0)..usize::try_from(end).unwrap_or(0);
                let step = usize::try_from(*step).unwrap_or(1).max(1);
                found.extend(items.get(range).unwrap_or_default().iter().step_by(step));
            }
            Self::Anywhere(name) => anywhere(value, name, found),
            Self::Filter(filter) => {
                found.extend(value.as_array().into_iter().flatten().filter(|item| filter.holds(item)));
            }
        }
    }
}

fn place(index: i64, length: usize) -> Option<usize> {
    let length = i64::try_from(length).ok()?;
    usize::try_from(if index < 0 { index + length } else { index }).ok()
}

fn anywhere<'a>(value: &'a Value, name: &str, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(map) => {
            found.extend(map.get(name));
            map.values().for_each(|value| anywhere(value, name, found));
        }
        Value::Array(items) => items.iter().for_each(|value| anywhere(value, name, found)),
        _ => {}
    }
}

impl Filter {
    fn holds(&self, item: &Value) -> bool {
        let Some(left) = self.left.value(item) else { return false };
        let Some((compare, right)) = &self.compare else { return true };
        right.value(item).is_some_and(|right| compare.holds(left, right))
    }
}

impl Operand {
    fn value<'a>(&'a self, item: &'a Value) -> Option<&'a Value> {
        match self {
            Self::Path(path) => path.first(item),
            Self::Literal(value) => Some(value),
        }
    }
}

impl Compare {
    fn holds(self, left: &Value, right: &Value) -> bool {
        let order = match (left, right) {
            (Value::Number(left), Value::Number(right)) => left.as_f64().partial_cmp(&right.as_f64()),
            (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
            (left, right) => (left == right).then_some(std::cmp::Ordering::Equal),
        };
        match self {
            Self::Equal => order.is_some_and(|order| order.is_eq()),
            Self::NotEqual => !order.is_some_and(|order| order.is_eq()),
            Self::Less => order.is_some_and(|order| order.is_lt()),
            Self::LessOrEqual => order.is_some_and(|order| order.is_le()),
            Self::Greater => order.is_some_and(|order| order.is_gt()),
            Self::GreaterOrEqual => order.is_some_and(|order| order.is_ge()),
        }
    }
}

struct Parser<'a> {
    rest: &'a str,
    depth: usize,
}

/// Filters in filters in filters help nobody.
const MAX_FILTER_DEPTH: usize = 8;

impl<'a> Parser<'a> {
    fn steps(&mut self) -> Result<Vec<Step>, String> {
        let mut steps = Vec::new();
        while !self.rest.is_empty() {
            steps.extend(self.step()?);
        }
        Ok(steps)
    }

    fn eat(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn step(&mut self) -> Result<Option<Step>, String> {
        if self.eat("..") {
            return Ok(Some(Step::Anywhere(self.name()?)));
        }
        if self.eat(".") {
            if self.rest.is_empty() || self.rest.starts_with('[') {
                return Ok(None);
            }
            if self.eat("*") {
                return Ok(Some(Step::All));
            }
            return Ok(Some(Step::Field(self.name()?)));
        }
        if self.eat("[") {
            return self.bracket().map(Some);
        }
        Err(self.rest.to_owned())
    }

    /// A field's name; a backslash takes the next character as it is.
    fn name(&mut self) -> Result<String, String> {
        let mut name = String::new();
        let mut chars = self.rest.char_indices();
        let mut end = self.rest.len();
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => name.extend(chars.next().map(|(_, c)| c)),
                '.' | '[' => {
                    end = at;
                    break;
                }
                ' ' | '"' | '\'' | '(' | ')' | '{' | '}' | ']' | '=' | '<' | '>' | '!' => {
                    return Err(self.rest[at..].to_owned());
                }
                c => name.push(c),
            }
        }
        if name.is_empty() {
            return Err(self.rest.to_owned());
        }
        self.rest = &self.rest[end..];
        Ok(name)
    }

    fn bracket(&mut self) -> Result<Step, String> {
        let before = self.rest;
        let end = closing(self.rest).ok_or_else(|| before.to_owned())?;
        let inner = self.rest[..end].trim();
        self.rest = &self.rest[end + 1..];
        if inner == "*" {
            return Ok(Step::All);
        }
        if let Some(filter) = inner.strip_prefix("?(").and_then(|rest| rest.strip_suffix(')')) {
            return Ok(Step::Filter(self.filter(filter)?));
        }
        if inner.starts_with(['\'', '"']) {
            return quoted_names(inner).map(Step::Union).ok_or_else(|| inner.to_owned());
        }
        numbers(inner).ok_or_else(|| inner.to_owned())
    }

    fn filter(&mut self, text: &'a str) -> Result<Filter, String> {
        if self.depth >= MAX_FILTER_DEPTH {
            return Err(text.to_owned());
        }
        const OPERATORS: [(&str, Compare); 6] = [
            ("==", Compare::Equal),
            ("!=", Compare::NotEqual),
            ("<=", Compare::LessOrEqual),
            (">=", Compare::GreaterOrEqual),
            ("<", Compare::Less),
            (">", Compare::Greater),
        ];
        let found = OPERATORS.iter().filter_map(|(operator, compare)| {
            outside_quotes(text, operator).map(|at| (at, operator.len(), *compare))
        });
        let Some((at, length, compare)) = found.min_by_key(|(at, length, _)| (*at, usize::MAX - length))
        else {
            return Ok(Filter { left: self.operand(text)?, compare: None });
        };
        let (left, right) = (self.operand(&text[..at])?, self.operand(&text[at + length..])?);
        Ok(Filter { left, compare: Some((compare, right)) })
    }

    fn operand(&mut self, text: &'a str) -> Result<Operand, String> {
        let text = text.trim();
        if let Some(path) = text.strip_prefix('@') {
            let steps = Parser { rest: path, depth: self.depth + 1 }.steps()?;
            return Ok(Operand::Path(JsonPath { steps }));
        }
        if text.starts_with(['\'', '"']) {
            let names = quoted_names(text).filter(|names| names.len() == 1);
            let name = names.and_then(|mut names| names.pop()).ok_or_else(|| text.to_owned())?;
            return Ok(Operand::Literal(Value::from(name)));
        }
        serde_json::from_str(text).map(Operand::Literal).map_err(|_| text.to_owned())
    }
}

/// Where the bracket that has been opened closes.
fn closing(text: &str) -> Option<usize> {
    let (mut depth, mut quote) = (0, None);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '[') => depth += 1,
            (None, ']') if depth == 0 => return Some(at),
            (None, ']') => depth -= 1,
            _ => {}
        }
    }
    None
}

fn outside_quotes(text: &str, operator: &str) -> Option<usize> {
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, _) if text[at..].starts_with(operator) => return Some(at),
            _ => {}
        }
    }
    None
}

fn quoted_names(text: &str) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let mut rest = text.trim();
    loop {
        let quote = rest.chars().next().filter(|c| *c == '\'' || *c == '"')?;
        let mut name = String::new();
        let mut chars = rest.char_indices().skip(1);
        let end = loop {
            match chars.next()? {
                (_, '\\') => name.push(chars.next()?.1),
                (at, c) if c == quote => break at + 1,
                (_, c) => name.push(c),
            }
        };
        names.push(name);
        rest = rest[end..].trim_start();
        if rest.is_empty() {
            return Some(names);
        }
        rest = rest.strip_prefix(',')?.trim_start();
    }
}

/// `3`, `-1`, `1:3`, `::2`.
fn numbers(text: &str) -> Option<Step> {
    let parts: Vec<&str> = text.split(':').map(str::trim).collect();
    let number = |text: &str| text.parse::<i64>().ok();
    let optional = |text: &str| if text.is_empty() { Some(None) } else { number(text).map(Some) };
    match parts.as_slice() {
        [index] => number(index).map(Step::Index),
        [start, end] => Some(Step::Slice(optional(start)?, optional(end)?, 1)),
        [start, end, step] => {
            let step = optional(step)?.unwrap_or(1);
            (step > 0).then_some(())?;
            Some(Step::Slice(optional(start)?, optional(end)?, step))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_lead_to_values() {
        let object = json!({
            "metadata": {"labels": {"a.b/c": "x"}},
            "spec": {"replicas": 3, "list": [{"n": 1}, {"n": 2}, {"n": 3}]},
            "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Odd", "status": "]"}]}
        });
        let cases = [
            (".spec.replicas", json!([3])),
            (".spec.none.at.all", json!([])),
            (".spec.list[0].n", json!([1])),
            (".spec.list[-1].n", json!([3])),
            (".spec.list[9].n", json!([])),
            (".spec.list[*].n", json!([1, 2, 3])),
            (".spec.list[0:2].n", json!([1, 2])),
            (".spec.list[::2].n", json!([1, 3])),
            (".spec.list[?(@.n>1)].n", json!([2, 3])),
            (".spec.list[?(@.n!=2)].n", json!([1, 3])),
            (".status.conditions[?(@.type==\"Ready\")].status", json!(["True"])),
            (".status.conditions[?(@.status==']')].type", json!(["Odd"])),
            (".status.conditions[?(@.none)].type", json!([])),
            (".metadata.labels.a\\.b/c", json!(["x"])),
            (".metadata.labels['a.b/c']", json!(["x"])),
            ("..n", json!([1, 2, 3])),
            (".", json!([object])),
        ];
        for (path, want) in &cases {
            let found = JsonPath::parse(path).unwrap();
            assert_eq!(json!(found.find(&object)), *want, "{path}");
        }
    }

    #[test]
    fn bad_paths_are_refused() {
        for path in ["spec", ".spec[", ".spec[x]", ".spec[?(@.a=b)]", ".a b", ".spec[1:2:0]", ".spec['a]"] {
            assert!(JsonPath::parse(path).is_err(), "{path}");
        }
        let mut nested = String::from("@");
        for _ in 0..50 {
            nested = format!("@[?({nested})]");
        }
        assert!(JsonPath::parse(&nested[1..]).is_err());
    }
}

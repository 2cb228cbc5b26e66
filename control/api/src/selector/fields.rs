//! Field selectors: `metadata.name=x,status.phase!=Running`.

use super::SelectorError;
use std::fmt;
use std::str::FromStr;

/// How a field is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FieldOperator {
    /// `=` or `==`
    Equals,
    /// `!=`
    NotEquals,
}

/// One condition on one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldRequirement {
    /// The field's path, e.g. `spec.nodeName`.
    pub field: String,
    /// The comparison.
    pub operator: FieldOperator,
    /// The value compared with, unescaped.
    pub value: String,
}

/// A conjunction of conditions on fields; the empty one matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    requirements: Vec<FieldRequirement>,
}

impl FieldSelector {
    /// Reads the text of a `fieldSelector` parameter. `\` escapes `,`, `=` and itself in values.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut requirements = Vec::new();
        for term in split_terms(text) {
            if term.is_empty() {
                continue;
            }
            let Some((field, operator, value)) = split_term(term) else {
                return Err(SelectorError::Field(format!(
                    "invalid selector: '{text}'; can't understand '{term}'"
                )));
            };
            let value = unescape(value).map_err(SelectorError::Field)?;
            requirements.push(FieldRequirement { field: field.to_owned(), operator, value });
        }
        Ok(Self { requirements })
    }

    /// A selector of one field with one value.
    pub fn equals(field: &str, value: &str) -> Self {
        let (field, value) = (field.to_owned(), value.to_owned());
        Self { requirements: vec![FieldRequirement { field, operator: FieldOperator::Equals, value }] }
    }

    /// Whether an object is selected whose fields `lookup` knows; an unknown field counts as empty.
    pub fn matches<'a>(&self, lookup: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.requirements.iter().all(|r| {
            let equal = lookup(&r.field).unwrap_or_default() == r.value;
            equal == (r.operator == FieldOperator::Equals)
        })
    }

    /// The conditions, in the order they stand.
    pub fn requirements(&self) -> &[FieldRequirement] {
        &self.requirements
    }

    /// Whether it restricts nothing.
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// The one value demanded of a field, for looking up an index (`metadata.name`, `spec.nodeName`).
    pub fn exact(&self, field: &str) -> Option<&str> {
        let mut found = self.requirements.iter().filter(|r| r.field == field);
        found.find(|r| r.operator == FieldOperator::Equals).map(|r| r.value.as_str())
    }

    /// The first field outside `known`, for which upstream answers `field label not supported: <field>`.
    pub fn unsupported(&self, known: &[&str]) -> Option<&str> {
        self.requirements.iter().map(|r| r.field.as_str()).find(|f| !known.contains(f))
    }
}

fn split_terms(text: &str) -> Vec<&str> {
    let (mut terms, mut start, mut escaped) = (Vec::new(), 0, false);
    for (i, b) in text.bytes().enumerate() {
        match b {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b',' => {
                terms.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    terms.push(&text[start..]);
    terms
}

fn split_term(term: &str) -> Option<(&str, FieldOperator, &str)> {
    for (i, _) in term.char_indices() {
        let rest = &term[i..];
        for (mark, operator) in
            [("!=", FieldOperator::NotEquals), ("==", FieldOperator::Equals), ("=", FieldOperator::Equals)]
        {
            if let Some(value) = rest.strip_prefix(mark) {
                return Some((&term[..i], operator, value));
            }
        }
    }
    None
}

fn unescape(value: &str) -> Result<String, String> {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(next @ ('\\' | ',' | '=')) => out.push(next),
                Some(next) => {
                    return Err(format!("invalid field selector: invalid escape sequence: \\{next}"));
                }
                None => return Err("invalid field selector: invalid escape sequence: \\".to_owned()),
            },
            ',' | '=' => {
                return Err(format!("invalid field selector: unescaped character in value: {}", c as u32));
            }
            c => out.push(c),
        }
    }
    Ok(out)
}

/// Escapes a value for a field selector's text.
pub fn escape_value(value: &str) -> String {
    value.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=")
}

impl FromStr for FieldSelector {
    type Err = SelectorError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, r) in self.requirements.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            let mark = if r.operator == FieldOperator::Equals { "=" } else { "!=" };
            write!(f, "{comma}{}{mark}{}", r.field, escape_value(&r.value))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_matches() {
        let s = FieldSelector::parse("metadata.name=a,status.phase!=Running,spec.nodeName==n1,").unwrap();
        assert_eq!(s.exact("spec.nodeName"), Some("n1"));
        assert_eq!(s.exact("status.phase"), None);
        let fields = |name: &str| match name {
            "metadata.name" => Some("a"),
            "spec.nodeName" => Some("n1"),
            _ => None,
        };
        assert!(s.matches(fields));
        assert!(!FieldSelector::parse("status.phase!=").unwrap().matches(fields));
        assert_eq!(s.to_string(), "metadata.name=a,status.phase!=Running,spec.nodeName=n1");
        assert_eq!(s.unsupported(&["metadata.name", "status.phase"]), Some("spec.nodeName"));
    }

    #[test]
    fn escapes() {
        let s = FieldSelector::parse(r"a=x\,y\=z\\").unwrap();
        assert_eq!(s.requirements()[0].value, r"x,y=z\");
        assert_eq!(s.to_string(), r"a=x\,y\=z\\");
        for bad in [r"a=x\n", r"a=x\", "a=b=c"] {
            assert!(FieldSelector::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(
            FieldSelector::parse("a=b,nonsense").unwrap_err().to_string(),
            "invalid selector: 'a=b,nonsense'; can't understand 'nonsense'"
        );
    }

    proptest::proptest! {
        #[test]
        fn any_value_survives(value in ".{0,20}") {
            let s = FieldSelector::equals("a.b", &value);
            proptest::prop_assert_eq!(FieldSelector::parse(&s.to_string()).unwrap(), s);
        }
    }
}

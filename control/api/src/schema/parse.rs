//! Reading JSON with duplicate keys noticed, and YAML.

use super::{Finding, MAX_DEPTH, is_shallow};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::cell::RefCell;
use std::fmt;

/// Why a text could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Not JSON. Line and column start at 1; line 0 means unknown.
    #[error("error parsing JSON at line {line}, column {column}: {message}")]
    Json {
        /// The line.
        line: usize,
        /// The column.
        column: usize,
        /// What is wrong.
        message: String,
    },
    /// Not YAML.
    #[error("error converting YAML to JSON: yaml: line {line}: {message}")]
    Yaml {
        /// The line, 0 when unknown.
        line: u64,
        /// What is wrong.
        message: String,
    },
    /// Deeper than [`MAX_DEPTH`].
    #[error("the object nests deeper than {MAX_DEPTH} levels")]
    TooDeep,
}

/// Where the reader is, as a chain through the stack, so that only a finding costs an allocation.
enum Place<'a> {
    Root,
    Key(&'a Place<'a>, &'a str),
    Index(&'a Place<'a>, usize),
}

impl Place<'_> {
    fn write(&self, out: &mut String) {
        match self {
            Self::Root => {}
            Self::Key(parent, key) => {
                parent.write(out);
                if !out.is_empty() {
                    out.push('.');
                }
                out.push_str(key);
            }
            Self::Index(parent, index) => {
                parent.write(out);
                out.push_str(&format!("[{index}]"));
            }
        }
    }
}

struct Seed<'a> {
    place: &'a Place<'a>,
    findings: &'a RefCell<Vec<Finding>>,
}

/// Reported duplicates are bounded: a hostile body must not make us build a text per key.
const MAX_FINDINGS: usize = 100;

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }
    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(v.into())
    }
    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(v.into())
    }
    fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
        Ok(Number::from_f64(v).map_or(Value::Null, Value::Number))
    }
    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(v.into())
    }
    fn visit_string<E>(self, v: String) -> Result<Value, E> {
        Ok(v.into())
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        loop {
            let place = Place::Index(self.place, list.len());
            match seq.next_element_seed(Seed { place: &place, findings: self.findings })? {
                Some(value) => list.push(value),
                None => return Ok(Value::Array(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            let place = Place::Key(self.place, &key);
            let value = access.next_value_seed(Seed { place: &place, findings: self.findings })?;
            if map.contains_key(&key) {
                let mut findings = self.findings.borrow_mut();
                if findings.len() < MAX_FINDINGS {
                    let mut path = String::new();
                    place.write(&mut path);
                    let finding = Finding::Duplicate { path };
                    if !findings.contains(&finding) {
                        findings.push(finding);
                    }
                }
            }
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

/// Reads JSON; of a repeated key the last value counts, and each repeat is a [`Finding::Duplicate`].
pub fn parse_json_strict(bytes: &[u8]) -> Result<(Value, Vec<Finding>), ParseError> {
    let findings = RefCell::new(Vec::new());
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let place = Place::Root;
    let value = Seed { place: &place, findings: &findings }
        .deserialize(&mut reader)
        .and_then(|value| reader.end().map(|()| value))
        .map_err(|e| json_error(&e))?;
    if !is_shallow(&value) {
        return Err(ParseError::TooDeep);
    }
    Ok((value, findings.into_inner()))
}

/// Reads JSON without looking for repeats: faster, for bodies that need no strictness.
pub fn parse_json(bytes: &[u8]) -> Result<Value, ParseError> {
    let value = serde_json::from_slice(bytes).map_err(|e| json_error(&e))?;
    if is_shallow(&value) { Ok(value) } else { Err(ParseError::TooDeep) }
}

fn json_error(error: &serde_json::Error) -> ParseError {
    let text = error.to_string();
    let message = text.split(" at line ").next().unwrap_or_default().to_owned();
    ParseError::Json { line: error.line(), column: error.column(), message }
}

/// Reads one YAML document (JSON is YAML too). A repeated key, an alias bomb and non-string keys are errors.
pub fn parse_yaml(bytes: &[u8]) -> Result<Value, ParseError> {
    let value: Value = serde_saphyr::from_slice(bytes).map_err(|e| {
        let line = e.location().map_or(0, |l| l.line());
        let text = e.without_snippet().to_string();
        let message = text.lines().next().unwrap_or_default().to_owned();
        ParseError::Yaml { line, message }
    })?;
    if is_shallow(&value) { Ok(value) } else { Err(ParseError::TooDeep) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn duplicates_are_found() {
        let text = br#"{"a":1,"b":[{"c":1,"c":2}],"a":3,"metadata":{"labels":{"x":"1","x":"2"}}}"#;
        let (value, findings) = parse_json_strict(text).unwrap();
        assert_eq!(value, json!({"a": 3, "b": [{"c": 2}], "metadata": {"labels": {"x": "2"}}}));
        let texts: Vec<String> = findings.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                r#"duplicate field "b[0].c""#,
                r#"duplicate field "a""#,
                r#"duplicate field "metadata.labels.x""#
            ]
        );
    }

    #[test]
    fn json_errors_have_a_line() {
        let Err(ParseError::Json { line, message, .. }) = parse_json_strict(b"{\n\"a\": }") else { panic!() };
        assert_eq!((line, message.as_str()), (2, "expected value"));
        assert!(parse_json_strict(b"{} {}").is_err() && parse_json_strict(b"").is_err());
        let deep = format!("{}{}", "[".repeat(110), "]".repeat(110));
        assert_eq!(parse_json_strict(deep.as_bytes()), Err(ParseError::TooDeep));
        let deeper = "[".repeat(100_000);
        assert!(parse_json(deeper.as_bytes()).is_err());
    }

    #[test]
    fn yaml() {
        let text = b"apiVersion: v1\nkind: ConfigMap\ndata:\n  a: \"1\"\n  b: |\n    x\n    y\nn: 5\nf: 1.5\nt: true\nz: null\nl: [a, 'b']\n";
        assert_eq!(
            parse_yaml(text).unwrap(),
            json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "1", "b": "x\ny\n"}, "n": 5, "f": 1.5,
                "t": true, "z": null, "l": ["a", "b"]})
        );
        assert_eq!(parse_yaml(br#"{"a": {"b": 1}}"#).unwrap(), json!({"a": {"b": 1}}));
        let Err(ParseError::Yaml { line, .. }) = parse_yaml(b"a: 1\nb: [1, 2\nc: 3\n") else { panic!() };
        assert!(line >= 2);
        assert!(parse_yaml(b"a: 1\na: 2\n").is_err());
    }
}
